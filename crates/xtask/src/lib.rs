//! What the developer's commands and the end-to-end tests share: where things are, real child processes, scrapes, outside judges.
//!
//! Nothing of the product links this crate. It starts only processes that it ends itself, by their id, and speaks to loopback only.
#![forbid(unsafe_code)]
// The commands speak to a person at a terminal.
#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod bench;
pub mod child;
pub mod demo;
pub mod scrape;
pub mod sockets;
pub mod test;
pub mod tools;
pub mod workspace;
