//! The audit's lines of a decision and of what became of its order.
//!
//! Invariant: what is written is what was looked at, taken before anything was recorded. Must not touch: decisions.

use std::time::Duration;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use tracing::error;

use super::{Candidate, Trader};
use crate::audit::{Audit, AuditError, Decision as Line, End, OutcomeLine, Verdict};
use crate::decide::Decision;
use crate::gateway::guards::situation::{Request, Situation};
use crate::gateway::intent_log::record::{Intent, IntentId, Side};
use crate::gateway::intent_log::storage::Storage;
use crate::gateway::link::Gateway;

/// What the guards were asked, and what they looked at.
pub(super) type Looked<'a> = (&'a Request, &'a Situation<'a>);

/// Writes a decision.
pub(super) fn write<S: Storage>(
    audit: &mut Audit<S>,
    at_ms: i64,
    candidate: &Candidate<'_>,
    decision: Decision,
    looked: Option<Looked<'_>>,
    verdict: Verdict,
) -> Result<(), AuditError> {
    audit.decision(&Line {
        at_ms,
        bar_open_time: candidate.bar.open_time,
        bars: candidate.bars,
        features: candidate.features,
        model: candidate.model,
        probabilities: candidate.probabilities,
        action: decision.action,
        confidence: decision.confidence,
        request: looked.map(|(request, _)| request),
        situation: looked.map(|(_, situation)| situation),
        verdict,
    })
}

/// What is known of an execution, apart from its end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Execution {
    pub(super) sent_at_ms: Option<i64>,
    pub(super) roundtrip: Option<Duration>,
    pub(super) price: Option<Decimal>,
    pub(super) volume: Option<Decimal>,
}

impl<G: Gateway, S: Storage> Trader<G, S> {
    /// Writes what became of an order. A line that cannot be written changes nothing any more.
    pub(super) fn audit_outcome(
        &mut self,
        id: &IntentId,
        intent: Option<&Intent>,
        end: End,
        execution: Execution,
    ) {
        let decision_price = self.decision_price_of(id);
        let line = OutcomeLine {
            at_ms: self.now_ms(),
            id: id.clone(),
            end,
            sent_at_ms: execution.sent_at_ms,
            roundtrip: execution.roundtrip,
            decision_price,
            executed_price: execution.price,
            executed_volume: execution.volume,
            slippage_bps: intent
                .and_then(|intent| slippage_bps(intent.side, decision_price?, execution.price?)),
        };
        let written = self.audit.outcome(&line);
        self.audit_fault = written.as_ref().err().map(AuditError::to_string);
        if let Err(error) = written {
            error!(%id, %error, "what became of an order is not in the audit");
        }
    }

    /// The price that an order was decided at, if this process did.
    pub(super) fn decision_price_of(&self, id: &IntentId) -> Option<Decimal> {
        let decided = self.decided_at.iter().find(|(other, _)| other == id);
        decided.map(|(_, price)| *price)
    }
}

/// How much worse an execution was than the price that was decided at, in hundredths of a percent of it.
pub(super) fn slippage_bps(side: Side, decided: Decimal, executed: Decimal) -> Option<f64> {
    let worse = match side {
        Side::Buy => executed.checked_sub(decided)?,
        Side::Sell => decided.checked_sub(executed)?,
    };
    worse
        .checked_mul(Decimal::from(10_000))?
        .checked_div(decided)?
        .to_f64()
}
