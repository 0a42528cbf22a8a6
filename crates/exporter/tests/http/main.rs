//! The HTTP surface over real sockets: what it answers, what hostile clients can do to it (nothing), how it stops, how it binds.
//!
//! Invariant: clients here write raw bytes; no HTTP library stands between the test and the wire. Loopback and port 0 only.

mod answers;
mod binding;
mod client;
mod compression;
mod hostile;
mod pages;
mod requests;
mod scrapes;
#[path = "../shared/skip.rs"]
mod skip;
mod stopping;
