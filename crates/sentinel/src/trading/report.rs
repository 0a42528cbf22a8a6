//! What `/health` tells of trading.
//!
//! Invariant: plain data, put together by the loop; ages are computed by whoever shows it, so that a loop that hangs cannot look well. Must
//! not touch: the gateway.

use std::time::Instant;

use serde::Serialize;

use super::Trader;
use crate::breaker;
use crate::decide::TradingState;
use crate::gateway::guards::refusal::Refusal;
use crate::gateway::intent_log::state::Stage;
use crate::gateway::intent_log::storage::Storage;
use crate::gateway::link::Gateway;
use crate::telemetry::{BreakerEndpoint, BreakerLabel};

/// What is known of trading.
#[derive(Debug, Clone)]
pub struct TradingReport {
    /// Whether orders are sent.
    pub is_live: bool,
    /// What may be sent.
    pub state: TradingState,
    /// Why not everything.
    pub state_reason: Option<&'static str>,
    /// Since when, in Unix milliseconds.
    pub state_since_ms: Option<i64>,
    /// The gateway; none in a dry run.
    pub gateway: Option<PeerReport>,
    /// Sentences for what is not well, and makes the daemon not well either.
    pub why: Vec<String>,
    /// Sentences for what is worth knowing.
    pub notes: Vec<String>,
}

/// What is known of the gateway. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PeerReport {
    /// Whether it answered the last heartbeat.
    pub is_answering: bool,
    /// The account that it trades; none before its first heartbeat.
    pub account: Option<String>,
    /// Whether it could execute an order, as far as it knows.
    pub is_trading_allowed: Option<bool>,
    /// Whether its kill switch is on.
    pub is_killed: Option<bool>,
    /// When its last heartbeat came.
    pub last_heartbeat: Option<f64>,
    /// Seconds since then.
    pub last_heartbeat_age_seconds: Option<f64>,
    /// From sending to its reply.
    pub roundtrip_seconds: Option<f64>,
    /// How far the local clock is ahead of its clock.
    pub clock_offset_seconds: Option<f64>,
    /// The circuit breaker in front of it.
    pub breaker: &'static str,
    /// What the comparison of orders and position found, or why it is due.
    pub reconciliation: String,
    /// When it was made.
    pub reconciled_at: Option<f64>,
    /// Orders whose outcome is not known, and those that the gateway holds.
    pub orders: Vec<OpenOrder>,
    #[serde(skip)]
    pub(crate) seen: Option<Instant>,
}

/// An order that is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenOrder {
    /// Its name.
    pub id: String,
    /// How far it came.
    pub stage: &'static str,
    /// Unix seconds of the opening of its bar; none if the decision was lost.
    pub bar: Option<i64>,
}

impl TradingReport {
    /// Of a dry run.
    pub fn dry_run(state: TradingState, notes: Vec<String>) -> TradingReport {
        TradingReport {
            is_live: false,
            state,
            state_reason: None,
            state_since_ms: None,
            gateway: None,
            why: Vec::new(),
            notes,
        }
    }
}

impl<G: Gateway, S: Storage> Trader<G, S> {
    /// Shows how things are.
    pub(super) fn publish(&self) {
        let log = self.log.state();
        let state = log.map_or(TradingState::Halted, |state| state.trading());
        self.telemetry.record_state(state);
        let breaker = self.breaker_state();
        let label = match breaker {
            breaker::State::Closed => BreakerLabel::Closed,
            breaker::State::HalfOpen => BreakerLabel::HalfOpen,
            breaker::State::Open => BreakerLabel::Open,
        };
        self.telemetry
            .record_breaker(BreakerEndpoint::Gateway, label);
        let reason = log.and_then(|state| state.reason());
        self.health.set_trading(TradingReport {
            is_live: true,
            state,
            state_reason: match (log, reason) {
                (None, _) => Some("log_unavailable"),
                (Some(_), reason) => reason.map(|(reason, _)| reason.as_str()),
            },
            state_since_ms: reason.map(|(_, since)| since),
            gateway: Some(self.peer_report(breaker)),
            why: self.why(state),
            notes: Vec::new(),
        });
    }

