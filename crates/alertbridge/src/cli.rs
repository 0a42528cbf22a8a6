//! The command line. Invariant: every flag has an effect; what its value means together with environment and file is decided in
//! [`crate::config`].

use std::path::PathBuf;

use clap::Parser;
use tracing::level_filters::LevelFilter;

/// Takes Alertmanager's webhook and delivers to DingTalk robots, other webhooks and logs. What it has acknowledged is on disk and is delivered.
///
/// Every setting comes from the flag if given, else the environment, else the configuration file, else the default.
/// Exit status: 0 on SIGINT or SIGTERM; 1 if the start fails; 2 for a bad flag, variable or configuration.
#[derive(Debug, Default, Parser)]
#[command(name = "alertbridge", version, max_term_width = 120)]
pub struct Cli {
    /// Configuration file, YAML; that of prometheus-webhook-dingtalk is accepted [default: config/alertbridge.yml].
    #[arg(long = "config.file", value_name = "FILE")]
    pub config_file: Option<PathBuf>,

    /// Where to listen; `:PORT` is every address of this machine [env: ALERTBRIDGE_LISTEN] [default: 127.0.0.1:8060].
    #[arg(long = "web.listen-address", value_name = "ADDRESS")]
    pub listen_address: Option<String>,

    /// What links in messages begin with, as a phone reaches this program [env: ALERTBRIDGE_EXTERNAL_URL] [default: the listen address].
    #[arg(long = "web.external-url", value_name = "URL")]
    pub external_url: Option<String>,

    /// Also reload on POST or PUT to /-/reload; SIGHUP always does.
    #[arg(long = "web.enable-lifecycle")]
    pub enable_lifecycle: bool,

    /// Directory of the queue; one program at a time [env: ALERTBRIDGE_QUEUE_PATH] [default: data/alertbridge].
    #[arg(long = "queue.path", value_name = "DIR")]
    pub queue_path: Option<String>,

    /// Read the configuration and the secrets it names, say what is wrong, and end: 0 if nothing is, else 2.
    #[arg(long)]
    pub check_config: bool,

    /// error, warn (or warning), info, debug or trace, in either case; goes to standard error.
    #[arg(long = "log.level", alias = "log-level", value_name = "LEVEL", default_value = "info", value_parser = parse_level)]
    pub log_level: Option<LevelFilter>,
}

fn parse_level(text: &str) -> Result<LevelFilter, String> {
    match text.to_ascii_lowercase().as_str() {
        "error" => Ok(LevelFilter::ERROR),
        "warn" | "warning" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => Err("accepted: error, warn, warning, info, debug, trace".to_owned()),
    }
}
