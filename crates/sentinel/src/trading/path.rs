//! The one path of an order: decide, ask the guards, write down, send, write down what came of it.
//!
//! Invariant: an order leaves only after the guards permitted it on account and positions that were asked for just before, after it is
//! durable, and after the kill switch and the clock were looked at a last time; and it leaves once. Must not touch: what came before the
//! probabilities.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use tracing::{error, info, warn};

use super::ask::Budget;
use super::terms::{order_id, side_of};
use super::{Candidate, Fate, Step, Terms, Trader, verdict};
use crate::decide::{Decision, decide};
use crate::gateway::guards::permit::{Permit, Recorded};
use crate::gateway::guards::refusal::{Input, Refusal};
use crate::gateway::guards::situation::{Request, Situation};
use crate::gateway::intent_log::record::{Found, Intent, Outcome, Side};
use crate::gateway::intent_log::state::State;
use crate::gateway::intent_log::storage::Storage;
use crate::gateway::link::{Ask, Exchange, Gateway, NotSent};
use crate::gateway::protocol::{IdempotencyKey, MessageId, RequestBody};

impl<G: Gateway, S: Storage> Trader<G, S> {
    pub(super) fn decide_and_send(&mut self, candidate: &Candidate<'_>) -> (Decision, Fate) {
        let decision = decide(candidate.probabilities);
        let bar = candidate.bar.open_time;
        self.last_price = Terms::decision_price(candidate).or(self.last_price);
        let fate = match side_of(decision.action) {
            None => Fate::Hold,
            Some(side) => self.signal(candidate, decision, side),
        };
        self.last_decided = self.last_decided.max(Some(bar));
        self.close_bar(bar);
        (decision, fate)
    }

    /// The bar is not decided on again, after a restart neither. One that an order was recorded for is that already.
    fn close_bar(&mut self, bar: i64) {
        let is_closed = |state: &State| state.last_decided_bar() >= Some(bar);
        if self.log.state().is_some_and(is_closed) {
            return;
        }
        if let Err(error) = self.log.considered(bar) {
            warn!(bar, %error, "that the bar was decided on is not on disk");
        }
    }

    fn signal(&mut self, candidate: &Candidate<'_>, decision: Decision, side: Side) -> Fate {
        let mut checked = self.check(candidate, decision, side, false);
        if checked == Err(Refusal::Missing(Input::Account)) {
            // All that can be known without the gateway says yes. Now it is worth asking.
            self.refresh(&Budget::of(self.timeout));
            checked = self.check(candidate, decision, side, true);
        }
        match checked {
            Err(refusal) => {
                info!(bar = candidate.bar.open_time, %refusal, "no order");
                Fate::Refused(refusal)
            }
            Ok((permit, unit_value)) => {
                self.last_notional = unit_value;
                self.send(candidate, side, permit)
            }
        }
    }

    /// What the guards say, with what the gateway has told or without. With the permit comes the order's value.
    fn check(
        &self,
        candidate: &Candidate<'_>,
        decision: Decision,
        side: Side,
        with_gateway: bool,
    ) -> Result<(Permit, Decimal), Refusal> {
        let now = self.clock.now();
        let request = (self.terms).request(candidate, side, decision, now, self.currency());
        let state = self.log.state();
        let placed = state.map_or(&[][..], State::placed);
        let situation = Situation {
            now_ms: super::millis(now),
            log: state,
            is_killed: self.kill.is_on(),
            is_bar_stale: candidate.is_stale(now),
            is_market_open: candidate.calendar.is_open_at(now.unix_seconds()),
            is_reconciled: self.is_reconciled(),
            peer: self.peer(),
            breaker: self.breaker_state(),
            account: with_gateway.then(|| self.guards_account(now)).flatten(),
            book: with_gateway
                .then(|| self.guards_book(now, placed))
                .flatten(),
        };
        let permit = self.guards.check(&request, &situation)?;
        let Request {
            volume, unit_value, ..
        } = request;
        Ok((permit, volume.saturating_mul(unit_value)))
    }

