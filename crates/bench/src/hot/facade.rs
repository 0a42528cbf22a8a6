//! The `metrics` crate's macros and handles over our recorder: what a program pays that goes Mode B by one line.
//!
//! Invariant: the same calls as through the other recorder of that crate, dynamic dispatch included.

use metricsd_client::Registry;
use metricsd_recorder::{Matcher, Recorder};

use crate::body;
use crate::rounds::{Case, THREADS_MAX};
use crate::sequence::{label_positions, latencies_seconds};

use super::labels::{METHODS, PATHS};
use super::{BOUNDS_11, INC, OBSERVE_11, SET, STRINGS};

/// Held handles, and the macro with labels.
pub(super) fn cases(registry: &Registry) -> Vec<Case> {
    let recorder = Recorder::new(registry.clone())
        .buckets(Matcher::Prefix("facade_11".to_owned()), &BOUNDS_11);
    let recorder: &'static Recorder = Box::leak(Box::new(recorder));
    let (counters, gauges, histograms) = metrics::with_local_recorder(recorder, || {
        let owners = || (0..THREADS_MAX).map(|thread| thread.to_string());
        let counters: Vec<_> = owners()
            .map(|owner| metrics::counter!("facade_inc", "owner" => owner))
            .collect();
        let gauges: Vec<_> = owners()
            .map(|owner| metrics::gauge!("facade_set", "owner" => owner))
            .collect();
        let histograms: Vec<_> = owners()
            .map(|owner| metrics::histogram!("facade_11", "owner" => owner))
            .collect();
        (counters, gauges, histograms)
    });
    let values = latencies_seconds();
    let positions = label_positions();
    let methods: &'static [&'static str; 3] = std::hint::black_box(&METHODS);
    let paths: &'static [&'static str; 8] = std::hint::black_box(&PATHS);
    vec![
        Case::new(
            INC,
            "metricsd-recorder (metrics), held handle",
            body!(|place| &counters[place.series]; |counter, _call| counter.increment(1)),
        ),
        Case::new(
            SET,
            "metricsd-recorder (metrics), held handle",
            body!(|place| &gauges[place.series]; |gauge, call| gauge.set(call as f64)),
        ),
        Case::new(
            OBSERVE_11,
            "metricsd-recorder (metrics), held handle",
            body!(|place| &histograms[place.series]; |histogram, call| histogram.record(values.at(call))),
        ),
        Case::shared(
            STRINGS,
            "metricsd-recorder (metrics), counter! with labels",
            Box::new(move |_, calls| {
                metrics::with_local_recorder(recorder, || {
                    for call in 0..calls {
                        let (method, path) = positions.at(call);
                        metrics::counter!("facade_strings", "method" => methods[usize::from(method)], "path" => paths[usize::from(path)]).increment(1);
                    }
                });
            }),
        ),
    ]
}
