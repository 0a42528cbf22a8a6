//! What the daemon runs on: defaults, file, environment and flags, checked once.
//!
//! Invariant: a [`Config`] needs no second look; whatever is wrong is an error that says where it was given, what was found and what
//! would be accepted. Precedence: flag > environment > file > default. The token is in no message.

mod gateway;
mod keys;
mod limits;
mod live;
mod parse;
mod resolved;
mod secrets;
mod state;
mod telemetry;
#[cfg(test)]
mod tests;

#[cfg(test)]
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use market::{Calendar, Timeframe};
use metricsd_client::{Settings, SettingsError};
use program::config::{self, ConfigError, Environment, Place, Placed, port, whole};
use program::duration;
use program::secret::Secret;

use crate::cli::Cli;
use crate::features::BAR_COUNT;
use crate::gateway::guards;
use crate::gateway::intent_log::state::RECENT_MAX;
use crate::gateway::protocol::KeyError;

pub use gateway::GatewaySettings;
use keys::Keys;
pub use limits::PlacedLimits;
pub use live::Live;
use parse::{
    HOST, parse_calendar, parse_host, parse_interval, parse_model, parse_period, parse_ratio,
    parse_symbol, parse_url, stale_after_default,
};
pub use state::{STATE_DIR_VARIABLE, StateSettings};

/// The token's variable.
pub const TOKEN_VARIABLE: &str = "EODHD_API_TOKEN";

/// Longest budget of a call: with a longer one a loop that hangs would look like one that waits.
const BUDGET_MAX: Duration = Duration::from_secs(60);

/// Who predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelChoice {
    /// The model server.
    Hub,
    /// The model in this program.
    Embedded,
}

impl ModelChoice {
    /// The spelling in configurations, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            ModelChoice::Hub => "hub",
            ModelChoice::Embedded => "embedded",
        }
    }
}

/// What the daemon runs on.
#[derive(Debug)]
pub struct Config {
    /// The file that was read; `None` when there is none and the built-in defaults stand.
    pub path: Option<PathBuf>,
    /// Where bars come from, without a slash at the end.
    pub base_url: Placed<String>,
    /// The vendor's token, and where it was given.
    pub token: Option<Placed<Secret>>,
    /// What is watched.
    pub symbol: Placed<String>,
    /// Length of a bar.
    pub interval: Placed<Timeframe>,
    /// When bars are to be expected.
    pub calendar: Placed<Calendar>,
    /// Bars that are asked for at the start.
    pub lookback_bars: Placed<usize>,
    /// Age from its close on, in market time, at which the newest bar is no base for a signal any more.
    pub stale_after: Placed<Duration>,
    /// Budget of a fetch.
    pub fetch_timeout: Placed<Duration>,
    /// The model server.
    pub hub_host: Placed<String>,
    /// Its port.
    pub hub_port: Placed<u16>,
    /// Budget of a prediction.
    pub predict_timeout: Placed<Duration>,
    /// Who predicts.
    pub model: Placed<ModelChoice>,
    /// Confidence that a signal must exceed.
    pub threshold: Placed<f64>,
    /// Shortest time between two orders.
    pub cooldown: Placed<Duration>,
    /// Orders of any minute.
    pub max_orders_per_minute: Placed<u32>,
    /// Orders of one day (UTC).
    pub max_orders_per_day: Placed<u64>,
    /// The order gateway; not used in a dry run.
    pub gateway: GatewaySettings,
    /// The risk limits; not used in a dry run, which has no account.
    pub limits: PlacedLimits,
    /// What a live run needs; none in a dry run.
    pub live: Option<Live>,
    /// Where state is kept.
    pub state: StateSettings,
    /// Seconds between two cycles.
    pub every: Placed<i64>,
    /// The second within it.
    pub at_second: Placed<i64>,
    /// Where metrics go.
    pub telemetry: Settings,
}

