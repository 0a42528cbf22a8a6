//! The keys of the configuration file, each with its place in the text.
//!
//! Invariant: a key that is not here is an error. Must not touch: what values mean.

use std::collections::BTreeMap;

use program::config;
use serde::Deserialize;
use toml::Spanned;

pub(super) type Key<T> = Option<Spanned<T>>;

/// All keys; each absent or present with its place.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Keys {
    pub(super) market: Market,
    pub(super) hub: Hub,
    pub(super) decide: Decide,
    pub(super) gateway: Gateway,
    pub(super) arm: Arm,
    pub(super) limits: Limits,
    pub(super) state: State,
    pub(super) schedule: Schedule,
    pub(super) telemetry: Telemetry,
}

impl config::Keys for Keys {
    const DEFAULT_PATH: &'static str = "config/sentinel.toml";

    const TEXTS: (&'static [&'static str], &'static str) = (
        &[
            "stale_after",
            "timeout",
            "cooldown",
            "every",
            "valid_for",
            "heartbeat_every",
        ],
        "a duration in quotes, such as \"10s\"",
    );
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Market {
    pub(super) base_url: Key<String>,
    pub(super) token_file: Key<String>,
    pub(super) symbol: Key<String>,
    pub(super) interval: Key<String>,
    pub(super) calendar: Key<String>,
    pub(super) lookback_bars: Key<i64>,
    pub(super) stale_after: Key<String>,
    pub(super) timeout: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Hub {
    pub(super) host: Key<String>,
    pub(super) port: Key<i64>,
    pub(super) timeout: Key<String>,
    pub(super) model: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Decide {
    pub(super) threshold: Key<f64>,
    pub(super) cooldown: Key<String>,
    pub(super) max_orders_per_minute: Key<i64>,
    pub(super) max_orders_per_day: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Gateway {
    pub(super) host: Key<String>,
    pub(super) port: Key<i64>,
    pub(super) timeout: Key<String>,
    pub(super) secret_file: Key<String>,
    pub(super) volume: Key<String>,
    pub(super) worst_price_bps: Key<i64>,
    pub(super) valid_for: Key<String>,
    pub(super) heartbeat_every: Key<String>,
    pub(super) magic: Key<i64>,
    pub(super) stale_after: Key<String>,
    pub(super) contract_sizes: BTreeMap<String, Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Arm {
    pub(super) account: Key<String>,
    pub(super) confirm: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) max_order_notional: Key<String>,
    pub(super) max_total_exposure: Key<String>,
    pub(super) max_symbol_exposure: Key<String>,
    pub(super) max_open_positions: Key<i64>,
    pub(super) max_daily_loss_abs: Key<String>,
    pub(super) max_daily_loss_pct: Key<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct State {
    pub(super) dir: Key<String>,
    pub(super) kill_file: Key<String>,
    pub(super) reset_secret_file: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Schedule {
    pub(super) every: Key<String>,
    pub(super) at_second: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Telemetry {
    pub(super) mode: Key<String>,
    pub(super) multiproc_dir: Key<String>,
    pub(super) listen: Key<String>,
}
