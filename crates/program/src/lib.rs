//! What every program of ours does around its work: its log, its end, its configuration file, secrets, and text for a terminal.
//!
//! Invariant: what is in here is the same in every program that uses it, and knows none of them: names, keys and words of a program are
//! arguments. Must not touch: sockets, metrics, what a program is for.
#![forbid(unsafe_code)]

pub mod config;
pub mod duration;
pub mod live_trading;
pub mod log;
pub mod secret;
mod sentence;
pub mod stop;
pub mod terminal;

pub use sentence::{fail, sentence};
