//! The bridge: takes Alertmanager's webhook, has it on disk before it answers, and delivers it to DingTalk robots, other webhooks and
//! logs, below the rate that each takes.
//!
//! Invariant: what was acknowledged is delivered at least once, in order, whatever ends the process; nothing is dropped to make room.
//! [`payload`], [`message`], [`bucket`] and [`dingtalk`] take plain data and time; [`queue`] alone writes the journal; [`worker`] alone
//! sends; [`endpoint`] answers requests, and only [`telemetry`] knows metrics.
#![forbid(unsafe_code)]

pub mod bridge;
pub mod bucket;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dingtalk;
pub mod endpoint;
mod html;
pub mod lane;
pub mod message;
pub mod own_alert;
pub mod payload;
pub mod queue;
mod runbooks;
pub mod send;
pub mod silence;
pub mod stop;
pub mod telemetry;
pub mod worker;
