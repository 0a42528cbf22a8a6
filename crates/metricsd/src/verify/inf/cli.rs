//! The flags of `metricsd verify inf`.
//!
//! Invariant: a flag that is listed works; an address with a password in it is refused, so that none gets into a report. Must not touch
//! files, sockets or the environment.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ureq::http::Uri;

use crate::verify::cli::{ReportArgs, RetryArgs, duration, parse_base};

/// The flags of `verify inf`.
#[derive(Debug, Clone, Args)]
pub struct InfArgs {
    /// Where the sentinel serves, such as http://127.0.0.1:8000, with or without /metrics.
    #[arg(long, value_name = "URL")]
    pub target: Target,
    /// What the sentinel is expected to do with a signal [default: either].
    #[arg(long, value_name = "MODE")]
    pub mode: Option<Mode>,
    /// How long a bar may be overdue, by the sentinel's calendar of the market.
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub bar_grace: Duration,
    /// Time between the first and the last look, over which counters must not fall and nothing may fail.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub watch: Duration,
    /// How long an answer may take.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub timeout: Duration,
    /// How often what races with a start is tried.
    #[command(flatten)]
    pub retry: RetryArgs,
    /// How the report is written, and where.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// What a sentinel does with a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Counts it.
    DryRun,
    /// Sends an order.
    Live,
}

impl Mode {
    /// As `/health` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::DryRun => "dry_run",
            Mode::Live => "live",
        }
    }
}

/// The address of a sentinel's endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Scheme, authority and what stands before `/metrics`.
    pub base: String,
    /// Host, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Target {
    /// The page of metrics.
    pub fn page(&self) -> String {
        format!("{}/metrics", self.base)
    }

    /// The health.
    pub fn health(&self) -> String {
        format!("{}/health", self.base)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let base = parse_base(text)?;
        let base = base.strip_suffix("/metrics").unwrap_or(&base);
        let uri: Uri = base.parse().map_err(|_| "no address without /metrics")?;
        let host = uri.host().unwrap_or_default();
        Ok(Target {
            base: base.to_owned(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(80),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_endpoint_with_or_without_its_page() {
        for (text, base, host, port) in [
            (
                "http://127.0.0.1:8000",
                "http://127.0.0.1:8000",
                "127.0.0.1",
                8000,
            ),
            (
                "http://127.0.0.1:8000/metrics",
                "http://127.0.0.1:8000",
                "127.0.0.1",
                8000,
            ),
            ("http://[::1]:1/metrics/", "http://[::1]:1", "::1", 1),
            ("http://inf/sentinel", "http://inf/sentinel", "inf", 80),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(
                (target.base.as_str(), target.host.as_str(), target.port),
                (base, host, port)
            );
        }
        for text in [
            "",
            "127.0.0.1:8000",
            "https://127.0.0.1:8000",
            "http://me:secret@127.0.0.1:8000",
            "http://127.0.0.1:8000/metrics?x=1",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
