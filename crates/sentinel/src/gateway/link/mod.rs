//! The link to the gateway: one message out, its reply or none.
//!
//! Invariant: a message is handed to the socket at most once; what [`Exchange::NotSent`] says cannot have left this process and will not, and
//! of every other end but an answer nothing is known. Nothing here waits longer than its budget, in real time. Must not touch: decisions, the
//! intent log, metrics.
//!
//! [`Link`] is what the loop holds: it hands a message to a thread of its own and waits as the loop waits for any remote, so that a signal
//! ends the wait at once and signs of life go on. That thread owns the socket; between exchanges it sends heartbeats.
//!
//! What libzmq does, each shown by a test of `tests/gateway_link`, and what follows:
//!
//! - With IMMEDIATE a message is only taken while a peer is connected *and* has shaken hands. What is refused is nowhere in the library:
//!   that, and only that, is `NotSent`.
//! - A message that was taken when the peer dies is dropped with the connection and never reaches the peer that comes back. It may have
//!   arrived before, though, so it is `Unknown`.
//! - A peer that is frozen still takes messages: its kernel does, and hands them over when it goes on, after the connection is closed as well.
//!   Nothing at this end can call them back, hence `valid_until` in each of them.
//! - After silence the socket is closed and another one opened. What was still inside it is dropped instead of delivered late, a connection
//!   whose other end vanished without a word is not waited on, and one that broke the protocol of ZeroMQ, which libzmq never connects again,
//!   is. The new socket takes nothing before somebody has shaken hands, so a peer that is frozen or gone costs `NotSent`, not `Unknown`.

mod dealer;
mod exchange;
mod handle;
mod heartbeat;
mod ids;
mod worker;

use std::time::Duration;

use super::protocol::{Code, Heartbeat, IdempotencyKey, MessageId, Reply, RequestBody};
use crate::clock::Now;
pub use handle::{Link, LinkError, LinkSettings};
pub use ids::MessageIds;

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

/// The last heartbeat of the gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What the gateway said of itself.
    pub heartbeat: Heartbeat,
    /// When it came.
    pub at: Now,
    /// From sending to the reply.
    pub roundtrip: Duration,
}

/// How the link is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LinkState {
    /// The last heartbeat of the gateway; none before the first.
    pub seen: Option<Seen>,
    /// Heartbeats since that were not answered with one: no reply came, or a refusal.
    pub missed: u32,
    /// Why the last one was refused; none if it was not.
    pub refused: Option<Code>,
    /// Seconds that the local clock is ahead of the gateway's, by the last reply to a heartbeat, which may be a refusal: a clock that is too
    /// far off is refused as late. Right to half a round trip.
    pub clock_offset: Option<f64>,
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
    /// Sends a message once and waits for its reply. `budget`, at most an hour, is real time whatever clock drives the program: a socket knows
    /// no other.
    fn exchange(&mut self, ask: Ask, budget: Duration) -> Exchange;
    /// How the link is, at once.
    fn state(&self) -> LinkState;
}
