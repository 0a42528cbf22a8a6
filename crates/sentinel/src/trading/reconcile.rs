//! Finding out what became of orders, and whether the position is what they lead to.
//!
//! Invariant: an order is closed by a verdict and by nothing else; orders, position and account are looked at in this order, so that no
//! execution is missing in the position that is compared. What does not fit halts. Must not touch: sending orders.

use rust_decimal::Decimal;
use tracing::{error, info, warn};

use super::ask::Budget;
use super::audited::Execution;
use super::{Step, Trader, account, verdict};
use crate::audit::End;
use crate::clock::Now;
use crate::gateway::intent_log::record::{Found, HaltReason, Intent, IntentId};
use crate::gateway::intent_log::storage::Storage;
use crate::gateway::link::Gateway;
use crate::gateway::protocol::{MessageId, RequestBody};

/// Whether what is open and the position were compared with the gateway's.
#[derive(Debug, Clone)]
pub(super) enum Reconciliation {
    /// Not since this.
    Due(&'static str),
    /// They were.
    Done { at: Now, found: String },
}

impl Default for Reconciliation {
    fn default() -> Reconciliation {
        Reconciliation::Due("the sentinel was started")
    }
}

impl Reconciliation {
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Reconciliation::Done { .. })
    }

    /// It has to be done anew, and why.
    pub(super) fn undo(&mut self, why: &'static str) {
        if self.is_done() {
            warn!(
                why,
                "orders and position have to be compared with the gateway's anew"
            );
            *self = Reconciliation::Due(why);
        }
    }

    /// For `/health`.
    pub(super) fn in_words(&self) -> String {
        match self {
            Reconciliation::Due(why) => format!("due: {why}"),
            Reconciliation::Done { found, .. } => found.clone(),
        }
    }

    pub(super) fn done_at(&self) -> Option<f64> {
        match self {
            Reconciliation::Due(_) => None,
            Reconciliation::Done { at, .. } => Some(at.unix),
        }
    }
}

impl<G: Gateway, S: Storage> Trader<G, S> {
    /// Whether there is something to find out, and somebody to ask.
    pub(super) fn needs_reconciling(&self) -> bool {
        let has_open = self.log.state().is_some_and(|state| state.has_open());
        self.log.state().is_some() && (has_open || !self.is_reconciled()) && self.is_reachable()
    }

    /// Whether the gateway holds an order that it has not executed yet.
    pub(super) fn has_placed(&self) -> bool {
        let state = self.log.state();
        state.is_some_and(|state| !state.placed().is_empty()) && self.is_reachable()
    }

    /// Asks for what is open, and if nothing is left of it, compares the position. What there is no budget for is left for the next time.
    pub(super) fn reconcile(&mut self, budget: &Budget) {
        let was_due = !self.is_reconciled();
        let Some(mut found) = self.follow_up(budget) else {
            return;
        };
        if !was_due && found.is_empty() {
            return;
        }
        if !self.refresh(budget) {
            self.reconciliation
                .undo("the gateway does not tell its positions");
            return;
        }
        found.extend(self.compare_position());
        let found = found.join("; ");
        info!(found, "orders and position are compared with the gateway's");
        self.reconciliation = Reconciliation::Done {
            at: self.clock.now(),
            found,
        };
    }

