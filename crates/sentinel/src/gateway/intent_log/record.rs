//! What the intent log holds: one record a step of an order, and what the steps speak of.
//!
//! Invariant: every value is finite, bounded and spelled in one way, so that a record read back is the record written. Must not touch:
//! storage, clocks.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::format;
use super::state::State;
use crate::decide::TradingState;

/// Longest [`IntentId`].
pub const ID_LEN_MAX_BYTES: usize = 64;

/// Name of an order or its idempotency key: 1 to [`ID_LEN_MAX_BYTES`] visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IntentId(String);

impl IntentId {
    /// None if the text is empty, too long, or has anything but visible ASCII in it.
    pub fn new(text: &str) -> Option<IntentId> {
        let fits = (1..=ID_LEN_MAX_BYTES).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| IntentId(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for IntentId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<IntentId, &'static str> {
        IntentId::new(&text).ok_or("no id of 1 to 64 visible characters")
    }
}

impl From<IntentId> for String {
    fn from(id: IntentId) -> String {
        id.0
    }
}

impl fmt::Display for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which way an order goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Adds to the position.
    Buy,
    /// Takes from the position.
    Sell,
}

impl Side {
    /// The spelling in logs and on disk.
    pub const fn as_str(self) -> &'static str {
        match self {
            Side::Buy => "buy",
            Side::Sell => "sell",
        }
    }
}

/// An order that was decided on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Name of the order.
    pub id: IntentId,
    /// By it the peer knows an order that it has seen.
    pub idempotency_key: IntentId,
    /// Unix seconds of the opening of the bar that was decided on.
    pub bar_open_time: i64,
    /// Which way.
    pub side: Side,
    /// What is traded.
    pub symbol: String,
    /// Lots, above 0.
    pub volume: Decimal,
    /// Unix milliseconds after which the peer must not execute it.
    pub valid_until_ms: i64,
    /// Unix milliseconds of the decision.
    pub decided_at_ms: i64,
}

/// Why a gateway did not take an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// Another price is offered.
    Requote,
    /// The price is not valid.
    Price,
    /// The volume is not valid.
    Volume,
    /// Not enough margin.
    Margin,
    /// Nobody trades.
    MarketClosed,
    /// Trading is off for the account or the symbol.
    Disabled,
    /// Anything else.
    Other,
}

/// What became of an order that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All of it was executed.
    Filled {
        /// Lots.
        volume: Decimal,
    },
    /// A part was executed, and the rest never will be.
    Partial {
        /// Lots.
        volume: Decimal,
    },
    /// It works at the gateway: nothing was executed yet that is known.
    Placed,
    /// It was not taken.
    Rejected(Rejection),
    /// No answer came, or none that can be believed: the order may have been executed.
    Unknown,
    /// It was executed and nobody wrote down how much: only in records of format 1.
    Executed,
}

impl Outcome {
    /// Whether the gateway took the order: executed it, a part of it, or holds it.
    pub const fn is_taken(self) -> bool {
        match self {
            Outcome::Filled { .. }
            | Outcome::Partial { .. }
            | Outcome::Placed
            | Outcome::Executed => true,
            Outcome::Rejected(_) | Outcome::Unknown => false,
        }
    }
}

/// What a reconciliation found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// The peer executed it, or a part of it and the rest never will be.
    Filled {
        /// Lots.
        volume: Decimal,
    },
    /// The peer holds it and has not executed it.
    Placed,
    /// The peer refused it.
    Rejected,
    /// The peer never saw it, and it is too late for it to be executed.
    NeverArrived,
    /// It was withheld before it was handed to the link.
    NeverSent,
    /// A person looked and closed it.
    ClosedByOperator,
    /// It was executed or is held by the peer: only in records of format 1.
    Executed,
}

/// Why trading is not active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HaltReason {
    /// The kill switch: file or signal.
    KillSwitch,
    /// The day's loss.
    DailyLoss,
    /// The intent log was damaged: what it says may not be all.
    LogDamaged,
    /// The gateway's positions are not what the orders lead to.
    PositionMismatch,
    /// A person asked for it.
    Operator,
}

impl HaltReason {
    /// All of them.
    pub const ALL: [HaltReason; 5] = [
        HaltReason::KillSwitch,
        HaltReason::DailyLoss,
        HaltReason::LogDamaged,
        HaltReason::PositionMismatch,
        HaltReason::Operator,
    ];

    /// The spelling in logs and on disk.
    pub const fn as_str(self) -> &'static str {
        match self {
            HaltReason::KillSwitch => "kill_switch",
            HaltReason::DailyLoss => "daily_loss",
            HaltReason::LogDamaged => "log_damaged",
            HaltReason::PositionMismatch => "position_mismatch",
            HaltReason::Operator => "operator",
        }
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    /// All that the records before it lead to; the first record of a file.
    Snapshot {
        /// Number of the records' format.
        #[serde(default = "format::first")]
        format: u32,
        /// The state.
        state: State,
    },
    /// An order will be sent.
    Decided {
        /// The order.
        intent: Intent,
    },
    /// An order was handed to the link.
    Sent {
        /// Which.
        id: IntentId,
        /// Unix milliseconds.
        at_ms: i64,
    },
    /// What became of it.
    Outcome {
        /// Which.
        id: IntentId,
        /// What.
        #[serde(deserialize_with = "format::outcome")]
        outcome: Outcome,
        /// Unix milliseconds.
        at_ms: i64,
    },
    /// What became of it, found out later.
    Reconciled {
        /// Which.
        id: IntentId,
        /// What.
        found: Found,
        /// Unix milliseconds.
        at_ms: i64,
    },
    /// A bar was decided on and no order follows.
    Considered {
        /// Unix seconds of the bar's opening.
        bar_open_time: i64,
    },
    /// A bar was decided on, and its order would have been sent if this were no dry run.
    Withheld {
        /// Unix seconds of the bar's opening.
        bar_open_time: i64,
        /// Unix milliseconds of the decision.
        at_ms: i64,
    },
    /// The gateway's position in a symbol, taken for our own.
    PositionBased {
        /// What is held.
        symbol: String,
        /// Lots; below 0 when short.
        volume: Decimal,
        /// Unix milliseconds.
        at_ms: i64,
    },
    /// The equity that a UTC day began with.
    DayOpened {
        /// Days since the epoch.
        day: i64,
        /// In the account's currency.
        equity: Decimal,
    },
    /// Trading is restricted (more).
    Tightened {
        /// `Reducing` or `Halted`.
        state: TradingState,
        /// Why.
        reason: HaltReason,
        /// Unix milliseconds.
        at_ms: i64,
    },
    /// From reducing back to active; leaves halted as it is.
    Relaxed {
        /// Unix milliseconds.
        at_ms: i64,
    },
    /// Somebody tried to leave halted.
    ResetAttempt {
        /// Whether the secret was the right one; then trading is active.
        accepted: bool,
        /// Unix milliseconds.
        at_ms: i64,
    },
}