    fn send(&mut self, candidate: &Candidate<'_>, side: Side, permit: Permit) -> Fate {
        self.step(Step::Checked);
        let Some(order) = self.terms.order(candidate, side) else {
            return Fate::Refused(Refusal::Absurd(Input::UnitValue));
        };
        let last_seq = self.log.state().map_or(0, State::last_seq);
        let key = self.terms.idempotency_key(candidate.bar.open_time);
        let recorded = match permit.record(&mut self.log, order_id(last_seq), key) {
            Ok(recorded) => recorded,
            Err(error) => {
                error!(%error, "the order is not on disk and is not sent");
                return Fate::Refused(Refusal::LogUnavailable);
            }
        };
        self.step(Step::Recorded);
        // The audit's line belongs here.
        self.step(Step::Audited);
        let now_ms = self.now_ms();
        if let Err(refusal) = recorded.may_leave(now_ms, self.kill.is_on()) {
            return self.withhold(&recorded, Fate::Refused(refusal));
        }
        self.step(Step::AboutToSend);
        let intent = recorded.intent().clone();
        if let Some(price) = Terms::decision_price(candidate) {
            self.decided_at.push((intent.id.clone(), price));
        }
        let ask = Ask {
            id: MessageId::new(intent.id.as_str()).expect("the id was made for the wire"),
            idempotency_key: IdempotencyKey::new(intent.idempotency_key.as_str())
                .expect("the key was made for the wire"),
            valid_until_ms: intent.valid_until_ms,
            body: RequestBody::Order(order),
        };
        let begin = self.clock.now();
        let exchange = self.gateway.exchange(ask, self.timeout);
        self.note(&exchange);
        self.step(Step::Answered);
        match verdict::of_order(&exchange, &intent) {
            Err(why) => {
                self.not_sent(&why);
                self.withhold(&recorded, Fate::NotSent)
            }
            Ok(end) => {
                if let Exchange::Answered { roundtrip, .. } = &exchange {
                    let took = self.clock.now().monotonic - begin.monotonic;
                    let handover = took.saturating_sub(*roundtrip);
                    self.telemetry.record_order_times(handover, *roundtrip);
                }
                self.conclude(&intent, &end)
            }
        }
    }

    /// What came of an order that may have left.
    fn conclude(&mut self, intent: &Intent, end: &verdict::OrderEnd) -> Fate {
        let now_ms = self.now_ms();
        let written = self
            .log
            .sent(&intent.id, now_ms)
            .and_then(|()| self.log.outcome(&intent.id, end.outcome, now_ms));
        self.step(Step::OutcomeRecorded);
        if let Some(other) = &end.traded_before {
            error!(
                id = %intent.id, %other,
                "this bar was traded before by an order that this log does not know; nothing was executed now"
            );
        }
        if let Some(result) = end.result {
            self.telemetry.record_order_result(result);
        }
        let fate = match end.outcome {
            Outcome::Unknown => Fate::Unknown,
            Outcome::Rejected(_) => Fate::Rejected,
            Outcome::Filled { .. }
            | Outcome::Partial { .. }
            | Outcome::Placed
            | Outcome::Executed => Fate::Executed,
        };
        info!(id = %intent.id, outcome = ?end.outcome, "an order was sent");
        if let Err(error) = written {
            error!(id = %intent.id, %error, "what came of an order is not on disk, it is asked for again");
            self.reconciliation
                .undo("what came of an order is not on disk");
            return Fate::Unknown;
        }
        match fate {
            Fate::Unknown => self.reconciliation.undo("an order has no known outcome"),
            Fate::Executed => {
                self.telemetry.record_executed(intent.side);
                self.record_slippage(intent, end.price);
            }
            _ => {}
        }
        if !matches!(end.outcome, Outcome::Unknown | Outcome::Placed) {
            self.decided_at.retain(|(other, _)| *other != intent.id);
        }
        // The audit's second line belongs here.
        self.step(Step::AuditClosed);
        fate
    }

    /// An order that is on disk and does not leave.
    fn withhold(&mut self, recorded: &Recorded, fate: Fate) -> Fate {
        let intent = recorded.intent();
        let now_ms = self.now_ms();
        self.decided_at.retain(|(other, _)| *other != intent.id);
        warn!(id = %intent.id, ?fate, "an order that was written down was not sent, and will not be");
        if let Err(error) = self.log.reconciled(&intent.id, Found::NeverSent, now_ms) {
            // It stays open, and the gateway says that it never came.
            error!(id = %intent.id, %error, "that an order was not sent is not on disk");
            self.reconciliation
                .undo("that an order was not sent is not on disk");
        }
        self.step(Step::OutcomeRecorded);
        fate
    }

    fn not_sent(&mut self, why: &NotSent) {
        warn!(%why, "an order could not be sent");
        self.telemetry.record_send_failure();
    }

    /// How much worse an execution was than the price that was decided at, if both are known.
    pub(super) fn record_slippage(&self, intent: &Intent, price: Option<Decimal>) {
        let decided = self.decided_at.iter().find(|(id, _)| *id == intent.id);
        let (Some((_, decided)), Some(price)) = (decided, price) else {
            return;
        };
        let worse = match intent.side {
            Side::Buy => price - *decided,
            Side::Sell => *decided - price,
        };
        let bps = worse
            .checked_mul(Decimal::from(10_000))
            .and_then(|scaled| scaled.checked_div(*decided))
            .and_then(|bps| bps.to_f64());
        if let Some(bps) = bps {
            self.telemetry.record_slippage(bps);
        }
    }
}
