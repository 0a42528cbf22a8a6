//! The program as a process: real sockets, real files, signals, a robot that is as strict as the vendor's.
//!
//! Invariant: nothing waits for ever, nothing sleeps in place of a condition, and every process that is started here ends here.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod burst;
mod dead_man;
mod disk;
mod errors;
mod intake;
mod process;
mod reload;
mod silence;
