//! The flags of `metricsd verify mode-b`, and what they come to.
//!
//! Invariant: a flag that is listed works; an address with a password in it is refused, so that none gets into a report. Must not touch
//! files, sockets or the environment (it comes in as a closure).

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ureq::http::Uri;

use crate::cli::parse_path;
use crate::settings::{Environment, MergeSettings, SettingsError, default_port};
use crate::verify::cli::{PlaceArgs, ReportArgs, RetryArgs, duration, parse_base, parse_page};
use crate::verify::record::Retry;
use crate::verify::scrape::ScrapeUrl;

/// The flags of `verify mode-b`.
#[derive(Debug, Clone, Args)]
pub struct ModeBArgs {
    /// Which directories.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Where the daemon serves [default: http://127.0.0.1:PORT/metrics, PORT being PEAK_TRADE_METRICSD_PORT or 9111].
    #[arg(long, value_name = "URL", value_parser = parse_page)]
    pub url: Option<ScrapeUrl>,
    /// Start a paper session in the verified directory, and verify while it runs and after its end.
    #[arg(long)]
    pub run_session: bool,
    /// The session's program [default: shadow-session beside metricsd, else on the path].
    #[arg(long, value_name = "FILE", value_parser = parse_path)]
    pub session_bin: Option<PathBuf>,
    /// The session's configuration [default: one over synthetic candles, made for this run].
    #[arg(long, value_name = "FILE", value_parser = parse_path, requires = "run_session")]
    pub session_config: Option<PathBuf>,
    /// How long the session runs at most.
    #[arg(long, value_name = "DURATION", default_value = "8s", value_parser = duration)]
    pub session_time: Duration,
    /// Candles per second of the session.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub session_speed: u32,
    /// How long the series are looked at again after a session's end.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub settle: Duration,
    /// Without --run-session: how long a counter may take to move.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub watch: Duration,
    /// A family that must have samples, such as peaktrade_risk_checks_total; repeatable. With --run-session, the six strategy and
    /// risk families must as well.
    #[arg(long, value_name = "FAMILY")]
    pub expect: Vec<String>,
    /// Ask this Prometheus whether `up` was 1 the whole time.
    #[arg(long, value_name = "URL", value_parser = parse_base)]
    pub prometheus: Option<String>,
    /// The job under which Prometheus scrapes the daemon.
    #[arg(long, value_name = "NAME", default_value = "peak_trade_metricsd")]
    pub job: String,
    /// How often Prometheus scrapes it.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub scrape_interval: Duration,
    /// How often what races with a start is tried.
    #[command(flatten)]
    pub retry: RetryArgs,
    /// Fault drills with daemons, sessions and directories of their own, after the checks or instead of them.
    #[arg(long, value_name = "also|only", num_args = 0..=1, require_equals = true, default_missing_value = "also")]
    pub drill: Option<Drill>,
    /// One stage of a drill, inside its own namespaces.
    #[arg(long, value_name = "DIR", hide = true)]
    pub full_disk_stage: Option<PathBuf>,
    /// How the report is written, and where.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// Whether drills come after the checks or instead of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Drill {
    /// After the checks.
    Also,
    /// Instead of them.
    Only,
}

/// What a verification runs on.
#[derive(Debug, Clone)]
pub struct ModeBSettings {
    /// The directories.
    pub merge: MergeSettings,
    /// The page.
    pub url: ScrapeUrl,
    /// Scheme, host and port of the page, as it is asked.
    pub base: String,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How a check is tried again.
    pub retry: Retry,
}

impl ModeBArgs {
    /// What to verify.
    ///
    /// # Errors
    /// As [`MergeSettings::resolve`]; a variable that is no port.
    pub fn resolve(&self, env: &Environment<'_>) -> Result<ModeBSettings, SettingsError> {
        let mut merge = self.place.resolve(env)?;
        let url = match &self.url {
            Some(url) => url.clone(),
            None => ScrapeUrl::of_port(default_port(env, &mut merge.warnings)?),
        };
        let text = url.to_string();
        let uri: Uri = text.parse().unwrap_or_default();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        Ok(ModeBSettings {
            merge,
            base: format!("http://{authority}"),
            host: uri
                .host()
                .unwrap_or_default()
                .trim_matches(['[', ']'])
                .to_owned(),
            port: uri.port_u16().unwrap_or(80),
            url,
            retry: self.retry.retry(),
        })
    }
}
