//! The command line. Invariant: every flag has an effect; what its value means together with environment and file is decided in
//! [`crate::config`].

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::gateway::peer::PaperGatewayArguments;

/// Once per closed bar: fetch bars, build features, ask a model, decide BUY, SELL or HOLD. Without --live it sends no order.
///
/// Every setting comes from the flag if given, else the environment, else the configuration file, else the default.
/// Exit status: 0 on SIGINT or SIGTERM; 1 if the start fails; 2 for a bad flag, variable or configuration.
///
/// SIGUSR1 is the kill switch, and so is the file of state.kill_file: no order leaves any more, and a live run stays halted until
/// `sentinel reset`.
#[derive(Debug, Default, Parser)]
#[command(
    name = "sentinel",
    version,
    max_term_width = 120,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// What to do instead of running the daemon.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Configuration file [default: config/sentinel.toml if it exists, else built-in defaults].
    #[arg(long = "config.file", value_name = "FILE")]
    pub config_file: Option<PathBuf>,

    /// Host of the model server [env: HUB_HOST] [default: 127.0.0.1].
    #[arg(long, value_name = "HOST")]
    pub hub_host: Option<String>,

    /// Port of the model server [env: HUB_PORT] [default: 5001].
    #[arg(long, value_name = "PORT")]
    pub hub_port: Option<String>,

    /// Host of the order gateway; not used in a dry run [env: GTW_HOST] [default: 127.0.0.1].
    #[arg(long, value_name = "HOST")]
    pub gtw_host: Option<String>,

    /// Port of the order gateway; not used in a dry run [env: GTW_PORT] [default: 5555].
    #[arg(long, value_name = "PORT")]
    pub gtw_port: Option<String>,

    /// Symbol to watch [default: EURUSD].
    #[arg(long)]
    pub symbol: Option<String>,

    /// Confidence that a BUY or SELL must exceed, 0 to 1 [default: 0.6].
    #[arg(long, value_name = "RATIO", allow_negative_numbers = true)]
    pub threshold: Option<String>,

    /// Decide and count, send nothing: what happens without --live too.
    #[arg(long, conflicts_with = "live")]
    pub dry_run: bool,

    /// Send orders to the gateway. Needs arm.account and arm.confirm, gateway.secret_file and a contract size in the configuration file.
    #[arg(long)]
    pub live: bool,

    /// Directory of what was decided and sent; the program makes it [env: SENTINEL_STATE_DIR] [default: .ops_local/sentinel].
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<String>,

    /// Port of /metrics and /health, on loopback [env: METRICS_PORT] [default: 127.0.0.1:8000].
    #[arg(long, value_name = "PORT")]
    pub metrics_port: Option<String>,

    /// Who predicts: hub (the model server) or embedded (the model in this program) [default: hub].
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,

    /// error, warn (or warning), info, debug or trace, in either case; goes to standard error.
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = parse_level)]
    pub log_level: Option<LevelFilter>,
}

/// What the program does instead of running.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Leave halted: trading is active again if the attempt is the reset secret. The daemon has to be stopped.
    ///
    /// Exit status: 0 if trading is active, or was not halted; 1 if it stays halted; 2 for a bad flag, variable, configuration or secret.
    Reset(ResetArguments),
    /// Make every decision of an audit again and compare it bit for bit. Changes nothing; the daemon may run.
    ///
    /// Exit status: 0 if all of it came out as it was recorded; 1 if not, or if the audit is damaged or cannot be read; 2 for a bad flag.
    Replay(ReplayArguments),
    /// A gateway with a simulated broker, to try orders on: docs/gateway-protocol.md over ZeroMQ. It moves no money.
    ///
    /// Exit status: 0 on SIGINT or SIGTERM, or when --book or --release-kill is done; 1 if it cannot start or go on; 2 for a bad flag.
    PaperGateway(PaperGatewayArguments),
}

/// Of `sentinel reset`.
#[derive(Debug, Args)]
pub struct ResetArguments {
    /// File with the secret as the operator knows it; it is compared with that in state.reset_secret_file.
    #[arg(long, value_name = "FILE")]
    pub reset_secret_file: PathBuf,

    /// Directory of what was decided and sent [env: SENTINEL_STATE_DIR] [default: .ops_local/sentinel].
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<String>,

    /// Configuration file [default: config/sentinel.toml if it exists, else built-in defaults].
    #[arg(long = "config.file", visible_alias = "config", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
}

/// Of `sentinel replay`.
#[derive(Debug, Args)]
pub struct ReplayArguments {
    /// A file of an audit, or the directory of all of them: below the state directory, live/audit or dry-run/audit.
    #[arg(value_name = "AUDIT")]
    pub audit: PathBuf,

    /// One JSON object instead of lines.
    #[arg(long)]
    pub json: bool,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_excludes_itself_or_is_not_accepted_is_said() {
        for (arguments, message) in [
            (
                &["sentinel", "--live", "--dry-run"][..],
                "'--live' cannot be used with '--dry-run'",
            ),
            (&["sentinel", "--live", "reset"], "cannot be used with"),
            (&["sentinel", "reset"], "--reset-secret-file <FILE>"),
            (
                &["sentinel", "--log-level", "loud"],
                "accepted: error, warn, warning, info, debug, trace",
            ),
        ] {
            let error = Cli::try_parse_from(arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(message), "{error}");
        }
        assert!(Cli::try_parse_from(["sentinel", "--live"]).is_ok());
        assert!(Cli::try_parse_from(["sentinel", "--dry-run"]).is_ok());
    }
}
