//! The keys of a file and the flags, one by one: each with its default, its range and the words of its refusal.

use std::net::SocketAddr;
use std::path::PathBuf;

use market::{Instrument, Symbol, Timeframe};
use metricsd_client::{FileSettings, Mode};
use program::config::{ConfigError, Place, Placed};
use program::duration;
use rust_decimal::Decimal;
use toml::Spanned;

use super::{ConfigFile, FeedChoice};
use crate::cli::{Cli, FeedFlag};
use crate::money::MONEY_DECIMALS;
use crate::risk::RiskLimits;
use crate::strategy::MaCrossoverParameters;

const DEFAULT_CANDLES: &str = "data/eurusd-1h-2017.csv";
const DEFAULT_SEED: u64 = 7;
const DEFAULT_RUN_LOG_DIR: &str = "live_runs";

/// Keeps two averages of bars in memory, and a mistyped window from looking like a hang.
const WINDOW_MAX: i64 = 100_000;
const WARMUP_MAX: i64 = 10_000_000;
/// Ten tries against a server that fails are a nuisance already.
const RETRIES_MAX: i64 = 10;

/// Reads keys of one file; a missing key has the default's place.
pub(super) struct Reader<'a> {
    pub(super) file: &'a ConfigFile,
}

impl Reader<'_> {
    fn given<T: Clone>(&self, key: &Option<Spanned<T>>, name: &'static str) -> Option<Placed<T>> {
        let spanned = key.as_ref()?;
        Some(Placed {
            value: spanned.get_ref().clone(),
            place: self.file.place(spanned.span(), name),
        })
    }

    fn or_default<T: Clone>(
        &self,
        key: &Option<Spanned<T>>,
        name: &'static str,
        default: T,
    ) -> Placed<T> {
        self.given(key, name).unwrap_or(Placed {
            value: default,
            place: Place::Default(name),
        })
    }

    /// A key that a file must have; without any file the default stands.
    fn required(
        &self,
        key: &Option<Spanned<String>>,
        name: &'static str,
        default: &str,
        accepted: &str,
    ) -> Result<Placed<String>, ConfigError> {
        match self.given(key, name) {
            Some(given) => Ok(given),
            None if self.file.path.is_none() => Ok(Placed {
                value: default.to_owned(),
                place: Place::Default(name),
            }),
            None => Err(self.file.missing(name, accepted.to_owned())),
        }
    }

    /// Paper and nothing else, in exactly this spelling: a word that means something else must not become paper by being unknown.
    pub(super) fn environment_mode(&self) -> Result<(), ConfigError> {
        let mode = self.required(
            &self.file.keys.environment.mode,
            "environment.mode",
            "paper",
            "paper",
        )?;
        if mode.value == "paper" {
            Ok(())
        } else {
            Err(mode.refused("paper"))
        }
    }

    /// The symbol, where it was given, and its instrument.
    pub(super) fn instrument(
        &self,
        cli: &Cli,
    ) -> Result<(Placed<Symbol>, Instrument), ConfigError> {
        let given = match &cli.symbol {
            Some(symbol) => Placed {
                value: symbol.clone(),
                place: Place::Flag("--symbol"),
            },
            None => self.required(
                &self.file.keys.session.symbol,
                "session.symbol",
                "EUR/USD",
                "a symbol, as EUR/USD",
            )?,
        };
        let checked = |given: &Placed<String>| {
            let symbol = Symbol::new(&given.value);
            Instrument::of(&symbol)
                .map(|instrument| (given.placed(symbol), instrument))
                .map_err(|_| given.refused(&Instrument::accepted()))
        };
        // The file must be right also where a flag wins over it: the next start may be without the flag.
        if let Some(in_file) = self.given(&self.file.keys.session.symbol, "session.symbol") {
            checked(&in_file)?;
        }
        checked(&given)
    }

    pub(super) fn timeframe(&self, cli: &Cli) -> Result<Placed<Timeframe>, ConfigError> {
        let given = match &cli.timeframe {
            Some(timeframe) => Placed {
                value: timeframe.clone(),
                place: Place::Flag("--timeframe"),
            },
            None => self.or_default(
                &self.file.keys.session.timeframe,
                "session.timeframe",
                "1h".to_owned(),
            ),
        };
        let checked = |given: &Placed<String>| {
            given
                .value
                .parse()
                .map(|timeframe| given.placed(timeframe))
                .map_err(|_| given.refused(&Timeframe::accepted()))
        };
        if let Some(in_file) = self.given(&self.file.keys.session.timeframe, "session.timeframe") {
            checked(&in_file)?;
        }
        checked(&given)
    }

    pub(super) fn start_balance(&self) -> Result<Decimal, ConfigError> {
        let given = self.or_default(
            &self.file.keys.session.start_balance,
            "session.start_balance",
            "10000".to_owned(),
        );
        let accepted = "a decimal in quotes, above 0 and at most 1000000000000, with at most 8 decimals, as \"10000\"";
        parse_decimal(&given.value)
            .filter(|balance| {
                *balance > Decimal::ZERO
                    && *balance <= Decimal::from(1_000_000_000_000_u64)
                    && balance.scale() <= 8
            })
            .ok_or_else(|| given.refused(accepted))
    }

    pub(super) fn warmup(&self, longest_window: usize) -> Result<usize, ConfigError> {
        let given = self.or_default(
            &self.file.keys.session.warmup_candles,
            "session.warmup_candles",
            200,
        );
        usize::try_from(given.value)
            .ok()
            .filter(|warmup| *warmup >= longest_window && given.value <= WARMUP_MAX)
            .ok_or_else(|| {
                let slow = self.given(
                    &self.file.keys.strategy.ma_crossover.slow_window,
                    "strategy.ma_crossover.slow_window",
                );
                match (&given.place, slow) {
                    // Named is what was written, not the default that it does not go together with.
                    (Place::Default(name), Some(slow)) => slow.refused(&format!(
                        "at most {name} ({}, the default), or a larger {name} in the file",
                        given.value
                    )),
                    _ => given.refused(&format!("a whole number from {longest_window} (the strategy's longest window) to {WARMUP_MAX}")),
                }
            })
    }

    pub(super) fn ma_crossover(&self) -> Result<MaCrossoverParameters, ConfigError> {
        let keys = &self.file.keys.strategy.ma_crossover;
        let fast = self.or_default(&keys.fast_window, "strategy.ma_crossover.fast_window", 20);
        let slow = self.or_default(&keys.slow_window, "strategy.ma_crossover.slow_window", 50);
        // The fast one has at least 2.
        if !(3..=WINDOW_MAX).contains(&slow.value) {
            return Err(slow.refused(&format!("a whole number of bars from 3 to {WINDOW_MAX}")));
        }
        if fast.value >= slow.value && matches!(fast.place, Place::Default(_)) {
            return Err(slow.refused(&format!(
                "a whole number of bars above fast_window ({}, the default), or a smaller fast_window in the file",
                fast.value
            )));
        }
        if fast.value < 2 || fast.value >= slow.value {
            return Err(fast.refused(&format!(
                "a whole number of bars from 2, below slow_window ({})",
                slow.value
            )));
        }
        Ok(MaCrossoverParameters {
            // Both are in 2..=WINDOW_MAX here.
            fast_window: fast.value as usize,
            slow_window: slow.value as usize,
            allow_short: self
                .or_default(
                    &keys.allow_short,
                    "strategy.ma_crossover.allow_short",
                    false,
                )
                .value,
        })
    }

    /// Fee rate and slippage in basis points.
    pub(super) fn execution(&self) -> Result<(Decimal, Decimal), ConfigError> {
        let keys = &self.file.keys.execution;
        let fill_at = self.or_default(&keys.fill_at, "execution.fill_at", "next_open".to_owned());
        if fill_at.value != "next_open" {
            return Err(fill_at.refused("next_open"));
        }
        let fee_rate = self.number(
            &keys.fee_rate,
            "execution.fee_rate",
            "0.0026",
            "a ratio from 0 to below 1",
            |rate| rate >= Decimal::ZERO && rate < Decimal::ONE,
        )?;
        let slippage = self.number(
            &keys.slippage_bps,
            "execution.slippage_bps",
            "5",
            "basis points from 0 to below 10000",
            |bps| bps >= Decimal::ZERO && bps < Decimal::from(10_000),
        )?;
        Ok((fee_rate, slippage))
    }

    pub(super) fn limits(&self) -> Result<RiskLimits, ConfigError> {
        let keys = &self.file.keys.risk;
        // Without any file the limits are those of the example configuration; in a file each limit that is absent is not enforced.
        let unset = self.file.path.is_some();
        let amount = |key: &Option<Spanned<String>>, name: &'static str, default: &str| {
            let given = self.given(key, name).or((!unset).then(|| Placed {
                value: default.to_owned(),
                place: Place::Default(name),
            }));
            let accepted = "an amount of quote currency in quotes, above 0 and at most 1000000000000000, as \"1500\"";
            let checked = |given: Placed<String>| {
                parse_decimal(&given.value)
                    .filter(|limit| *limit > Decimal::ZERO && *limit <= crate::money::MONEY_MAX)
                    .ok_or_else(|| {
                        if has_too_many_decimals(&given.value) {
                            given.refused(&format!(
                                "{accepted}, with at most {MONEY_DECIMALS} decimals"
                            ))
                        } else {
                            given.refused(accepted)
                        }
                    })
            };
            given.map(checked).transpose()
        };
        let positions = self
            .given(&keys.max_open_positions, "risk.max_open_positions")
            .map_or(Ok((!unset).then_some(5)), |given| {
                if (1..=1_000_000).contains(&given.value) {
                    Ok(Some(given.value))
                } else {
                    Err(given.refused("a whole number from 1 to 1000000"))
                }
            })?;
        let percent = match (&keys.max_daily_loss_pct, unset) {
            (None, true) => None,
            (key, _) => Some(self.number(
                key,
                "risk.max_daily_loss_pct",
                "5",
                "percent, above 0 and at most 1000000",
                |percent| percent > Decimal::ZERO && percent <= Decimal::from(1_000_000),
            )?),
        };
        Ok(RiskLimits {
            limits: [
                amount(&keys.max_order_notional, "risk.max_order_notional", "1500")?,
                amount(&keys.max_total_exposure, "risk.max_total_exposure", "5000")?,
                amount(
                    &keys.max_symbol_exposure,
                    "risk.max_symbol_exposure",
                    "2000",
                )?,
                positions.map(Decimal::from),
                amount(&keys.max_daily_loss_abs, "risk.max_daily_loss_abs", "500")?,
                percent,
            ],
            warning_factor: self.ratio(&keys.warning_factor, "risk.warning_factor", "0.8")?,
        })
    }

    pub(super) fn feed(&self, cli: &Cli) -> Result<FeedChoice, ConfigError> {
        let in_file = self.feed_in_file()?;
        Ok(match &cli.feed {
            Some(FeedFlag::Recorded(path)) => FeedChoice::Recorded(path.clone()),
            Some(FeedFlag::Synthetic(seed)) => FeedChoice::Synthetic(*seed),
            None => in_file,
        })
    }

    /// The keys of a live feed. Read and checked with every feed, so that one file serves all of them and a wrong value is found
    /// whatever `source` says at the moment; recorded and synthetic candles do not use them.
    pub(super) fn check_live_feed(&self) -> Result<(), ConfigError> {
        let (session, feed) = (&self.file.keys.session, &self.file.keys.feed);
        self.check_duration(&session.poll_interval, "session.poll_interval")?;
        self.check_duration(&feed.rate_limit, "feed.rate_limit")?;
        if let Some(given) = self.given(&feed.max_retries, "feed.max_retries")
            && !(0..=RETRIES_MAX).contains(&given.value)
        {
            return Err(given.refused(&format!("a whole number from 0 to {RETRIES_MAX}")));
        }
        if let Some(given) = self.given(&feed.base_url, "feed.base_url")
            && !["https://", "http://"]
                .iter()
                .any(|scheme| given.value.starts_with(scheme))
        {
            return Err(given.refused("an address that begins with https:// or http://"));
        }
        Ok(())
    }

    fn check_duration(
        &self,
        key: &Option<Spanned<String>>,
        name: &'static str,
    ) -> Result<(), ConfigError> {
        match self.given(key, name) {
            Some(given) if duration::parse(&given.value).is_none_or(|value| value.is_zero()) => {
                Err(given.refused("a duration above 0 in quotes, as \"250ms\" or \"10s\""))
            }
            _ => Ok(()),
        }
    }

    fn feed_in_file(&self) -> Result<FeedChoice, ConfigError> {
        let keys = &self.file.keys.feed;
        let source = self.or_default(&keys.source, "feed.source", "recorded".to_owned());
        // Both are checked whichever is used: the next start may be of the other feed.
        let file = self.or_default(&keys.file, "feed.file", DEFAULT_CANDLES.to_owned());
        if file.value.is_empty() {
            return Err(file.refused("the path of a candle file"));
        }
        let seed = self.or_default(&keys.seed, "feed.seed", DEFAULT_SEED as i64);
        let seed_number =
            u64::try_from(seed.value).map_err(|_| seed.refused("a whole number from 0"))?;
        match source.value.as_str() {
            "recorded" => Ok(FeedChoice::Recorded(file.value.into())),
            "synthetic" => Ok(FeedChoice::Synthetic(seed_number)),
            _ => Err(source.refused("recorded, synthetic")),
        }
    }

    /// Mode B unless something says otherwise: a session that binds a port is the exception.
    pub(super) fn telemetry(&self) -> Result<FileSettings, ConfigError> {
        let keys = &self.file.keys.telemetry;
        let mode = self.or_default(&keys.mode, "telemetry.mode", "B".to_owned());
        let mode = mode
            .value
            .parse::<Mode>()
            .map_err(|_| mode.refused("A, B"))?;
        let multiproc_dir = self.given(&keys.multiproc_dir, "telemetry.multiproc_dir");
        if let Some(given) = multiproc_dir
            .as_ref()
            .filter(|given| given.value.is_empty())
        {
            return Err(given.refused("the path of a directory"));
        }
        let listen = self
            .given(&keys.listen, "telemetry.listen")
            .map(|given| {
                given
                    .value
                    .parse::<SocketAddr>()
                    .map_err(|_| given.refused("an address and a port, as 127.0.0.1:9111"))
            })
            .transpose()?;
        Ok(FileSettings {
            mode: Some(mode),
            multiproc_dir: multiproc_dir.map(|given| given.value.into()),
            listen,
        })
    }

    pub(super) fn run_log_dir(&self, cli: &Cli) -> Result<Option<Placed<PathBuf>>, ConfigError> {
        let keys = &self.file.keys.run_log;
        let dir = self.or_default(&keys.dir, "run_log.dir", DEFAULT_RUN_LOG_DIR.to_owned());
        if dir.value.is_empty() {
            return Err(dir.refused("the path of a directory"));
        }
        if let Some(dir) = &cli.log_dir {
            return Ok(Some(Placed {
                value: dir.clone(),
                place: Place::Flag("--log-dir"),
            }));
        }
        let enabled = self
            .or_default(&keys.enabled, "run_log.enabled", true)
            .value
            && !cli.no_logging;
        Ok(enabled.then(|| dir.placed(PathBuf::from(&dir.value))))
    }

    /// A number above 0 and at most 1.
    pub(super) fn ratio(
        &self,
        key: &Option<Spanned<f64>>,
        name: &'static str,
        default: &str,
    ) -> Result<Decimal, ConfigError> {
        self.number(
            key,
            name,
            default,
            "a ratio above 0 and at most 1",
            |ratio| ratio > Decimal::ZERO && ratio <= Decimal::ONE,
        )
    }

    /// A number as it was written: a float's shortest spelling is the one in the file.
    fn number(
        &self,
        key: &Option<Spanned<f64>>,
        name: &'static str,
        default: &str,
        accepted: &str,
        accepts: impl Fn(Decimal) -> bool,
    ) -> Result<Decimal, ConfigError> {
        let given = self.given(key, name);
        let text = given
            .as_ref()
            .map_or(default.to_owned(), |given| given.value.to_string());
        let place = given.map_or(Place::Default(name), |given| given.place);
        parse_decimal(&text)
            .filter(|number| accepts(*number))
            .ok_or_else(|| {
                let accepted = if has_too_many_decimals(&text) {
                    format!("{accepted}, with at most {MONEY_DECIMALS} decimals")
                } else {
                    accepted.to_owned()
                };
                Placed { value: text, place }.refused(&accepted)
            })
    }
}

/// Exact, and at most ten decimals: no rate or amount has more, and products stay exact.
fn parse_decimal(text: &str) -> Option<Decimal> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-');
    Decimal::from_str_exact(text)
        .ok()
        .filter(|decimal| plain && decimal.scale() <= MONEY_DECIMALS)
}

/// Whether a refusal has to say how fine a number may be.
fn has_too_many_decimals(text: &str) -> bool {
    text.split_once('.').is_some_and(|(_, decimals)| {
        decimals.len() > MONEY_DECIMALS as usize
            && decimals.bytes().all(|byte| byte.is_ascii_digit())
    })
}
