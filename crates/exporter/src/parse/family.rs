//! One family of a page: which samples are its own, and what they make together.
//!
//! Invariant: every sample goes into the family's values, as a regular histogram or summary where that loses nothing, else one
//! by one. Must not touch: other families.

use std::collections::HashMap;

use super::line::Parsed;
use super::{Labels, ParseErrorKind};
use crate::model::{Family, Kind, Sample, Series, Value};
use crate::name::is_legal_metric_name;

/// The family whose lines are being read.
pub(super) struct Open {
    /// The name on the wire: a counter's is with `_total`.
    pub(super) wire_name: String,
    pub(super) help: Option<String>,
    pub(super) kind: Option<Kind>,
    /// In the order of the page; labels sorted.
    pub(super) samples: Vec<Parsed>,
}

impl Open {
    pub(super) fn owns(&self, sample_name: &str) -> bool {
        let suffix = sample_name.strip_prefix(self.wire_name.as_str());
        match self.kind.unwrap_or(Kind::Untyped) {
            Kind::Counter | Kind::Gauge | Kind::Untyped => suffix == Some(""),
            Kind::Histogram => matches!(suffix, Some("_bucket" | "_sum" | "_count")),
            Kind::Summary => matches!(suffix, Some("" | "_sum" | "_count")),
        }
    }

    /// A bucket without a bound belongs to no place in its histogram.
    pub(super) fn check_bound(&self, sample: &Parsed) -> Result<(), ParseErrorKind> {
        let suffix = sample.name.strip_prefix(self.wire_name.as_str());
        match (self.kind, suffix) {
            (Some(Kind::Histogram), Some("_bucket")) if sample.bound("le").is_none() => {
                Err(ParseErrorKind::BadBound("le"))
            }
            (Some(Kind::Summary), Some("")) if sample.bound("quantile").is_none() => {
                Err(ParseErrorKind::BadBound("quantile"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn into_family(self) -> Family {
        let kind = self.kind.unwrap_or(Kind::Untyped);
        let stripped = self
            .wire_name
            .strip_suffix("_total")
            .filter(|name| is_legal_metric_name(name));
        let name = stripped
            .filter(|_| kind == Kind::Counter)
            .unwrap_or(&self.wire_name)
            .to_string();
        let value = |samples: Vec<Parsed>| match (kind, samples.as_slice()) {
            (Kind::Histogram, _) => histogram(&self.wire_name, samples),
            (Kind::Summary, _) => summary(&self.wire_name, samples),
            // The writer would add `_total` to a counter that came without it.
            (Kind::Counter, _) if name == self.wire_name => irregular(samples, None),
            (_, [only]) => Value::Single(only.value),
            _ => irregular(samples, None),
        };
        let series = grouped(self.samples, bound_label(kind))
            .into_iter()
            .map(|(labels, samples)| Series {
                labels,
                start_unix_seconds: None,
                value: value(samples),
            })
            .collect();
        Family {
            name,
            help: self.help.unwrap_or_default(),
            kind,
            series,
        }
    }
}

fn bound_label(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Histogram => Some("le"),
        Kind::Summary => Some("quantile"),
        Kind::Counter | Kind::Gauge | Kind::Untyped => None,
    }
}

/// The samples by label set without its bound, in order of first sight.
fn grouped(samples: Vec<Parsed>, bound: Option<&str>) -> Vec<(Labels, Vec<Parsed>)> {
    let mut series: Vec<(Labels, Vec<Parsed>)> = Vec::new();
    let mut index = HashMap::new();
    for sample in samples {
        let mut labels = sample.labels.clone();
        labels.retain(|(name, _)| Some(name.as_str()) != bound);
        let at = *index.entry(labels.clone()).or_insert(series.len());
        if at == series.len() {
            series.push((labels, Vec::new()));
        }
        series[at].1.push(sample);
    }
    series
}

/// Whether a sample is the family's one with this suffix. One that should have no bound but does is not: its label would be
/// lost.
fn is(sample: &Parsed, name: &str, suffix: &str, bound: Option<&str>) -> bool {
    let stray_bound = bound.is_none()
        && ["le", "quantile"]
            .iter()
            .any(|label| sample.label(label).is_some());
    sample.name.strip_prefix(name) == Some(suffix) && !stray_bound
}

/// Regular are: one sum, buckets ascending, and a count that equals the last bucket's, in this order.
fn histogram(name: &str, samples: Vec<Parsed>) -> Value {
    if let [sum, buckets @ .., count] = samples.as_slice()
        && is(sum, name, "_sum", None)
        && is(count, name, "_count", None)
        && let Some(buckets) = points(buckets, name, "_bucket", "le")
        && buckets
            .last()
            .is_some_and(|(_, last)| last.to_bits() == count.value.to_bits())
    {
        return Value::Histogram {
            buckets,
            sum: sum.value,
        };
    }
    irregular(samples, Some("le"))
}

/// Regular are: quantiles ascending, then a count and a sum, in either order.
fn summary(name: &str, samples: Vec<Parsed>) -> Value {
    if let [quantiles @ .., first, second] = samples.as_slice()
        && let (count, sum) = if is(first, name, "_sum", None) {
            (second, first)
        } else {
            (first, second)
        }
        && is(count, name, "_count", None)
        && is(sum, name, "_sum", None)
        && let Some(quantiles) = points(quantiles, name, "", "quantile")
    {
        return Value::Summary {
            count: count.value,
            sum: sum.value,
            quantiles,
        };
    }
    irregular(samples, Some("quantile"))
}

/// Bounds and values, if all samples are of that name and the bounds ascend.
fn points(samples: &[Parsed], name: &str, suffix: &str, bound: &str) -> Option<Vec<(f64, f64)>> {
    let point = |sample: &Parsed| {
        Some((sample.bound(bound)?, sample.value)).filter(|_| is(sample, name, suffix, Some(bound)))
    };
    let points: Vec<(f64, f64)> = samples.iter().map(point).collect::<Option<_>>()?;
    points
        .is_sorted_by(|(a, _), (b, _)| a < b)
        .then_some(points)
}

fn irregular(samples: Vec<Parsed>, bound: Option<&str>) -> Value {
    let extra = |sample: &Parsed| -> Labels {
        sample
            .labels
            .iter()
            .filter(|(name, _)| Some(name.as_str()) == bound)
            .cloned()
            .collect()
    };
    let samples: Vec<Sample> = samples
        .into_iter()
        .map(|sample| (sample.name.clone(), extra(&sample), sample.value))
        .collect();
    Value::Samples(samples)
}
