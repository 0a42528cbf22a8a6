//! The six risk limits of the account.
//!
//! Invariant: a limit that is not given is not enforced, and one that is given is one that the guards take. Must not touch: the guards' rules.

use rust_decimal::Decimal;

use program::config::{ConfigError, Placed};

use super::Layers;
use super::keys::Limits;
use super::parse::parse_amount;
use crate::gateway::guards::limits::{LimitId, RiskLimits};

/// The limits by [`LimitId`] index, each with where it was given.
#[derive(Debug, Default)]
pub struct PlacedLimits([Option<Placed<Decimal>>; 6]);

impl PlacedLimits {
    pub(super) fn resolve(layers: &Layers<'_>, keys: &Limits) -> Result<PlacedLimits, ConfigError> {
        const MONEY: &str = "an amount of the account's currency in quotes, above 0 and at most 1000000000000, with at most 8 decimals, as \"1500\"";
        let money = |key: &'static str, given: &Option<toml::Spanned<String>>| {
            layers
                .setting(key, "")
                .key(given)
                .given(MONEY, parse_amount)
        };
        Ok(PlacedLimits([
            money("limits.max_order_notional", &keys.max_order_notional)?,
            money("limits.max_total_exposure", &keys.max_total_exposure)?,
            money("limits.max_symbol_exposure", &keys.max_symbol_exposure)?,
            layers
                .setting("limits.max_open_positions", "")
                .key(&keys.max_open_positions)
                .given("a whole number from 1 to 1000000", |text| {
                    text.parse()
                        .ok()
                        .filter(|count| (1..=1_000_000_u32).contains(count))
                        .map(Decimal::from)
                })?,
            money("limits.max_daily_loss_abs", &keys.max_daily_loss_abs)?,
            layers
                .setting("limits.max_daily_loss_pct", "")
                .key(&keys.max_daily_loss_pct)
                .given(
                    "percent, above 0 and at most 1000000, with at most 8 decimals, as 5.0",
                    |text| {
                        parse_amount(text).filter(|percent| *percent <= Decimal::from(1_000_000))
                    },
                )?,
        ]))
    }

    /// As the guards take them.
    pub fn values(&self) -> RiskLimits {
        self.0
            .each_ref()
            .map(|limit| limit.as_ref().map(|limit| limit.value))
    }

    /// What the operator of a live run should know of them.
    pub(super) fn warning(&self) -> Option<String> {
        let is_set = self.0.iter().any(Option::is_some);
        (!is_set).then(|| {
            "none of [limits] is set: neither what is held nor what a day loses stops an order"
                .to_owned()
        })
    }

    /// Names, values and places of those that are set, for the log.
    pub(super) fn shown(&self) -> String {
        let shown = |(id, limit): (LimitId, &Option<Placed<Decimal>>)| {
            let value = limit.as_ref().map_or("not set".to_owned(), |limit| {
                format!("{} ({})", limit.value, limit.place.in_short())
            });
            format!("{} = {value}", id.as_str())
        };
        let all: Vec<String> = LimitId::ALL.into_iter().zip(&self.0).map(shown).collect();
        all.join(", ")
    }
}
