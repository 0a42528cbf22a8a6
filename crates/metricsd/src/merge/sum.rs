//! Sums over shards: counters, summaries, histogram buckets, `sum` gauges.
//!
//! Invariant: addends come in canonical order (oldest shard first, file order inside a shard), so equal inputs give equal
//! bits, and a total of addends that only grow never falls: rounding is monotone when the order is fixed. Whoever wants sums
//! that do not depend on the order at all changes this file and nothing else. Must not touch: I/O, the clock, logging.

/// A row of running sums, all zero after [`Sums::reset`].
#[derive(Debug, Clone, Default)]
pub(super) struct Sums {
    totals: Vec<f64>,
}

impl Sums {
    /// Adds one more sum and says at which index.
    pub(super) fn push(&mut self) -> usize {
        self.totals.push(0.0);
        self.totals.len() - 1
    }

    /// Every sum is 0.0 again (Python's start as well, so that -0.0 alone becomes 0.0).
    pub(super) fn reset(&mut self) {
        self.totals.fill(0.0);
    }

    /// Adds `value` to the sum at `index`.
    #[inline]
    pub(super) fn add(&mut self, index: usize, value: f64) {
        self.totals[index] += value;
    }

    /// The sum at `index`.
    pub(super) fn total(&self, index: usize) -> f64 {
        self.totals[index]
    }
}
