//! The section of the gateway: where it is, and how orders to it are made.
//!
//! Invariant: an order made by these settings is one of the protocol. Must not touch: the secret and what arms, see `live`.

use std::collections::BTreeMap;
use std::time::Duration;

use rust_decimal::Decimal;

use program::config::{self, ConfigError, Placed, port, whole};
use program::duration;

use super::Layers;
use super::keys::Gateway;
use super::parse::{HOST, parse_amount, parse_host, parse_symbol};
use crate::cli::Cli;
use crate::gateway::protocol::MAX_LIFETIME_MS;

/// Where the gateway is and how orders are made.
#[derive(Debug)]
pub struct GatewaySettings {
    /// Name or address.
    pub host: Placed<String>,
    /// Its port.
    pub port: Placed<u16>,
    /// From sending an order to its reply; of other messages at most that.
    pub timeout: Placed<Duration>,
    /// Lots of an order.
    pub volume: Placed<Decimal>,
    /// By how much an order may be executed worse than at the price of the decision, in basis points; 0: at any price.
    pub worst_price_bps: Placed<u32>,
    /// How long an order may be executed, from its check.
    pub valid_for: Placed<Duration>,
    /// From a heartbeat to the next.
    pub heartbeat_every: Placed<Duration>,
    /// By it the terminal knows whose order it is.
    pub magic: Placed<u32>,
    /// Greatest age of account and positions when an order is checked.
    pub stale_after: Placed<Duration>,
    /// Units of one lot, by symbol; nothing is traded in a symbol that is not in it.
    pub contract_sizes: BTreeMap<String, Placed<Decimal>>,
}

const BUDGET: &str = "a duration from 1ms to 60s in quotes, as \"500ms\" or \"5s\"";
const SLOW: &str = "a duration from 100ms to 60s in quotes, as \"500ms\" or \"5s\"";
const AMOUNT: &str =
    "an amount above 0 and at most 1000000000000 in quotes, with at most 8 decimals, as \"0.01\"";

impl GatewaySettings {
    pub(super) fn resolve(
        cli: &Cli,
        layers: &Layers<'_>,
        keys: &Gateway,
    ) -> Result<GatewaySettings, ConfigError> {
        let between = |min_ms: u64| {
            move |text: &str| {
                let range = Duration::from_millis(min_ms)..=LONGEST;
                duration::parse(text).filter(|time| range.contains(time))
            }
        };
        Ok(GatewaySettings {
            host: layers
                .setting("gateway.host", "127.0.0.1")
                .flag("--gtw-host", cli.gtw_host.as_deref())
                .variable("GTW_HOST")
                .key(&keys.host)
                .resolve(HOST, parse_host)?,
            port: layers
                .setting("gateway.port", "5555")
                .flag("--gtw-port", cli.gtw_port.as_deref())
                .variable("GTW_PORT")
                .key(&keys.port)
                .resolve(config::PORT, port)?,
            timeout: layers
                .setting("gateway.timeout", "5s")
                .key(&keys.timeout)
                .resolve(BUDGET, between(1))?,
            volume: layers
                .setting("gateway.volume", "0.01")
                .key(&keys.volume)
                .resolve(AMOUNT, parse_amount)?,
            worst_price_bps: layers
                .setting("gateway.worst_price_bps", "20")
                .key(&keys.worst_price_bps)
                .resolve("a whole number from 0 to 1000", whole(0, 1_000))?,
            valid_for: layers
                .setting("gateway.valid_for", "5s")
                .key(&keys.valid_for)
                .resolve(SLOW, between(100))?,
            heartbeat_every: layers
                .setting("gateway.heartbeat_every", "5s")
                .key(&keys.heartbeat_every)
                .resolve(SLOW, between(100))?,
            magic: layers
                .setting("gateway.magic", "20260")
                .key(&keys.magic)
                .resolve("a whole number from 0 to 2147483647", whole(0, MAGIC_MAX))?,
            stale_after: layers
                .setting("gateway.stale_after", "10s")
                .key(&keys.stale_after)
                .resolve(SLOW, between(100))?,
            contract_sizes: contract_sizes(layers, keys)?,
        })
    }

    /// Units of one lot of that symbol.
    pub fn contract_size(&self, symbol: &str) -> Option<Decimal> {
        self.contract_sizes.get(symbol).map(|size| size.value)
    }
}

/// The protocol's longest life of a message, and the longest budget.
const LONGEST: Duration = Duration::from_millis(MAX_LIFETIME_MS.unsigned_abs());
/// The greatest number that a terminal takes.
const MAGIC_MAX: u32 = i32::MAX.unsigned_abs();

fn contract_sizes(
    layers: &Layers<'_>,
    keys: &Gateway,
) -> Result<BTreeMap<String, Placed<Decimal>>, ConfigError> {
    let size = |(symbol, size): (&String, &toml::Spanned<String>)| {
        let place = layers.file.place(size.span(), "gateway.contract_sizes");
        let found = format!("{symbol} = {}", size.get_ref());
        match (parse_symbol(symbol), parse_amount(size.get_ref())) {
            (None, _) => {
                let accepted = "symbols of 3 to 12 capital letters and digits, as EURUSD";
                Err(config::refused(place, found, accepted))
            }
            (_, None) => Err(config::refused(place, found, AMOUNT)),
            (Some(symbol), Some(value)) => Ok((symbol, Placed { value, place })),
        }
    };
    keys.contract_sizes.iter().map(size).collect()
}
