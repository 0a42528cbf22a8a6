//! The same series in other crates, each in one family.

use metrics_exporter_prometheus::PrometheusBuilder;

use crate::hot::BOUNDS_11;

use super::child::{COUNTER, COUNTERS, HISTOGRAM, HISTOGRAMS, Heap, kept, path};

#[derive(Clone, Debug, Hash, PartialEq, Eq, prometheus_client::encoding::EncodeLabelSet)]
struct ClientLabels {
    method: &'static str,
    path: String,
}
#[derive(Clone, Debug, Hash, PartialEq, Eq, fastmetrics::derive::LabelSet)]
struct FastLabels {
    method: &'static str,
    path: String,
}
#[derive(Clone, Copy, PartialEq, Debug, measured::FixedCardinalityLabel)]
enum Method {
    Get,
}
#[derive(Clone, Copy, PartialEq, Debug, measured::LabelGroup)]
#[label(set = MeasuredLabelSet)]
struct MeasuredLabels<'a> {
    method: Method,
    #[label(dynamic_with = paracord::ParaCord, default)]
    path: &'a str,
}

/// One line for each crate and kind.
pub(super) fn series(heap: &dyn Fn() -> Heap) {
    counters(heap);
    histograms(heap);
}

fn counters(heap: &dyn Fn() -> Heap) {
    let each = |name: &str, make: &mut dyn FnMut()| kept(heap, COUNTER, name, COUNTERS, make);
    each("prometheus", &mut || {
        let family =
            prometheus::CounterVec::new(prometheus::Opts::new("a", "a"), &["method", "path"])
                .expect("legal names");
        for number in 0..COUNTERS {
            family
                .with_label_values(&["get", path(number).as_str()])
                .inc();
        }
        std::mem::forget(family);
    });
    each("prometheus-client", &mut || {
        use prometheus_client::metrics::{counter::Counter, family::Family};
        let family = Family::<ClientLabels, Counter>::default();
        for number in 0..COUNTERS {
            family
                .get_or_create(&ClientLabels {
                    method: "get",
                    path: path(number),
                })
                .inc();
        }
        std::mem::forget(family);
    });
    each("measured", &mut || {
        let family =
            measured::CounterVec::<MeasuredLabelSet>::with_label_set(MeasuredLabelSet::new());
        for number in 0..COUNTERS {
            family.inc(MeasuredLabels {
                method: Method::Get,
                path: &path(number),
            });
        }
        std::mem::forget(family);
    });
    each("fastmetrics", &mut || {
        use fastmetrics::metrics::{counter::Counter, family::Family};
        let family = Family::<FastLabels, Counter>::default();
        for number in 0..COUNTERS {
            family.with_or_new(
                &FastLabels {
                    method: "get",
                    path: path(number),
                },
                |counter| counter.inc(),
            );
        }
        std::mem::forget(family);
    });
    each("metrics + exporter", &mut || {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            for number in 0..COUNTERS {
                metrics::counter!("a", "method" => "get", "path" => path(number)).increment(1);
            }
        });
        std::mem::forget(recorder);
    });
}

fn histograms(heap: &dyn Fn() -> Heap) {
    let each = |name: &str, make: &mut dyn FnMut()| kept(heap, HISTOGRAM, name, HISTOGRAMS, make);
    each("prometheus", &mut || {
        let options = prometheus::HistogramOpts::new("a", "a").buckets(BOUNDS_11.to_vec());
        let family =
            prometheus::HistogramVec::new(options, &["method", "path"]).expect("legal names");
        for number in 0..HISTOGRAMS {
            family
                .with_label_values(&["get", path(number).as_str()])
                .observe(0.3);
        }
        std::mem::forget(family);
    });
    each("prometheus-client", &mut || {
        use prometheus_client::metrics::{family::Family, histogram::Histogram};
        let family =
            Family::<ClientLabels, Histogram>::new_with_constructor(|| Histogram::new(BOUNDS_11));
        for number in 0..HISTOGRAMS {
            family
                .get_or_create(&ClientLabels {
                    method: "get",
                    path: path(number),
                })
                .observe(0.3);
        }
        std::mem::forget(family);
    });
    each("measured", &mut || {
        let bounds = measured::metric::histogram::Thresholds::with_buckets(BOUNDS_11);
        let family = measured::HistogramVec::<MeasuredLabelSet, 11>::with_label_set_and_metadata(
            MeasuredLabelSet::new(),
            bounds,
        );
        for number in 0..HISTOGRAMS {
            family.observe(
                MeasuredLabels {
                    method: Method::Get,
                    path: &path(number),
                },
                0.3,
            );
        }
        std::mem::forget(family);
    });
    each("fastmetrics", &mut || {
        use fastmetrics::metrics::{family::Family, histogram::Histogram};
        let family = Family::<FastLabels, Histogram>::new(|| Histogram::new(BOUNDS_11));
        for number in 0..HISTOGRAMS {
            family.with_or_new(
                &FastLabels {
                    method: "get",
                    path: path(number),
                },
                |histogram| histogram.observe(0.3),
            );
        }
        std::mem::forget(family);
    });
    each("metrics + exporter, upkeep done", &mut || {
        let builder = PrometheusBuilder::new()
            .set_buckets(&BOUNDS_11)
            .expect("there are bounds");
        let recorder = builder.build_recorder();
        metrics::with_local_recorder(&recorder, || {
            for number in 0..HISTOGRAMS {
                metrics::histogram!("h", "method" => "get", "path" => path(number)).record(0.3);
            }
        });
        recorder.handle().run_upkeep();
        std::mem::forget(recorder);
    });
}
