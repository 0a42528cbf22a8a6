//! The counter handle.
//! Invariant: a counter never goes down, and no amount that could spoil it for ever (NaN, infinity, or so large
//! that a sum becomes infinite) reaches its cell.
//! It must not touch anything but its own cell.

use std::sync::Arc;

use metricsd_shard::Series;

use crate::defects::{Complaints, Defect};

/// Largest amount, either way, that is added to anything: 2 to the power of 960, about 9.7e288.
///
/// No sum of such amounts becomes infinite, however many they are, and so no addition has to look at its sum: from 2 to the
/// power of 1014 on, neighbouring numbers are so far apart that adding this much changes nothing.
pub const AMOUNT_MAX: f64 = f64::from_bits((1023 + 960) << 52);

/// A value that only grows. Cheap to clone; every clone adds to the same series.
///
/// Cost of [`inc`](Self::inc) and [`add`](Self::add): a load, an addition and a store in a cell of the calling thread's own, whatever
/// other threads do; no locked instruction, lock, allocation or system call. A thread's first call takes a lock and may write an entry into the
/// shard. Of more than sixteen threads at a time the others share a cell, and pay for that with an atomic exchange.
#[derive(Clone, Debug)]
pub struct Counter {
    series: Series,
    complaints: Arc<Complaints>,
}

impl Counter {
    pub(crate) fn new(series: Series, complaints: Arc<Complaints>) -> Counter {
        Counter { series, complaints }
    }

    /// Add 1.
    #[inline]
    pub fn inc(&self) {
        self.series.add(0, 1.0);
    }

    /// Add `amount`, in the unit of the metric's name. An amount that is negative, NaN, infinite or above [`AMOUNT_MAX`] changes
    /// nothing and is counted as a defect: a counter that falls reads as a restart, and one that is infinite hides everything
    /// after it.
    #[inline]
    pub fn add(&self, amount: f64) {
        if is_addable(amount) {
            self.series.add(0, amount);
        } else if amount < 0.0 && amount.is_finite() {
            self.complaints.refuse(Defect::Negative);
        } else {
            self.complaints.refuse(Defect::NotFinite);
        }
    }

    /// What this process has counted so far.
    pub fn get(&self) -> f64 {
        self.series.get(0)
    }
}

/// Whether a counter takes this amount.
#[inline]
pub(crate) fn is_addable(amount: f64) -> bool {
    (0.0..=AMOUNT_MAX).contains(&amount)
}
