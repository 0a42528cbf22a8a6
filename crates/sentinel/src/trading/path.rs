//! The one path of an order: decide, ask the guards, write down, send, write down what came of it.
//!
//! Invariant: an order leaves only after the guards permitted it on account and positions that were asked for just before, after it is
//! durable, and after the kill switch and the clock were looked at a last time; and it leaves once. Must not touch: what came before the
//! probabilities.

use std::time::Instant;

use rust_decimal::Decimal;
use tracing::{error, info, warn};

use super::ask::Budget;
use super::audited::{self, Execution, Looked, slippage_bps};
use super::terms::{order_id, side_of};
use super::verdict::{self, OrderEnd};
use super::{Candidate, Fate, Step, Terms, Trader};
use crate::audit::{AuditError, End, Verdict};
use crate::decide::{Decision, decide};
use crate::gateway::guards::permit::{Permit, Recorded};
use crate::gateway::guards::refusal::{Input, Refusal};
use crate::gateway::guards::situation::{Request, Situation};
use crate::gateway::intent_log::record::{Found, Intent, Outcome, Side};
use crate::gateway::intent_log::state::State;
use crate::gateway::intent_log::storage::Storage;
use crate::gateway::link::{Ask, Exchange, Gateway, NotSent};
use crate::gateway::protocol::{IdempotencyKey, MessageId, Order, RequestBody};

