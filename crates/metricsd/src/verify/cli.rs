//! The flags of `metricsd verify`.
//!
//! Invariant: a flag that is listed works. Must not touch: files, sockets, the environment (it comes in as a closure).

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use ureq::http::Uri;

use super::hub::cli::HubArgs;
use super::inf::cli::InfArgs;
use super::mode_b::cli::ModeBArgs;
use super::record::Retry;
use super::scrape::ScrapeUrl;
use crate::cli::{CommonArgs, RenderArgs, parse_path};
use crate::retention::{DURATION_ACCEPTED, DeadGauges, parse_duration};
use crate::settings::{Environment, MergeSettings, SettingsError, default_port};

/// The proofs.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// What to prove.
    #[command(subcommand)]
    pub command: VerifyCommand,
}

/// One proof.
#[derive(Debug, Subcommand)]
pub enum VerifyCommand {
    /// Recompute every total from shards, archive and journal without the daemon, and compare with what it serves.
    Totals(TotalsArgs),
    /// Check that sessions, daemon and Prometheus are wired as Mode B wants it, with or without a session of its own.
    ModeB(Box<ModeBArgs>),
    /// Check that a sentinel does its work and says so: process, page, families, health, freshness.
    Inf(Box<InfArgs>),
    /// Check that Prometheus and Alertmanager run, are fed, and would be heard: rules, targets, series, and a test alert delivered.
    Hub(Box<HubArgs>),
}

/// Which directories are meant; resolved as `serve` resolves them.
#[derive(Debug, Clone, Default, Args)]
pub struct PlaceArgs {
    /// Directory of the shards [env: PEAKTRADE_METRICS_MULTIPROC_DIR, PROMETHEUS_MULTIPROC_DIR] [default:
    /// .ops_local/prom_multiproc].
    #[arg(long = "multiproc-dir", value_name = "DIR", value_parser = parse_path)]
    pub multiproc_dir: Option<PathBuf>,
    /// Directory of what is known of processes that ended [env: STATE_DIRECTORY] [default: metricsd/HASH in XDG_STATE_HOME or
    /// ~/.local/state, HASH being that of the shard directory's path].
    #[arg(long = "state-dir", value_name = "DIR", value_parser = parse_path)]
    pub state_dir: Option<PathBuf>,
    /// Configuration file (TOML) that the daemon runs on.
    #[arg(long = "config.file", value_name = "FILE", value_parser = parse_path)]
    pub config_file: Option<PathBuf>,
}

impl PlaceArgs {
    /// The settings that a daemon with these flags and this environment would merge by.
    ///
    /// # Errors
    /// As [`MergeSettings::resolve`].
    pub fn resolve(&self, env: &Environment<'_>) -> Result<MergeSettings, SettingsError> {
        let common = CommonArgs {
            multiproc_dir: self.multiproc_dir.clone(),
            state_dir: self.state_dir.clone(),
            config_file: self.config_file.clone(),
            ..CommonArgs::default()
        };
        MergeSettings::resolve(&RenderArgs { common }, env)
    }
}

/// How a report is written.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct OutputArgs {
    /// Write one JSON object instead of lines.
    #[arg(long)]
    pub json: bool,
}

/// How a check is tried again that races with a start.
#[derive(Debug, Clone, Copy, Args)]
pub struct RetryArgs {
    /// How often a check is tried again that races with a start.
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub retries: u32,
    /// Time between two attempts.
    #[arg(long, value_name = "DURATION", default_value = "250ms", value_parser = duration)]
    pub retry_interval: Duration,
}

impl RetryArgs {
    /// The same for a step.
    pub fn retry(&self) -> Retry {
        Retry {
            count: self.retries,
            interval: self.retry_interval,
        }
    }
}

/// Where a report is filed, and how it is told.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// File a report below this directory: Markdown, JSON and the raw answers, in a new folder named by the time.
    #[arg(long, value_name = "DIR", value_parser = parse_path)]
    pub evidence: Option<PathBuf>,
    /// How it is told.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// A duration, such as `250ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("accepted is {DURATION_ACCEPTED}"))
}

/// The address of a page of metrics, without a user in it.
pub(crate) fn parse_page(text: &str) -> Result<ScrapeUrl, String> {
    without_password(text)?;
    text.parse()
}

/// The address of a server: `http`, without a user, a query or a slash at its end.
pub(crate) fn parse_base(text: &str) -> Result<String, String> {
    without_password(text)?;
    let accepted =
        "accepted is http://HOST:PORT with or without a path, such as http://127.0.0.1:9090";
    let uri: Uri = text.parse().map_err(|_| accepted)?;
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    if uri.scheme_str() != Some("http") || !has_host || uri.query().is_some() {
        return Err(accepted.to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// It would stand in the report.
pub(crate) fn without_password(text: &str) -> Result<(), String> {
    if text.contains('@') {
        return Err(
            "an address with a user in it; accepted is one without, since it stands in the report"
                .to_owned(),
        );
    }
    Ok(())
}

/// The flags of `verify totals`.
#[derive(Debug, Clone, Default, Args)]
pub struct TotalsArgs {
    /// Which directories.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Where the daemon serves [default: http://127.0.0.1:PORT/metrics, PORT being PEAK_TRADE_METRICSD_PORT or 9111].
    #[arg(long, value_name = "URL")]
    pub url: Option<ScrapeUrl>,
    /// Ask nobody: only whether shards, archive and journal can be read whole.
    #[arg(long = "without-scrape", conflicts_with = "url")]
    pub without_scrape: bool,
    /// What the daemon was told of live* gauges of ended processes: keep, drop or a duration [default: keep].
    #[arg(long = "dead-gauges", value_name = "keep|drop|DURATION")]
    pub dead_gauges: Option<DeadGauges>,
    /// How the report is written.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl TotalsArgs {
    /// What to read, and where to scrape, if it is to be scraped.
    ///
    /// # Errors
    /// As [`MergeSettings::resolve`]; a variable that is no port.
    pub fn resolve(
        &self,
        env: &Environment<'_>,
    ) -> Result<(MergeSettings, Option<ScrapeUrl>), SettingsError> {
        let mut settings = self.place.resolve(env)?;
        settings.dead_gauges = self.dead_gauges.unwrap_or(settings.dead_gauges);
        let url = match &self.url {
            _ if self.without_scrape => None,
            Some(url) => Some(url.clone()),
            None => Some(ScrapeUrl::of_port(default_port(
                env,
                &mut settings.warnings,
            )?)),
        };
        Ok((settings, url))
    }
}
