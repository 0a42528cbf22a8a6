//! The link to a gateway over real sockets: the reference peer in a process of its own that is killed and frozen, a gateway that answers
//! anything but the truth, ports that are no gateway; and what libzmq does with a message, on which the link is built.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod daemon;
mod liars;
mod libzmq;
mod reference;
mod site;
