//! What an order is asked for with, and what is known of the world when it is.
//!
//! Invariant: plain data; nothing here decides, and what the audit writes of it reads back as it was, bit for bit. Amounts are in the account's currency, volumes in lots. Must not touch: clocks, sockets.

use std::time::Duration;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::breaker;
use crate::gateway::intent_log::record::Side;
use crate::gateway::intent_log::state::State;

/// An order that somebody wants to send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Unix seconds of the opening of the bar that was decided on.
    pub bar_open_time: i64,
    /// Confidence of the decision, 0..=1.
    pub confidence: f64,
    /// What is traded.
    pub symbol: String,
    /// Which way.
    pub side: Side,
    /// Lots, above 0.
    pub volume: Decimal,
    /// Value of one lot now: price x contract size, in the account's currency.
    pub unit_value: Decimal,
    /// What the trade is expected to cost at once (half the spread, fees), 0 or more.
    pub cost: Decimal,
    /// Unix milliseconds after which it must not be executed.
    pub valid_until_ms: i64,
}

/// Something that a gateway told, and how long ago, by a clock that nobody sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aged<T> {
    /// What it told.
    pub value: T,
    /// How long ago.
    pub age: Duration,
}

/// The gateway's account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its name.
    pub id: String,
    /// Balance and the result of open positions; it may be below 0.
    pub equity: Decimal,
}

/// A position. A symbol has at most one: an account that holds both sides of a symbol at once is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// What is held.
    pub symbol: String,
    /// Lots; below 0 when short, never 0.
    pub volume: Decimal,
    /// Value of one lot.
    pub unit_value: Decimal,
}

/// An order that works at the gateway and was not executed yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Working {
    /// What will be traded.
    pub symbol: String,
    /// Which way.
    pub side: Side,
    /// Lots, above 0.
    pub volume: Decimal,
    /// Value of one lot.
    pub unit_value: Decimal,
}

/// Positions and working orders of the gateway, all of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Book {
    /// Positions.
    pub positions: Vec<Position>,
    /// Working orders.
    pub working: Vec<Working>,
}

/// What the gateway says of itself in its heartbeats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// The account that it trades.
    pub account: String,
    /// Whether it reaches its broker and an order could be executed as far as it knows.
    pub is_trading_allowed: bool,
    /// Whether its kill switch is on.
    pub is_killed: bool,
    /// Milliseconds that the local clock is ahead of the gateway's.
    pub clock_offset_ms: i64,
}

/// What is known when an order is asked for.
#[derive(Debug, Clone)]
pub struct Situation<'a> {
    /// Unix milliseconds.
    pub now_ms: i64,
    /// [`IntentLog::state`](crate::gateway::intent_log::IntentLog::state): trading state, open orders, counters. `None` closes the way.
    pub log: Option<&'a State>,
    /// Whether the kill switch is on, or could not be looked at.
    pub is_killed: bool,
    /// Whether the bar is too old to act on.
    pub is_bar_stale: bool,
    /// Whether the market trades now.
    pub is_market_open: bool,
    /// Whether open orders and the position are known to be what the gateway says; true where there is no gateway.
    pub is_reconciled: bool,
    /// What the gateway's last heartbeat said; `None` before the first.
    pub peer: Option<Peer>,
    /// The breaker in front of the gateway.
    pub breaker: breaker::State,
    /// The gateway's account.
    pub account: Option<Aged<Account>>,
    /// The gateway's positions and working orders.
    pub book: Option<Aged<Book>>,
}
