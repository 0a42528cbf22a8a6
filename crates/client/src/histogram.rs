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
        // Written so that NaN is refused too.
        let is_addable = value.abs() <= AMOUNT_MAX;
        if !is_addable {
            self.complaints.refuse(Defect::NotFinite);
            return;
        }
        let bucket = self.buckets.of(value);
        // Bucket before sum: whoever reads in between sees an observation whose value is missing, never a value that was not
        // observed.
        self.series.add_two((1 + bucket, 1.0), (0, value));
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
