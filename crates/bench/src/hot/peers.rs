//! The same calls through other crates, each used the fastest way that its documentation shows.
//!
//! Invariant: same values, same labels, same bounds. What a crate does not have (a counter of fractions, a gauge of floats) is left out
//! or stands in the row by the next thing it has, and the row says so.

use std::sync::atomic::AtomicU64;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

use crate::body;
use crate::rounds::{Case, THREADS_MAX};
use crate::sequence::{label_positions, latencies_seconds};

use super::labels::{METHODS, PATHS};
use super::{
    ADD, BOUNDS_11, ENUMS, FRACTION, INC, OBSERVE_11, OBSERVE_20, SET, STRINGS, bounds_20,
};

#[derive(Clone, Copy, PartialEq, Debug, measured::FixedCardinalityLabel)]
enum Method {
    Get,
    Post,
    Put,
}
#[derive(Clone, Copy, PartialEq, Debug, measured::FixedCardinalityLabel)]
enum Path {
    Users,
    User,
    Products,
    Product,
    Orders,
    Order,
    Login,
    Health,
}
const METHOD_LABELS: [Method; 3] = [Method::Get, Method::Post, Method::Put];
const PATH_LABELS: [Path; 8] = [
    Path::Users,
    Path::User,
    Path::Products,
    Path::Product,
    Path::Orders,
    Path::Order,
    Path::Login,
    Path::Health,
];

#[derive(Clone, Copy, PartialEq, Debug, measured::LabelGroup)]
#[label(set = EnumLabelSet)]
struct EnumLabels {
    method: Method,
    path: Path,
}
#[derive(Clone, Copy, PartialEq, Debug, measured::LabelGroup)]
#[label(set = TextLabelSet)]
struct TextLabels<'a> {
    #[label(dynamic_with = paracord::ParaCord, default)]
    method: &'a str,
    #[label(dynamic_with = paracord::ParaCord, default)]
    path: &'a str,
}
#[derive(Clone, Debug, Hash, PartialEq, Eq, prometheus_client::encoding::EncodeLabelSet)]
struct ClientLabels {
    method: &'static str,
    path: &'static str,
}
#[derive(Clone, Debug, Hash, PartialEq, Eq, fastmetrics::derive::LabelSet)]
struct FastLabels {
    method: &'static str,
    path: &'static str,
}

/// One of each for each thread.
fn each<T>(mut make: impl FnMut(usize) -> T) -> Vec<T> {
    (0..THREADS_MAX).map(&mut make).collect()
}

/// What the names of all our own metrics here are; the crates want one each.
fn options(thread: usize) -> prometheus::Opts {
    prometheus::Opts::new(format!("bench_{thread}"), "bench")
}

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Prefix("bench_11".into()), &BOUNDS_11)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Prefix("bench_20".into()), &bounds_20())
        })
        .expect("there are bounds")
        .build_recorder();
    let recorder: &'static _ = Box::leak(Box::new(recorder));
    let mut cases = increments(recorder);
    cases.extend(additions(recorder));
    cases.extend(settings(recorder));
    cases.extend(observations(OBSERVE_11, "bench_11", BOUNDS_11, recorder));
    cases.extend(observations(OBSERVE_20, "bench_20", bounds_20(), recorder));
    cases.extend(labelled(recorder));
    cases
}

type Recorder = &'static metrics_exporter_prometheus::PrometheusRecorder;

fn increments(recorder: Recorder) -> Vec<Case> {
    let prometheus =
        each(|thread| prometheus::IntCounter::with_opts(options(thread)).expect("a legal name"));
    let client = each(|_| prometheus_client::metrics::counter::Counter::<u64>::default());
    let measured = each(|_| measured::Counter::new());
    let fast = each(|_| <fastmetrics::metrics::counter::Counter>::default());
    let facade = each(|thread| {
        metrics::with_local_recorder(
            recorder,
            || metrics::counter!("bench_inc", "owner" => thread.to_string()),
        )
    });
    vec![
        Case::new(
            INC,
            "prometheus IntCounter",
            body!(|place| &prometheus[place.series]; |counter, _call| counter.inc()),
        ),
        Case::new(
            INC,
            "prometheus-client Counter<u64>",
            body!(|place| &client[place.series]; |counter, _call| counter.inc()),
        ),
        Case::new(
            INC,
            "measured Counter",
            body!(|place| &measured[place.series]; |counter, _call| counter.inc()),
        ),
        Case::new(
            INC,
            "fastmetrics Counter<u64>",
            body!(|place| &fast[place.series]; |counter, _call| counter.inc()),
        ),
        Case::new(
            INC,
            "metrics + exporter, held handle",
            body!(|place| &facade[place.series]; |counter, _call| counter.increment(1)),
        ),
    ]
}