impl<G: Gateway, S: Storage> Trader<G, S> {
    pub(super) fn decide_and_send(&mut self, candidate: &Candidate<'_>) -> (Decision, Fate) {
        let decision = decide(candidate.probabilities);
        let bar = candidate.bar.open_time;
        self.last_price = Terms::decision_price(candidate).or(self.last_price);
        let fate = match side_of(decision.action) {
            None => {
                self.audit_refusal(candidate, decision, None, Verdict::Hold);
                Fate::Hold
            }
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
        // The audit is given what was looked at, whatever is recorded meanwhile.
        let mut state = self.log.state().cloned();
        let (mut request, mut situation) =
            self.look(candidate, decision, side, state.as_ref(), false);
        let mut checked = self.guards.check(&request, &situation);
        if checked == Err(Refusal::Missing(Input::Account)) {
            // All that can be known without the gateway says yes. Now it is worth asking.
            self.refresh(&Budget::of(self.timeout));
            state = self.log.state().cloned();
            (request, situation) = self.look(candidate, decision, side, state.as_ref(), true);
            checked = self.guards.check(&request, &situation);
        }
        let looked = (&request, &situation);
        match checked {
            Err(refusal) => {
                let verdict = Verdict::refused(&refusal);
                self.audit_refusal(candidate, decision, Some(looked), verdict);
                Fate::Refused(refusal)
            }
            Ok(permit) => self.send(candidate, decision, side, looked, permit),
        }
    }

    /// What is asked of the guards, and what they look at: with what the gateway has told, or without.
    fn look<'a>(
        &self,
        candidate: &Candidate<'_>,
        decision: Decision,
        side: Side,
        log: Option<&'a State>,
        with_gateway: bool,
    ) -> (Request, Situation<'a>) {
        let now = self.clock.now();
        let request = (self.terms).request(candidate, side, decision, now, self.currency());
        let placed = log.map_or(&[][..], State::placed);
        let situation = Situation {
            now_ms: super::millis(now),
            log,
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
        (request, situation)
    }

    /// A decision that leads to no order. A line that cannot be written changes nothing.
    fn audit_refusal(
        &mut self,
        candidate: &Candidate<'_>,
        decision: Decision,
        looked: Option<Looked<'_>>,
        verdict: Verdict,
    ) {
        let at_ms = self.now_ms();
        let written = audited::write(&mut self.audit, at_ms, candidate, decision, looked, verdict);
        self.audit_fault = written.as_ref().err().map(AuditError::to_string);
        if let Err(error) = written {
            error!(%error, "a decision is not in the audit");
        }
    }

    fn send(
        &mut self,
        candidate: &Candidate<'_>,
        decision: Decision,
        side: Side,
        looked: Looked<'_>,
        permit: Permit,
    ) -> Fate {
        self.step(Step::Checked);
        let Some(order) = self.terms.order(candidate, side) else {
            // The guards have refused an order whose price is not known; they look at its value.
            let refusal = Refusal::Absurd(Input::UnitValue);
            let verdict = Verdict::refused(&refusal);
            self.audit_refusal(candidate, decision, Some(looked), verdict);
            return Fate::Refused(refusal);
        };
        let last_seq = self.log.state().map_or(0, State::last_seq);
        let key = self.terms.idempotency_key(candidate.bar.open_time);
        let recorded = match permit.record(&mut self.log, order_id(last_seq), key) {
            Ok(recorded) => recorded,
            Err(error) => {
                error!(%error, "the order is not on disk and is not sent");
                let text = error.to_string();
                let verdict = Verdict::Unrecorded { text };
                self.audit_refusal(candidate, decision, Some(looked), verdict);
                return Fate::Refused(Refusal::LogUnavailable);
            }
        };
        self.step(Step::Recorded);
        let intent = recorded.intent().clone();
        if let Some(price) = Terms::decision_price(candidate) {
            self.decided_at.push((intent.id.clone(), price));
        }
        self.last_notional = looked.0.volume.saturating_mul(looked.0.unit_value);
        let verdict = Verdict::permitted(&intent);
        let at_ms = looked.1.now_ms;
        let looked = Some(looked);
        let written = audited::write(&mut self.audit, at_ms, candidate, decision, looked, verdict);
        self.audit_fault = written.as_ref().err().map(AuditError::to_string);
        if let Err(error) = written {
            error!(%error, "the order is not in the audit and is not sent");
            return self.withhold(&intent, Fate::Refused(Refusal::LogUnavailable), None);
        }
        self.step(Step::Audited);
        self.leave(&recorded, order)
    }

    /// The last questions, and off it goes.
    fn leave(&mut self, recorded: &Recorded, order: Order) -> Fate {
        let intent = recorded.intent().clone();
        let sent_at_ms = self.now_ms();
        if let Err(refusal) = recorded.may_leave(sent_at_ms, self.kill.is_on()) {
            return self.withhold(&intent, Fate::Refused(refusal), None);
        }
        self.step(Step::AboutToSend);
        let ask = Ask {
            id: MessageId::new(intent.id.as_str()).expect("the id was made for the wire"),
            idempotency_key: IdempotencyKey::new(intent.idempotency_key.as_str())
                .expect("the key was made for the wire"),
            valid_until_ms: intent.valid_until_ms,
            body: RequestBody::Order(order),
        };
        let begin = Instant::now();
        let exchange = self.gateway.exchange(ask, self.timeout);
        let took = begin.elapsed();
        self.note(&exchange);
        self.step(Step::Answered);
        let end = match verdict::of_order(&exchange, &intent) {
            Ok(end) => end,
            Err(why) => {
                self.telemetry.record_send_failure();
                return self.withhold(&intent, Fate::NotSent, Some(&why));
            }
        };
        let roundtrip = match &exchange {
            Exchange::Answered { roundtrip, .. } => Some(*roundtrip),
            _ => None,
        };
        if let Some(roundtrip) = roundtrip {
            let handover = took.saturating_sub(roundtrip);
            self.telemetry.record_order_times(handover, roundtrip);
        }
        let fate = self.conclude(&intent, &end);
        self.step(Step::OutcomeRecorded);
        let execution = Execution {
            sent_at_ms: Some(sent_at_ms),
            roundtrip,
            price: end.price,
            volume: match end.outcome {
                Outcome::Filled { volume } | Outcome::Partial { volume } => Some(volume),
                _ => None,
            },
        };
        self.audit_outcome(
            &intent.id,
            Some(&intent),
            End::Exchanged(end.outcome),
            execution,
        );
        if !matches!(end.outcome, Outcome::Unknown | Outcome::Placed) {
            self.decided_at.retain(|(other, _)| *other != intent.id);
        }
        self.step(Step::AuditClosed);
        fate
    }

    /// Writes down what came of an order that may have left.
    fn conclude(&mut self, intent: &Intent, end: &OrderEnd) -> Fate {
        let now_ms = self.now_ms();
        let written = self
            .log
            .sent(&intent.id, now_ms)
            .and_then(|()| self.log.outcome(&intent.id, end.outcome, now_ms));
        info!(id = %intent.id, outcome = ?end.outcome, "an order was sent");
        if let Some(other) = &end.traded_before {
            error!(
                id = %intent.id, %other,
                "this bar was traded before by an order that this log does not know; nothing was executed now"
            );
        }
        if let Some(result) = end.result {
            self.telemetry.record_order_result(result);
        }
        if let Err(error) = written {
            error!(id = %intent.id, %error, "what came of an order is not on disk, it is asked for again");
            self.reconciliation
                .undo("what came of an order is not on disk");
            if end.outcome.is_taken() {
                self.uncounted.push(intent.clone());
            }
            return Fate::Unknown;
        }
        if end.outcome.is_taken() {
            self.telemetry.record_executed(intent.side);
            self.record_slippage(intent, end.price);
            return Fate::Executed;
        }
        if end.outcome == Outcome::Unknown {
            self.reconciliation.undo("an order has no known outcome");
            return Fate::Unknown;
        }
        Fate::Rejected
    }

    /// An order that is on disk and does not leave.
    fn withhold(&mut self, intent: &Intent, fate: Fate, why: Option<&NotSent>) -> Fate {
        let why = why.map(NotSent::to_string);
        let now_ms = self.now_ms();
        warn!(id = %intent.id, ?fate, why, "an order that was written down was not sent, and will not be");
        if let Err(error) = self.log.reconciled(&intent.id, Found::NeverSent, now_ms) {
            // It stays open, and the gateway will say that it never came.
            error!(id = %intent.id, %error, "that an order was not sent is not on disk");
            self.reconciliation
                .undo("that an order was not sent is not on disk");
        }
        self.step(Step::OutcomeRecorded);
        let end = match &fate {
            Fate::Refused(refusal) => End::Withheld {
                reason: refusal.reason(),
                text: refusal.to_string(),
            },
            _ => End::NotSent(why.unwrap_or_default()),
        };
        self.audit_outcome(&intent.id, Some(intent), end, Execution::default());
        self.decided_at.retain(|(other, _)| *other != intent.id);
        self.step(Step::AuditClosed);
        fate
    }

    /// How much worse an execution was than the price that was decided at, if both are known.
    pub(super) fn record_slippage(&self, intent: &Intent, price: Option<Decimal>) {
        let bps = self
            .decision_price_of(&intent.id)
            .zip(price)
            .and_then(|(decided, price)| slippage_bps(intent.side, decided, price));
        if let Some(bps) = bps {
            self.telemetry.record_slippage(bps);
        }
    }
}
