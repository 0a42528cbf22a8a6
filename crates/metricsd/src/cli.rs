//! The command line: `metricsd [serve]`, `metricsd render` and the operator's commands.
//!
//! Invariant: a flag that is listed works. Must not touch: files, sockets, the environment.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::doctor::cli::DoctorArgs;
use crate::inspect::InspectArgs;
use crate::ledger::Since;
use crate::ledger::selection::SeriesSelector;
use crate::retention::{DURATION_ACCEPTED, DeadGauges, RetireAfter, parse_duration};
use crate::verify::cli::VerifyArgs;

/// The always-on exporter: merges the shards of trading processes and serves them on one stable port.
#[derive(Debug, Parser)]
#[command(name = "metricsd", version, args_conflicts_with_subcommands = true)]
#[command(
    after_help = "Without a subcommand, `serve` is meant. Flags win over the environment, the environment over the file."
)]
pub struct Cli {
    /// What to do; `serve` when absent.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags of `serve`, which may stand without the word.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the merged metrics over HTTP until SIGTERM or Ctrl-C.
    Serve(ServeArgs),
    /// Merge once, print the merged families as text 0.0.4, change nothing.
    Render(RenderArgs),
    /// Show what is in a shard, a file of the state, or a directory of either; change nothing.
    Inspect(InspectArgs),
    /// Prove that what is served is right; exit code 0 if it is, 1 if not.
    Verify(VerifyArgs),
    /// Find what is wrong around the daemon, and say what to do; exit code 0 if nothing is, 1 if something is.
    Doctor(DoctorArgs),
    /// Say what totals are made of: shards, absorbed processes, when and how much. `ledger reset` starts from zero.
    Ledger(LedgerArgs),
}

/// What all commands share.
#[derive(Debug, Clone, Default, Args)]
pub struct CommonArgs {
    /// Directory of the shards [env: PEAKTRADE_METRICS_MULTIPROC_DIR, PROMETHEUS_MULTIPROC_DIR] [default:
    /// .ops_local/prom_multiproc].
    #[arg(long = "multiproc-dir", value_name = "DIR", value_parser = parse_path)]
    pub multiproc_dir: Option<PathBuf>,
    /// Directory of what is known of processes that ended; not inside the shard directory [env: STATE_DIRECTORY] [default:
    /// metricsd/HASH in XDG_STATE_HOME or ~/.local/state, HASH being that of the shard directory's path].
    #[arg(long = "state-dir", value_name = "DIR", value_parser = parse_path)]
    pub state_dir: Option<PathBuf>,
    /// What becomes of live* gauges of ended processes while no live one has the series: keep, drop, or a duration for which
    /// they are served after the end [default: keep].
    #[arg(long = "dead-gauges", value_name = "keep|drop|DURATION")]
    pub dead_gauges: Option<DeadGauges>,
    /// Configuration file (TOML); docs and an example are in config/metricsd.toml.
    #[arg(long = "config.file", value_name = "FILE", value_parser = parse_path)]
    pub config_file: Option<PathBuf>,
    /// What is logged to standard error: error, warn, info, debug or trace, in either case.
    #[arg(long = "log-level", value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,
}

/// The flags of `serve`.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// Flags of both commands.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Port to serve on, on loopback only [env: PEAK_TRADE_METRICSD_PORT] [default: 9111].
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Address to serve on instead, such as `0.0.0.0:9111`, `[::1]:9111` or `:9111` (every IPv4 interface); repeatable. Port 0 takes a
    /// free one, which is logged.
    #[arg(long = "web.listen-address", value_name = "ADDR", value_parser = parse_listen_address)]
    pub listen_addresses: Vec<SocketAddr>,
    /// Scrapes that are answered at the same time; those beyond it get 503. 0 = no bound.
    #[arg(long = "web.max-requests", value_name = "COUNT", default_value_t = DEFAULT_MAX_REQUESTS)]
    pub max_requests: usize,
    /// How long after the end of its last writer a shard is absorbed into the state directory and removed, such as 10s or
    /// 5m; off: never [default: 10s].
    #[arg(long = "retire-after", value_name = "DURATION|off")]
    pub retire_after: Option<RetireAfter>,
    /// How long gauges that are one series for each process (modes all and liveall) are served after its end [default: 24h].
    #[arg(long = "retain-ended", value_name = "DURATION", value_parser = parse_retain_ended)]
    pub retain_ended: Option<Duration>,
}

