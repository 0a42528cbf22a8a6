//! The gauge handle, in all ten modes.
//! Invariant: a gauge exists from its first successful call on, never before; NaN never reaches its cell.
//! It must not touch anything but its own cell.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use metricsd_shard::{GaugeMode, Series, SharedEntry};

use crate::counter::AMOUNT_MAX;
use crate::defects::{Complaints, Defect};

/// A value that moves both ways. Cheap to clone; every clone moves the same series.
///
/// The series appears in the exposition with the first successful call: a zero that nobody set would win every minimum and
/// claim the series for its process. After that a call is one atomic store (`set`) or addition; the first one takes a lock.
///
/// NaN is refused and counted, and the last good value stays: NaN makes every comparison of an alert rule false, so the alarm
/// would fall silent, and under `min` and `max` it sticks or vanishes by the order of files. An infinite value may be `set`,
/// since it compares as it should, but not added: it could not be taken back.
#[derive(Clone, Debug)]
pub struct Gauge {
    /// None: there is no such series, and calls are ignored.
    entry: Option<SharedEntry>,
    complaints: Arc<Complaints>,
    most_recent: bool,
}

impl Gauge {
    pub(crate) fn new(series: &Series, complaints: Arc<Complaints>, mode: GaugeMode) -> Gauge {
        Gauge {
            entry: series.shared_entry(0),
            complaints,
            most_recent: matches!(mode, GaugeMode::MostRecent | GaugeMode::LiveMostRecent),
        }
    }

    /// Set to `value`. In the most-recent modes the current time is stored with it.
    #[inline]
    pub fn set(&self, value: f64) {
        if value.is_nan() {
            self.complaints.refuse(Defect::NotFinite);
        } else if let Some(entry) = &self.entry {
            if self.most_recent {
                entry.set_with_timestamp(value, unix_seconds_now());
            } else {
                entry.set(value);
            }
        }
    }

    /// Set to the current time, in seconds since the Unix epoch.
    pub fn set_to_current_time(&self) {
        self.set(unix_seconds_now());
    }

    /// Add 1.
    #[inline]
    pub fn inc(&self) {
        self.add(1.0);
    }

    /// Subtract 1.
    #[inline]
    pub fn dec(&self) {
        self.add(-1.0);
    }

    /// Add `amount`, beginning at 0. NaN, infinite amounts and those beyond [`AMOUNT_MAX`] are refused, and in
    /// the most-recent modes every amount is (Python raises there).
    #[inline]
    pub fn add(&self, amount: f64) {
        if self.most_recent {
            self.complaints.refuse(Defect::GaugeMode);
        } else if amount.abs() <= AMOUNT_MAX {
            if let Some(entry) = &self.entry {
                entry.add(amount);
            }
        } else {
            self.complaints.refuse(Defect::NotFinite);
        }
    }

    /// Subtract `amount`, by the rules of [`add`](Self::add).
    #[inline]
    pub fn sub(&self, amount: f64) {
        self.add(-amount);
    }

    /// The value in this process; 0 before the first successful call.
    pub fn get(&self) -> f64 {
        self.entry.map_or(0.0, |entry| entry.get())
    }
}

fn unix_seconds_now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
