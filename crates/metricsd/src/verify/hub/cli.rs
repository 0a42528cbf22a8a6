//! The flags of `metricsd verify hub`.
//!
//! Invariant: a flag that is listed works; an address with a password in it is refused, so that none gets into a report. Must not touch
//! files, sockets or the environment.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::parse_path;
use crate::verify::cli::{ReportArgs, RetryArgs, duration, parse_base};

/// Jobs that must have targets when none is named.
pub(super) const JOBS: [&str; 5] = [
    METRICSD_JOB,
    SENTINEL_JOB,
    "alertmanager",
    BRIDGE_JOB,
    "node",
];
/// The job of `metricsd`.
pub(super) const METRICSD_JOB: &str = "peak_trade_metricsd";
/// The job of a sentinel that serves itself.
pub(super) const SENTINEL_JOB: &str = "sentinel-metrics";
/// The job of the alert bridge.
pub(super) const BRIDGE_JOB: &str = "alertbridge";

/// The flags of `verify hub`.
#[derive(Debug, Clone, Args)]
pub struct HubArgs {
    /// Where Prometheus serves.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090", value_parser = parse_base)]
    pub prometheus: String,
    /// Where Alertmanager serves.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9093", value_parser = parse_base)]
    pub alertmanager: String,
    /// Where the alert bridge serves; repeatable [default: the targets of the job alertbridge].
    #[arg(long, value_name = "URL", value_parser = parse_base)]
    pub alertbridge: Vec<String>,
    /// Files of the rules that must be loaded [default: the rules that were shipped with this program].
    #[arg(long, value_name = "FILE", num_args = 1.., value_parser = parse_path)]
    pub rules: Vec<PathBuf>,
    /// A job that must have targets; repeatable [default: peak_trade_metricsd, sentinel-metrics or a sentinel behind metricsd,
    /// alertmanager, alertbridge, node].
    #[arg(long = "job", value_name = "NAME")]
    pub jobs: Vec<String>,
    /// Targets that relabelling drops are in order, as discovery in a cluster has them.
    #[arg(long)]
    pub allow_dropped: bool,
    /// A sample name of which fresh samples must be in Prometheus, beside one of each required job; repeatable.
    #[arg(long, value_name = "NAME")]
    pub expect: Vec<String>,
    /// A counter that must rise from scrape to scrape, beside the collections of metricsd; repeatable.
    #[arg(long, value_name = "NAME")]
    pub rising: Vec<String>,
    /// The alert that always fires. It is looked for if it is one of the expected rules.
    #[arg(long, value_name = "NAME", default_value = "Watchdog")]
    pub watchdog: String,
    /// Labels of the test alert, which choose its way through Alertmanager; repeatable.
    #[arg(long = "alert-label", value_name = "NAME=VALUE", default_value = "severity=critical", value_parser = label)]
    pub alert_labels: Vec<(String, String)>,
    /// How long Alertmanager may take to send the test alert, and to send its end [default: group_wait and group_interval of
    /// its route, and 15s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub notify_within: Option<Duration>,
    /// How long the bridge may take to deliver what it was sent.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub deliver_within: Duration,
    /// How often what races with a start is tried.
    #[command(flatten)]
    pub retry: RetryArgs,
    /// How the report is written, and where.
    #[command(flatten)]
    pub report: ReportArgs,
}

impl HubArgs {
    /// The jobs that must have targets.
    pub(super) fn required_jobs(&self) -> Vec<&str> {
        if self.jobs.is_empty() {
            JOBS.to_vec()
        } else {
            self.jobs.iter().map(String::as_str).collect()
        }
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let accepted = "accepted is NAME=VALUE with a label's name other than alertname, job, instance and verification, such as severity=warning";
    let (name, value) = text.split_once('=').ok_or(accepted)?;
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let is_ours = matches!(name, "alertname" | "job" | "instance" | "verification");
    if !begins_well || !is_name || is_ours || value.is_empty() {
        return Err(accepted.to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_the_alert_cannot_take_those_that_make_it_ours() {
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        for text in ["", "a", "a=", "=b", "1a=b", "a-b=c", "alertname=X", "job=x"] {
            assert!(label(text).is_err(), "{text}");
        }
    }
}
