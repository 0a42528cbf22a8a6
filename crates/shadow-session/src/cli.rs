//! The command line. Invariant: a value that clap accepts is of the right shape and range; what it means for the rest of the
//! configuration is decided in [`crate::config`].

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use tracing::level_filters::LevelFilter;

use crate::pace::Speed;
use crate::run_id::RunId;
use crate::strategy::StrategyId;

/// Trade candles on paper: one strategy, one symbol, simulated fills, risk limits, telemetry. It cannot place a real order.
///
/// Every setting comes from the flag if given, else the environment, else the configuration file, else the default.
/// Exit status: 0 at the end of the data, after --duration, or on SIGINT or SIGTERM; 1 if the start fails (no candle file, a malformed
/// row, a --log-dir that cannot be one, live trading armed in the environment); 2 for a bad flag, variable or configuration.
#[derive(Debug, Parser)]
#[command(name = "shadow-session", version, max_term_width = 120)]
pub struct Cli {
    /// Configuration file [default: config/shadow-session.toml if it exists, else built-in defaults].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Strategy to trade.
    #[arg(long, value_name = "NAME", default_value = StrategyId::MaCrossover.as_str(), value_parser = parse_strategy)]
    pub strategy: StrategyId,

    /// Symbol to trade, for example EUR/USD [default: session.symbol of the configuration].
    #[arg(long)]
    pub symbol: Option<String>,

    /// Length of a bar: 1m 5m 15m 30m 1h 4h 1d 1w [default: session.timeframe of the configuration].
    #[arg(long)]
    pub timeframe: Option<String>,

    /// Wall minutes after which the session ends, fractions allowed; 0 = to the end of the feed [default: 0].
    #[arg(long, value_name = "MIN", value_parser = parse_minutes, allow_negative_numbers = true)]
    pub duration: Option<Duration>,

    /// Where candles come from: recorded:FILE or synthetic:SEED [default: the feed of the configuration].
    #[arg(long, value_name = "FEED", value_parser = FeedFlag::from_str)]
    pub feed: Option<FeedFlag>,

    /// Pace of the feed: max, realtime (one candle per timeframe) or a number of candles per second.
    #[arg(long, value_name = "PACE", default_value = "max", value_parser = Speed::from_str)]
    pub speed: Speed,

    /// Name of this run and of its folder in the run log [default: UTC time, strategy, symbol, timeframe and a random suffix].
    #[arg(long, value_name = "ID", value_parser = RunId::from_str)]
    pub run_id: Option<RunId>,

    /// Folder of the run log, which this flag turns on [default: run_log.dir of the configuration].
    #[arg(long, value_name = "DIR", conflicts_with = "no_logging")]
    pub log_dir: Option<PathBuf>,

    /// Write no run log.
    #[arg(long)]
    pub no_logging: bool,

    /// Load and check everything, the feed too; print the resolved configuration and exit.
    #[arg(long)]
    pub dry_run: bool,

    /// error, warn (or warning), info, debug or trace, in either case; goes to standard error.
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = parse_level)]
    pub log_level: LevelFilter,
}

/// The value of `--feed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedFlag {
    /// A file of recorded candles.
    Recorded(PathBuf),
    /// The synthetic feed of that seed.
    Synthetic(u64),
}

impl FromStr for FeedFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<FeedFlag, String> {
        let accepted = "accepted: recorded:FILE, synthetic:SEED (a whole number from 0, below 2^63 as in a configuration file)";
        match text.split_once(':') {
            Some(("recorded", file)) if !file.is_empty() => Ok(FeedFlag::Recorded(file.into())),
            Some(("synthetic", seed)) => match seed.parse::<u64>() {
                Ok(seed) if i64::try_from(seed).is_ok() => Ok(FeedFlag::Synthetic(seed)),
                _ => Err(accepted.to_owned()),
            },
            _ => Err(accepted.to_owned()),
        }
    }
}

fn parse_strategy(text: &str) -> Result<StrategyId, String> {
    StrategyId::ALL
        .into_iter()
        .find(|strategy| strategy.as_str() == text)
        .ok_or_else(|| {
            format!(
                "unknown strategy; accepted: {}",
                StrategyId::ALL.map(StrategyId::as_str).join(" ")
            )
        })
}

fn parse_minutes(text: &str) -> Result<Duration, String> {
    let minutes = text.parse::<f64>().ok().filter(|minutes| *minutes >= 0.0);
    minutes
        .and_then(|minutes| Duration::try_from_secs_f64(minutes * 60.0).ok())
        .ok_or_else(|| "accepted: minutes, 0 or more, as 30 or 0.5".to_owned())
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

    fn parse(arguments: &[&str]) -> Result<Cli, String> {
        let all = std::iter::once("shadow-session").chain(arguments.iter().copied());
        Cli::try_parse_from(all).map_err(|error| {
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
            error.to_string()
        })
    }

    #[test]
    fn levels_are_accepted_in_either_case() {
        for (text, level) in [
            ("INFO", LevelFilter::INFO),
            ("info", LevelFilter::INFO),
            ("WARNING", LevelFilter::WARN),
            ("Warn", LevelFilter::WARN),
            ("DEBUG", LevelFilter::DEBUG),
            ("error", LevelFilter::ERROR),
        ] {
            assert_eq!(parse(&["--log-level", text]).unwrap().log_level, level);
        }
    }

    #[test]
    fn durations_are_minutes_and_may_be_fractions() {
        for (text, seconds) in [("0", 0.0), ("1", 60.0), ("0.05", 3.0), ("1440", 86_400.0)] {
            assert_eq!(
                parse(&["--duration", text]).unwrap().duration,
                Some(Duration::from_secs_f64(seconds))
            );
        }
        assert_eq!(parse(&[]).unwrap().duration, None);
    }

    #[test]
    fn a_bad_value_names_the_flag_and_what_is_accepted() {
        let table = [
            (&["--duration", "-1"][..], "accepted: minutes, 0 or more"),
            (&["--duration=-1"], "accepted: minutes, 0 or more"),
            (&["--duration", "nan"], "accepted: minutes, 0 or more"),
            (&["--duration", "1e300"], "accepted: minutes, 0 or more"),
            (
                &["--feed", "kraken"],
                "accepted: recorded:FILE, synthetic:SEED",
            ),
            (
                &["--feed", "recorded:"],
                "accepted: recorded:FILE, synthetic:SEED",
            ),
            (
                &["--feed", "synthetic:x"],
                "accepted: recorded:FILE, synthetic:SEED",
            ),
            (
                &["--speed", "0"],
                "accepted: max, realtime, or candles per second from 0.000001",
            ),
            (
                &["--speed", "fast"],
                "accepted: max, realtime, or candles per second from 0.000001",
            ),
            (
                &["--run-id", "../x"],
                "accepted: 1 to 128 letters, digits, `.`, `_`, `-`, beginning with a letter or digit",
            ),
            (
                &["--strategy", "rsi"],
                "unknown strategy; accepted: ma_crossover",
            ),
            (
                &["--log-level", "loud"],
                "accepted: error, warn, warning, info, debug, trace",
            ),
            (&["--no-logging", "--log-dir", "x"], "cannot be used with"),
            (&["--poll-interval", "1"], "unexpected argument"),
        ];
        for (arguments, message) in table {
            let error = parse(arguments).unwrap_err();
            let flag = arguments[0].split('=').next().unwrap();
            assert!(
                error.contains(flag) && error.contains(message),
                "{arguments:?}: {error}"
            );
        }
    }
}
