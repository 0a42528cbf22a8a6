//! Why an order is not permitted.
//!
//! Invariant: every refusal has exactly one of the nine reasons of the metric. Must not touch: metrics.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::limits::LimitId;
use crate::gateway::intent_log::record::HaltReason;
use crate::gateway::protocol::CLOCK_TOLERANCE_MS;

/// The reasons of `signals_suppressed_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The confidence is not above the threshold.
    BelowThreshold,
    /// Too soon after the order before.
    Cooldown,
    /// The bar was decided on before.
    Duplicate,
    /// An input is too old.
    StaleData,
    /// Nobody trades now.
    MarketClosed,
    /// A limit, or an input that a limit needs.
    RiskLimit,
    /// The gateway is left alone.
    BreakerOpen,
    /// Nothing may be sent.
    Halted,
    /// Orders are not sent in this mode.
    DryRun,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 9] = [
        Reason::BelowThreshold,
        Reason::Cooldown,
        Reason::Duplicate,
        Reason::StaleData,
        Reason::MarketClosed,
        Reason::RiskLimit,
        Reason::BreakerOpen,
        Reason::Halted,
        Reason::DryRun,
    ];

    /// The spelling in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::BelowThreshold => "below_threshold",
            Reason::Cooldown => "cooldown",
            Reason::Duplicate => "duplicate",
            Reason::StaleData => "stale_data",
            Reason::MarketClosed => "market_closed",
            Reason::RiskLimit => "risk_limit",
            Reason::BreakerOpen => "breaker_open",
            Reason::Halted => "halted",
            Reason::DryRun => "dry_run",
        }
    }
}

/// Something that must be known, and make sense, before an order is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The wall clock.
    Clock,
    /// The opening of the bar.
    Bar,
    /// The end of the order's validity.
    Validity,
    /// The symbol.
    Symbol,
    /// The order's volume.
    Volume,
    /// The value of a unit of volume.
    UnitValue,
    /// The expected cost.
    Cost,
    /// The gateway's account.
    Account,
    /// The gateway's positions and working orders.
    Positions,
    /// The equity that the UTC day began with.
    DayOpening,
    /// A sum or product that needs more digits than there are.
    Arithmetic,
}

impl Input {
    /// The spelling in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Input::Clock => "clock",
            Input::Bar => "bar",
            Input::Validity => "validity",
            Input::Symbol => "symbol",
            Input::Volume => "volume",
            Input::UnitValue => "unit_value",
            Input::Cost => "cost",
            Input::Account => "account",
            Input::Positions => "positions",
            Input::DayOpening => "day_opening",
            Input::Arithmetic => "arithmetic",
        }
    }
}

/// Why an order is not permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The confidence is not above the threshold, or is no number.
    BelowThreshold,
    /// The bar is too old to act on.
    StaleBar,
    /// The order is late already.
    Late,
    /// The account or the positions are too old.
    Stale(Input),
    /// An input is not known.
    Missing(Input),
    /// An input makes no sense.
    Absurd(Input),
    /// The kill switch is on.
    KillSwitch,
    /// The intent log cannot be trusted or written.
    LogUnavailable,
    /// Trading is halted, and why.
    Halted(Option<HaltReason>),
    /// An order has no known outcome.
    OutcomeUnknown,
    /// Open orders and the position were not compared with the gateway's yet.
    NotReconciled,
    /// Nobody trades now.
    MarketClosed,
    /// The bar was decided on before.
    Duplicate,
    /// Too soon after the order before.
    Cooldown,
    /// The breaker in front of the gateway is not closed.
    BreakerOpen,
    /// As many orders as a minute may have.
    OrdersPerMinute,
    /// As many orders as a UTC day may have.
    OrdersPerDay,
    /// Live trading is not armed.
    NotArmed,
    /// The gateway has not said anything of itself.
    NoHeartbeat,
    /// The gateway's account is not the armed one.
    WrongAccount,
    /// The gateway's kill switch is on.
    PeerKilled,
    /// The gateway says that it could not execute an order.
    PeerDisabled,
    /// Milliseconds that the local clock is ahead of the gateway's: too many either way.
    ClockOffset(i64),
    /// Only orders that reduce a position may be sent, and this does not.
    ReducingOnly,
    /// Limits that the state after the trade breaches; at least one.
    Limits(Vec<LimitId>),
}

