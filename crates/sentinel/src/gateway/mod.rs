//! The way to an order gateway: what is on disk before an order may leave, and the messages of its protocol.
//!
//! Invariant: an order is durable in the [`intent_log`] before anything could send it. Must not touch: metrics.
#![allow(
    dead_code,
    reason = "what records a decision are the guards, which are not here yet"
)]

pub mod intent_log;
pub mod protocol;
