//! The samples of merged families as a page shows them, for whoever compares with it.
//!
//! Invariant: names and values are those that `metricsd_exporter` writes. Pure.

use metricsd_exporter::{Family, Kind, Value};

use super::selection::SeriesSelector;

/// One sample.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    pub(super) name: String,
    /// Without a bound.
    pub(super) labels: &'a [(String, String)],
    pub(super) bound: Option<f64>,
    pub(super) value: f64,
    /// Gauges are not added up.
    pub(super) is_gauge: bool,
}

impl Shown<'_> {
    /// Whether it is the one that is asked about.
    pub(super) fn is(&self, series: &SeriesSelector) -> bool {
        self.name == series.name && self.labels == series.labels && self.bound == series.bound
    }
}

/// Hands over each sample but the quantiles of summaries, which Python's client has none of.
pub(super) fn for_each_sample<'a>(families: &'a [Family], mut take: impl FnMut(Shown<'a>)) {
    for family in families {
        let is_gauge = family.kind == Kind::Gauge;
        for series in &family.series {
            let labels = series.labels.as_slice();
            let mut sample = |suffix: &str, bound, value| {
                take(Shown {
                    name: format!("{}{suffix}", family.name),
                    labels,
                    bound,
                    value,
                    is_gauge,
                });
            };
            match &series.value {
                Value::Single(value) => {
                    let suffix = if family.kind == Kind::Counter {
                        "_total"
                    } else {
                        ""
                    };
                    sample(suffix, None, *value);
                }
                Value::Histogram { buckets, sum } => {
                    for (bound, value) in buckets {
                        sample("_bucket", Some(*bound), *value);
                    }
                    if let Some((_, count)) = buckets.last() {
                        sample("_count", None, *count);
                    }
                    sample("_sum", None, *sum);
                }
                Value::Summary { count, sum, .. } => {
                    sample("_count", None, *count);
                    sample("_sum", None, *sum);
                }
                Value::Samples(samples) => {
                    for (name, own, value) in samples {
                        // Labels of its own on top of the series': none of ours is looked for by these.
                        if own.is_empty() {
                            take(Shown {
                                name: name.clone(),
                                labels,
                                bound: None,
                                value: *value,
                                is_gauge,
                            });
                        }
                    }
                }
            }
        }
    }
}
