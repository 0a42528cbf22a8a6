//! The simulated gateway against its contract, against the peer in `ops/gateway`, cut off at every byte, and as a process on real sockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod crash;
mod differential;
mod messages;
mod mutated;
mod process;
mod program;
mod python;
mod rust;
mod sockets;
mod vectors;
