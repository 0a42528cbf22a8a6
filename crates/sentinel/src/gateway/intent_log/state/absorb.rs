//! Taking a record in.
//!
//! Invariant: any record can be taken in; of one that cannot be right it is the reading that permits less. Must not touch: storage, clocks.

use super::{DayOpening, MINUTE_MS, OpenIntent, RECENT_MAX, Stage, State, day_of, rank};
use crate::decide::TradingState;
use crate::gateway::intent_log::record::{Found, HaltReason, Intent, IntentId, Outcome, Record};
use rust_decimal::Decimal;

impl State {
    /// Takes a record in, also one that cannot be right: then by the reading that permits less.
    pub fn absorb(&mut self, seq: u64, record: &Record) {
        match record {
            Record::Snapshot { state, .. } => *self = state.clone(),
            Record::Decided { intent } => self.decided(intent),
            Record::Sent { id, .. } => self.reach(id, Stage::Sent),
            Record::Outcome { id, outcome, .. } => match outcome {
                Outcome::Unknown => self.reach(id, Stage::Unknown),
                Outcome::Placed => self.place(id),
                Outcome::Filled { volume } | Outcome::Partial { volume } => {
                    self.executed(id, Some(*volume));
                }
                Outcome::Executed => self.executed(id, None),
                Outcome::Rejected(_) => drop(self.close(id)),
            },
            Record::Reconciled { id, found, .. } => match found {
                Found::Placed => self.place(id),
                Found::Filled { volume } => self.executed(id, Some(*volume)),
                // A person may have closed one that was executed.
                Found::Executed | Found::ClosedByOperator => self.executed(id, None),
                Found::Rejected | Found::NeverArrived | Found::NeverSent => drop(self.close(id)),
            },
            Record::Withheld {
                bar_open_time,
                at_ms,
            } => self.count_order(*bar_open_time, *at_ms),
            Record::PositionBased { symbol, volume, .. } => self.positions.base(symbol, *volume),
            Record::Considered { bar_open_time } => {
                self.last_decided_bar = self.last_decided_bar.max(Some(*bar_open_time));
            }
            Record::DayOpened { day, equity } => {
                if self.day_opening.is_none_or(|opening| opening.day < *day) {
                    self.day_opening = Some(DayOpening {
                        day: *day,
                        equity: *equity,
                    });
                }
            }
            Record::Tightened {
                state,
                reason,
                at_ms,
            } => {
                if *reason == HaltReason::LogDamaged {
                    // What is missing may have been an execution.
                    self.positions.forget();
                }
                // The first reason for a state stays: a later one is a consequence more often than not.
                if rank(*state) > rank(self.trading) {
                    (self.trading, self.reason) = (*state, Some((*reason, *at_ms)));
                }
            }
            Record::Relaxed { .. } => {
                if self.trading == TradingState::Reducing {
                    (self.trading, self.reason) = (TradingState::Active, None);
                }
            }
            Record::ResetAttempt { accepted: true, .. } => {
                // Whoever resets accepts the position that the gateway has.
                self.positions.forget();
                (self.trading, self.reason) = (TradingState::Active, None);
            }
            Record::ResetAttempt {
                accepted: false, ..
            } => self.resets_refused = self.resets_refused.saturating_add(1),
        }
        self.last_seq = seq;
    }

    fn decided(&mut self, intent: &Intent) {
        if self.find(&intent.id).is_none() {
            self.open.push(OpenIntent {
                intent: intent.clone(),
                stage: Stage::Decided,
            });
        }
        self.count_order(intent.bar_open_time, intent.decided_at_ms);
    }

    /// An order of this bar was decided on at that time, in Unix milliseconds.
    fn count_order(&mut self, bar_open_time: i64, at: i64) {
        self.last_decided_bar = self.last_decided_bar.max(Some(bar_open_time));
        self.last_order_ms = self.last_order_ms.max(Some(at));
        if day_of(at) > self.order_day {
            (self.order_day, self.orders_in_day) = (day_of(at), 0);
        }
        self.orders_in_day = self.orders_in_day.saturating_add(1);
        self.recent_orders_ms.push(at);
        let newest = self.recent_orders_ms.iter().copied().max().unwrap_or(at);
        let since = newest.saturating_sub(MINUTE_MS);
        self.recent_orders_ms.retain(|at| *at > since);
        let surplus = self.recent_orders_ms.len().saturating_sub(RECENT_MAX);
        self.recent_orders_ms.drain(..surplus);
    }

    fn reach(&mut self, id: &IntentId, stage: Stage) {
        if self.placed.iter().any(|one| one.intent.id == *id) {
            // It is followed up anyway.
            return;
        }
        match self.open.iter_mut().find(|open| open.intent.id == *id) {
            // An order of which nothing is known is not known again by having been sent.
            Some(open) if open.stage == Stage::Unknown => {}
            Some(open) => open.stage = stage,
            None => {
                self.orphans.insert(id.clone());
            }
        }
    }

    /// The gateway holds it: its outcome is known as far as it goes.
    fn place(&mut self, id: &IntentId) {
        // Of an orphan only the name is known: it stays one until it is told what became of it.
        if self.orphans.contains(id) {
            return;
        }
        if let Some(mut order) = self.close(id) {
            order.stage = Stage::Placed;
            self.placed.push(order);
        }
    }

    fn executed(&mut self, id: &IntentId, volume: Option<Decimal>) {
        match self.close(id) {
            Some(order) => self.positions.executed(&order.intent, volume),
            None => self.positions.forget(),
        }
    }

    /// Takes an open or placed order out; none if only its id is known, or nothing.
    fn close(&mut self, id: &IntentId) -> Option<OpenIntent> {
        self.orphans.remove(id);
        for orders in [&mut self.open, &mut self.placed] {
            if let Some(at) = orders.iter().position(|one| one.intent.id == *id) {
                return Some(orders.remove(at));
            }
        }
        None
    }

    pub(super) fn is_open(&self, id: &IntentId) -> bool {
        self.find(id).is_some() || self.orphans.contains(id)
    }

    fn find(&self, id: &IntentId) -> Option<&OpenIntent> {
        self.open.iter().find(|open| open.intent.id == *id)
    }
}