/// Why there is no configuration: all of these are exit status 2.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file, a flag or a variable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file with the gateway's secret holds no secret.
    #[error("{place}: {}: {source}", .path.display())]
    GatewaySecret {
        /// Where the file was named.
        place: Place,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// A telemetry variable.
    #[error(transparent)]
    Telemetry(#[from] SettingsError),
}

type ConfigFile = program::config::ConfigFile<Keys>;
type Layers<'a> = program::config::Layers<'a, Keys>;

impl Config {
    /// Find the file, read it, and check everything.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(cli: &Cli, environment: Environment<'_>) -> Result<Config, LoadError> {
        let file = ConfigFile::find(cli.config_file.as_deref())?;
        Config::resolve(cli, &file, environment)
    }

    fn resolve(
        cli: &Cli,
        file: &ConfigFile,
        environment: Environment<'_>,
    ) -> Result<Config, LoadError> {
        let layers = Layers { file, environment };
        let keys = &file.keys;
        let seconds = "a duration above 0 in quotes, as \"500ms\" or \"10s\"";
        let nonzero = |text: &str| duration::parse(text).filter(|time| !time.is_zero());
        let budget = "a duration from 1ms to 60s in quotes, as \"500ms\" or \"10s\"";
        let within = |text: &str| nonzero(text).filter(|time| *time <= BUDGET_MAX);
        let interval = layers
            .setting("market.interval", "1h")
            .key(&keys.market.interval)
            .resolve("1m 5m 1h", parse_interval)?;
        let stale_after = layers
            .setting("market.stale_after", stale_after_default(interval.value))
            .key(&keys.market.stale_after)
            .resolve(seconds, nonzero)?;
        if stale_after.value.as_secs() < interval.value.seconds().unsigned_abs() {
            let accepted = format!("at least the interval ({})", interval.value);
            let found = duration::spelled(stale_after.value);
            return Err(config::refused(stale_after.place, found, &accepted).into());
        }
        let every = layers
            .setting("schedule.every", "60s")
            .key(&keys.schedule.every)
            .resolve("whole seconds from 1s to 1h", parse_period)?;
        let at_second = layers
            .setting("schedule.at_second", "58")
            .key(&keys.schedule.at_second)
            .resolve("a whole number from 0 to 59", whole(0, 59))?;
        let symbol = layers
            .setting("market.symbol", "EURUSD")
            .flag("--symbol", cli.symbol.as_deref())
            .key(&keys.market.symbol)
            .resolve(
                "3 to 12 capital letters and digits, as EURUSD",
                parse_symbol,
            )?;
        let gateway = GatewaySettings::resolve(cli, &layers, &keys.gateway)?;
        let state = StateSettings::resolve(cli.state_dir.as_deref(), &layers, &keys.state)?;
        let limits = PlacedLimits::resolve(&layers, &keys.limits)?;
        let mut live = live::resolve(cli, &layers, keys, &gateway, &symbol.value)?;
        if let Some(live) = &mut live {
            live.warnings.extend(state.warnings());
            live.warnings.extend(limits.warning());
        }
        let config = Config {
            path: file.path.clone(),
            base_url: layers
                .setting("market.base_url", "https://eodhd.com/api")
                .variable("EODHD_BASE_URL")
                .key(&keys.market.base_url)
                .resolve(
                    "http:// or https://, a host, and a path without user, query or fragment",
                    parse_url,
                )?,
            token: secrets::token(&layers, file)?,
            symbol,
            interval,
            calendar: layers
                .setting("market.calendar", "fx")
                .variable("SENTINEL_CALENDAR")
                .key(&keys.market.calendar)
                .resolve("fx always", parse_calendar)?,
            lookback_bars: layers
                .setting("market.lookback_bars", "200")
                .key(&keys.market.lookback_bars)
                .resolve("a whole number from 200 to 5000", whole(BAR_COUNT, 5_000))?,
            stale_after,
            fetch_timeout: layers
                .setting("market.timeout", "10s")
                .key(&keys.market.timeout)
                .resolve(budget, within)?,
            hub_host: layers
                .setting("hub.host", "127.0.0.1")
                .flag("--hub-host", cli.hub_host.as_deref())
                .variable("HUB_HOST")
                .key(&keys.hub.host)
                .resolve(HOST, parse_host)?,
            hub_port: layers
                .setting("hub.port", "5001")
                .flag("--hub-port", cli.hub_port.as_deref())
                .variable("HUB_PORT")
                .key(&keys.hub.port)
                .resolve(config::PORT, port)?,
            predict_timeout: layers
                .setting("hub.timeout", "1s")
                .key(&keys.hub.timeout)
                .resolve(budget, within)?,
            model: layers
                .setting("hub.model", "hub")
                .flag("--model", cli.model.as_deref())
                .key(&keys.hub.model)
                .resolve("hub embedded", parse_model)?,
            threshold: layers
                .setting("decide.threshold", "0.6")
                .flag("--threshold", cli.threshold.as_deref())
                .key(&keys.decide.threshold)
                .resolve("a number from 0 to 1", parse_ratio)?,
            cooldown: layers
                .setting("decide.cooldown", "0s")
                .key(&keys.decide.cooldown)
                .resolve(
                    "a duration in quotes, as \"0s\" or \"30m\"",
                    duration::parse,
                )?,
            max_orders_per_minute: layers
                .setting("decide.max_orders_per_minute", "2")
                .key(&keys.decide.max_orders_per_minute)
                .resolve("a whole number from 0 to 1024", whole(0, RECENT_MAX as u32))?,
            max_orders_per_day: layers
                .setting("decide.max_orders_per_day", "24")
                .key(&keys.decide.max_orders_per_day)
                .resolve("a whole number from 0 to 100000", whole(0, 100_000))?,
            gateway,
            limits,
            live,
            state,
            every,
            at_second,
            telemetry: telemetry::telemetry(cli, &layers, file)?,
        };
        Ok(config)
    }

    /// The configuration of a file with this text, for tests of other modules.
    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Config {
        let file = ConfigFile::parse(Path::new("test.toml"), text.to_owned()).unwrap();
        Config::resolve(&Cli::default(), &file, &|_| None).unwrap()
    }

    /// What the guards go by. In a dry run nothing is armed.
    pub fn guards_settings(&self) -> guards::Settings {
        guards::Settings {
            threshold: self.threshold.value,
            cooldown: self.cooldown.value,
            orders_per_minute: self.max_orders_per_minute.value,
            orders_per_day: u32::try_from(self.max_orders_per_day.value).unwrap_or(u32::MAX),
            stale_after: self.gateway.stale_after.value,
            limits: self.limits.values(),
            arm: self
                .live
                .as_ref()
                .map(|live| live.arm.clone())
                .unwrap_or_default(),
        }
    }

    /// Longest that a cycle may take: what its calls may. The gateway is asked for what is open, for account and positions, and an order.
    pub fn cycle_budget(&self) -> Duration {
        let gateway = match &self.live {
            Some(_) => 3 * self.gateway.timeout.value,
            None => Duration::ZERO,
        };
        self.fetch_timeout.value + self.predict_timeout.value + gateway
    }
}
