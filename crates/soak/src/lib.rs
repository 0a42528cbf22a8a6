//! The soak: hours of simulated trading in minutes, with feed, model server, gateway and the way to it failing by schedule and the sentinel
//! killed between any two steps of an order; and the proof, from the gateway's own book, that every order happened once, in time, on true bars,
//! and is known to have happened.
//!
//! [`run`] runs it, [`checks`] judges what is left, [`golden`] compares it with what the seed gave before. `docs/soak.md` says what is proved.
//! Invariant: nothing of the product depends on this. It speaks to loopback only and ends every process that it starts.
#![forbid(unsafe_code)]

pub mod checks;
pub mod child;
pub mod evidence;
pub mod gateway;
pub mod golden;
pub mod proxy;
pub mod random;
pub mod remotes;
pub mod report;
pub mod run;
pub mod schedule;
pub mod sentinel_process;
pub mod simulated;
pub mod verdict;
