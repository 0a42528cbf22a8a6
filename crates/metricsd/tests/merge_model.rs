//! The merge against a naive model: Python's algorithm written down as it stands in `multiprocess.py`, over random shards.
//!
//! The model keeps every sample and looks through all of them; the merge under test keeps cells. Both must give the same
//! samples, bit for bit, since both add in canonical order.

use std::collections::BTreeMap;

use metricsd::merge::{Catalog, KeyId, Plan, Reading, Source};
use metricsd::policy::Policy;
use metricsd_exporter::{Family, Kind, Series, Value, format_float};
use metricsd_shard::{FileKind, GaugeMode, Key};
use proptest::prelude::*;

type Labels = Vec<(String, String)>;
/// Sample name and labels to the bits of the value.
type Samples = BTreeMap<(String, Labels), u64>;

/// Key, ID of the shard, value, timestamp: what Python has after reading.
type Read<'a> = (&'a Key, &'a str, f64, f64);

#[derive(Debug, Clone)]
struct ShardModel {
    kind: FileKind,
    id: String,
    entries: Vec<(Key, f64, f64)>,
}

fn merge(shards: &[ShardModel]) -> Vec<Family> {
    let (mut catalog, policy) = (Catalog::default(), Policy::default());
    let keys: Vec<Vec<KeyId>> = shards
        .iter()
        .map(|shard| {
            shard
                .entries
                .iter()
                .map(|(key, ..)| catalog.intern(key.encode().as_bytes(), &policy))
                .collect()
        })
        .collect();
    let values: Vec<Vec<f64>> = shards
        .iter()
        .map(|shard| shard.entries.iter().map(|entry| entry.1).collect())
        .collect();
    let timestamps: Vec<Vec<f64>> = shards
        .iter()
        .map(|shard| shard.entries.iter().map(|entry| entry.2).collect())
        .collect();
    let sources: Vec<Source<'_>> = shards
        .iter()
        .zip(&keys)
        .map(|(shard, keys)| Source {
            kind: shard.kind,
            id: &shard.id,
            keys,
        })
        .collect();
    let (mut plan, _) = Plan::new(&catalog, &policy.limits, &sources);
    let readings = || {
        values
            .iter()
            .zip(&timestamps)
            .map(|(values, timestamps)| Reading { values, timestamps })
    };
    // Twice, because the second merge must not remember the first.
    plan.merge(readings());
    plan.merge(readings());
    plan.families().to_vec()
}

/// Every sample that the text would have.
fn samples_of(families: &[Family]) -> Samples {
    let mut samples = Samples::new();
    let mut add = |name: String, labels: &Labels, extra: &[(String, String)], value: f64| {
        let mut labels: Labels = labels.iter().chain(extra).cloned().collect();
        labels.sort();
        let earlier = samples.insert((name.clone(), labels.clone()), canonical_bits(value));
        assert_eq!(earlier, None, "{name} {labels:?} is exposed twice");
    };
    for family in families {
        for series in &family.series {
            let name = &family.name;
            match &series.value {
                Value::Single(value) if family.kind == Kind::Counter => {
                    add(format!("{name}_total"), &series.labels, &[], *value)
                }
                Value::Single(value) => add(name.clone(), &series.labels, &[], *value),
                Value::Summary { count, sum, .. } => {
                    add(format!("{name}_count"), &series.labels, &[], *count);
                    add(format!("{name}_sum"), &series.labels, &[], *sum);
                }
                Value::Histogram { buckets, sum } => {
                    for (bound, count) in buckets {
                        add(
                            format!("{name}_bucket"),
                            &series.labels,
                            &[("le".into(), number(*bound))],
                            *count,
                        );
                    }
                    add(
                        format!("{name}_count"),
                        &series.labels,
                        &[],
                        buckets.last().expect("a histogram has buckets").1,
                    );
                    add(format!("{name}_sum"), &series.labels, &[], *sum);
                }
                Value::Samples(irregular) => {
                    for (name, extra, value) in irregular {
                        add(name.clone(), &series.labels, extra, *value);
                    }
                }
            }
        }
    }
    samples
}

fn number(value: f64) -> String {
    let mut text = Vec::new();
    format_float(value, &mut text);
    String::from_utf8(text).expect("numbers are ASCII")
}

/// NaNs are all alike: their bits depend on the order of operands, which nobody sees.
fn canonical_bits(value: f64) -> u64 {
    if value.is_nan() {
        f64::NAN.to_bits()
    } else {
        value.to_bits()
    }
}

