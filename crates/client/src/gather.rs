//! One process's cells to families: what Mode A serves and tests read.
//! Invariant: the same cells give the same families in the same order, with buckets cumulative and `+Inf` equal to the count.
//! It must not read cells, files or the clock: a snapshot comes in, values go out.

use std::collections::BTreeMap;

use metricsd_exporter::{Family, Kind, Series, Value};
use metricsd_shard::{FileKind, Snapshot};

type Labels = Vec<(String, String)>;

/// Families by name, series by labels. Entries of one key add up, except a gauge's, of which the last stands.
pub(crate) fn gather(snapshot: &[Snapshot]) -> Vec<Family> {
    let mut families: BTreeMap<&str, Gathered<'_>> = BTreeMap::new();
    for entry in snapshot {
        let family = families
            .entry(&entry.key.family)
            .or_insert_with(|| Gathered {
                kind: entry.kind,
                help: &entry.key.help,
                series: BTreeMap::new(),
            });
        family.add(entry);
    }
    families
        .into_iter()
        .map(|(name, family)| family.finish(name))
        .collect()
}

struct Gathered<'a> {
    kind: FileKind,
    help: &'a str,
    series: BTreeMap<Labels, Cells>,
}

#[derive(Default)]
struct Cells {
    /// A counter, a gauge, or a histogram's sum.
    single: f64,
    /// Own counts by bound, ascending once finished.
    buckets: Vec<(f64, f64)>,
}

impl Gathered<'_> {
    fn add(&mut self, entry: &Snapshot) {
        let mut labels = entry.key.labels.clone();
        let bound = match (self.kind, labels.iter().position(|(name, _)| name == "le")) {
            (FileKind::Histogram, Some(le)) => labels.remove(le).1.parse::<f64>().ok(),
            _ => None,
        };
        let cells = self.series.entry(labels).or_default();
        match (bound, self.kind) {
            (Some(bound), _) => match cells.buckets.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, count)) => *count += entry.value,
                None => cells.buckets.push((bound, entry.value)),
            },
            (None, FileKind::Gauge(_)) => cells.single = entry.value,
            (None, _) => cells.single += entry.value,
        }
    }

    fn finish(self, name: &str) -> Family {
        let (kind, is_histogram) = match self.kind {
            FileKind::Counter => (Kind::Counter, false),
            FileKind::Histogram => (Kind::Histogram, true),
            FileKind::Gauge(_) => (Kind::Gauge, false),
            _ => (Kind::Untyped, false),
        };
        let series = self.series.into_iter().map(|(labels, cells)| {
            let value = if is_histogram {
                cells.histogram()
            } else {
                Value::Single(cells.single)
            };
            Series {
                labels,
                start_unix_seconds: None,
                value,
            }
        });
        Family {
            name: name.to_owned(),
            help: self.help.to_owned(),
            kind,
            series: series.collect(),
        }
    }
}

impl Cells {
    fn histogram(mut self) -> Value {
        self.buckets.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut cumulative = 0.0;
        for (_, count) in &mut self.buckets {
            cumulative += *count;
            *count = cumulative;
        }
        Value::Histogram {
            buckets: self.buckets,
            sum: self.single,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metricsd_shard::{GaugeMode, Key};

    fn entry(kind: FileKind, sample: &str, labels: &[(&str, &str)], value: f64) -> Snapshot {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let family = sample.split('_').next().unwrap().to_owned();
        let key = Key {
            family,
            sample: sample.to_owned(),
            labels,
            help: String::new(),
        };
        Snapshot {
            kind,
            key: key.into(),
            value,
            timestamp: 0.0,
        }
    }

    #[test]
    fn entries_of_one_key_add_up_except_those_of_a_gauge() {
        let gauge = FileKind::Gauge(GaugeMode::All);
        let families = gather(&[
            entry(gauge, "g", &[], 1.0),
            entry(FileKind::Counter, "c_total", &[("a", "y")], 1.0),
            entry(FileKind::Counter, "c_total", &[("a", "x")], 2.0),
            entry(FileKind::Counter, "c_total", &[("a", "y")], 4.0),
            entry(gauge, "g", &[], 3.0),
        ]);
        let values: Vec<_> = families
            .iter()
            .flat_map(|family| family.series.iter().map(|series| &series.value))
            .collect();
        assert_eq!(
            values,
            [
                &Value::Single(2.0),
                &Value::Single(5.0),
                &Value::Single(3.0)
            ]
        );
    }

    #[test]
    fn buckets_become_cumulative_in_ascending_order_whatever_the_order_of_entries() {
        let families = gather(&[
            entry(FileKind::Histogram, "h_bucket", &[("le", "+Inf")], 1.0),
            entry(FileKind::Histogram, "h_bucket", &[("le", "10.0")], 2.0),
            entry(FileKind::Histogram, "h_bucket", &[("le", "1e-05")], 4.0),
            entry(FileKind::Histogram, "h_bucket", &[("le", "10.0")], 8.0),
            entry(FileKind::Histogram, "h_sum", &[], 0.5),
            entry(FileKind::Histogram, "h_sum", &[], 0.25),
        ]);
        let expected = Value::Histogram {
            buckets: vec![(1e-5, 4.0), (10.0, 14.0), (f64::INFINITY, 15.0)],
            sum: 0.75,
        };
        assert_eq!(families[0].series[0].value, expected);
    }
}
