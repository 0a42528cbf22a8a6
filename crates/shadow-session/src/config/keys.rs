//! The keys of the configuration file, each with its place in the text.
//!
//! Invariant: a key that is not here is an error. Must not touch: what values mean.

use program::config;
use serde::Deserialize;
use toml::Spanned;

type Key<T> = Option<Spanned<T>>;

/// All keys; each absent or present with its place.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Keys {
    pub(super) environment: Environment,
    pub(super) session: Session,
    pub(super) feed: Feed,
    pub(super) strategy: Strategies,
    pub(super) execution: Execution,
    pub(super) risk: Risk,
    pub(super) telemetry: Telemetry,
    pub(super) run_log: RunLog,
}

impl config::Keys for Keys {
    const DEFAULT_PATH: &'static str = "config/shadow-session.toml";

    const TEXTS: (&'static [&'static str], &'static str) = (
        &[
            "start_balance",
            "max_order_notional",
            "max_total_exposure",
            "max_symbol_exposure",
            "max_daily_loss_abs",
        ],
        "an amount as text, such as \"10000\"",
    );
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Environment {
    pub(super) mode: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Session {
    pub(super) symbol: Key<String>,
    pub(super) timeframe: Key<String>,
    pub(super) start_balance: Key<String>,
    pub(super) position_fraction: Key<f64>,
    pub(super) poll_interval: Key<String>,
    pub(super) warmup_candles: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Feed {
    pub(super) source: Key<String>,
    pub(super) file: Key<String>,
    pub(super) seed: Key<i64>,
    pub(super) base_url: Key<String>,
    pub(super) max_retries: Key<i64>,
    pub(super) rate_limit: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Strategies {
    pub(super) ma_crossover: MaCrossover,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MaCrossover {
    pub(super) fast_window: Key<i64>,
    pub(super) slow_window: Key<i64>,
    pub(super) allow_short: Key<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Execution {
    pub(super) fee_rate: Key<f64>,
    pub(super) slippage_bps: Key<f64>,
    pub(super) fill_at: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Risk {
    pub(super) max_order_notional: Key<String>,
    pub(super) max_total_exposure: Key<String>,
    pub(super) max_symbol_exposure: Key<String>,
    pub(super) max_open_positions: Key<i64>,
    pub(super) max_daily_loss_abs: Key<String>,
    pub(super) max_daily_loss_pct: Key<f64>,
    pub(super) warning_factor: Key<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Telemetry {
    pub(super) mode: Key<String>,
    pub(super) multiproc_dir: Key<String>,
    pub(super) listen: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RunLog {
    pub(super) enabled: Key<bool>,
    pub(super) dir: Key<String>,
}
