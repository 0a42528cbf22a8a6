//! The gateway protocol, version 1: `docs/gateway-protocol.md` is its contract and `docs/gateway-protocol-vectors.json` its vectors.
//!
//! Invariant: what decodes was signed with the key and has exactly the fields of its type, and every message has one spelling, its
//! canonical bytes. Must not touch: sockets, clocks, files; time is an argument.
//!
//! [`Request`] and [`Reply`] are the typed messages; [`Json`] is the part of JSON that may be on the wire: no floats, no duplicate keys.

mod amount;
mod envelope;
mod error;
pub(in crate::gateway) mod fields;
mod json;
mod reply;
mod reply_wire;
mod request;
mod sign;
#[cfg(test)]
mod tests;
mod text;

pub use amount::Amount;
pub use error::{ProtocolError, Refusal};
pub use json::Json;
pub use reply::{
    Account, AccountMode, Code, Fill, Heartbeat, Killed, Placed, Position, Positions, Rejection,
    Reply, ReplyBody,
};
pub use request::{Order, Request, RequestBody, Side};
pub use sign::{Key, KeyError, sha256_hex};
pub use text::{IdempotencyKey, MessageId, Text};

/// The version that is spoken here.
pub const VERSION: i64 = 1;
/// Bytes of a request, at most.
pub const MAX_REQUEST_BYTES: usize = 8192;
/// Bytes of a reply, at most.
pub const MAX_REPLY_BYTES: usize = 65_536;
/// Milliseconds between `sent_at` and `valid_until`, at most.
pub const MAX_LIFETIME_MS: i64 = 60_000;
/// Milliseconds that a sender's clock may be ahead of the gateway's.
pub const CLOCK_TOLERANCE_MS: i64 = 2_000;
/// Positions in a reply, at most.
pub const MAX_POSITIONS: usize = 200;
