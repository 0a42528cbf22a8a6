//! Everything that is set and that a decision depends on.
//!
//! Invariant: its hash is that of its one rendering, the JSON of the `start` line, so that whoever reads the line can compute it again.
//! Paths, ports, budgets and schedules are not in it: they decide when something is asked, not what is answered. Must not touch: files.

use std::collections::BTreeMap;
use std::time::Duration;

use market::{Calendar, Timeframe};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use crate::gateway::guards::Settings;

/// What runs: orders may leave, or none does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Orders are sent.
    Live,
    /// Nothing is sent.
    DryRun,
}

/// Who predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The model server: its probabilities are recorded and cannot be computed again.
    Hub,
    /// The model in this program.
    Embedded,
}

impl Origin {
    /// The spelling on disk and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Origin::Hub => "hub",
            Origin::Embedded => "embedded",
        }
    }
}

/// Everything that is set and that a decision depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// What is watched and traded.
    pub symbol: String,
    /// Length of a bar.
    #[serde(with = "interval")]
    pub interval: Timeframe,
    /// When the market is open.
    #[serde(with = "calendar")]
    pub calendar: Calendar,
    /// Age from its close on at which the newest bar is no base for a signal any more.
    pub bar_stale_after: Duration,
    /// Who predicts.
    pub model: Origin,
    /// Lots of an order.
    pub volume: Decimal,
    /// Units of one lot, by symbol.
    pub contract_sizes: BTreeMap<String, Decimal>,
    /// How far from the price of the decision an order may be executed, in hundredths of a percent; 0 is any price.
    pub worst_price_bps: u32,
    /// An order's life.
    pub valid_for: Duration,
    /// The settings of the guards.
    pub guards: Settings,
}

impl Configuration {
    /// SHA-256 of its JSON, as it is in the `start` line.
    pub fn sha256(&self) -> Digest {
        let json = serde_json::to_vec(self)
            .expect("plain data with text for keys is JSON; numbers that are none become null");
        Digest::of(&json)
    }
}

mod interval {
    use market::Timeframe;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &Timeframe, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(value.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timeframe, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

mod calendar {
    use market::Calendar;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &Calendar, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(match value {
            Calendar::Fx => "fx",
            Calendar::Always => "always",
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Calendar, D::Error> {
        match String::deserialize(from)?.as_str() {
            "fx" => Ok(Calendar::Fx),
            "always" => Ok(Calendar::Always),
            _ => Err(D::Error::custom("calendar: fx and always are accepted")),
        }
    }
}
