//! One message and what came of it, as bytes and time. Invariant: only a reply that was made for the very bytes that were sent is its answer,
//! and one that was made for others is nothing. Must not touch: the socket.

use std::time::{Duration, Instant};

use super::handle::Job;
use super::{Ask, Exchange, NotSent};
use crate::clock::Now;
use crate::gateway::protocol::{Key, Reply, Request, RequestBody, sha256_hex};

/// How long a message waits for somebody to take it. Longer than libzmq needs to make room for the next one, and to connect nearby; short
/// enough that what was true when it was put down still is.
const HANDOVER: Duration = Duration::from_millis(250);

/// Unix milliseconds.
pub(super) fn unix_ms(now: Now) -> i64 {
    // Saturates, and no clock is that far.
    (now.unix * 1_000.0).floor() as i64
}

/// A message that was handed over.
pub(super) struct Sent {
    request: Request,
    bytes: Vec<u8>,
    sha256: String,
    pub(super) at: Instant,
}

/// What a reply is to a message.
#[derive(Debug, PartialEq)]
pub(super) enum Fit {
    /// The answer.
    Answers,
    /// Made for other bytes: an earlier message, or none of ours.
    OfAnother,
    /// Made for these bytes, and no answer to them.
    Wrong,
}

impl Sent {
    /// `at` is when it was about to be handed over.
    pub(super) fn new(request: Request, bytes: Vec<u8>, at: Instant) -> Sent {
        Sent {
            request,
            sha256: sha256_hex(&bytes),
            bytes,
            at,
        }
    }

    pub(super) fn is_heartbeat(&self) -> bool {
        self.request.body == RequestBody::Heartbeat
    }

    pub(super) fn fit(&self, reply: &Reply) -> Fit {
        if reply.request_sha256 != self.sha256 {
            Fit::OfAnother
        } else if reply.check_answers(&self.request, &self.bytes).is_ok() {
            Fit::Answers
        } else {
            Fit::Wrong
        }
    }
}

/// The request and the bytes of a message that leaves now.
///
/// # Errors
/// It is none of the protocol, or its time is over.
pub(super) fn encode(ask: &Ask, now: Now, key: &Key) -> Result<(Request, Vec<u8>), NotSent> {
    let request = Request {
        id: ask.id.clone(),
        idempotency_key: ask.idempotency_key.clone(),
        sent_at: unix_ms(now),
        valid_until: ask.valid_until_ms,
        body: ask.body.clone(),
    };
    if request.valid_until < request.sent_at {
        return Err(NotSent::Late);
    }
    let bytes = request
        .encode(key)
        .map_err(|error| NotSent::Message(error.to_string()))?;
    Ok((request, bytes))
}

/// The message that the loop waits for.
pub(super) struct UnderWay {
    pub(super) number: u64,
    pub(super) ask: Ask,
    pub(super) sent: Option<Sent>,
    pub(super) was_malformed: bool,
    handover_until: Instant,
    pub(super) deadline: Instant,
}

impl UnderWay {
    pub(super) fn new(job: Job) -> UnderWay {
        UnderWay {
            number: job.number,
            ask: job.ask,
            sent: None,
            was_malformed: false,
            handover_until: job.begun + job.budget.min(HANDOVER),
            deadline: job.begun + job.budget,
        }
    }

    /// Until when it is waited, for somebody to take it or for the reply.
    pub(super) fn until(&self) -> Instant {
        match self.sent {
            Some(_) => self.deadline,
            None => self.handover_until,
        }
    }

    /// What is true of it when that time is over.
    pub(super) fn outcome_without_reply(&self) -> Exchange {
        match self.sent {
            Some(_) => Exchange::Unknown {
                was_malformed: self.was_malformed,
            },
            None => Exchange::NotSent(NotSent::NoPeer),
        }
    }
}
