//! A live run as a process, against the reference peer in Python and stand-ins for the feed and the model: orders happen once, a guard that
//! says no is a no, and whatever ends it, the next start knows what became of its orders.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

#[path = "../program/daemon.rs"]
#[allow(dead_code, reason = "the other tests of the program need more of it")]
mod daemon;
mod ends;
mod kill;
mod leave;
mod once;
mod refused;
#[path = "../gateway_link/site.rs"]
#[allow(dead_code, reason = "the tests of the link need more of it")]
mod site;
mod world;
