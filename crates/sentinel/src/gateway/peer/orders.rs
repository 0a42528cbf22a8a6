//! What becomes of an order: step 8 of `docs/gateway-protocol.md`, and what follows when it was only placed.
//!
//! Invariant: the broker sees an order after its id and key are durable, and a verdict is booked and said after it is. Nothing is executed
//! under an id or a key that was used. Must not touch: whether a message is signed and new, which was judged before.

use super::book::Refused;
use super::journal::{Journal, JournalError};
use super::known::Judged;
use super::record::{Record, Verdict};
use super::rules::{LATE, Outcome, Peer};
use crate::gateway::protocol::{Code, IdempotencyKey, MessageId, Order, Request};

impl<J: Journal> Peer<J> {
    /// Step 8.
    pub(super) fn order(
        &mut self,
        request: &Request,
        order: &Order,
        is_timely: bool,
        now: i64,
    ) -> Outcome {
        let id = &request.id;
        let key = &request.idempotency_key;
        if self.known.is_revoked(id) {
            let message = "its status was asked before it came";
            return self.refuse(id, None, order, Refused::new(Code::Late, message));
        }
        if let Some((first, first_order)) = self.known.by_key(key) {
            // As they were written: two orders that differ in a zero at the end are not the same bytes of an order.
            if first_order.payload() != order.payload() {
                let message = "the idempotency key belongs to another order";
                return self.refuse(id, None, order, Refused::new(Code::Replayed, message));
            }
            let first = first.clone();
            self.write(Record::Alias {
                id: id.clone(),
                of: first.clone(),
            })?;
            return Ok(self.known.verdict(&first).map(Verdict::reply));
        }
        if !is_timely {
            return self.refuse(id, Some(key), order, Refused::new(Code::Late, LATE));
        }
        if self.known.killed_at().is_some() {
            let refusal = Refused::new(Code::Disabled, "the kill switch is on");
            return self.refuse(id, Some(key), order, refusal);
        }
        self.write(Record::Begin {
            id: id.clone(),
            key: key.clone(),
            order: order.clone(),
        })?;
        let executed = self.book.execute(id, key, order, request.valid_until, now);
        let verdict = executed.unwrap_or_else(|refusal| refusal.of(id));
        let reply = verdict.reply();
        self.settle(id.clone(), None, order.clone(), verdict)?;
        Ok(Some(reply))
    }

    fn refuse(
        &mut self,
        id: &MessageId,
        key: Option<&IdempotencyKey>,
        order: &Order,
        refusal: Refused,
    ) -> Outcome {
        let verdict = refusal.of(id);
        let reply = verdict.reply();
        self.settle(id.clone(), key.cloned(), order.clone(), verdict)?;
        Ok(Some(reply))
    }

    /// Writes a verdict down, and then books it.
    pub(super) fn settle(
        &mut self,
        id: MessageId,
        key: Option<IdempotencyKey>,
        order: Order,
        verdict: Verdict,
    ) -> Result<(), JournalError> {
        let magic = order.magic;
        self.write(Record::Result {
            id,
            key,
            order,
            verdict: verdict.clone(),
        })?;
        self.book.apply(&verdict, magic);
        Ok(())
    }

    pub(super) fn write(&mut self, record: Record) -> Result<(), JournalError> {
        self.journal.append(&record)?;
        let known = self.known.apply(record);
        known.expect("the steps above make no record that cannot follow the ones before it");
        Ok(())
    }

    /// Asks what became of the orders that were placed, before anything is said that depends on it.
    pub(super) fn follow_up(&mut self, now: i64) -> Result<(), JournalError> {
        let placed: Vec<Judged> = self.known.placed().cloned().collect();
        for Judged { order, verdict } in placed {
            let Verdict::Placed(placed, due) = verdict else {
                continue;
            };
            let Some(found) = self.book.follow_up(&placed, due, &order, now) else {
                continue;
            };
            let id = placed.order_id;
            let verdict = found.unwrap_or_else(|refusal| refusal.of(&id));
            self.settle(id, None, order, verdict)?;
        }
        Ok(())
    }
}
