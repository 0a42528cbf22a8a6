//! The model that needs no server: a softmax regression over standardised features, read from a file.
//!
//! Invariant: it says the same as the scikit-learn pipeline that it was trained as, and whoever gets numbers from it can tell that it was
//! this one ([`EmbeddedModel::identity`]): it never stands in for another model by itself. Must not touch: metrics, network, clock.

use std::path::Path;

use market::Timeframe;

use super::embedded_file::{self, EmbeddedModelError};
use super::{ConfidenceReference, ModelIdentity, Probabilities, ProbabilitiesError};
use crate::features::Features;

/// The model file that is compiled in, and what it is called in messages.
const SHIPPED: &str = include_str!("../../model/softmax-eurusd-1h.json");
const SHIPPED_NAME: &str = "crates/sentinel/model/softmax-eurusd-1h.json";

/// The symbol and the interval of the bars that the compiled-in model was trained on.
pub const SHIPPED_TRAINED_ON: (&str, Timeframe) = ("EURUSD", Timeframe::H1);

/// A softmax regression: `softmax(coefficients . (features - mean) / scale + intercepts)`, classes sell, hold, buy.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddedModel {
    pub(super) identity: ModelIdentity,
    pub(super) mean: [f64; 23],
    pub(super) scale: [f64; 23],
    pub(super) coefficients: [[f64; 23]; 3],
    pub(super) intercepts: [f64; 3],
    pub(super) reference: ConfidenceReference,
    pub(super) file_sha256: [u8; 32],
}

impl EmbeddedModel {
    /// Reads a model file as `crates/sentinel/training/train.py` writes it.
    ///
    /// # Errors
    /// When it cannot be read, is not of that form, or is for other features than [`crate::features::NAMES`].
    pub fn read(path: &Path) -> Result<EmbeddedModel, EmbeddedModelError> {
        embedded_file::read(path)
    }

    /// The model that comes with the program.
    pub fn shipped() -> EmbeddedModel {
        embedded_file::parse(Path::new(SHIPPED_NAME), SHIPPED.as_bytes())
            .expect("the compiled-in file is a model; a unit test reads it")
    }

    /// Probabilities of sell, hold, buy.
    ///
    /// # Errors
    /// When the numbers go beyond their range, which features far from all training data can cause.
    pub fn predict(&self, features: &Features) -> Result<Probabilities, ProbabilitiesError> {
        let mut scaled = *features.values();
        for ((value, mean), scale) in scaled.iter_mut().zip(&self.mean).zip(&self.scale) {
            *value = (*value - mean) / scale;
        }
        let mut logits = self.intercepts;
        for (logit, row) in logits.iter_mut().zip(&self.coefficients) {
            *logit += row.iter().zip(&scaled).map(|(c, x)| c * x).sum::<f64>();
        }
        Probabilities::new(softmax(logits))
    }

    /// What it is called.
    pub fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    /// SHA-256 of the bytes of its file: what tells this model from any other.
    pub fn file_sha256(&self) -> [u8; 32] {
        self.file_sha256
    }

    /// How sure it was on its training data.
    pub fn reference(&self) -> &ConfidenceReference {
        &self.reference
    }
}

/// Without its greatest logit each exponential is at most 1, so nothing overflows; logits that are not finite stay visible as `nan`.
fn softmax(logits: [f64; 3]) -> [f64; 3] {
    let greatest = logits.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let weights = logits.map(|logit| (logit - greatest).exp());
    let sum: f64 = weights.iter().sum();
    weights.map(|weight| weight / sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits_of(model: &EmbeddedModel, intercepts: [f64; 3]) -> EmbeddedModel {
        EmbeddedModel {
            coefficients: [[0.0; 23]; 3],
            intercepts,
            ..model.clone()
        }
    }

    #[test]
    fn the_shipped_model_is_one() {
        let model = EmbeddedModel::shipped();
        let (symbol, interval) = SHIPPED_TRAINED_ON;
        let name = format!("softmax-{}-{interval}", symbol.to_lowercase());
        assert_eq!(model.identity().model, name);
        assert_eq!(model.identity().version, "1");
    }

    #[test]
    fn logits_of_any_size_give_probabilities() {
        let features = Features::new([1.0; 23]).expect("finite");
        let shipped = EmbeddedModel::shipped();
        for (logits, expected) in [
            ([0.0; 3], [1.0 / 3.0; 3]),
            ([1e300, -1e300, 0.0], [1.0, 0.0, 0.0]),
            ([-1e4, -1e4, -1e4 + 2.0_f64.ln()], [0.25, 0.25, 0.5]),
        ] {
            let found = logits_of(&shipped, logits).predict(&features);
            let found = found.expect("probabilities").to_array();
            for (found, expected) in found.into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12, "{logits:?}: {found}");
            }
        }
    }

    #[test]
    fn features_beyond_all_range_are_a_typed_failure_and_no_probabilities() {
        let shipped = EmbeddedModel::shipped();
        let mut values = [1.0; 23];
        values[3] = f64::MAX;
        values[4] = f64::MAX;
        let features = Features::new(values).expect("finite");
        let failure = shipped.predict(&features);
        assert!(
            matches!(failure, Err(ProbabilitiesError::OutOfRange { found, .. }) if found.is_nan()),
            "{failure:?}"
        );
    }
}
