//! What the peer knows: the sum of its journal's records.
//!
//! Invariant: nothing is known here that is not in a record, so a restart knows the same. Must not touch: files, clocks.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::record::{Record, Verdict};
use crate::gateway::protocol::{IdempotencyKey, MessageId, Order};

/// An order that the broker may have, and of which nothing is known yet.
#[derive(Debug, Clone)]
pub struct Begun {
    /// Its id.
    pub id: MessageId,
    /// What was ordered.
    pub order: Order,
}

/// An order and its newest verdict.
#[derive(Debug, Clone)]
pub struct Judged {
    /// What was ordered.
    pub order: Order,
    /// What came of it so far.
    pub verdict: Verdict,
}

/// Orders, ids and the kill switch.
#[derive(Debug, Default)]
pub struct Known {
    judged: HashMap<MessageId, Judged>,
    /// In the order in which they were first judged.
    judged_ids: Vec<MessageId>,
    begun: Vec<Begun>,
    /// In the order in which the broker took them.
    placed: Vec<MessageId>,
    /// Everything that the broker took or did, in its order, with the order's magic number.
    executions: Vec<(Verdict, u32)>,
    by_key: HashMap<IdempotencyKey, (MessageId, Order)>,
    repeated: BTreeMap<MessageId, MessageId>,
    revoked: BTreeSet<MessageId>,
    kill_ids: HashSet<MessageId>,
    killed_at: Option<i64>,
}

impl Known {
    /// Takes a record in.
    ///
    /// # Errors
    /// When it cannot follow what is known; says why.
    pub fn apply(&mut self, record: Record) -> Result<(), &'static str> {
        match record {
            Record::Begin { id, key, order } => {
                if self.has_order(&id) {
                    return Err("an order begins that was there before");
                }
                if self.by_key.contains_key(&key) {
                    return Err("an order begins with the key of another");
                }
                self.by_key.insert(key, (id.clone(), order.clone()));
                self.begun.push(Begun { id, order });
            }
            Record::Result {
                id,
                key,
                order,
                verdict,
            } => self.judge(id, key, Judged { order, verdict })?,
            Record::Alias { id, of } => {
                if self.has_order(&id) || !self.judged.contains_key(&of) {
                    return Err("an order repeats one without a verdict, or was there before");
                }
                self.repeated.insert(id, of);
            }
            Record::Revoked { id } => {
                if self.has_order(&id) {
                    return Err("an order is declared unknown that was there before");
                }
                self.revoked.insert(id);
            }
            Record::Kill { id, at, .. } => {
                self.kill_ids.insert(id);
                self.killed_at.get_or_insert(at);
            }
            Record::Release { .. } => self.killed_at = None,
        }
        Ok(())
    }

    fn judge(
        &mut self,
        id: MessageId,
        key: Option<IdempotencyKey>,
        judged: Judged,
    ) -> Result<(), &'static str> {
        let is_new = match self.judged.get(&id).map(|judged| &judged.verdict) {
            None => !self.repeated.contains_key(&id),
            Some(Verdict::Placed(..)) if matches!(judged.verdict, Verdict::Placed(..)) => {
                return Err("an order is placed twice");
            }
            Some(Verdict::Placed(..)) => false,
            Some(_) => return Err("an order is judged twice"),
        };
        let begun = self.begun.iter().position(|begun| begun.id == id);
        if is_new && begun.is_none() && !matches!(judged.verdict, Verdict::Rejected(_)) {
            // Where the broker is the journal, one record is beginning and end, and has the key.
            match &key {
                None => return Err("an order is executed that did not begin"),
                Some(key) if self.by_key.contains_key(key) => {
                    return Err("an order is executed with the key of another");
                }
                Some(_) => {}
            }
        }
        if let Some(index) = begun {
            self.begun.remove(index);
        }
        self.placed.retain(|placed| *placed != id);
        if matches!(judged.verdict, Verdict::Placed(..)) {
            self.placed.push(id.clone());
        }
        if !matches!(judged.verdict, Verdict::Rejected(_)) {
            self.executions
                .push((judged.verdict.clone(), judged.order.magic));
        }
        if let Some(key) = key {
            let first = (id.clone(), judged.order.clone());
            self.by_key.entry(key).or_insert(first);
        }
        if is_new {
            self.judged_ids.push(id.clone());
        }
        self.judged.insert(id, judged);
        Ok(())
    }

    /// Whether an order came under this id.
    pub fn has_order(&self, id: &MessageId) -> bool {
        self.judged.contains_key(id)
            || self.repeated.contains_key(id)
            || self.begun.iter().any(|begun| begun.id == *id)
    }

    /// Whether an order came, or a kill.
    pub fn has_id(&self, id: &MessageId) -> bool {
        self.has_order(id) || self.kill_ids.contains(id)
    }

    /// The newest verdict about an order, or about the first one if this one repeated its key.
    pub fn verdict(&self, id: &MessageId) -> Option<&Verdict> {
        let first = self.repeated.get(id).unwrap_or(id);
        self.judged.get(first).map(|judged| &judged.verdict)
    }

    /// The order that a key belongs to.
    pub fn by_key(&self, key: &IdempotencyKey) -> Option<&(MessageId, Order)> {
        self.by_key.get(key)
    }

    /// Whether an id was declared unknown.
    pub fn is_revoked(&self, id: &MessageId) -> bool {
        self.revoked.contains(id)
    }

    /// Unix milliseconds of the first kill since the last release.
    pub fn killed_at(&self) -> Option<i64> {
        self.killed_at
    }

    /// Orders of which nothing is known.
    pub fn begun(&self) -> &[Begun] {
        &self.begun
    }

    /// Orders that the broker has, with their verdict so far.
    pub fn placed(&self) -> impl Iterator<Item = &Judged> {
        self.placed.iter().filter_map(|id| self.judged.get(id))
    }

    /// Verdicts that the broker's book is made of, in the order of the records, with the magic number of each order.
    pub fn executions(&self) -> &[(Verdict, u32)] {
        &self.executions
    }

    /// All orders with a verdict of their own, in the order in which they got their first.
    pub fn judged(&self) -> impl Iterator<Item = (&MessageId, &Judged)> {
        self.judged_ids
            .iter()
            .filter_map(|id| self.judged.get_key_value(id))
    }

    /// Repeated orders and the first ones.
    pub fn repeated(&self) -> &BTreeMap<MessageId, MessageId> {
        &self.repeated
    }

    /// Ids that were declared unknown.
    pub fn revoked(&self) -> &BTreeSet<MessageId> {
        &self.revoked
    }
}
