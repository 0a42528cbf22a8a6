//! Stand-ins for the remotes of the sentinel: real HTTP servers on loopback that answer as EODHD and MLflow do, and misbehave on order.
//!
//! Invariant: no part of the product depends on this; tests and the demo do. Every thread ends with the stand-in that started it.
#![forbid(unsafe_code)]

mod eodhd;
mod fault;
mod mlflow;
mod server;

pub use eodhd::{Clock, Eodhd, PlainBar, Replay};
pub use fault::{Fault, RowFault};
pub use mlflow::{Mlflow, Predict};
pub use server::{Recorded, Server};
