//! What the records lead to: open orders, the last decided bar, counters, the trading state.
//!
//! Invariant: an order leaves `open` only by an outcome that is known, and halted is left only by an accepted reset. What cannot be
//! right is told by [`State::check`]; [`State::absorb`] takes the careful reading of anything. Must not touch: storage, clocks.

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::record::{HaltReason, Intent, IntentId, Outcome, Record};
use crate::decide::TradingState;

/// Milliseconds of a UTC day.
pub const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;
/// Times of orders that are kept for the count of a minute; above any limit that can be set.
pub const RECENT_MAX: usize = 1_024;

/// How far an open order came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It is on disk; it may have been sent.
    Decided,
    /// It was sent.
    Sent,
    /// It was sent and no answer can be believed.
    Unknown,
}

/// An order without a known outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenIntent {
    /// The order.
    pub intent: Intent,
    /// How far it came.
    pub stage: Stage,
}

/// The equity that a day began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayOpening {
    /// Days since the epoch, UTC.
    pub day: i64,
    /// In the account's currency.
    pub equity: Decimal,
}

/// What the records lead to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    trading: TradingState,
    /// Why trading is not active, and since when (Unix milliseconds).
    reason: Option<(HaltReason, i64)>,
    last_decided_bar: Option<i64>,
    open: Vec<OpenIntent>,
    /// Orders that were sent and whose decision cannot be read.
    orphans: BTreeSet<IntentId>,
    recent_orders_ms: Vec<i64>,
    last_order_ms: Option<i64>,
    order_day: i64,
    orders_in_day: u32,
    day_opening: Option<DayOpening>,
    resets_refused: u64,
    last_seq: u64,
}

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
    /// There is no such open order.
    #[error("no open order has this id")]
    NoSuchIntent,
    /// Only a step towards halted, from reducing back to active, or a reset while halted.
    #[error("the trading state cannot change like this")]
    NoSuchTransition,
    /// The day, or a later one, has its opening.
    #[error("the day has its opening equity")]
    DayOpened,
}

impl Default for State {
    /// Nothing was ever decided, and trading is active.
    fn default() -> State {
        State {
            trading: TradingState::Active,
            reason: None,
            last_decided_bar: None,
            open: Vec::new(),
            orphans: BTreeSet::new(),
            recent_orders_ms: Vec::new(),
            last_order_ms: None,
            order_day: i64::MIN,
            orders_in_day: 0,
            day_opening: None,
            resets_refused: 0,
            last_seq: 0,
        }
    }
}

impl State {
    /// What may be sent.
    pub fn trading(&self) -> TradingState {
        self.trading
    }

    /// Why trading is not active, and since when in Unix milliseconds.
    pub fn reason(&self) -> Option<(HaltReason, i64)> {
        self.reason
    }

    /// The last bar that was decided on, by its opening in Unix seconds.
    pub fn last_decided_bar(&self) -> Option<i64> {
        self.last_decided_bar
    }

    /// Orders without a known outcome, oldest first.
    pub fn open(&self) -> &[OpenIntent] {
        &self.open
    }

    /// Orders that were sent, have no known outcome, and whose decision was lost to damage.
    pub fn orphans(&self) -> impl Iterator<Item = &IntentId> {
        self.orphans.iter()
    }

    /// Whether any order has no known outcome.
    pub fn has_open(&self) -> bool {
        !self.open.is_empty() || !self.orphans.is_empty()
    }

    /// Orders decided in the minute before `now_ms`. One of the future, which a clock that was set back leaves, counts.
    pub fn orders_in_minute(&self, now_ms: i64) -> usize {
        let since = now_ms.saturating_sub(MINUTE_MS);
        self.recent_orders_ms
            .iter()
            .filter(|at| **at > since)
            .count()
    }

    /// Orders decided on the UTC day of `now_ms`, or on a later one if the clock was set back.
    pub fn orders_in_day(&self, now_ms: i64) -> u32 {
        if day_of(now_ms) > self.order_day {
            0
        } else {
            self.orders_in_day
        }
    }

    /// When the last order was decided, in Unix milliseconds.
    pub fn last_order_ms(&self) -> Option<i64> {
        self.last_order_ms
    }

    /// The equity that the UTC day of `now_ms` began with, if it is known.
    pub fn day_opening_equity(&self, now_ms: i64) -> Option<Decimal> {
        self.day_opening
            .filter(|opening| opening.day == day_of(now_ms))
            .map(|opening| opening.equity)
    }

