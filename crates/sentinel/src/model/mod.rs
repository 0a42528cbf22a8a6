//! Models: what turns features into the probabilities of SELL, HOLD and BUY.
//!
//! Invariant: a value of [`Probabilities`] needs no second look. Must not touch: metrics; the loop records what happened.

mod confidence;
mod embedded;
mod embedded_file;
pub mod hub;

pub use confidence::{CONFIDENCE_BOUNDS, ConfidenceReference};
pub use embedded::{EmbeddedModel, SHIPPED_TRAINED_ON};
pub use embedded_file::EmbeddedModelError;

/// Probabilities of the three classes, each finite and in 0..=1, their sum 1 within [`SUM_TOLERANCE`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probabilities {
    sell: f64,
    hold: f64,
    buy: f64,
}

/// How far the sum of the three may be from 1.
pub const SUM_TOLERANCE: f64 = 1e-5;

/// Three numbers that are no probabilities.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ProbabilitiesError {
    /// One of them is not finite or not in 0..=1.
    #[error("probability {index} (of sell, hold, buy) is {found}; accepted: 0 to 1")]
    OutOfRange {
        /// Which one, from 0.
        index: usize,
        /// What it is.
        found: f64,
    },
    /// They do not add up to 1.
    #[error("probabilities add up to {found}; accepted: 1 within {SUM_TOLERANCE}")]
    Sum {
        /// Their sum.
        found: f64,
    },
}

impl Probabilities {
    /// Checks and builds, from the order of the wire: sell, hold, buy.
    ///
    /// # Errors
    /// See [`ProbabilitiesError`].
    pub fn new([sell, hold, buy]: [f64; 3]) -> Result<Probabilities, ProbabilitiesError> {
        for (index, found) in [sell, hold, buy].into_iter().enumerate() {
            if !(0.0..=1.0).contains(&found) {
                return Err(ProbabilitiesError::OutOfRange { index, found });
            }
        }
        let found = sell + hold + buy;
        if (found - 1.0).abs() > SUM_TOLERANCE {
            return Err(ProbabilitiesError::Sum { found });
        }
        Ok(Probabilities { sell, hold, buy })
    }

    /// In the order of the wire: sell, hold, buy.
    pub fn to_array(self) -> [f64; 3] {
        [self.sell, self.hold, self.buy]
    }
}

/// What is called the model in logs and in `model_info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelIdentity {
    /// Its name.
    pub model: String,
    /// Its version.
    pub version: String,
}
