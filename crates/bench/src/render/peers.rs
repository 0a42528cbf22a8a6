//! The encoders of other crates, each over its own registry of the same series.

use std::sync::atomic::AtomicU64;

use measured::MetricGroup as _;

use super::{FAMILY, Numbers, Side, labels};

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
    Put,
}
#[derive(Clone, Copy, PartialEq, Debug, measured::LabelGroup)]
#[label(set = MeasuredLabelSet)]
struct MeasuredLabels<'a> {
    method: Method,
    #[label(dynamic_with = paracord::ParaCord, default)]
    path: &'a str,
}
#[derive(measured::MetricGroup)]
struct MeasuredMetrics {
    /// Requests
    http_requests: measured::FloatGaugeVec<MeasuredLabelSet>,
}

/// One side for each crate.
pub(super) fn sides(values: &[f64], numbers: Numbers) -> Vec<Side> {
    vec![
        prometheus(values),
        client(values),
        measured(values),
        fast(values),
        facade(values, numbers),
    ]
}

fn prometheus(values: &[f64]) -> Side {
    let registry = prometheus::Registry::new();
    let options = prometheus::Opts::new(format!("{FAMILY}_total"), "Requests");
    let family = prometheus::CounterVec::new(options, &["method", "path"]).expect("legal names");
    registry
        .register(Box::new(family.clone()))
        .expect("registered once");
    for (number, &value) in values.iter().enumerate() {
        let (method, path) = labels(number);
        family
            .with_label_values(&[method, path.as_str()])
            .inc_by(value);
    }
    let mut page = String::new();
    Side {
        name: "prometheus, gather + TextEncoder",
        write: Box::new(move || {
            page.clear();
            prometheus::TextEncoder::new()
                .encode_utf8(&registry.gather(), &mut page)
                .expect("a string takes everything");
            page.len()
        }),
    }
}

fn client(values: &[f64]) -> Side {
    use prometheus_client::metrics::counter::Counter;
    let mut registry = prometheus_client::registry::Registry::default();
    let family = prometheus_client::metrics::family::Family::<ClientLabels, Counter<f64, AtomicU64>>::default();
    registry.register(FAMILY, "Requests", family.clone());
    for (number, &value) in values.iter().enumerate() {
        let (method, path) = labels(number);
        family
            .get_or_create(&ClientLabels { method, path })
            .inc_by(value);
    }
    let mut page = String::new();
    Side {
        name: "prometheus-client",
        write: Box::new(move || {
            page.clear();
            prometheus_client::encoding::text::encode(&mut page, &registry)
                .expect("a string takes everything");
            page.len()
        }),
    }
}

fn measured(values: &[f64]) -> Side {
    let metrics = MeasuredMetrics {
        http_requests: measured::FloatGaugeVec::with_label_set(MeasuredLabelSet::new()),
    };
    for (number, &value) in values.iter().enumerate() {
        let (_, path) = labels(number);
        let method = [Method::Get, Method::Put][number % 2];
        metrics.http_requests.set(
            MeasuredLabels {
                method,
                path: &path,
            },
            value,
        );
    }
    let mut encoder = measured::text::BufferedTextEncoder::new();
    Side {
        name: "measured (as gauges)",
        write: Box::new(move || {
            metrics
                .collect_group_into(&mut encoder)
                .expect("memory takes everything");
            encoder.finish().len()
        }),
    }
}

fn fast(values: &[f64]) -> Side {
    use fastmetrics::metrics::counter::Counter;
    let mut registry = fastmetrics::registry::Registry::default();
    let family = fastmetrics::metrics::family::Family::<FastLabels, Counter<f64>>::default();
    registry
        .register(FAMILY, "Requests", family.clone())
        .expect("registered once");
    for (number, &value) in values.iter().enumerate() {
        let (method, path) = labels(number);
        family.with_or_new(&FastLabels { method, path }, |counter| {
            counter.inc_by(value)
        });
    }
    let mut page = String::new();
    Side {
        name: "fastmetrics",
        write: Box::new(move || {
            page.clear();
            fastmetrics::format::text::encode(&mut page, &registry, Default::default())
                .expect("a string takes everything");
            page.len()
        }),
    }
}

/// It has no counter of fractions: those are shown as gauges.
fn facade(values: &[f64], numbers: Numbers) -> Side {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        for (number, &value) in values.iter().enumerate() {
            let (method, path) = labels(number);
            if numbers == Numbers::Whole {
                metrics::counter!("http_requests_total", "method" => method, "path" => path)
                    .increment(value as u64);
            } else {
                metrics::gauge!("http_requests_total", "method" => method, "path" => path)
                    .set(value);
            }
        }
    });
    let handle = recorder.handle();
    Side {
        name: "metrics-exporter-prometheus",
        write: Box::new(move || handle.render().len()),
    }
}
