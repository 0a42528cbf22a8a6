//! What the records lead to: open and placed orders, own positions, the last decided bar, counters, the trading state.
//!
//! Invariant: an order leaves `open` only by an outcome that is known, and halted is left only by an accepted reset. What cannot be
//! right is told by [`State::check`]; [`State::absorb`] takes the careful reading of anything. Must not touch: storage, clocks.

mod absorb;
mod check;

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

pub use self::check::Contradiction;
use super::position::OwnPositions;
use super::record::{HaltReason, Intent, IntentId};
use crate::decide::TradingState;

/// Milliseconds of a UTC day.
pub const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;
/// Times of orders that are kept for the count of a minute; above any limit that can be set.
pub const RECENT_MAX: usize = 1_024;
/// Placed orders with which no further order is decided on.
pub const PLACED_MAX: usize = 64;

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
    /// The gateway holds it.
    Placed,
}

/// An order without a known outcome, or one that the gateway holds.
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
    /// Orders that the gateway has taken and not executed yet.
    #[serde(default)]
    placed: Vec<OpenIntent>,
    #[serde(default)]
    positions: OwnPositions,
    recent_orders_ms: Vec<i64>,
    last_order_ms: Option<i64>,
    order_day: i64,
    orders_in_day: u32,
    day_opening: Option<DayOpening>,
    resets_refused: u64,
    last_seq: u64,
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
            placed: Vec::new(),
            positions: OwnPositions::default(),
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

    /// Orders that the gateway has taken and not executed yet, oldest first. They are followed up and do not keep others back.
    pub fn placed(&self) -> &[OpenIntent] {
        &self.placed
    }

    /// Net lots that our executions lead to, below 0 when short; `None` until it was taken from the gateway once.
    pub fn own_position(&self, symbol: &str) -> Option<Decimal> {
        self.positions.of(symbol)
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
