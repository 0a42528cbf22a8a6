//! The histogram handle.
//! Invariant: an observation lands in exactly one bucket, and the bucket is stored before the sum. Cells are not cumulative.
//! It must not touch anything but its own cells.

use std::sync::Arc;
use std::time::Duration;

use metricsd_shard::Series;

use crate::buckets::Buckets;
use crate::counter::AMOUNT_MAX;
use crate::defects::{Complaints, Defect};

/// A distribution over fixed buckets. Cheap to clone; every clone records into the same series.
///
/// Cost of [`observe`](Self::observe): a look into a table, a comparison, and two additions; no lock, allocation or system call, and no
/// branch that depends on the value.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Cell 0 is the sum, cell `n + 1` the bucket of bound `n`.
    series: Series,
    buckets: Arc<Buckets>,
    complaints: Arc<Complaints>,
}

impl Histogram {
    pub(crate) fn new(
        series: Series,
        buckets: Arc<Buckets>,
        complaints: Arc<Complaints>,
    ) -> Histogram {
        Histogram {
            series,
            buckets,
            complaints,
        }
    }

    /// Record `value`, in the unit of the metric's name. NaN, infinite values and those beyond
    /// [`AMOUNT_MAX`] are refused and counted as a defect: the sum would never be a number again.
    #[inline]
    pub fn observe(&self, value: f64) {
        if !is_addable(value) {
            self.complaints.refuse(Defect::NotFinite);
            return;
        }
        // The number of a bound is far below where this could overflow.
        let cell = self.buckets.of(value).wrapping_add(1);
        // Bucket before sum: whoever reads in between sees an observation whose value is missing, never a value that was not
        // observed.
        self.series.add_two((cell, 1.0), (0, value));
    }

    /// Record `value` as often as `count` says, by the rules of [`observe`](Self::observe): at the cost of one observation, and refused
    /// as a whole where all of them together are too much.
    pub fn observe_many(&self, value: f64, count: u64) {
        let sum = value * count as f64;
        if sum.abs() <= AMOUNT_MAX && value.abs() <= AMOUNT_MAX {
            if count > 0 {
                self.series.add(1 + self.buckets.of(value), count as f64);
                self.series.add(0, sum);
            }
        } else {
            self.complaints.refuse(Defect::NotFinite);
        }
    }

    /// Record a duration in seconds.
    #[inline]
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// How many values this process has recorded.
    pub fn count(&self) -> f64 {
        (1..=self.buckets.bounds().len())
            .map(|bucket| self.series.get(bucket))
            .sum()
    }

    /// The sum of what this process has recorded.
    pub fn sum(&self) -> f64 {
        self.series.get(0)
    }
}

/// Whether `value.abs() <= AMOUNT_MAX`, which NaN is not. Bits without their sign are ordered as the numbers are, and the bits of the value are
/// needed anyway, to find its bucket.
#[inline]
fn is_addable(value: f64) -> bool {
    value.to_bits() << 1 <= AMOUNT_MAX.to_bits() << 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judge(value: f64) {
        let expected = value.abs() <= AMOUNT_MAX;
        assert_eq!(is_addable(value), expected, "{value:e}");
    }

    proptest! {
        #[test]
        fn what_can_be_added_is_what_is_not_beyond_the_greatest_amount(bits in any::<u64>()) {
            judge(f64::from_bits(bits));
            // The same sign and mantissa where it matters.
            let near = AMOUNT_MAX.to_bits().wrapping_add(bits >> 60).wrapping_sub(8);
            judge(f64::from_bits(near | bits & 1 << 63));
        }
    }

    #[test]
    fn no_peculiar_double_is_added_that_must_not_be() {
        for value in [
            0.0,
            f64::from_bits(1),
            AMOUNT_MAX,
            AMOUNT_MAX.next_up(),
            AMOUNT_MAX.next_down(),
            f64::MAX,
            f64::INFINITY,
            f64::NAN,
            f64::from_bits(0x7ff0_0000_0000_0001),
        ] {
            judge(value);
            judge(-value);
        }
    }
}
