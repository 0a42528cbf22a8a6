//! The guards: the one path from a decision to an order that may be sent.
//!
//! Invariant: a [`Permit`] is made by [`Guards::check`] and nowhere else, and only when every guard says yes. What is not
//! known, too old or absurd is a no. Pure: time and the world are arguments. Must not touch: clocks, sockets, storage, metrics.
//!
//! The first reason that holds is told: whether there is a signal at all; whether anything may be sent (kill switch, log, halted, an open
//! order, what is not reconciled); the market; the pace; the breaker; whether live trading is armed; and last what needs the gateway: what it
//! says of itself, its account and its book.

pub mod limits;
pub mod permit;
pub mod refusal;
pub mod reset;
pub mod situation;
#[cfg(test)]
mod tests;

use std::time::Duration;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::limits::{LimitId, RiskLimits, is_amount};
use self::permit::Permit;
use self::refusal::{Input, Refusal};
use self::situation::{Account, Aged, Book, Peer, Request, Situation};
use crate::breaker;
use crate::decide::TradingState;
use crate::gateway::intent_log::state::{RECENT_MAX, State};
use crate::gateway::protocol::CLOCK_TOLERANCE_MS;

/// Longest validity of an order, from the check.
pub const VALID_FOR_MAX: Duration = Duration::from_secs(3_600);

/// What arms live trading: all of it is needed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// The flag of the command line.
    pub is_live: bool,
    /// The account that may be traded.
    pub account: String,
    /// The same account once more.
    pub confirm: String,
}

impl Arm {
    fn is_armed(&self) -> bool {
        self.is_live && !self.account.is_empty() && self.account == self.confirm
    }
}

/// The settings of the guards. What is read from a file is checked by [`Guards::new`], as any other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// 0..=1; a confidence has to be above it.
    pub threshold: f64,
    /// Least time between two orders.
    pub cooldown: Duration,
    /// Most orders in any minute.
    pub orders_per_minute: u32,
    /// Most orders on a UTC day.
    pub orders_per_day: u32,
    /// Greatest age of the gateway's account and book.
    pub stale_after: Duration,
    /// The six limits.
    #[serde(with = "limits::by_name")]
    pub limits: RiskLimits,
    /// What arms live trading.
    pub arm: Arm,
}

/// A setting makes no sense.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SettingsError {
    /// Not in 0..=1.
    #[error("threshold: {0}, 0 to 1 is accepted")]
    Threshold(f64),
    /// More than are counted.
    #[error("orders_per_minute: {0}, at most {RECENT_MAX} are accepted")]
    OrdersPerMinute(u32),
    /// Not above 0, or too large.
    #[error("{}: {found}, above 0 and at most {} is accepted", .limit.as_str(), limits::AMOUNT_MAX)]
    Limit {
        /// Which.
        limit: LimitId,
        /// What was found.
        found: Decimal,
    },
}

/// The guards.
#[derive(Debug)]
pub struct Guards {
    settings: Settings,
}

impl Guards {
    /// Guards with these settings.
    ///
    /// # Errors
    /// One of them makes no sense.
    pub fn new(settings: Settings) -> Result<Guards, SettingsError> {
        if !(0.0..=1.0).contains(&settings.threshold) {
            return Err(SettingsError::Threshold(settings.threshold));
        }
        if settings.orders_per_minute as usize > RECENT_MAX {
            return Err(SettingsError::OrdersPerMinute(settings.orders_per_minute));
        }
        for limit in LimitId::ALL {
            if let Some(found) = settings.limits[limit as usize].filter(|value| !is_amount(*value))
            {
                return Err(SettingsError::Limit { limit, found });
            }
        }
        Ok(Guards { settings })
    }

    /// Whether an order may be recorded and sent.
    ///
    /// # Errors
    /// Why it may not: the first guard that says no.
    pub fn check(&self, request: &Request, situation: &Situation<'_>) -> Result<Permit, Refusal> {
        let now_ms = situation.now_ms;
        self.check_signal(request, situation)?;
        if situation.is_killed {
            return Err(Refusal::KillSwitch);
        }
        let state = situation.log.ok_or(Refusal::LogUnavailable)?;
        if state.trading() == TradingState::Halted {
            return Err(Refusal::Halted(state.reason().map(|(reason, _)| reason)));
        }
        if state.has_open() {
            return Err(Refusal::OutcomeUnknown);
        }
        if !situation.is_reconciled {
            return Err(Refusal::NotReconciled);
        }
        if !situation.is_market_open {
            return Err(Refusal::MarketClosed);
        }
        self.check_pace(request, state, now_ms)?;
        // A probe of a half-open breaker is a heartbeat, not an order.
        if situation.breaker != breaker::State::Closed {
            return Err(Refusal::BreakerOpen);
        }
        if !self.settings.arm.is_armed() {
            return Err(Refusal::NotArmed);
        }
        let (account, book) = self.gateway_side(situation)?;
        check_request(request)?;
        let projection = limits::project(request, book, account.equity)?;
        if state.trading() == TradingState::Reducing && !projection.is_reducing {
            return Err(Refusal::ReducingOnly);
        }
        limits::enforce(
            &self.settings.limits,
            &projection,
            state.day_opening_equity(now_ms),
        )?;
        Ok(Permit {
            bar_open_time: request.bar_open_time,
            symbol: request.symbol.clone(),
            side: request.side,
            volume: request.volume,
            valid_until_ms: request.valid_until_ms,
            checked_at_ms: now_ms,
            log_seq: state.last_seq(),
        })
    }

