//! The link to the gateway: one message out, its reply or none.
//!
//! Invariant: a message is handed to the socket at most once; what [`Exchange::NotSent`] says cannot have left this process, and of every
//! other end but an answer nothing is known. Nothing here waits longer than its budget, in real time. Must not touch: decisions, the intent
//! log, metrics.

use std::time::Duration;

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
    /// No reply within the budget, or only such that cannot be believed. The message may have been acted on.
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
    /// Its time was over before there was somebody to hand it to.
    #[error("the message was not valid any more when it could have left")]
    Late,
    /// The link has ended, or the program is about to.
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
    /// Why replies that came since the last one that was believed were not; none if there were none.
    pub distrust: Option<Distrust>,
}

/// Why a reply is not believed, in the words for an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// Its mac was made with another secret, or it was changed on its way.
    #[error(
        "the gateway's replies are not signed with this secret: secret_file is not the same at both ends, or somebody changes messages on their way"
    )]
    OtherSecret,
    /// It is none of the protocol, or no answer to what was asked.
    #[error("the gateway's replies are none of the protocol of docs/gateway-protocol.md")]
    Malformed,
}

/// The gateway as the trading path meets it: the link, or what a test makes up.
pub trait Gateway {
    /// Sends a message once and waits for its reply. `budget` is real time whatever clock drives the program: a socket knows no other.
    fn exchange(&mut self, ask: Ask, budget: Duration) -> Exchange;
    /// How the link is, at once.
    fn state(&self) -> LinkState;
}