/// `MultiProcessCollector.merge`, with the oldest shard where Python has the first one read (type) or the last (mode).
fn model(shards: &[ShardModel]) -> Samples {
    let mut families: BTreeMap<&str, (FileKind, Vec<Read<'_>>)> = BTreeMap::new();
    for shard in shards {
        for (key, value, timestamp) in &shard.entries {
            let bound = key
                .labels
                .iter()
                .find(|(name, _)| name == "le")
                .map(|(_, text)| text.parse::<f64>());
            if shard.kind == FileKind::Histogram && matches!(&bound, Some(Err(_))) {
                continue;
            }
            let (kind, samples) = families
                .entry(&key.family)
                .or_insert((shard.kind, Vec::new()));
            if merges_alike(*kind, shard.kind) {
                samples.push((key, &shard.id, *value, *timestamp));
            }
        }
    }
    let mut merged = Samples::new();
    for (name, (kind, samples)) in families {
        merged.extend(
            accumulate(name, kind, &samples)
                .into_iter()
                .map(|(place, value)| (place, canonical_bits(value))),
        );
    }
    merged
}

fn merges_alike(oldest: FileKind, other: FileKind) -> bool {
    let plain = |mode: GaugeMode| mode.as_str().trim_start_matches("live").to_owned();
    match (oldest, other) {
        (FileKind::Gauge(a), FileKind::Gauge(b)) => plain(a) == plain(b),
        (a, b) => a == b,
    }
}

fn accumulate(
    family: &str,
    kind: FileKind,
    entries: &[Read<'_>],
) -> BTreeMap<(String, Labels), f64> {
    let mut samples: BTreeMap<(String, Labels), f64> = BTreeMap::new();
    let mut timestamps: BTreeMap<(String, Labels), f64> = BTreeMap::new();
    let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for &(key, pid, value, timestamp) in entries {
        let without = |name: &str| {
            key.labels
                .iter()
                .filter(|(label, _)| label != name)
                .cloned()
                .collect::<Labels>()
        };
        match kind {
            FileKind::Gauge(mode) => {
                let mut labels = without("pid");
                let mode = mode.as_str().trim_start_matches("live").to_owned();
                if mode == "all" {
                    labels.push(("pid".into(), pid.into()));
                    labels.sort();
                }
                let place = (key.sample.clone(), labels);
                match mode.as_str() {
                    "min" => {
                        let current = samples.entry(place).or_insert(value);
                        if value < *current {
                            *current = value;
                        }
                    }
                    "max" => {
                        let current = samples.entry(place).or_insert(value);
                        if value > *current {
                            *current = value;
                        }
                    }
                    "sum" => *samples.entry(place).or_insert(0.0) += value,
                    "mostrecent" => {
                        let current = timestamps.entry(place.clone()).or_insert(0.0);
                        if *current < timestamp {
                            *current = timestamp;
                            samples.insert(place, value);
                        }
                    }
                    _ => drop(samples.insert(place, value)),
                }
            }
            FileKind::Histogram => match key.labels.iter().find(|(name, _)| name == "le") {
                Some((_, text)) => {
                    let bound: f64 = text.parse().expect("others are left out");
                    let of_labels = buckets.entry(without("le")).or_default();
                    match of_labels.iter_mut().find(|(known, _)| *known == bound) {
                        Some((_, count)) => *count += value,
                        None => of_labels.push((bound, value)),
                    }
                }
                None => {
                    *samples
                        .entry((key.sample.clone(), key.labels.clone()))
                        .or_insert(0.0) += value
                }
            },
            _ => {
                *samples
                    .entry((key.sample.clone(), key.labels.clone()))
                    .or_insert(0.0) += value
            }
        }
    }
    for (labels, mut of_labels) in buckets {
        of_labels.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut cumulative = 0.0;
        for (bound, count) in of_labels {
            cumulative += count;
            let mut with_bound = labels.clone();
            with_bound.push(("le".into(), number(bound)));
            with_bound.sort();
            samples.insert((format!("{family}_bucket"), with_bound), cumulative);
        }
        samples.insert((format!("{family}_count"), labels), cumulative);
    }
    samples
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (0_u32..1000).prop_map(f64::from),
        2 => 0.0..1e3_f64,
        1 => prop::sample::select(vec![0.0, -0.0, -1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 9_007_199_254_740_993.0]),
    ]
}

fn any_kind() -> impl Strategy<Value = FileKind> {
    let mut kinds = vec![
        FileKind::Counter,
        FileKind::Summary,
        FileKind::Histogram,
        FileKind::Untyped,
        FileKind::Info,
        FileKind::StateSet,
        FileKind::GaugeHistogram,
    ];
    // Histograms and gauges have the rules.
    kinds.extend([FileKind::Histogram; 3]);
    kinds.extend(GaugeMode::ALL.map(FileKind::Gauge));
    prop::sample::select(kinds)
}

fn any_key() -> impl Strategy<Value = Key> {
    let family = prop::sample::select(vec!["fa", "fb", "fc"]);
    let suffix = prop::sample::select(vec![
        "", "_total", "_sum", "_count", "_bucket", "_bucket", "_bucket", "_info", "_odd",
        "_created", "_gsum",
    ]);
    let bound = prop::sample::select(vec![
        None,
        Some("1"),
        Some("1.0"),
        Some("0.5"),
        Some("+Inf"),
        Some("-2"),
        Some("1e3"),
        Some("x"),
    ]);
    let side = prop::sample::select(vec![None, Some("buy"), Some("sell")]);
    let pid = prop::sample::select(vec![None, None, Some("7")]);
    (family, suffix, bound, side, pid).prop_map(|(family, suffix, bound, side, pid)| {
        let labels = [("le", bound), ("pid", pid), ("side", side)];
        let labels = labels
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        Key {
            family: family.to_owned(),
            sample: format!("{family}{suffix}"),
            labels,
            help: "h".to_owned(),
        }
    })
}

fn any_shard() -> impl Strategy<Value = ShardModel> {
    let timestamp = prop::sample::select(vec![0.0, 0.0, 1.5, 2.5, 2.5, -1.0, f64::NAN]);
    let entries = prop::collection::vec((any_key(), any_value(), timestamp), 0..12);
    (
        any_kind(),
        prop::sample::select(vec!["1", "2", ""]),
        entries,
    )
        .prop_map(|(kind, id, entries)| ShardModel {
            kind,
            id: id.to_owned(),
            entries,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_merge_equals_pythons_algorithm_in_canonical_order(shards in prop::collection::vec(any_shard(), 0..8)) {
        prop_assert_eq!(samples_of(&merge(&shards)), model(&shards));
    }

    #[test]
    fn families_and_series_are_sorted_whatever_the_shards(shards in prop::collection::vec(any_shard(), 0..8)) {
        let families = merge(&shards);
        let written = |family: &Family| format!("{}{}", family.name, if family.kind == Kind::Counter { "_total" } else { "" });
        let names: Vec<String> = families.iter().map(written).collect();
        prop_assert!(names.is_sorted(), "{names:?}");
        for family in &families {
            let has_bound = |labels: &Labels| labels.iter().any(|(name, _)| name == "le");
            let is_irregular = |series: &Series| matches!(series.value, Value::Samples(_));
            let order: Vec<(bool, &Labels)> = family.series.iter().map(|series| (is_irregular(series), &series.labels)).collect();
            // Bounds among the labels go by their number.
            prop_assert!(order.is_sorted() || order.iter().any(|(_, labels)| has_bound(labels)), "{order:?}");
        }
    }

    /// The property that keeps a rate from seeing a reset: rounding must not make a total fall when a shard grows or is born.
    #[test]
    fn a_total_never_falls_when_its_parts_grow(
        parts in prop::collection::vec((0.0..1e3_f64, 0.0..1e-3_f64), 1..40),
        born in prop::collection::vec(0.0..1e3_f64, 0..4),
    ) {
        let total = |values: &[f64]| {
            let key = Key { family: "c".into(), sample: "c_total".into(), labels: Vec::new(), help: String::new() };
            let shards: Vec<ShardModel> =
                values.iter().map(|value| ShardModel { kind: FileKind::Counter, id: "1".into(), entries: vec![(key.clone(), *value, 0.0)] }).collect();
            match merge(&shards)[0].series[0].value {
                Value::Single(value) => value,
                ref other => panic!("{other:?} is no counter"),
            }
        };
        let mut values: Vec<f64> = parts.iter().map(|(value, _)| *value).collect();
        let mut last = total(&values);
        for (index, (_, growth)) in parts.iter().enumerate() {
            values[index] += growth;
            let now = total(&values);
            prop_assert!(now >= last, "{now} after {last}");
            last = now;
        }
        for value in born {
            values.push(value);
            let now = total(&values);
            prop_assert!(now >= last, "{now} after {last}");
            last = now;
        }
    }
}