    /// Whether there is a signal, in time.
    fn check_signal(&self, request: &Request, situation: &Situation<'_>) -> Result<(), Refusal> {
        let now_ms = situation.now_ms;
        if now_ms <= 0 {
            return Err(Refusal::Absurd(Input::Clock));
        }
        if situation.is_bar_stale {
            return Err(Refusal::StaleBar);
        }
        // A confidence that is no number is in no range and above nothing.
        if !(request.confidence > self.settings.threshold && request.confidence <= 1.0) {
            return Err(Refusal::BelowThreshold);
        }
        if request.bar_open_time < 0 || request.bar_open_time > now_ms / 1_000 {
            return Err(Refusal::Absurd(Input::Bar));
        }
        if request.valid_until_ms <= now_ms {
            return Err(Refusal::Late);
        }
        let valid_for = request.valid_until_ms.abs_diff(now_ms);
        if u128::from(valid_for) > VALID_FOR_MAX.as_millis() {
            return Err(Refusal::Absurd(Input::Validity));
        }
        Ok(())
    }

    /// Once a bar, and not too often. A clock that was set back makes the wait longer, never shorter.
    fn check_pace(&self, request: &Request, state: &State, now_ms: i64) -> Result<(), Refusal> {
        if state.last_decided_bar() >= Some(request.bar_open_time) {
            return Err(Refusal::Duplicate);
        }
        let cooldown_ms = i64::try_from(self.settings.cooldown.as_millis()).unwrap_or(i64::MAX);
        let cools_down = state
            .last_order_ms()
            .is_some_and(|last| now_ms.saturating_sub(last) < cooldown_ms);
        if cools_down {
            return Err(Refusal::Cooldown);
        }
        if state.orders_in_minute(now_ms) >= self.settings.orders_per_minute as usize {
            return Err(Refusal::OrdersPerMinute);
        }
        if state.orders_in_day(now_ms) >= self.settings.orders_per_day {
            return Err(Refusal::OrdersPerDay);
        }
        Ok(())
    }

    /// The gateway itself, which has to trade the armed account; its account and its book, both known, fresh and sane.
    fn gateway_side<'a>(
        &self,
        situation: &'a Situation<'_>,
    ) -> Result<(&'a Account, &'a Book), Refusal> {
        let peer = situation.peer.as_ref().ok_or(Refusal::NoHeartbeat)?;
        self.check_peer(peer)?;
        let account = self.fresh(situation.account.as_ref(), Input::Account)?;
        if account.id != self.settings.arm.account {
            return Err(Refusal::WrongAccount);
        }
        if account.equity.abs() > limits::AMOUNT_MAX {
            return Err(Refusal::Absurd(Input::Account));
        }
        let book = self.fresh(situation.book.as_ref(), Input::Positions)?;
        Ok((account, book))
    }

    /// Whether what the gateway says of itself speaks against any order.
    ///
    /// # Errors
    /// What does.
    pub fn check_peer(&self, peer: &Peer) -> Result<(), Refusal> {
        if peer.account != self.settings.arm.account {
            return Err(Refusal::WrongAccount);
        }
        if peer.is_killed {
            return Err(Refusal::PeerKilled);
        }
        if !peer.is_trading_allowed {
            return Err(Refusal::PeerDisabled);
        }
        if !(-CLOCK_TOLERANCE_MS..=CLOCK_TOLERANCE_MS).contains(&peer.clock_offset_ms) {
            return Err(Refusal::ClockOffset(peer.clock_offset_ms));
        }
        Ok(())
    }

    fn fresh<'a, T>(&self, told: Option<&'a Aged<T>>, input: Input) -> Result<&'a T, Refusal> {
        let told = told.ok_or(Refusal::Missing(input))?;
        if told.age > self.settings.stale_after {
            return Err(Refusal::Stale(input));
        }
        Ok(&told.value)
    }
}

/// Whether the order itself makes sense.
fn check_request(request: &Request) -> Result<(), Refusal> {
    let is_symbol = (1..=64).contains(&request.symbol.len())
        && request.symbol.bytes().all(|byte| byte.is_ascii_graphic());
    let is_cost = request.cost.is_zero() || is_amount(request.cost);
    for (is_sound, input) in [
        (is_symbol, Input::Symbol),
        (is_amount(request.volume), Input::Volume),
        (is_amount(request.unit_value), Input::UnitValue),
        (is_cost, Input::Cost),
    ] {
        if !is_sound {
            return Err(Refusal::Absurd(input));
        }
    }
    Ok(())
}