/// The flags of `render`.
#[derive(Debug, Clone, Default, Args)]
pub struct RenderArgs {
    /// Flags of both commands.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// The flags of `ledger`, and its subcommand.
#[derive(Debug, Clone, Default, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct LedgerArgs {
    /// Flags of every command.
    #[command(flatten)]
    pub common: CommonArgs,
    /// One total, as /metrics shows it, such as 'orders_total{side="buy"}': who contributed how much to it.
    #[arg(long, value_name = "SERIES", conflicts_with = "family")]
    pub series: Option<SeriesSelector>,
    /// All series of a family together, or of one sample name: who contributed how much to them.
    #[arg(long, value_name = "NAME", value_parser = parse_family)]
    pub family: Option<String>,
    /// Show absorptions since then one by one: a duration such as 24h, or a time such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "DURATION|TIME", value_parser = Since::parse)]
    pub since: Option<Since>,
    /// Show at most so many absorptions one by one, the newest; 0 = all.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LEDGER_LIMIT)]
    pub limit: usize,
    /// Print one JSON object instead of columns.
    #[arg(long)]
    pub json: bool,
    /// Something else than showing it.
    #[command(subcommand)]
    pub command: Option<LedgerCommand>,
}

/// What else can be done with the ledger.
#[derive(Debug, Clone, Subcommand)]
pub enum LedgerCommand {
    /// Begin every total at zero, with no daemon running. What was there is kept in a file.
    Reset(ResetArgs),
}

/// The flags of `ledger reset`.
#[derive(Debug, Clone, Default, Args)]
pub struct ResetArgs {
    /// Flags of every command.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Do it; without this nothing is done but to say what would be lost.
    #[arg(long)]
    pub yes: bool,
}

/// A page of a terminal, more or less.
const DEFAULT_LEDGER_LIMIT: usize = 20;

/// As the ecosystem's exporters have it.
const DEFAULT_MAX_REQUESTS: usize = 40;

/// From which severity on is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLevel(pub LevelFilter);

impl Default for LogLevel {
    fn default() -> LogLevel {
        LogLevel(LevelFilter::INFO)
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<LogLevel, String> {
        let level = match text.to_ascii_lowercase().as_str() {
            "error" => LevelFilter::ERROR,
            "warn" | "warning" => LevelFilter::WARN,
            "info" => LevelFilter::INFO,
            "debug" => LevelFilter::DEBUG,
            "trace" => LevelFilter::TRACE,
            _ => {
                return Err(
                    "accepted are error, warn, info, debug and trace, in either case".to_owned(),
                );
            }
        };
        Ok(LogLevel(level))
    }
}

pub(crate) fn parse_path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        Err("an empty path; leave the flag out for the default".to_owned())
    } else {
        Ok(text.into())
    }
}

fn parse_family(text: &str) -> Result<String, String> {
    match text.contains(|c: char| matches!(c, '{' | '"' | '=') || c.is_whitespace())
        || text.is_empty()
    {
        true => Err(
            "accepted is a name without labels, such as orders_total; --series takes labels"
                .to_owned(),
        ),
        false => Ok(text.to_owned()),
    }
}

fn parse_retain_ended(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("accepted is {DURATION_ACCEPTED}"))
}

/// `HOST:PORT` with an IP address or `localhost`, or `:PORT` for every IPv4 interface.
fn parse_listen_address(text: &str) -> Result<SocketAddr, String> {
    let accepted = "accepted is ADDRESS:PORT with an IP address, such as 127.0.0.1:9111 or [::1]:9111, localhost:PORT or :PORT";
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').ok_or(accepted)?;
    let port: u16 = port.parse().map_err(|_| accepted)?;
    let host: IpAddr = match host {
        "" => Ipv4Addr::UNSPECIFIED.into(),
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        _ => return Err(accepted.to_owned()),
    };
    Ok(SocketAddr::new(host, port))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_meant_when_no_subcommand_is_given() {
        for words in [
            vec!["metricsd", "--port", "1234"],
            vec!["metricsd", "serve", "--port", "1234"],
        ] {
            let cli = Cli::parse_from(words);
            let args = match cli.command {
                Some(Command::Serve(args)) => args,
                None => cli.serve,
                Some(_) => unreachable!("nobody said another command"),
            };
            assert_eq!(args.port, Some(1234));
        }
    }

    #[test]
    fn levels_are_accepted_in_either_case() {
        for (text, level) in [
            ("INFO", LevelFilter::INFO),
            ("Warning", LevelFilter::WARN),
            ("debug", LevelFilter::DEBUG),
        ] {
            assert_eq!(text.parse(), Ok(LogLevel(level)));
        }
        assert!("loud".parse::<LogLevel>().is_err());
    }

    #[test]
    fn listen_addresses_open_what_they_say_and_nothing_else() {
        for (text, address) in [
            (":9111", "0.0.0.0:9111"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]:9111", "[::1]:9111"),
            ("localhost:1", "127.0.0.1:1"),
        ] {
            assert_eq!(
                parse_listen_address(text),
                Ok(address.parse().unwrap()),
                "{text}"
            );
        }
        for text in [
            "",
            "9111",
            "host:9111",
            "127.0.0.1",
            "127.0.0.1:70000",
            ":x",
        ] {
            assert!(parse_listen_address(text).is_err(), "{text}");
        }
    }
}