    /// A sentence for each order that a verdict was found of; none if any order is left without, placed ones apart.
    fn follow_up(&mut self, budget: &Budget) -> Option<Vec<String>> {
        let state = self.log.state()?;
        let orders: Vec<(IntentId, Option<Intent>, bool)> = state
            .open()
            .iter()
            .map(|one| (one.intent.id.clone(), Some(one.intent.clone()), false))
            .chain(state.orphans().map(|id| (id.clone(), None, false)))
            .chain(
                state
                    .placed()
                    .iter()
                    .map(|one| (one.intent.id.clone(), Some(one.intent.clone()), true)),
            )
            .collect();
        let mut found = Vec::new();
        for (id, intent, is_placed) in orders {
            let Some(order_id) = MessageId::new(id.as_str()) else {
                error!(%id, "the name of an open order is none of the protocol, a person has to look");
                return None;
            };
            let exchange = self.ask(RequestBody::Status(order_id), budget)?;
            match verdict::of_status(&exchange, &id, intent.as_ref()) {
                Some((Found::Placed, _)) if is_placed => {}
                Some((verdict, price)) => {
                    self.step(Step::StatusAnswered);
                    self.close(&id, intent.as_ref(), verdict, price, is_placed)?;
                    found.push(format!("order {id}: {}", words(verdict)));
                }
                None => {
                    warn!(%id, ?exchange, "the gateway has not said what became of an order");
                    return None;
                }
            }
        }
        // A placed order of an orphan, for instance, is still one whose outcome is not known.
        let is_open = self.log.state()?.has_open();
        (!is_open).then_some(found)
    }

    /// Writes a verdict down; nothing if that failed.
    fn close(
        &mut self,
        id: &IntentId,
        intent: Option<&Intent>,
        found: Found,
        price: Option<Decimal>,
        was_placed: bool,
    ) -> Option<()> {
        let now_ms = self.now_ms();
        // One that was placed was counted when it was.
        let is_first_execution =
            matches!(found, Found::Filled { .. } | Found::Placed) && !was_placed;
        if let Err(error) = self.log.reconciled(id, found, now_ms) {
            error!(%id, %error, "what became of an order is not on disk");
            if is_first_execution && let Some(intent) = intent {
                self.uncounted.push(intent.clone());
            }
            return None;
        }
        self.step(Step::Reconciled);
        info!(%id, found = words(found), "what became of an order is known");
        if let Some(intent) = intent {
            if is_first_execution {
                self.telemetry.record_executed(intent.side);
            }
            self.record_slippage(intent, price);
        }
        let execution = Execution {
            price,
            volume: match found {
                Found::Filled { volume } => Some(volume),
                _ => None,
            },
            ..Execution::default()
        };
        self.audit_outcome(id, intent, End::Reconciled(found), execution);
        if found != Found::Placed {
            self.decided_at.retain(|(other, _)| other != id);
        }
        Some(())
    }

    /// Holds the gateway's position against what our orders lead to.
    fn compare_position(&mut self) -> Option<String> {
        let told = &self.positions.as_ref()?.value;
        let account = told.account.as_str();
        if account != self.terms.account() {
            return Some(format!(
                "the gateway trades account {account}, not {}",
                self.terms.account()
            ));
        }
        let symbol = self.terms.symbol().to_owned();
        let held = account::own_net(told, &symbol, self.terms.magic());
        let state = self.log.state()?;
        if !state.placed().is_empty() {
            return Some(format!(
                "position {held} {symbol}, to be compared once the orders that the gateway holds are done"
            ));
        }
        match state.own_position(&symbol) {
            Some(expected) if expected == held => {
                Some(format!("position {held} {symbol}, as expected"))
            }
            Some(expected) => {
                let sentence =
                    format!("position {held} {symbol}, and our orders lead to {expected}");
                self.halt(HaltReason::PositionMismatch, &sentence);
                Some(sentence)
            }
            None => {
                let now_ms = self.now_ms();
                match self.log.position_based(&symbol, held, now_ms) {
                    Ok(()) => Some(format!("position {held} {symbol}, taken over")),
                    Err(error) => {
                        error!(%error, "the position is not on disk");
                        None
                    }
                }
            }
        }
    }
}

const fn words(found: Found) -> &'static str {
    match found {
        Found::Filled { .. } | Found::Executed => "executed",
        Found::Placed => "held by the gateway",
        Found::Rejected => "refused",
        Found::NeverArrived => "never arrived",
        Found::NeverSent => "never sent",
        Found::ClosedByOperator => "closed by a person",
    }
}
