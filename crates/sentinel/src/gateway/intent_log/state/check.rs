//! Whether a record can follow what is known.
//!
//! Invariant: what is refused here would decide on a bar twice, have two orders of unknown outcome, leave halted without a reset, or speak of
//! an order that nobody knows. Must not touch: the state.

use thiserror::Error;

use super::{PLACED_MAX, State, rank};
use crate::decide::TradingState;
use crate::gateway::intent_log::record::{Found, IntentId, Outcome, Record};

/// Why a record cannot follow what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Contradiction {
    /// The bar, or a later one, was decided on.
    #[error("the bar was decided on before")]
    BarDecided,
    /// An order has no known outcome.
    #[error("an order has no known outcome yet")]
    IntentOpen,
    /// Trading is halted.
    #[error("trading is halted")]
    Halted,
    /// There is no such open or placed order.
    #[error("no open order has this id")]
    NoSuchIntent,
    /// The order is known to be placed.
    #[error("the order is known to be placed")]
    PlacedAlready,
    /// The gateway holds as many orders as are followed up.
    #[error("the gateway holds {PLACED_MAX} orders that are not executed yet")]
    TooManyPlaced,
    /// An order may be in the position that the gateway tells, or not.
    #[error("an order may be in the position or not")]
    PositionUnsettled,
    /// Too many symbols, or a symbol or a volume that makes no sense.
    #[error("the position makes no sense")]
    NoSuchPosition,
    /// Only a step towards halted, from reducing back to active, or a reset while halted.
    #[error("the trading state cannot change like this")]
    NoSuchTransition,
    /// The day, or a later one, has its opening.
    #[error("the day has its opening equity")]
    DayOpened,
}

impl State {
    /// Whether a record can follow.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn check(&self, record: &Record) -> Result<(), Contradiction> {
        use Contradiction::*;
        let unless = |wrong: bool, contradiction| if wrong { Err(contradiction) } else { Ok(()) };
        match record {
            Record::Snapshot { .. } => Ok(()),
            Record::Decided { intent } => {
                unless(self.trading == TradingState::Halted, Halted)?;
                unless(self.has_open(), IntentOpen)?;
                unless(self.placed.len() >= PLACED_MAX, TooManyPlaced)?;
                unless(
                    self.last_decided_bar >= Some(intent.bar_open_time),
                    BarDecided,
                )
            }
            Record::Sent { id, .. } => unless(!self.is_open(id), NoSuchIntent),
            Record::Outcome { id, outcome, .. } => {
                let says_nothing = matches!(outcome, Outcome::Placed | Outcome::Unknown);
                self.check_verdict(id, says_nothing)
            }
            Record::Reconciled { id, found, .. } => {
                self.check_verdict(id, matches!(found, Found::Placed))
            }
            Record::Withheld { bar_open_time, .. } => {
                unless(self.trading == TradingState::Halted, Halted)?;
                unless(self.has_open(), IntentOpen)?;
                unless(self.last_decided_bar >= Some(*bar_open_time), BarDecided)
            }
            Record::PositionBased { symbol, volume, .. } => {
                let is_unsettled =
                    self.has_open() || self.placed.iter().any(|one| one.intent.symbol == *symbol);
                unless(is_unsettled, PositionUnsettled)?;
                unless(!self.positions.fits(symbol, *volume), NoSuchPosition)
            }
            Record::Considered { bar_open_time } => {
                unless(self.last_decided_bar >= Some(*bar_open_time), BarDecided)
            }
            Record::DayOpened { day, .. } => unless(
                self.day_opening.is_some_and(|opening| opening.day >= *day),
                DayOpened,
            ),
            Record::Tightened { state, .. } => {
                unless(rank(*state) <= rank(self.trading), NoSuchTransition)
            }
            Record::Relaxed { .. } => {
                unless(self.trading != TradingState::Reducing, NoSuchTransition)
            }
            Record::ResetAttempt { accepted, .. } => unless(
                *accepted && self.trading != TradingState::Halted,
                NoSuchTransition,
            ),
        }
    }

    fn check_verdict(&self, id: &IntentId, says_nothing: bool) -> Result<(), Contradiction> {
        let is_placed = self.placed.iter().any(|one| one.intent.id == *id);
        match (is_placed, self.is_open(id)) {
            (true, _) if says_nothing => Err(Contradiction::PlacedAlready),
            (false, false) => Err(Contradiction::NoSuchIntent),
            _ => Ok(()),
        }
    }
}
