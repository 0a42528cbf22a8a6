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
pub mod log;
pub mod message;
pub mod own_alert;
pub mod payload;
pub mod queue;
mod runbooks;
pub mod secret;
pub mod send;
pub mod silence;
pub mod stop;
pub mod telemetry;
pub mod worker;

/// An error and what caused it, in one line.
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        sentence.push_str(&format!(": {source}"));
        cause = source.source();
    }
    // A value that somebody mistyped may hold line ends; one sentence is one line.
    sentence.replace('\n', "\\n").replace('\r', "\\r")
}
