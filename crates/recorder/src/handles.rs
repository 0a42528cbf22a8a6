//! The client's handles behind the traits of the facade.
//! Invariant: no call fails or logs; what makes no sense changes nothing and is counted by the client.
//! It must not look anything up.

use std::sync::{Arc, Mutex, PoisonError};

use metrics::{CounterFn, GaugeFn, HistogramFn};
use metricsd_client::{Counter, Gauge, Histogram};

/// A counter of the facade.
#[derive(Debug)]
pub(crate) struct CounterHandle {
    pub(crate) counter: Counter,
    /// Held while the counter is raised: of two that raise it at once each would add what is missing. One for all handles of a recorder,
    /// since raising is rare.
    pub(crate) raising: Arc<Mutex<()>>,
}

impl CounterFn for CounterHandle {
    #[inline]
    fn increment(&self, value: u64) {
        self.counter.add(value as f64);
    }

    fn absolute(&self, value: u64) {
        let _raising = self.raising.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = value as f64 - self.counter.get();
        if missing > 0.0 {
            self.counter.add(missing);
        }
    }
}

/// A gauge of the facade.
#[derive(Debug)]
pub(crate) struct GaugeHandle(pub(crate) Gauge);

impl GaugeFn for GaugeHandle {
    #[inline]
    fn increment(&self, value: f64) {
        self.0.add(value);
    }

    #[inline]
    fn decrement(&self, value: f64) {
        self.0.sub(value);
    }

    #[inline]
    fn set(&self, value: f64) {
        self.0.set(value);
    }
}

/// A histogram of the facade.
#[derive(Debug)]
pub(crate) struct HistogramHandle(pub(crate) Histogram);

impl HistogramFn for HistogramHandle {
    #[inline]
    fn record(&self, value: f64) {
        self.0.observe(value);
    }

    fn record_many(&self, value: f64, count: usize) {
        self.0.observe_many(value, count as u64);
    }
}
