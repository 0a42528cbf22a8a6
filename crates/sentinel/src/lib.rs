//! The sentinel: once per closed bar it fetches bars, builds features, asks a model for a prediction and decides BUY, SELL or HOLD.
//!
//! Invariant: what is malformed, stale, short or not finite is never a signal; it is a typed failure that is counted by a finite reason.
//! Without `--live` it sends no order. [`schedule`], [`decide`], [`features`] and [`model`] take plain data
//! and time; [`calls`], [`endpoint`], [`stop`] and [`daemon`] know threads and sockets, and only [`telemetry`] knows metrics.
#![forbid(unsafe_code)]

pub mod audit;
pub mod breaker;
pub mod calls;
pub mod cli;
pub mod clock;
pub mod config;
pub mod cycle;
pub mod daemon;
pub mod decide;
pub mod endpoint;
pub mod eodhd;
pub mod error_code;
pub mod features;
pub mod gateway;
pub mod health;
pub mod http;
pub mod model;
pub mod pulse;
pub mod reset;
pub mod schedule;
pub mod state_directory;
pub mod stop;
pub mod telemetry;
pub mod trading;
