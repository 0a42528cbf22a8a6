//! Random families, and what they mean as a flat list of samples.
//!
//! Invariant: `samples` says what a family means in the plainest way there is; it shares no code with the writer.

use metricsd_exporter::{Family, Kind, Series, Value};
use proptest::collection::btree_map;
use proptest::prelude::*;

/// One expected sample: name, labels sorted by name, value.
#[derive(Debug, Clone)]
pub(crate) struct Flat {
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: f64,
}

impl Flat {
    /// Equal with NaN equal to itself, and 0.0 other than -0.0.
    pub(crate) fn same(&self, other: &Flat) -> bool {
        let value = self.value.to_bits() == other.value.to_bits()
            || (self.value.is_nan() && other.value.is_nan());
        self.name == other.name && self.labels == other.labels && value
    }
}

/// All samples in the order of the page.
pub(crate) fn samples(families: &[Family]) -> Vec<Flat> {
    families
        .iter()
        .flat_map(|family| {
            family
                .series
                .iter()
                .flat_map(|series| of_series(family, series))
        })
        .collect()
}

fn of_series(family: &Family, series: &Series) -> Vec<Flat> {
    let flat = |suffix: &str, extra: &[(&str, String)], value: f64| {
        let mut labels = series.labels.clone();
        labels.extend(
            extra
                .iter()
                .map(|(name, value)| (name.to_string(), value.clone())),
        );
        labels.sort();
        Flat {
            name: format!("{}{suffix}", family.name),
            labels,
            value,
        }
    };
    match &series.value {
        Value::Single(value) => vec![flat(
            if family.kind == Kind::Counter {
                "_total"
            } else {
                ""
            },
            &[],
            *value,
        )],
        Value::Histogram { buckets, sum } => {
            let mut samples = vec![flat("_sum", &[], *sum)];
            samples.extend(
                buckets
                    .iter()
                    .map(|(le, count)| flat("_bucket", &[("le", spelled(*le))], *count)),
            );
            samples.extend(buckets.last().map(|(_, count)| flat("_count", &[], *count)));
            samples
        }
        Value::Summary {
            count,
            sum,
            quantiles,
        } => {
            let points = quantiles
                .iter()
                .map(|(q, value)| flat("", &[("quantile", spelled(*q))], *value));
            points
                .chain([flat("_count", &[], *count), flat("_sum", &[], *sum)])
                .collect()
        }
        Value::Samples(samples) => samples
            .iter()
            .map(|(name, extra, value)| {
                let mut labels = series.labels.clone();
                labels.extend(extra.iter().cloned());
                labels.sort();
                Flat {
                    name: name.clone(),
                    labels,
                    value: *value,
                }
            })
            .collect(),
    }
}

fn spelled(v: f64) -> String {
    let mut out = Vec::new();
    metricsd_exporter::format_float(v, &mut out);
    String::from_utf8(out).expect("numbers are ASCII")
}

/// Families with distinct names and distinct series, of every kind, with values and strings from the whole range.
pub(crate) fn families() -> impl Strategy<Value = Vec<Family>> {
    btree_map("[a-zA-Z:_][a-zA-Z0-9:_]{0,8}", (kind(), help()), 0..6).prop_flat_map(|heads| {
        let families: Vec<_> = heads
            .into_iter()
            .enumerate()
            // A prefix keeps one family's `_sum` from being another family's name.
            .map(|(index, (name, (kind, help)))| family(format!("f{index}{name}x"), help, kind))
            .collect();
        families
    })
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Counter),
        Just(Kind::Gauge),
        Just(Kind::Histogram),
        Just(Kind::Summary),
        Just(Kind::Untyped)
    ]
}

fn family(name: String, help: String, kind: Kind) -> impl Strategy<Value = Family> {
    let series = btree_map(labels(), value(kind), 0..5).prop_map(|series| {
        let series = series.into_iter().map(|(labels, value)| Series {
            labels,
            start_unix_seconds: None,
            value,
        });
        series.collect()
    });
    series.prop_map(move |series| Family {
        name: name.clone(),
        help: help.clone(),
        kind,
        series,
    })
}

fn labels() -> impl Strategy<Value = Vec<(String, String)>> {
    // Not `le` or `quantile`: those belong to the value. Some sort before them, some behind.
    btree_map("(a|A|b_|lf|q|z9|_z)[a-z0-9]{0,3}", any_text(), 0..4)
        .prop_map(|labels| labels.into_iter().collect())
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[\\\\\"\n\r\t a{},=#é\u{0}\u{1f600}]{0,8}"]
}

/// Python's parser trims help texts, so these neither begin nor end with white space.
fn help() -> impl Strategy<Value = String> {
    any_text().prop_map(|text| {
        text.trim_matches(|c: char| c.is_whitespace() || c.is_control())
            .to_string()
    })
}

fn value(kind: Kind) -> BoxedStrategy<Value> {
    match kind {
        Kind::Histogram => (btree_map(0..40i32, number(), 1..6), number())
            .prop_map(histogram)
            .boxed(),
        Kind::Summary => (number(), number(), btree_map(0..100u8, number(), 0..4))
            .prop_map(|(count, sum, quantiles)| {
                let quantiles = quantiles
                    .into_iter()
                    .map(|(q, value)| (f64::from(q) / 100.0, value))
                    .collect();
                Value::Summary {
                    count,
                    sum,
                    quantiles,
                }
            })
            .boxed(),
        _ => number().prop_map(Value::Single).boxed(),
    }
}

fn histogram((counts, sum): (std::collections::BTreeMap<i32, f64>, f64)) -> Value {
    let buckets = counts.into_iter().map(|(step, count)| {
        let bound = if step == 39 {
            f64::INFINITY
        } else {
            f64::from(step - 5) * 10f64.powi(step - 12)
        };
        (bound, count)
    });
    let mut buckets: Vec<(f64, f64)> = buckets.collect();
    buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    buckets.dedup_by(|(a, _), (b, _)| a == b);
    Value::Histogram { buckets, sum }
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        any::<i32>().prop_map(f64::from),
        (0..10_000_000i64).prop_map(|n| n as f64 / 100.0)
    ]
}
