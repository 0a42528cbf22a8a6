//! What the gateway does with a message: the steps of `docs/gateway-protocol.md`, in their order. Time is an argument.
//!
//! Invariant: a record is durable before the step that it stands for. An order is executed at most once, and only if it is signed, new, in
//! its time, and the kill switch is off. Must not touch: sockets, clocks, files but through [`Journal`].

use std::collections::HashMap;

use super::book::{Book, Refused, sentence};
use super::journal::{Journal, JournalError};
use super::known::{Begun, Known};
use super::record::{Record, Verdict};
use crate::gateway::protocol::{
    CLOCK_TOLERANCE_MS, Code, Heartbeat, Json, Key, Killed, MAX_POSITIONS, MAX_REQUEST_BYTES,
    MessageId, Positions, Rejection, Reply, ReplyBody, Request, RequestBody, sha256_hex,
};

/// The answer to a message.
#[derive(Debug)]
pub struct Answer {
    /// What is said.
    pub reply: Reply,
    /// The bytes to send.
    pub bytes: Vec<u8>,
}

/// A gateway without its socket.
#[derive(Debug)]
pub struct Peer<J> {
    key: Key,
    pub(super) journal: J,
    pub(super) known: Known,
    pub(super) book: Book,
    started_at: i64,
    /// Ids of messages without an effect, and until when they are remembered. Memory is enough: after a restart such a message would only
    /// be answered once more.
    read_until: HashMap<MessageId, i64>,
    /// When those whose time is over are looked for next.
    forget_at: i64,
}

/// What came of an attempt to answer: an answer, or none that could be given honestly.
pub(super) type Outcome = Result<Option<ReplyBody>, JournalError>;

impl<J: Journal> Peer<J> {
    /// Takes up where the journal ends. Orders that were given to the broker and have no verdict get the one that the broker's book has;
    /// none of them is executed again.
    ///
    /// # Errors
    /// When what was found out cannot be written down.
    pub fn start(
        key: Key,
        journal: J,
        known: Known,
        book: Book,
        now: i64,
    ) -> Result<Peer<J>, JournalError> {
        let mut peer = Peer {
            key,
            journal,
            known,
            book,
            started_at: now,
            read_until: HashMap::new(),
            forget_at: now,
        };
        for Begun { id, order } in peer.known.begun().to_vec() {
            // The broker's book is made of the executions in the journal, and this order is in none of them: nothing was executed.
            let message = "the gateway stopped before the order was executed";
            let verdict = Refused::new(Code::Other, message).of(&id);
            peer.settle(id, None, order, verdict)?;
        }
        Ok(peer)
    }

    /// The broker's book.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// What the journal says.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Ends without another record, as a crash does.
    pub fn into_journal(self) -> J {
        self.journal
    }

    /// The answer to a frame; none while nothing can be said honestly.
    ///
    /// # Errors
    /// When a record may not be durable. The peer must not go on then.
    pub fn handle(&mut self, frame: &[u8], now: i64) -> Result<Option<Answer>, JournalError> {
        let (id, body) = match Request::decode(frame, &self.key) {
            Ok(request) => (Some(request.id.clone()), self.answer(&request, now)?),
            Err(error) => {
                let refusal = refused(error.code(), &error.to_string());
                (id_of(frame), Some(refusal))
            }
        };
        let Some(body) = body else { return Ok(None) };
        let reply = Reply {
            id,
            request_sha256: sha256_hex(frame),
            sent_at: now,
            body,
        };
        // What cannot be written, as a sum of money beyond all digits, is better not answered.
        let bytes = reply.encode(&self.key).ok();
        Ok(bytes.map(|bytes| Answer { reply, bytes }))
    }

    /// Steps 5 to 8.
    fn answer(&mut self, request: &Request, now: i64) -> Outcome {
        if self.known.has_id(&request.id) || self.was_read(request, now) {
            return Ok(Some(refused(Code::Replayed, "this id was used before")));
        }
        if let RequestBody::Kill { reason } = &request.body {
            self.write(Record::Kill {
                id: request.id.clone(),
                reason: reason.clone(),
                at: now,
            })?;
            let killed_at = self.known.killed_at().unwrap_or(now);
            return Ok(Some(ReplyBody::Kill(Killed {
                is_killed: true,
                killed_at,
            })));
        }
        let is_timely = request.is_timely(now);
        if let RequestBody::Order(order) = &request.body {
            return self.order(request, order, is_timely, now);
        }
        if !is_timely {
            return Ok(Some(refused(Code::Late, LATE)));
        }
        self.question(&request.body, now)
    }

    /// Whether a message without an effect had this id not long ago.
    fn was_read(&mut self, request: &Request, now: i64) -> bool {
        // Not for every message: there may be many.
        if now >= self.forget_at {
            self.read_until.retain(|_, until| *until >= now);
            self.forget_at = now.saturating_add(CLOCK_TOLERANCE_MS);
        }
        let known_until = self.read_until.get(&request.id).copied();
        if !matches!(
            request.body,
            RequestBody::Order(_) | RequestBody::Kill { .. }
        ) {
            let until = request.valid_until + CLOCK_TOLERANCE_MS;
            let until = until.max(known_until.unwrap_or(0));
            self.read_until.insert(request.id.clone(), until);
        }
        known_until.is_some_and(|until| until >= now)
    }

    /// What has no effect but on what is promised of an id.
    fn question(&mut self, body: &RequestBody, now: i64) -> Outcome {
        if !matches!(body, RequestBody::Heartbeat) {
            self.follow_up(now)?;
        }
        Ok(match body {
            RequestBody::Status(id) => self.status(id)?,
            RequestBody::Positions => self.positions(now),
            RequestBody::Account => self.book.account(now).map(ReplyBody::Account),
            RequestBody::Heartbeat => {
                let is_killed = self.known.killed_at().is_some();
                Some(ReplyBody::Heartbeat(Heartbeat {
                    account: self.book.account_name().clone(),
                    is_connected: true,
                    is_trading_allowed: !is_killed,
                    is_killed,
                    started_at: self.started_at,
                }))
            }
            RequestBody::Order(_) | RequestBody::Kill { .. } => None,
        })
    }

    fn status(&mut self, id: &MessageId) -> Outcome {
        if self.known.has_order(id) {
            return Ok(self.known.verdict(id).map(Verdict::reply));
        }
        if !self.known.is_revoked(id) {
            // "Unknown" is a promise: should the order still be on its way, it is refused when it comes.
            self.write(Record::Revoked { id: id.clone() })?;
        }
        Ok(Some(ReplyBody::UnknownId(id.clone())))
    }

    /// None rather than leave some out.
    fn positions(&self, now: i64) -> Option<ReplyBody> {
        let positions = self.book.positions()?;
        (positions.len() <= MAX_POSITIONS).then(|| {
            ReplyBody::Positions(Positions {
                account: self.book.account_name().clone(),
                as_of: now,
                positions,
            })
        })
    }
}

pub(super) const LATE: &str = "outside of its time by the clock of the gateway";

/// A refusal of this message, which says nothing of any order.
fn refused(code: Code, message: &str) -> ReplyBody {
    ReplyBody::Rejected(Rejection {
        order_id: None,
        code,
        message: sentence(message),
    })
}

/// The id of a frame that was refused, if it has one that can be read.
fn id_of(frame: &[u8]) -> Option<MessageId> {
    match Json::parse(frame, MAX_REQUEST_BYTES).ok()? {
        Json::Object(members) => match members.get("id")? {
            Json::String(id) => MessageId::new(id),
            _ => None,
        },
        _ => None,
    }
}
