//! What a step says: decisions, orders, fills, worth. Plain facts; the loop records them as metrics, log lines and events.
//!
//! Invariant: every order that is formed is in exactly one [`OrderReport`], and every order that was sent is in exactly one
//! [`FillReport`] of the next step.

use rust_decimal::Decimal;

use crate::ledger::{Fill, Mark, OutOfRange, Side};
use crate::risk::{Utilisation, Verdict};
use crate::strategy::Signal;

/// Why an order is formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Buy from flat.
    EntryLong,
    /// Sell everything, to be flat.
    ExitLong,
    /// Sell from flat.
    EntryShort,
    /// Buy everything back, to be flat.
    ExitShort,
    /// Sell everything, to go short behind it.
    CloseLong,
    /// Buy everything back, to go long behind it.
    CloseShort,
}

impl Decision {
    /// The spelling in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Decision::EntryLong => "entry_long",
            Decision::ExitLong => "exit_long",
            Decision::EntryShort => "entry_short",
            Decision::ExitShort => "exit_short",
            Decision::CloseLong => "close_long",
            Decision::CloseShort => "close_short",
        }
    }

    /// The side of its order.
    pub const fn side(self) -> Side {
        match self {
            Decision::EntryLong | Decision::ExitShort | Decision::CloseShort => Side::Buy,
            Decision::EntryShort | Decision::ExitLong | Decision::CloseLong => Side::Sell,
        }
    }

    /// Whether it adds to a flat position; the others leave one.
    pub const fn is_entry(self) -> bool {
        matches!(self, Decision::EntryLong | Decision::EntryShort)
    }
}

/// A market order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Why it was formed.
    pub decision: Decision,
    /// Buy or sell.
    pub side: Side,
    /// Units of base, a whole number of steps; 0 when it could not be computed or rounds down to nothing.
    pub quantity: Decimal,
}

/// What became of an order at the bar that formed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderResult {
    /// It waits for the next open.
    Sent,
    /// The risk check did not let it through.
    Blocked,
    /// It is below the instrument's smallest order and was not sent.
    BelowMinimum,
}

impl OrderResult {
    /// The spelling in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            OrderResult::Sent => "sent",
            OrderResult::Blocked => "blocked",
            OrderResult::BelowMinimum => "below_minimum",
        }
    }
}

/// An order that was formed at this bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderReport {
    /// The order.
    pub order: Order,
    /// Whether it repeats an exit that did not get through at an earlier bar: no new decision.
    pub retry: bool,
    /// The risk evaluation; `None` if the order was too small to be evaluated.
    pub verdict: Option<Verdict>,
    /// What became of it.
    pub result: OrderResult,
}

/// An order of the bar before that met this bar's open. An error means that it could not be booked exactly, and was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FillReport {
    /// The order.
    pub order: Order,
    /// What it got.
    pub fill: Result<Fill, OutOfRange>,
}

/// The facts of one step, in the order in which they happened.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// What became of the orders of the bar before.
    pub fills: Vec<FillReport>,
    /// Worth at this close; `None` if it cannot be computed, in which case nothing new is sent.
    pub mark: Option<Mark>,
    /// The signal in force after this close, and whether it changed at it.
    pub signal: Signal,
    /// See `signal`.
    pub signal_changed: bool,
    /// The orders formed at this close.
    pub orders: Vec<OrderReport>,
    /// How much of each limit the position held at this close uses; `None` without a mark.
    pub utilisation: Option<Utilisation>,
}

/// What a session has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Candles stepped through, warm-up excluded.
    pub steps: u64,
    /// Changes of the signal.
    pub signals: u64,
    /// Orders formed at a cross.
    pub decisions: u64,
    /// Risk evaluations.
    pub risk_checks: u64,
    /// Orders filled.
    pub filled: u64,
    /// Orders too small to send, or not bookable when they met their price.
    pub rejected: u64,
    /// Orders that the risk check stopped, tries that repeat a stopped exit included.
    pub blocked: u64,
}
