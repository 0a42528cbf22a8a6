//! The 23 features of the wire contract with the model, version 1, over the 200 newest closed bars.
//!
//! Invariant: the same bars give the same bits, and nothing that is not finite leaves. Every sum is taken afresh over its window in one
//! fixed order, oldest first, so nothing drifts and a stream of bars gives what the bars at once give. Must not touch: network, clock,
//! metrics. `docs/model-contract.md` is this list for authors of models.

mod error;
mod oscillator;
mod returns;
mod shape;
mod stream;
#[cfg(test)]
mod tests;
mod time;
mod trend;
mod volatility;
mod volume;

use market::Bar;

pub use error::FeatureError;
pub use stream::Stream;

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

/// The bars of one set of features, oldest first, checked. Newest is `[BAR_COUNT - 1]`.
type Window = [Bar; BAR_COUNT];

/// The position of the newest bar in a [`Window`].
const NEWEST: usize = BAR_COUNT - 1;

impl Features {
    /// Takes values in the order of [`NAMES`].
    ///
    /// # Errors
    /// [`FeatureError::NotFinite`] with the name of the first that is not finite.
    pub fn new(values: [f64; 23]) -> Result<Features, FeatureError> {
        match NAMES.iter().zip(&values).find(|(_, v)| !v.is_finite()) {
            Some((&name, _)) => Err(FeatureError::NotFinite { name }),
            None => Ok(Features(values)),
        }
    }

    /// The values, in the order of [`NAMES`].
    pub fn values(&self) -> &[f64; 23] {
        &self.0
    }
}

/// Features of the [`BAR_COUNT`] newest of `bars`, which are closed and oldest first. Older ones are neither used nor looked at.
///
/// # Errors
/// Too few bars; a bar that is none or not in order; a result that is not finite, which prices near the ends of the range can cause.
pub fn build(bars: &[Bar]) -> Result<Features, FeatureError> {
    let found = bars.len();
    let window: &Window = bars.last_chunk().ok_or(FeatureError::TooFew { found })?;
    for bar in window {
        error::check(*bar)?;
    }
    for (bar, next) in window.iter().zip(&window[1..]) {
        error::check_order(bar, next)?;
    }
    compute(window)
}

/// Features of bars that were checked.
fn compute(window: &Window) -> Result<Features, FeatureError> {
    let newest = &window[NEWEST];
    let macd = trend::macd(window);
    Features::new([
        returns::over(window, 1),
        returns::over(window, 5),
        returns::over(window, 10),
        trend::sma(window, 10),
        trend::sma(window, 20),
        trend::ema(window, 10),
        trend::ema(window, 20),
        volatility::of_returns(window, 10),
        volatility::of_returns(window, 20),
        oscillator::rsi_14(window),
        macd.line,
        macd.signal,
        macd.line - macd.signal,
        shape::high_low_ratio(newest),
        shape::close_high_ratio(newest),
        shape::close_low_ratio(newest),
        volume::sma_20(window),
        volume::ratio(window),
        time::hour(newest),
        time::weekday(newest),
        returns::momentum_5(window),
        returns::acceleration_5(window),
        volatility::atr_14(window),
    ])
}