impl Refusal {
    /// The reason for the metric.
    pub const fn reason(&self) -> Reason {
        match self {
            Refusal::BelowThreshold => Reason::BelowThreshold,
            Refusal::StaleBar | Refusal::Late | Refusal::Stale(_) | Refusal::ClockOffset(_) => {
                Reason::StaleData
            }
            Refusal::Missing(_)
            | Refusal::Absurd(_)
            | Refusal::OrdersPerMinute
            | Refusal::OrdersPerDay
            | Refusal::ReducingOnly
            | Refusal::Limits(_) => Reason::RiskLimit,
            Refusal::KillSwitch
            | Refusal::LogUnavailable
            | Refusal::Halted(_)
            | Refusal::OutcomeUnknown
            | Refusal::NotReconciled
            | Refusal::PeerKilled
            | Refusal::PeerDisabled => Reason::Halted,
            Refusal::MarketClosed => Reason::MarketClosed,
            Refusal::Duplicate => Reason::Duplicate,
            Refusal::Cooldown => Reason::Cooldown,
            Refusal::BreakerOpen | Refusal::NoHeartbeat => Reason::BreakerOpen,
            Refusal::NotArmed | Refusal::WrongAccount => Reason::DryRun,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Refusal::BelowThreshold => "the confidence is not above the threshold",
            Refusal::StaleBar => "the bar is too old",
            Refusal::Late => "the order would be late",
            Refusal::Stale(input) => return write!(f, "{}: too old", input.as_str()),
            Refusal::Missing(input) => return write!(f, "{}: not known", input.as_str()),
            Refusal::Absurd(input) => return write!(f, "{}: makes no sense", input.as_str()),
            Refusal::KillSwitch => "the kill switch is on",
            Refusal::LogUnavailable => "the intent log cannot be written",
            Refusal::Halted(None) => "trading is halted",
            Refusal::Halted(Some(reason)) => {
                return write!(f, "trading is halted: {}", reason.as_str());
            }
            Refusal::OutcomeUnknown => "an order has no known outcome",
            Refusal::NotReconciled => "what is open was not compared with the gateway's books yet",
            Refusal::MarketClosed => "the market is closed",
            Refusal::Duplicate => "the bar was decided on before",
            Refusal::Cooldown => "too soon after the order before",
            Refusal::BreakerOpen => "the breaker of the gateway is not closed",
            Refusal::OrdersPerMinute => "as many orders as a minute may have",
            Refusal::OrdersPerDay => "as many orders as a day may have",
            Refusal::NotArmed => "live trading is not armed",
            Refusal::NoHeartbeat => "the gateway has not answered a heartbeat yet",
            Refusal::WrongAccount => "the gateway's account is not the armed one",
            Refusal::PeerKilled => "the gateway's kill switch is on",
            Refusal::PeerDisabled => "the gateway says that it could not execute an order",
            Refusal::ClockOffset(ahead_ms) => {
                return write!(
                    f,
                    "stale: the local clock is {ahead_ms} ms ahead of the gateway's, at most {CLOCK_TOLERANCE_MS} either way are accepted"
                );
            }
            Refusal::ReducingOnly => "only orders that reduce a position may be sent",
            Refusal::Limits(limits) => {
                let names: Vec<_> = limits.iter().map(|limit| limit.as_str()).collect();
                return write!(f, "limits: {}", names.join(", "));
            }
        };
        f.write_str(text)
    }
}
