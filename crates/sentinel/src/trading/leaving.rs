//! An order that is on disk: it leaves once, or it is held back; and what came of it is written down.
//!
//! Invariant: the kill switch and the clock are looked at last of all, and an order whose outcome could not be written down is taken for one
//! of which nothing is known. Must not touch: the question whether there is an order.

use std::time::Instant;

use rust_decimal::Decimal;
use tracing::{error, info, warn};

use super::audited::{Execution, slippage_bps};
use super::verdict::{self, OrderEnd};
use super::{Fate, Step, Trader};
use crate::audit::End;
use crate::gateway::guards::permit::Recorded;
use crate::gateway::intent_log::record::{Found, Intent, Outcome};
use crate::gateway::intent_log::storage::Storage;
use crate::gateway::link::{Ask, Exchange, Gateway, NotSent};
use crate::gateway::protocol::{IdempotencyKey, MessageId, Order, RequestBody};

impl<G: Gateway, S: Storage> Trader<G, S> {
    /// The last questions, and off it goes.
    pub(super) fn leave(&mut self, recorded: &Recorded, order: Order) -> Fate {
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
        if exchange == Exchange::Stopped {
            // The program has less than a second, and a disk may need more. On disk the order may have left, which is all that is known, and
            // the next start asks what became of it.
            self.reconciliation.undo("an order has no known outcome");
            return Fate::Unknown;
        }
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
    pub(super) fn withhold(&mut self, intent: &Intent, fate: Fate, why: Option<&NotSent>) -> Fate {
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
