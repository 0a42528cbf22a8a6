//! The whole program over real sockets: a real process, stand-ins for EODHD and MLflow, and what `/health` and `/metrics` say of every fault.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod audit;
mod daemon;
mod faults;
mod life;
mod page;
mod reset;
