//! What a session runs on: defaults, file, environment and flags, checked once.
//!
//! Invariant: a [`Config`] needs no second look; whatever is wrong is an error that says where it was given, what was found and what
//! would be accepted. Precedence: flag > environment > file > default; only the telemetry has variables.

mod keys;
mod reader;
mod resolved;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use market::{Symbol, Timeframe};
use metricsd_client::{Settings, SettingsError};
use program::config::{ConfigError, Placed};
use rust_decimal::Decimal;

use crate::cli::Cli;
use crate::execution::Execution;
use crate::pace::Speed;
use crate::session::SessionSettings;
use crate::strategy::StrategyId;

use keys::Keys;
use reader::Reader;

type ConfigFile = program::config::ConfigFile<Keys>;

/// Where candles come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedChoice {
    /// A file.
    Recorded(PathBuf),
    /// Made up from a seed.
    Synthetic(u64),
}

/// What a session runs on.
#[derive(Debug)]
pub struct Config {
    /// The file that was read; `None` when there is none and the built-in defaults stand.
    pub path: Option<PathBuf>,
    /// The strategy.
    pub strategy: StrategyId,
    /// What is traded.
    pub symbol: Placed<Symbol>,
    /// Length of a bar.
    pub timeframe: Placed<Timeframe>,
    /// Bars at the beginning of the feed that feed the averages only.
    pub warmup_candles: usize,
    /// Trading rules.
    pub session: SessionSettings,
    /// Where candles come from.
    pub feed: FeedChoice,
    /// Pace of the feed.
    pub speed: Speed,
    /// Wall time after which the session ends; `None` = at the end of the feed.
    pub duration: Option<Duration>,
    /// Where metrics go.
    pub telemetry: Settings,
    /// Folder of the run log; `None` = no run log.
    pub run_log_dir: Option<Placed<PathBuf>>,
    slippage_bps: Decimal,
    fee_rate: Decimal,
}

/// Why there is no configuration: all of these are exit status 2.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file or a flag.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A telemetry variable.
    #[error(transparent)]
    Telemetry(#[from] SettingsError),
}

impl Config {
    /// Find the file, read it, and check everything.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(
        cli: &Cli,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Config, LoadError> {
        let file = ConfigFile::find(cli.config.as_deref())?;
        Config::resolve(cli, &file, environment)
    }

    /// As [`Config::load`], but with the file's text at hand; `path` is for the messages.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn of_text(
        cli: &Cli,
        path: &Path,
        text: String,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Config, LoadError> {
        Config::resolve(cli, &ConfigFile::parse(path, text)?, environment)
    }

    fn resolve(
        cli: &Cli,
        file: &ConfigFile,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Config, LoadError> {
        let reader = Reader { file };
        reader.environment_mode()?;
        reader.check_live_feed()?;
        let (symbol, instrument) = reader.instrument(cli)?;
        let timeframe = reader.timeframe(cli)?;
        let strategy = reader.ma_crossover()?;
        let (fee_rate, slippage_bps) = reader.execution()?;
        let session = SessionSettings {
            instrument,
            start_balance: reader.start_balance()?,
            position_fraction: reader.ratio(
                &file.keys.session.position_fraction,
                "session.position_fraction",
                "0.1",
            )?,
            execution: Execution::new(fee_rate, slippage_bps),
            limits: reader.limits()?,
            strategy,
        };
        let mut telemetry = Settings::resolve("shadow-session", &reader.telemetry()?, environment)?;
        env!("CARGO_PKG_VERSION").clone_into(&mut telemetry.version);
        "paper".clone_into(&mut telemetry.runs_as);
        Ok(Config {
            path: file.path.clone(),
            strategy: cli.strategy,
            symbol,
            timeframe,
            warmup_candles: reader.warmup(strategy.slow_window)?,
            session,
            feed: reader.feed(cli)?,
            speed: cli.speed,
            duration: cli.duration.filter(|duration| !duration.is_zero()),
            telemetry,
            run_log_dir: reader.run_log_dir(cli)?,
            slippage_bps,
            fee_rate,
        })
    }
}

#[cfg(test)]
mod tests;
