//! What the daemon runs on: defaults, file, environment and flags, checked once.
//!
//! Invariant: a [`Config`] needs no second look; whatever is wrong is an error that says where it was given, what was found and what
//! would be accepted. Precedence: flag > environment > file > default. The token is in no message.

mod duration;
mod file;
mod layers;
mod parse;
mod resolved;
#[cfg(test)]
mod tests;
mod unused;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use market::{Calendar, Timeframe};
use metricsd_client::{
    FileSettings, LEGACY_PORT_VARIABLE, Mode, PORT_VARIABLE, Settings, SettingsError,
};

use crate::cli::Cli;
use crate::features::BAR_COUNT;
use crate::secret::Secret;

use file::ConfigFile;
pub use file::{ConfigError, Place, Placed};
use layers::{Layers, port, whole};
use parse::{
    HOST, parse_calendar, parse_host, parse_interval, parse_listen, parse_model, parse_period,
    parse_ratio, parse_symbol, parse_url, stale_after_default,
};

/// Read if it exists and no other file was named; relative to the working directory, as all paths here.
pub const DEFAULT_PATH: &str = "config/sentinel.toml";

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
    /// Orders of one day (UTC).
    pub max_orders_per_day: Placed<u64>,
    /// The order gateway; not used in a dry run.
    pub gateway_host: Placed<String>,
    /// Its port.
    pub gateway_port: Placed<u16>,
    /// Keys of the file that have no effect in a dry run.
    pub without_effect: Vec<&'static str>,
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
    /// A telemetry variable.
    #[error(transparent)]
    Telemetry(#[from] SettingsError),
}

type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl Config {
    /// Find the file, read it, and check everything.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(cli: &Cli, environment: Environment<'_>) -> Result<Config, LoadError> {
        let file = match &cli.config_file {
            Some(path) => ConfigFile::read(path)?,
            None => match Path::new(DEFAULT_PATH).try_exists() {
                Ok(false) => ConfigFile::default(),
                // One that cannot be looked at is an error, not a reason to run on other settings than the operator's.
                Ok(true) | Err(_) => ConfigFile::read(Path::new(DEFAULT_PATH))?,
            },
        };
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
            return Err(layers::refused(stale_after.place, found, &accepted).into());
        }
        let every = layers
            .setting("schedule.every", "60s")
            .key(&keys.schedule.every)
            .resolve("whole seconds from 1s to 1h", parse_period)?;
        let at_second = layers
            .setting("schedule.at_second", "58")
            .key(&keys.schedule.at_second)
            .resolve("a whole number from 0 to 59", whole(0, 59))?;
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
            token: token(&layers, file)?,
            symbol: layers
                .setting("market.symbol", "EURUSD")
                .flag("--symbol", cli.symbol.as_deref())
                .key(&keys.market.symbol)
                .resolve(
                    "3 to 12 capital letters and digits, as EURUSD",
                    parse_symbol,
                )?,
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
                .resolve(layers::PORT, port)?,
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
            max_orders_per_day: layers
                .setting("decide.max_orders_per_day", "24")
                .key(&keys.decide.max_orders_per_day)
                .resolve("a whole number from 0 to 100000", whole(0, 100_000))?,
            gateway_host: layers
                .setting("gateway.host", "127.0.0.1")
                .flag("--gtw-host", cli.gtw_host.as_deref())
                .variable("GTW_HOST")
                .key(&keys.gateway.host)
                .resolve(HOST, parse_host)?,
            gateway_port: layers
                .setting("gateway.port", "5555")
                .flag("--gtw-port", cli.gtw_port.as_deref())
                .variable("GTW_PORT")
                .key(&keys.gateway.port)
                .resolve(layers::PORT, port)?,
            without_effect: unused::check(&layers, keys)?,
            every,
            at_second,
            telemetry: telemetry(cli, &layers, file)?,
        };
        Ok(config)
    }

    /// The configuration of a file with this text, for tests of other modules.
    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Config {
        let file = ConfigFile::parse(Path::new("test.toml"), text.to_owned()).unwrap();
        Config::resolve(&Cli::default(), &file, &|_| None).unwrap()
    }

    /// Longest that a cycle may take: what its calls may.
    pub fn cycle_budget(&self) -> Duration {
        self.fetch_timeout.value + self.predict_timeout.value
    }
}

fn token(layers: &Layers<'_>, file: &ConfigFile) -> Result<Option<Placed<Secret>>, ConfigError> {
    let in_environment = layers.variable(TOKEN_VARIABLE);
    if let Some(value) = in_environment.and_then(|text| Secret::new(text.trim())) {
        let place = Place::Variable(TOKEN_VARIABLE);
        return Ok(Some(Placed { value, place }));
    }
    let Some(key) = &file.keys.market.token_file else {
        return Ok(None);
    };
    let place = file.place(key.span(), "market.token_file");
    let path = PathBuf::from(key.get_ref());
    let unreadable = |source| ConfigError::Token {
        place: place.clone(),
        path: path.clone(),
        source,
    };
    let text = std::fs::read_to_string(&path).map_err(unreadable)?;
    let word = Some(text.trim()).filter(|text| !text.contains(char::is_whitespace));
    match word.and_then(Secret::new) {
        Some(value) => Ok(Some(Placed { value, place })),
        None => Err(ConfigError::Value {
            found: path.display().to_string(),
            accepted: "a file that holds one word, the token".to_owned(),
            place,
        }),
    }
}

/// Where metrics go. The port variables of `metricsd` are not this program's: its own is `METRICS_PORT`.
fn telemetry(cli: &Cli, layers: &Layers<'_>, file: &ConfigFile) -> Result<Settings, LoadError> {
    let keys = &file.keys.telemetry;
    let mode = match &keys.mode {
        None => None,
        Some(_) => Some(
            layers
                .setting("telemetry.mode", "A")
                .key(&keys.mode)
                .resolve("A B", |text| text.parse::<Mode>().ok())?
                .value,
        ),
    };
    let in_file = layers
        .setting("telemetry.listen", "127.0.0.1:8000")
        .key(&keys.listen)
        .resolve("an address and port, as 127.0.0.1:8000", parse_listen)?
        .value;
    let given = layers
        .setting("--metrics-port", "")
        .flag("--metrics-port", cli.metrics_port.as_deref())
        .variable("METRICS_PORT")
        .given(layers::PORT, port)?;
    let listen = given.map_or(in_file, |port| {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port.value))
    });
    let from_file = FileSettings {
        mode,
        multiproc_dir: keys
            .multiproc_dir
            .as_ref()
            .map(|dir| PathBuf::from(dir.get_ref())),
        listen: Some(listen),
    };
    let environment = |name: &str| match name {
        PORT_VARIABLE | LEGACY_PORT_VARIABLE => None,
        _ => (layers.environment)(name),
    };
    let mut settings = Settings::resolve("sentinel", &from_file, &environment)?;
    env!("CARGO_PKG_VERSION").clone_into(&mut settings.version);
    "dry-run".clone_into(&mut settings.runs_as);
    Ok(settings)
}
