//! Stand-ins for the remotes of the sentinel and the alertbridge: real HTTP servers on loopback that answer as EODHD, MLflow and DingTalk
//! do, and misbehave on order.
//!
//! Invariant: no part of the product depends on this; tests and the demo do. Every thread ends with the stand-in that started it.
#![forbid(unsafe_code)]

mod dingtalk;
mod eodhd;
mod fault;
mod mlflow;
mod port;
mod server;

pub use dingtalk::{Delivered, DingTalk, Robot};
pub use eodhd::{Clock, Eodhd, PlainBar, Replay};
pub use fault::{Fault, RowFault};
pub use mlflow::{Mlflow, Predict};
pub use port::free_port;
pub use server::{Recorded, Server};