    /// Attempts to leave halted with a wrong secret, ever.
    pub fn resets_refused(&self) -> u64 {
        self.resets_refused
    }

    /// Number of the last record; each change of this state raises it.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

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
                unless(
                    self.last_decided_bar >= Some(intent.bar_open_time),
                    BarDecided,
                )
            }
            Record::Sent { id, .. }
            | Record::Outcome { id, .. }
            | Record::Reconciled { id, .. } => {
                let is_known = self.find(id).is_some() || self.orphans.contains(id);
                unless(!is_known, NoSuchIntent)
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

    /// Takes a record in, also one that cannot be right: then by the reading that permits less.
    pub fn absorb(&mut self, seq: u64, record: &Record) {
        match record {
            Record::Snapshot { state } => *self = state.clone(),
            Record::Decided { intent } => self.decided(intent),
            Record::Sent { id, .. } => self.reach(id, Stage::Sent),
            Record::Outcome {
                id,
                outcome: Outcome::Unknown,
                ..
            } => self.reach(id, Stage::Unknown),
            Record::Outcome { id, .. } | Record::Reconciled { id, .. } => {
                self.open.retain(|open| open.intent.id != *id);
                self.orphans.remove(id);
            }
            Record::Considered { bar_open_time } => {
                self.last_decided_bar = self.last_decided_bar.max(Some(*bar_open_time));
            }
            Record::DayOpened { day, equity } => {
                if self.day_opening.is_none_or(|opening| opening.day < *day) {
                    self.day_opening = Some(DayOpening {
                        day: *day,
                        equity: *equity,
                    });
                }
            }
            Record::Tightened {
                state,
                reason,
                at_ms,
            } => {
                // The first reason for a state stays: a later one is a consequence more often than not.
                if rank(*state) > rank(self.trading) {
                    (self.trading, self.reason) = (*state, Some((*reason, *at_ms)));
                }
            }
            Record::Relaxed { .. } => {
                if self.trading == TradingState::Reducing {
                    (self.trading, self.reason) = (TradingState::Active, None);
                }
            }
            Record::ResetAttempt { accepted: true, .. } => {
                (self.trading, self.reason) = (TradingState::Active, None);
            }
            Record::ResetAttempt {
                accepted: false, ..
            } => self.resets_refused = self.resets_refused.saturating_add(1),
        }
        self.last_seq = seq;
    }

    fn decided(&mut self, intent: &Intent) {
        let at = intent.decided_at_ms;
        if self.find(&intent.id).is_none() {
            self.open.push(OpenIntent {
                intent: intent.clone(),
                stage: Stage::Decided,
            });
        }
        self.last_decided_bar = self.last_decided_bar.max(Some(intent.bar_open_time));
        self.last_order_ms = self.last_order_ms.max(Some(at));
        if day_of(at) > self.order_day {
            (self.order_day, self.orders_in_day) = (day_of(at), 0);
        }
        self.orders_in_day = self.orders_in_day.saturating_add(1);
        self.recent_orders_ms.push(at);
        let newest = self.recent_orders_ms.iter().copied().max().unwrap_or(at);
        let since = newest.saturating_sub(MINUTE_MS);
        self.recent_orders_ms.retain(|at| *at > since);
        let surplus = self.recent_orders_ms.len().saturating_sub(RECENT_MAX);
        self.recent_orders_ms.drain(..surplus);
    }

    fn reach(&mut self, id: &IntentId, stage: Stage) {
        match self.open.iter_mut().find(|open| open.intent.id == *id) {
            // An order of which nothing is known is not known again by having been sent.
            Some(open) if open.stage == Stage::Unknown => {}
            Some(open) => open.stage = stage,
            None => {
                self.orphans.insert(id.clone());
            }
        }
    }

    fn find(&self, id: &IntentId) -> Option<&OpenIntent> {
        self.open.iter().find(|open| open.intent.id == *id)
    }
}

/// Days since the epoch, UTC.
pub fn day_of(unix_ms: i64) -> i64 {
    unix_ms.div_euclid(DAY_MS)
}

/// How much a state forbids.
const fn rank(state: TradingState) -> u8 {
    match state {
        TradingState::Active => 0,
        TradingState::Reducing => 1,
        TradingState::Halted => 2,
    }
}
