//! What the soak's model says of a bar: the seed decides.
//!
//! Invariant: the same bar of the same seed has the same verdict, however often and by whomever it is asked for. Must not touch: time, sockets.

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// What is above it is a signal; the sentinel runs with it.
pub const THRESHOLD: f64 = 0.6;

/// What the model says of a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Surely buy.
    Buy,
    /// Surely sell.
    Sell,
    /// Do nothing.
    Hold,
    /// Buy, but not surely enough.
    Unsure,
}

impl Verdict {
    /// Of the bar that opens then, in Unix seconds.
    pub fn of(seed: u64, bar_open_time: i64) -> Verdict {
        let mut random = Random::new(seed ^ bar_open_time.cast_unsigned().rotate_left(32));
        match random.below(100) {
            0..40 => Verdict::Buy,
            40..80 => Verdict::Sell,
            80..93 => Verdict::Hold,
            _ => Verdict::Unsure,
        }
    }

    /// Sell, hold, buy.
    pub fn probabilities(self) -> [f64; 3] {
        match self {
            Verdict::Buy => [0.05, 0.1, 0.85],
            Verdict::Sell => [0.8, 0.125, 0.075],
            Verdict::Hold => [0.1, 0.8, 0.1],
            Verdict::Unsure => [0.2, 0.25, 0.55],
        }
    }

    /// The side of the order that it leads to; none if it leads to none.
    pub fn side(self) -> Option<&'static str> {
        match self {
            Verdict::Buy => Some("BUY"),
            Verdict::Sell => Some("SELL"),
            Verdict::Hold | Verdict::Unsure => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_verdicts_occur_and_only_sure_ones_are_above_the_threshold() {
        let mut seen = std::collections::BTreeSet::new();
        for bar in 0..200 {
            let verdict = Verdict::of(1, bar * 60);
            assert_eq!(verdict, Verdict::of(1, bar * 60));
            let probabilities = verdict.probabilities();
            assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            let [sell, hold, buy] = probabilities;
            let is_signal = sell.max(buy) > hold.max(THRESHOLD);
            assert_eq!(is_signal, verdict.side().is_some());
            seen.insert(verdict);
        }
        assert_eq!(seen.len(), 4);
    }
}
