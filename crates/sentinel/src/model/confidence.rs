//! How sure a model is as a rule: the shares of its winning probability over fixed buckets, against which those of today are compared.
//!
//! Invariant: the shares are not negative and add up to 1. Must not touch: metrics, the clock.

/// Upper bounds, inclusive, of the buckets of the winning probability. The least it can be is a third, the greatest 1.
pub const CONFIDENCE_BOUNDS: [f64; 14] = [
    0.34, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0,
];

/// How far the sum of the shares may be from 1.
const SUM_TOLERANCE: f64 = 1e-9;

/// Which share of a model's winning probabilities on its training data fell into each bucket of [`CONFIDENCE_BOUNDS`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConfidenceReference([f64; 14]);

impl ConfidenceReference {
    /// Takes shares, one for each of [`CONFIDENCE_BOUNDS`]; none when they are no shares of one whole.
    pub(super) fn new(shares: [f64; 14]) -> Option<ConfidenceReference> {
        let are_shares = shares.iter().all(|share| (0.0..=1.0).contains(share));
        let sum: f64 = shares.iter().sum();
        (are_shares && (sum - 1.0).abs() <= SUM_TOLERANCE).then_some(ConfidenceReference(shares))
    }

    /// The shares, one for each of [`CONFIDENCE_BOUNDS`]; each 0 to 1, their sum 1.
    pub fn shares(&self) -> &[f64; 14] {
        &self.0
    }
}
