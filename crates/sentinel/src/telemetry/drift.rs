//! How far recent predictions are from what the model gave on its training data: the population stability index of the confidence.
//!
//! Invariant: no number before there are enough predictions to mean something. Must not touch: metrics, clock.

use std::collections::VecDeque;

/// Predictions that are compared.
const WINDOW: usize = 500;

/// Below that the index is mostly noise: with ten buckets its expectation without any drift is about 9 by the number of predictions.
const PREDICTIONS_MIN: usize = 100;

/// A share of nothing would make the index infinite.
const SHARE_MIN: f64 = 1e-4;

/// Recent confidences against the shares of a reference.
#[derive(Debug)]
pub struct Drift {
    /// Upper bounds of the buckets but the last, ascending.
    bounds: Vec<f64>,
    /// Share of the reference per bucket: one more than bounds.
    shares: Vec<f64>,
    recent: VecDeque<usize>,
}

impl Drift {
    /// Compare with these shares; nothing where they do not fit the bounds.
    pub fn new(bounds: &[f64], shares: &[f64]) -> Option<Drift> {
        (shares.len() == bounds.len() + 1).then(|| Drift {
            bounds: bounds.to_vec(),
            shares: shares.to_vec(),
            recent: VecDeque::with_capacity(WINDOW),
        })
    }

    /// Take one more confidence; the index over the newest ones, once there are enough.
    pub fn push(&mut self, confidence: f64) -> Option<f64> {
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        let bucket = self.bounds.partition_point(|bound| *bound < confidence);
        self.recent.push_back(bucket);
        (self.recent.len() >= PREDICTIONS_MIN).then(|| self.index())
    }

    fn index(&self) -> f64 {
        let count = self.recent.len() as f64;
        let of_bucket = |(bucket, share): (usize, &f64)| {
            let found = self.recent.iter().filter(|known| **known == bucket).count() as f64;
            let (is, was) = ((found / count).max(SHARE_MIN), share.max(SHARE_MIN));
            (is - was) * (is / was).ln()
        };
        self.shares.iter().enumerate().map(of_bucket).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(confidences: impl Iterator<Item = f64>) -> Vec<Option<f64>> {
        let mut drift = Drift::new(&[0.5, 0.7], &[0.5, 0.25, 0.25]).unwrap();
        confidences
            .map(|confidence| drift.push(confidence))
            .collect()
    }

    #[test]
    fn the_index_is_zero_for_the_reference_itself_and_grows_with_the_distance() {
        let same = pushed([0.4, 0.6, 0.4, 0.8].into_iter().cycle().take(400));
        assert_eq!(same[..PREDICTIONS_MIN - 1], [None; PREDICTIONS_MIN - 1]);
        assert!(same[399].unwrap().abs() < 1e-12);
        let far = pushed(std::iter::repeat_n(0.9, 200))[199].unwrap();
        // By hand: shares 0, 0, 1 against 0.5, 0.25, 0.25, with 1e-4 for nothing.
        let expected = (1e-4 - 0.5) * (1e-4_f64 / 0.5).ln()
            + (1e-4 - 0.25) * (1e-4_f64 / 0.25).ln()
            + 0.75 * 4.0_f64.ln();
        assert!((far - expected).abs() < 1e-12, "{far} {expected}");
    }

    #[test]
    fn only_the_newest_predictions_count() {
        let old_then_new = pushed(
            std::iter::repeat_n(0.9, 600)
                .chain([0.4, 0.6, 0.4, 0.8].into_iter().cycle().take(WINDOW)),
        );
        assert!(old_then_new.last().unwrap().unwrap().abs() < 1e-12);
    }
}