fn additions(recorder: Recorder) -> Vec<Case> {
    let prometheus =
        each(|thread| prometheus::Counter::with_opts(options(thread)).expect("a legal name"));
    let client =
        each(|_| prometheus_client::metrics::counter::Counter::<f64, AtomicU64>::default());
    let measured = each(|_| measured::FloatGauge::new());
    let fast = each(|_| fastmetrics::metrics::counter::Counter::<f64>::default());
    let facade = each(|thread| {
        metrics::with_local_recorder(
            recorder,
            || metrics::gauge!("bench_add", "owner" => thread.to_string()),
        )
    });
    vec![
        Case::new(
            ADD,
            "prometheus Counter",
            body!(|place| &prometheus[place.series]; |counter, _call| counter.inc_by(FRACTION)),
        ),
        Case::new(
            ADD,
            "prometheus-client Counter<f64>",
            body!(|place| &client[place.series]; |counter, _call| counter.inc_by(FRACTION)),
        ),
        Case::new(
            ADD,
            "measured FloatGauge (it has no counter of fractions)",
            body!(|place| &measured[place.series]; |gauge, _call| gauge.get_metric().inc_by(FRACTION)),
        ),
        Case::new(
            ADD,
            "fastmetrics Counter<f64>",
            body!(|place| &fast[place.series]; |counter, _call| counter.inc_by(FRACTION)),
        ),
        Case::new(
            ADD,
            "metrics + exporter gauge, held handle (it has no counter of fractions)",
            body!(|place| &facade[place.series]; |gauge, _call| gauge.increment(FRACTION)),
        ),
    ]
}

fn settings(recorder: Recorder) -> Vec<Case> {
    let prometheus =
        each(|thread| prometheus::Gauge::with_opts(options(thread)).expect("a legal name"));
    let client = each(|_| prometheus_client::metrics::gauge::Gauge::<f64, AtomicU64>::default());
    let measured = each(|_| measured::FloatGauge::new());
    let fast = each(|_| fastmetrics::metrics::gauge::Gauge::<f64>::default());
    let facade = each(|thread| {
        metrics::with_local_recorder(
            recorder,
            || metrics::gauge!("bench_set", "owner" => thread.to_string()),
        )
    });
    vec![
        Case::new(
            SET,
            "prometheus Gauge",
            body!(|place| &prometheus[place.series]; |gauge, call| gauge.set(call as f64)),
        ),
        Case::new(
            SET,
            "prometheus-client Gauge<f64>",
            body!(|place| &client[place.series]; |gauge, call| gauge.set(call as f64)),
        ),
        Case::new(
            SET,
            "measured FloatGauge",
            body!(|place| &measured[place.series]; |gauge, call| gauge.get_metric().set(call as f64)),
        ),
        Case::new(
            SET,
            "fastmetrics Gauge<f64>",
            body!(|place| &fast[place.series]; |gauge, call| gauge.set(call as f64)),
        ),
        Case::new(
            SET,
            "metrics + exporter, held handle",
            body!(|place| &facade[place.series]; |gauge, call| gauge.set(call as f64)),
        ),
    ]
}

