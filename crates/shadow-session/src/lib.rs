//! A paper trading session: strategies, risk limits, a paper ledger, a run log, telemetry.
//!
//! Invariant: it cannot trade for real. There is no code here that reaches an order API, and the program refuses to start where the
//! environment says that somebody expects it to. The pure parts ([`session`] and what it uses) take candles and return facts; only
//! [`run`], [`desk`], [`replay`], [`pace`] and [`run_log`] know clocks, files and signals, and only [`telemetry`] knows metrics.
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod desk;
pub mod event;
pub mod execution;
pub mod gate;
pub mod ledger;
pub mod money;
pub mod pace;
pub mod replay;
pub mod report;
pub mod risk;
pub mod run;
pub mod run_id;
pub mod run_log;
pub mod session;
pub mod strategy;
pub mod summary;
pub mod telemetry;
