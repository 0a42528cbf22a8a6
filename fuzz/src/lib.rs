//! What is claimed of any bytes whatever, one module for each kind of input from outside. Each `check` panics if a claim does
//! not hold; `cargo fuzz run NAME` looks for bytes for which it does not, and an ordinary test replays those it kept.
//!
//! Invariant: a check touches no file, no clock and no network. Must not know how the code under test works.
#![forbid(unsafe_code)]

pub mod configuration;
pub mod journal;
pub mod memory;
pub mod shard;
