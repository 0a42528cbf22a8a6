//! What the developer's commands and the end-to-end tests share: where things are, real child processes, scrapes, outside judges.
//!
//! Nothing of the product links this crate. It starts only processes that it ends itself, by their id, and speaks to loopback only.
#![forbid(unsafe_code)]
// The commands speak to a person at a terminal, by the `terminal` module; the benchmarks still print by themselves.
#![allow(clippy::print_stdout)]

pub mod bench;
pub mod child;
pub mod demo;
pub mod feed;
pub mod hub;
pub mod prometheus;
pub mod rules;
pub mod run_folder;
pub mod scrape;
pub mod soak;
pub mod sockets;
pub mod terminal;
pub mod test;
pub mod tools;
pub mod workspace;
