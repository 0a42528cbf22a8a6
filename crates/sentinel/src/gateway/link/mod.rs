//! The link to the gateway: one message out, its reply or none.
//!
//! Invariant: a message is handed to the socket at most once; what [`Exchange::NotSent`] says cannot have left this process, and of every
//! other end but an answer nothing is known. Nothing here waits beyond its deadline. Must not touch: decisions, the intent log, metrics.

use std::time::{Duration, Instant};

use super::protocol::{Heartbeat, IdempotencyKey, MessageId, Reply, RequestBody};
use crate::clock::Now;

/// A message to be sent. The link adds when it was sent, and the mac.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Used once, for ever.
    pub id: MessageId,
    /// Of an order, what makes it the same order; of another message, its id.
    pub idempotency_key: IdempotencyKey,
    /// Unix milliseconds after which nothing may come of it.
    pub valid_until_ms: i64,
    /// What is asked.
    pub body: RequestBody,
}

/// What came of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// It never left this process, and will not.
    NotSent(NotSent),
    /// A reply that is signed, names the very bytes that were sent, and is of a type that answers them.
    Answered {
        /// The reply.
        reply: Box<Reply>,
        /// From handing the message over to the reply.
        roundtrip: Duration,
    },
    /// No reply by the deadline, or only such that cannot be believed. The message may have been acted on.
    Unknown {
        /// Whether anything came that could not be believed.
        was_malformed: bool,
    },
    /// The end of the program was asked for while it was waited for. The message may have been acted on.
    Stopped,
}

/// Why a message never left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// Nobody is connected, or the one who is takes nothing.
    #[error("the gateway is not connected, or takes no message")]
    NoPeer,
    /// The message cannot be encoded.
    #[error("the message is none of the protocol: {0}")]
    Message(String),
    /// The link's thread has ended.
    #[error("the link has ended")]
    Closed,
}

/// The last reply to a heartbeat.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What the gateway said of itself.
    pub heartbeat: Heartbeat,
    /// When it came.
    pub at: Now,
    /// From sending to the reply.
    pub roundtrip: Duration,
    /// Seconds that the local clock is ahead of the gateway's.
    pub clock_offset: f64,
}

/// How the link is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LinkState {
    /// The last reply to a heartbeat; none before the first.
    pub seen: Option<Seen>,
    /// Heartbeats without a reply since.
    pub missed: u32,
}

/// The gateway as the trading path meets it: the link, or what a test makes up.
pub trait Gateway {
    /// Sends a message once and waits for its reply until `deadline`.
    fn exchange(&mut self, ask: Ask, deadline: Instant) -> Exchange;
    /// How the link is, at once.
    fn state(&self) -> LinkState;
}
