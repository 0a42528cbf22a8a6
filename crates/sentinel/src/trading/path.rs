//! The one path of an order: decide, ask the guards, write down; then `leaving`.
//!
//! Invariant: an order leaves only after the guards permitted it on account and positions that were asked for just before, after it is
//! durable, and after the kill switch and the clock were looked at a last time; and it leaves once. Must not touch: what came before the
//! probabilities.

use tracing::{error, warn};

use super::ask::Budget;
use super::audited::{self, Looked};
use super::terms::{order_id, side_of};
use super::{Candidate, Fate, Step, Terms, Trader};
use crate::audit::{AuditError, Verdict};
use crate::decide::{Decision, decide};
use crate::gateway::guards::permit::Permit;
use crate::gateway::guards::refusal::{Input, Refusal};
use crate::gateway::guards::situation::{Request, Situation};
use crate::gateway::intent_log::record::Side;
use crate::gateway::intent_log::state::State;
use crate::gateway::intent_log::storage::Storage;
use crate::gateway::link::Gateway;

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
}
