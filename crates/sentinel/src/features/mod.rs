//! The 23 features of the wire contract with the model, version 1, over the 200 newest closed bars.
//!
//! Invariant: the same bars give the same bits, and nothing that is not finite leaves. Must not touch: network, clock, metrics.

/// The version of this list of features: names, order, windows and conventions.
pub const SCHEMA_VERSION: u32 = 1;

/// How many closed bars go into one set of features.
pub const BAR_COUNT: usize = 200;

/// Names, in the order of the wire.
pub const NAMES: [&str; 23] = [
    "return_1",
    "return_5",
    "return_10",
    "sma_10",
    "sma_20",
    "ema_10",
    "ema_20",
    "volatility_10",
    "volatility_20",
    "rsi_14",
    "macd",
    "macd_signal",
    "macd_histogram",
    "high_low_ratio",
    "close_high_ratio",
    "close_low_ratio",
    "volume_sma_20",
    "volume_ratio",
    "hour",
    "weekday",
    "momentum_5",
    "acceleration_5",
    "atr_14",
];

/// One value for each of [`NAMES`], all finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Features([f64; 23]);

impl Features {
    /// The values, in the order of [`NAMES`].
    pub fn values(&self) -> &[f64; 23] {
        &self.0
    }
}