fn observations<const BOUNDS: usize>(
    group: &'static str,
    family: &'static str,
    bounds: [f64; BOUNDS],
    recorder: Recorder,
) -> Vec<Case> {
    let values = latencies_seconds();
    let prometheus = each(|thread| {
        let options = prometheus::HistogramOpts::from(options(thread)).buckets(bounds.to_vec());
        prometheus::Histogram::with_opts(options).expect("a legal name")
    });
    let client = each(|_| prometheus_client::metrics::histogram::Histogram::new(bounds));
    let measured = each(|_| {
        measured::Histogram::<BOUNDS>::with_metadata(
            measured::metric::histogram::Thresholds::with_buckets(bounds),
        )
    });
    let fast = each(|_| fastmetrics::metrics::histogram::Histogram::new(bounds));
    let facade = each(|thread| {
        metrics::with_local_recorder(
            recorder,
            || metrics::histogram!(family, "owner" => thread.to_string()),
        )
    });
    let handle = recorder.handle();
    vec![
        Case::new(
            group,
            "prometheus Histogram",
            body!(|place| &prometheus[place.series]; |histogram, call| histogram.observe(values.at(call))),
        ),
        Case::new(
            group,
            "prometheus-client Histogram",
            body!(|place| &client[place.series]; |histogram, call| histogram.observe(values.at(call))),
        ),
        Case::new(
            group,
            "measured Histogram",
            body!(|place| &measured[place.series]; |histogram, call| histogram.get_metric().observe(values.at(call))),
        ),
        Case::new(
            group,
            "fastmetrics Histogram",
            body!(|place| &fast[place.series]; |histogram, call| histogram.observe(values.at(call))),
        ),
        Case {
            // It keeps every value until somebody sorts them into buckets.
            drain: None,
            calls_max: 200_000,
            ..Case::new(
                group,
                "metrics + exporter, held handle, upkeep every 10,000 calls",
                Box::new(move |place, calls| {
                    let histogram = &facade[place.series];
                    for call in 0..calls {
                        histogram.record(values.at(call));
                        if place.thread == 0 && call % 10_000 == 9_999 {
                            handle.run_upkeep();
                        }
                    }
                }),
            )
        },
    ]
}

fn labelled(recorder: Recorder) -> Vec<Case> {
    let positions = label_positions();
    let methods: &'static [&'static str; 3] = std::hint::black_box(&METHODS);
    let paths: &'static [&'static str; 8] = std::hint::black_box(&PATHS);
    let text = move |call| {
        let (method, path) = positions.at(call);
        (methods[usize::from(method)], paths[usize::from(path)])
    };
    let dense = measured::CounterVec::<EnumLabelSet>::with_label_set(EnumLabelSet::new());
    let interned = measured::CounterVec::<TextLabelSet>::with_label_set(TextLabelSet::new());
    let prometheus =
        prometheus::IntCounterVec::new(options(0), &["method", "path"]).expect("a legal name");
    let client = prometheus_client::metrics::family::Family::<
        ClientLabels,
        prometheus_client::metrics::counter::Counter,
    >::default();
    let fast = fastmetrics::metrics::family::Family::<
        FastLabels,
        fastmetrics::metrics::counter::Counter,
    >::default();
    vec![
        Case::shared(
            ENUMS,
            "measured CounterVec, dense",
            body!(|_place| &dense; |family, call| {
                let (method, path) = positions.at(call);
                family.inc(EnumLabels { method: METHOD_LABELS[usize::from(method)], path: PATH_LABELS[usize::from(path)] });
            }),
        ),
        Case::shared(
            STRINGS,
            "measured CounterVec, interned strings",
            body!(|_place| &interned; |family, call| {
                let (method, path) = text(call);
                family.inc(TextLabels { method, path });
            }),
        ),
        Case::shared(
            STRINGS,
            "prometheus IntCounterVec",
            body!(|_place| &prometheus; |family, call| {
                let (method, path) = text(call);
                family.with_label_values(&[method, path]).inc();
            }),
        ),
        Case::shared(
            STRINGS,
            "prometheus-client Family of &'static str",
            body!(|_place| &client; |family, call| {
                let (method, path) = text(call);
                family.get_or_create(&ClientLabels { method, path }).inc();
            }),
        ),
        Case::shared(
            STRINGS,
            "fastmetrics Family of &'static str",
            body!(|_place| &fast; |family, call| {
                let (method, path) = text(call);
                family.with_or_new(&FastLabels { method, path }, |counter| counter.inc());
            }),
        ),
        Case::shared(
            STRINGS,
            "metrics + exporter, counter! with labels",
            Box::new(move |_, calls| {
                metrics::with_local_recorder(recorder, || {
                    for call in 0..calls {
                        let (method, path) = text(call);
                        metrics::counter!("bench_strings", "method" => method, "path" => path)
                            .increment(1);
                    }
                });
            }),
        ),
    ]
}
