//! The way to an order gateway: what must be true before an order may leave, what is on disk before it does, the link, and its messages.
//!
//! Invariant: an order passes [`guards`] and is durable in the [`intent_log`] before anything could send it. Must not touch: metrics.

mod exact;
pub mod guards;
pub mod intent_log;
pub mod kill;
pub mod link;
pub mod peer;
pub mod protocol;
pub mod verdict;
