//! The sentinel: once per closed bar it fetches bars, builds features, asks a model for a prediction and decides BUY, SELL or HOLD.
//!
//! Invariant: what is malformed, stale, short or not finite is never a signal; it is a typed failure that is counted by a finite reason.
#![forbid(unsafe_code)]

pub mod breaker;
pub mod eodhd;
pub mod error_code;
pub mod features;
pub mod http;
pub mod model;
pub mod secret;