    fn peer_report(&self, breaker: breaker::State) -> PeerReport {
        let seen = self.link.seen.as_ref();
        let heartbeat = seen.map(|seen| &seen.heartbeat);
        PeerReport {
            is_answering: seen.is_some() && self.link.missed == 0,
            account: heartbeat.map(|heartbeat| heartbeat.account.as_str().to_owned()),
            is_trading_allowed: heartbeat
                .map(|heartbeat| heartbeat.is_connected && heartbeat.is_trading_allowed),
            is_killed: heartbeat.map(|heartbeat| heartbeat.is_killed),
            last_heartbeat: seen.map(|seen| seen.at.unix),
            last_heartbeat_age_seconds: None,
            roundtrip_seconds: seen.map(|seen| seen.roundtrip.as_secs_f64()),
            clock_offset_seconds: self.link.clock_offset,
            breaker: breaker.as_str(),
            reconciliation: self.reconciliation.in_words(),
            reconciled_at: self.reconciliation.done_at(),
            orders: self.open_orders(),
            seen: seen.map(|seen| seen.at.monotonic),
        }
    }

    fn open_orders(&self) -> Vec<OpenOrder> {
        let Some(state) = self.log.state() else {
            return Vec::new();
        };
        let known = state.open().iter().chain(state.placed());
        let mut orders: Vec<OpenOrder> = known
            .map(|one| OpenOrder {
                id: one.intent.id.to_string(),
                stage: match one.stage {
                    Stage::Decided => "decided",
                    Stage::Sent => "sent",
                    Stage::Unknown => "unknown",
                    Stage::Placed => "placed",
                },
                bar: Some(one.intent.bar_open_time),
            })
            .collect();
        orders.extend(state.orphans().map(|id| OpenOrder {
            id: id.to_string(),
            stage: "unknown",
            bar: None,
        }));
        orders
    }

    /// What keeps orders from being sent, as far as it is not the market's or the pace's doing.
    fn why(&self, state: TradingState) -> Vec<String> {
        let mut why = Vec::new();
        if self.log.state().is_none() {
            why.push("the intent log cannot be written".to_owned());
        } else if state != TradingState::Active {
            let reason = self.log.state().and_then(|state| state.reason());
            let reason = reason.map_or("", |(reason, _)| reason.as_str());
            why.push(format!("trading is {}: {reason}", state.as_str()));
        }
        if let Some(cause) = self.kill.look() {
            why.push(format!("the kill switch is on: {}", cause.as_str()));
        }
        if self.log.state().is_some_and(|state| state.has_open()) {
            why.push("an order has no known outcome".to_owned());
        } else if !self.is_reconciled() {
            why.push("orders and position are not compared with the gateway's yet".to_owned());
        }
        if let Some(distrust) = &self.link.distrust {
            why.push(distrust.to_string());
        }
        if let Some(code) = self.link.refused {
            why.push(format!("the gateway refuses heartbeats: {}", code.as_str()));
        }
        match &self.link.seen {
            None => why.push("the gateway has not answered a heartbeat yet".to_owned()),
            Some(_) if self.link.missed > 0 => why.push(format!(
                "the gateway has not answered {} heartbeats",
                self.link.missed
            )),
            Some(_) => {}
        }
        why.extend(self.peer_refusal().map(|refusal| refusal.to_string()));
        why.extend(self.unvalued().map(|symbol| {
            format!("a position in {symbol} has no value that is known: gateway.contract_sizes lacks it, or it is quoted in another currency than the account's")
        }));
        why.extend(self.standing());
        if let Some(fault) = &self.audit_fault {
            why.push(format!("no order is sent without the audit: {fault}"));
        }
        if self.breaker_state() != breaker::State::Closed {
            why.push("the circuit breaker in front of gateway is open".to_owned());
        }
        why
    }

    /// A position for which every order is refused, because nobody knows its value.
    pub(super) fn unvalued(&self) -> Option<&str> {
        let (positions, currency) = (self.positions.as_ref()?, self.currency()?);
        let one = positions.value.positions.iter().find(|one| {
            let (symbol, price) = (one.symbol.as_str(), one.current_price.value());
            self.terms.lot_value(symbol, price, currency).is_none()
        })?;
        Some(one.symbol.as_str())
    }

    /// What the gateway says of itself that every order is refused for.
    fn peer_refusal(&self) -> Option<Refusal> {
        let peer = self.peer()?;
        self.guards.check_peer(&peer).err()
    }
}
