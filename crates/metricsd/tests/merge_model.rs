//! The merge against a naive model: Python's algorithm written down as it stands in `multiprocess.py`, and live first, over random
//! shards.
//!
//! The model keeps every sample and looks through all of them; the merge under test keeps cells. Both must give the same
//! samples, bit for bit: sums are exact and rounded once, in the model by `math.fsum` as Python has it.

use std::collections::{BTreeMap, BTreeSet};

use metricsd::archive::Exact;
use metricsd::merge::{Catalog, Findings, KeyId, LiveFirst, Plan, Reading, Source, Standing};
use metricsd::policy::Policy;
use metricsd_exporter::{
    Family, Kind, NameFilter, Series, Value, format_float, write_text_filtered,
};
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
    standing: Standing,
    is_news: bool,
    /// Indexes of entries whose keys are discarded; those beyond the last mean nothing.
    discarded: BTreeSet<usize>,
    /// Of a kind that adds up: this much of each entry stands in the archive too, and is taken away again.
    absorbed: Option<f64>,
}

impl ShardModel {
    fn new(kind: FileKind, id: &str, entries: Vec<(Key, f64, f64)>) -> ShardModel {
        ShardModel {
            kind,
            id: id.to_owned(),
            entries,
            standing: Standing::Unknown,
            is_news: false,
            discarded: BTreeSet::new(),
            absorbed: None,
        }
    }

    fn is_discarded(&self, key: &Key) -> bool {
        let discarded = self.discarded.iter();
        let mut keys = discarded.filter_map(|entry| Some(&self.entries.get(*entry)?.0));
        self.standing != Standing::Live && keys.any(|other| other == key)
    }
}

fn adds_up(kind: FileKind) -> bool {
    !matches!(kind, FileKind::Gauge(mode) if mode != GaugeMode::Sum)
}

/// What becomes of the shards, and what the plan had to say; places are (shard, entry).
fn merge_with(shards: &[ShardModel], live_first: LiveFirst) -> (Vec<Family>, Findings) {
    let (mut catalog, policy) = (Catalog::default(), Policy::default());
    let intern =
        |key: &Key, catalog: &mut Catalog| catalog.intern(key.encode().as_bytes(), &policy);
    let keys: Vec<Vec<KeyId>> = shards
        .iter()
        .map(|shard| {
            let keys = shard.entries.iter();
            keys.map(|entry| intern(&entry.0, &mut catalog)).collect()
        })
        .collect();
    let columns: Vec<[Vec<f64>; 2]> = shards
        .iter()
        .map(|shard| {
            let column =
                |pick: fn(&(Key, f64, f64)) -> f64| shard.entries.iter().map(pick).collect();
            [column(|entry| entry.1), column(|entry| entry.2)]
        })
        .collect();
    let discarded: Vec<Vec<KeyId>> = shards
        .iter()
        .zip(&keys)
        .map(|(shard, keys)| {
            let keys = shard
                .discarded
                .iter()
                .filter_map(|entry| keys.get(*entry).copied());
            let sorted: BTreeSet<KeyId> = keys.collect();
            sorted.into_iter().collect()
        })
        .collect();
    let pairs: Vec<[Exact; 2]> = shards
        .iter()
        .map(|shard| {
            let mut pair = [Exact::default(), Exact::default()];
            pair[0].add(shard.absorbed.unwrap_or(0.0));
            pair[1].subtract(shard.absorbed.unwrap_or(0.0));
            pair
        })
        .collect();
    let picks: Vec<Vec<u32>> = keys.iter().map(|keys| vec![0; keys.len()]).collect();
    let (mut sources, mut readings, mut shard_of) = (Vec::new(), Vec::new(), Vec::new());
    for (index, shard) in shards.iter().enumerate() {
        let [values, timestamps] = &columns[index];
        let source = Source {
            kind: shard.kind,
            id: &shard.id,
            keys: &keys[index],
            timestamps,
            standing: shard.standing,
            discarded: &discarded[index],
            is_news: shard.is_news,
        };
        let sums = |of: usize| Reading::Sums {
            totals: &pairs[index][of..=of],
            picks: &picks[index],
        };
        let file = Reading::Values { values, timestamps };
        let parts = match shard.absorbed {
            Some(_) if adds_up(shard.kind) => vec![sums(0), file, sums(1)],
            _ => vec![file],
        };
        shard_of.extend(vec![index; parts.len()]);
        sources.extend(vec![source; parts.len()]);
        readings.extend(parts);
    }
    let (mut plan, mut findings) = Plan::new(&catalog, &policy.limits, &sources, live_first);
    assert!(!plan.is_outdated(readings.iter().copied()));
    for place in &mut findings.superseded {
        place.0 = shard_of[place.0];
    }
    // Twice, because the second merge must not remember the first.
    plan.merge(readings.iter().copied());
    plan.merge(readings.iter().copied());
    expect_text_of_families(&mut plan);
    (plan.families().to_vec(), findings)
}

/// What is written without values in between is what the values are written as, whatever is asked for.
fn expect_text_of_families(plan: &mut Plan) {
    let names = [
        "a",
        "a_total",
        "a_bucket",
        "a_sum",
        "a_count",
        "no_such_name",
    ]
    .map(str::to_owned);
    let singles = names.clone().map(|name| NameFilter::only([name]));
    for filter in [NameFilter::all(), NameFilter::only(names)]
        .iter()
        .chain(&singles)
    {
        let (mut direct, mut by_values) = (Vec::new(), Vec::new());
        let written = plan.write_text(filter, &mut direct);
        let expected = write_text_filtered(plan.families(), filter, &mut by_values);
        assert_eq!(
            String::from_utf8_lossy(&direct),
            String::from_utf8_lossy(&by_values)
        );
        assert_eq!(written, expected);
    }
}

fn merge(shards: &[ShardModel]) -> Vec<Family> {
    merge_with(shards, LiveFirst::Apply).0
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

/// An entry: shard and its index there.
type Place = (usize, usize);

/// Entries that are served, if those in `withheld` are not there: the oldest entry of a family says what the family is.
fn served(shards: &[ShardModel], withheld: &BTreeSet<Place>) -> Vec<(FileKind, Place)> {
    let mut kinds: BTreeMap<&str, FileKind> = BTreeMap::new();
    let mut served = Vec::new();
    for (index, shard) in shards.iter().enumerate() {
        for (entry, (key, ..)) in shard.entries.iter().enumerate() {
            let bound = key.labels.iter().find(|(name, _)| name == "le");
            let is_odd = bound.is_some_and(|(_, text)| text.parse::<f64>().is_err());
            if withheld.contains(&(index, entry)) || (shard.kind == FileKind::Histogram && is_odd) {
                continue;
            }
            let kind = *kinds.entry(&key.family).or_insert(shard.kind);
            if merges_alike(kind, shard.kind) {
                served.push((kind, (index, entry)));
            }
        }
    }
    served
}

/// What live first takes away: (discarded or hidden, superseded).
fn live_first(shards: &[ShardModel]) -> (BTreeSet<Place>, BTreeSet<Place>) {
    let (mut out, mut claims, mut ended) = (BTreeSet::new(), Vec::new(), Vec::new());
    for (index, shard) in shards.iter().enumerate() {
        let FileKind::Gauge(mode) = shard.kind else {
            continue;
        };
        if !mode.is_live() {
            // A reset drops gauges of all modes.
            let entries = shard.entries.iter().enumerate();
            let dropped = entries.filter(|(_, (key, ..))| shard.is_discarded(key));
            out.extend(dropped.map(|(entry, _)| (index, entry)));
            continue;
        }
        let is_hidden = shard.standing
            == Standing::Ended {
                hides_live_gauges: true,
            };
        for (entry, (key, _, timestamp)) in shard.entries.iter().enumerate() {
            let place = (index, entry);
            if shard.is_discarded(key) || is_hidden {
                out.insert(place);
            }
            let is_set = mode != GaugeMode::LiveMostRecent || *timestamp > 0.0;
            if shard.is_discarded(key) || !is_set {
                continue;
            }
            if shard.standing == Standing::Live || (shard.is_news && !is_hidden) {
                claims.push(place);
            }
            if matches!(shard.standing, Standing::Ended { .. }) {
                ended.push(place);
            }
        }
    }
    let series = |place: &Place| {
        let shard = &shards[place.0];
        let key = &shard.entries[place.1].0;
        let labels: Labels = key
            .labels
            .iter()
            .filter(|(name, _)| name != "pid")
            .cloned()
            .collect();
        let writer = (shard.kind == FileKind::Gauge(GaugeMode::LiveAll)).then_some(&shard.id);
        (
            &key.family,
            &key.sample,
            labels,
            shard.kind.to_owned(),
            writer,
        )
    };
    loop {
        let gives_way = |loser: &Place, claims: &[Place]| {
            claims.iter().any(|claim| {
                let is_stronger = shards[claim.0].standing == Standing::Live || claim.0 > loser.0;
                is_stronger && series(claim) == series(loser)
            })
        };
        let superseded: BTreeSet<Place> = ended
            .iter()
            .filter(|place| gives_way(place, &claims))
            .copied()
            .collect();
        let withheld = &out | &superseded;
        let served: BTreeSet<Place> = served(shards, &withheld)
            .into_iter()
            .map(|it| it.1)
            .collect();
        let before = claims.len();
        claims.retain(|claim| served.contains(claim) || superseded.contains(claim));
        if claims.len() == before {
            return (out, superseded);
        }
    }
}

/// `MultiProcessCollector.merge`, with the oldest shard where Python has the first one read (type) or the last (mode).
fn model(shards: &[ShardModel], withheld: &BTreeSet<Place>) -> Samples {
    let mut families: BTreeMap<&str, (FileKind, Vec<Read<'_>>)> = BTreeMap::new();
    for (kind, (index, entry)) in served(shards, withheld) {
        let shard = &shards[index];
        let (key, value, timestamp) = &shard.entries[entry];
        let (_, samples) = families.entry(&key.family).or_insert((kind, Vec::new()));
        samples.push((key, &shard.id, *value, *timestamp));
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

/// `math.fsum`, but what makes that raise is infinite or NaN here.
fn fsum(values: &[f64]) -> f64 {
    if values.iter().any(|value| !value.is_finite()) {
        return values.iter().sum();
    }
    let mut partials: Vec<f64> = Vec::new();
    for &value in values {
        let mut x = value;
        let mut kept = Vec::new();
        for &partial in &partials {
            let (great, small) = if x.abs() < partial.abs() {
                (partial, x)
            } else {
                (x, partial)
            };
            let high = great + small;
            let low = small - (high - great);
            if low != 0.0 {
                kept.push(low);
            }
            x = high;
        }
        kept.push(x);
        partials = kept;
    }
    let (mut high, mut low) = (0.0, 0.0);
    while let Some(partial) = partials.pop() {
        let before = high;
        high = before + partial;
        low = partial - (high - before);
        if low != 0.0 {
            break;
        }
    }
    // Half-way cases, once more: what is left below says to which side.
    if let Some(below) = partials.last()
        && ((low < 0.0 && *below < 0.0) || (low > 0.0 && *below > 0.0))
    {
        let twice = low * 2.0;
        let rounded = high + twice;
        if twice == rounded - high {
            high = rounded;
        }
    }
    // Python starts at zero, which is never negative.
    high + 0.0
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
    let mut sums: BTreeMap<(String, Labels), Vec<f64>> = BTreeMap::new();
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
                    "sum" => sums.entry(place).or_default().push(value),
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
                    of_labels.push((bound, value));
                }
                None => {
                    let place = (key.sample.clone(), key.labels.clone());
                    sums.entry(place).or_default().push(value);
                }
            },
            _ => {
                let place = (key.sample.clone(), key.labels.clone());
                sums.entry(place).or_default().push(value);
            }
        }
    }
    samples.extend(
        sums.into_iter()
            .map(|(place, values)| (place, fsum(&values))),
    );
    for (labels, mut of_labels) in buckets {
        of_labels.sort_by(|a, b| a.0.total_cmp(&b.0));
        let counts: Vec<f64> = of_labels.iter().map(|(_, count)| *count).collect();
        let mut cumulative = 0.0;
        for (index, (bound, _)) in of_labels.into_iter().enumerate() {
            cumulative = fsum(&counts[..=index]);
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
        prop::option::weighted(0.3, any_value()),
    )
        .prop_map(|(kind, id, entries, absorbed)| ShardModel {
            absorbed,
            ..ShardModel::new(kind, id, entries)
        })
}

/// Gauges of few series and modes, so that they meet, of processes that live or do not.
fn any_live_shard() -> impl Strategy<Value = ShardModel> {
    let kinds = vec![
        FileKind::Gauge(GaugeMode::LiveMax),
        FileKind::Gauge(GaugeMode::LiveMax),
        FileKind::Gauge(GaugeMode::Max),
        FileKind::Gauge(GaugeMode::LiveSum),
        FileKind::Gauge(GaugeMode::LiveAll),
        FileKind::Gauge(GaugeMode::LiveMostRecent),
        FileKind::Gauge(GaugeMode::LiveMostRecent),
        FileKind::Counter,
    ];
    let standings = vec![
        Standing::Live,
        Standing::Unknown,
        Standing::Ended {
            hides_live_gauges: false,
        },
        Standing::Ended {
            hides_live_gauges: false,
        },
        Standing::Ended {
            hides_live_gauges: true,
        },
    ];
    let key = (
        prop::sample::select(vec!["fa", "fa", "fb"]),
        prop::sample::select(vec![None, None, Some(("pid", "7")), Some(("side", "buy"))]),
    )
        .prop_map(|(family, label)| Key {
            family: family.to_owned(),
            sample: family.to_owned(),
            labels: label
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            help: "h".to_owned(),
        });
    let timestamp = prop::sample::select(vec![0.0, 1.5, 2.5, -1.0, f64::NAN]);
    let discarded = prop::collection::btree_set(0_usize..4, 0..2);
    (
        prop::sample::select(kinds),
        prop::sample::select(vec!["1", "2"]),
        prop::collection::vec((key, any_value(), timestamp), 0..4),
        prop::sample::select(standings),
        prop::bool::weighted(0.3),
        discarded,
    )
        .prop_map(|(kind, id, mut entries, standing, is_news, discarded)| {
            // A gauge stands in a file once; what is discarded is discarded by its key.
            let mut keys: Vec<Key> = Vec::new();
            entries.retain(|(key, _, _): &(Key, f64, f64)| {
                let is_first = !keys.contains(key);
                keys.push(key.clone());
                is_first
            });
            ShardModel {
                standing,
                is_news,
                discarded,
                ..ShardModel::new(kind, id, entries)
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_merge_equals_pythons_algorithm_in_canonical_order(shards in prop::collection::vec(any_shard(), 0..8)) {
        prop_assert_eq!(samples_of(&merge(&shards)), model(&shards, &BTreeSet::new()));
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

    #[test]
    fn live_first_equals_the_model(shards in prop::collection::vec(any_live_shard(), 0..7)) {
        let (out, superseded) = live_first(&shards);
        let (families, findings) = merge_with(&shards, LiveFirst::Apply);
        prop_assert_eq!(samples_of(&families), model(&shards, &(&out | &superseded)));
        prop_assert_eq!(&findings.superseded, &superseded.into_iter().collect::<Vec<_>>());
        let (families, deferred) = merge_with(&shards, LiveFirst::Defer);
        prop_assert_eq!(samples_of(&families), model(&shards, &out));
        prop_assert_eq!(findings.superseded, deferred.superseded);
    }

    /// What is discarded in the journal shows the same page after a restart as what gave way before it.
    #[test]
    fn what_gave_way_may_be_discarded_and_nothing_changes(mut shards in prop::collection::vec(any_live_shard(), 0..7)) {
        let (before, findings) = merge_with(&shards, LiveFirst::Apply);
        for (shard, entry) in findings.superseded {
            shards[shard].discarded.insert(entry);
        }
        let (after, findings) = merge_with(&shards, LiveFirst::Apply);
        prop_assert_eq!(samples_of(&after), samples_of(&before));
        prop_assert_eq!(findings.superseded, vec![]);
    }

    #[test]
    fn no_series_vanishes_because_it_gave_way(shards in prop::collection::vec(any_live_shard(), 0..7)) {
        let names = |live_first| samples_of(&merge_with(&shards, live_first).0).into_keys().collect::<Vec<_>>();
        prop_assert_eq!(names(LiveFirst::Apply), names(LiveFirst::Defer));
    }

    #[test]
    fn a_sum_depends_neither_on_the_order_nor_on_what_of_it_is_archived(
        values in prop::collection::vec((any_value(), prop::option::of(any_value())), 1..12).prop_shuffle(),
        seed in any::<u64>(),
        kind in prop::sample::select(vec![FileKind::Counter, FileKind::Histogram, FileKind::Gauge(GaugeMode::Sum)]),
    ) {
        let page = |values: &[(f64, Option<f64>)]| {
            let entries = |value: f64| vec![
                (key_of("c_bucket", Some("1")), value, 0.0),
                (key_of("c_bucket", Some("+Inf")), value, 0.0),
                (key_of("c_sum", None), value, 0.0),
            ];
            let shards: Vec<ShardModel> = values
                .iter()
                .map(|(value, absorbed)| ShardModel { absorbed: *absorbed, ..ShardModel::new(kind, "1", entries(*value)) })
                .collect();
            samples_of(&merge(&shards))
        };
        let mut others = values.clone();
        others.sort_by_key(|(value, _)| value.to_bits().wrapping_mul(seed | 1));
        others.iter_mut().for_each(|(_, absorbed)| *absorbed = None);
        prop_assert_eq!(page(&values), page(&others));
    }

    /// The property that keeps a rate from seeing a reset: a total does not fall when a shard grows or is born, and does not move
    /// when it is absorbed, rounding included.
    #[test]
    fn a_total_never_falls_whatever_grows_is_born_or_is_absorbed(
        mut values in prop::collection::vec(0.0..1e3_f64, 1..20),
        steps in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, 0.0..1e-3_f64), 1..60),
    ) {
        let (mut catalog, policy) = (Catalog::default(), Policy::default());
        let keys = [catalog.intern(key_of("c_total", None).encode().as_bytes(), &policy)];
        let (mut archive, mut absorbed) = (Exact::default(), vec![Exact::default(); values.len()]);
        let mut last = 0.0;
        for (which, what, growth) in steps {
            let index = which.index(values.len());
            let may_move = match what {
                0 => {
                    // All that it holds beyond what was absorbed before.
                    archive.add(values[index]);
                    archive.merge(&absorbed[index]);
                    absorbed[index] = Exact::default();
                    absorbed[index].subtract(values[index]);
                    false
                }
                1 => {
                    // Born with a value, at any place in the order.
                    values.insert(index, growth);
                    absorbed.insert(index, Exact::default());
                    true
                }
                _ => {
                    values[index] += growth;
                    true
                }
            };
            let source = Source {
                kind: FileKind::Counter,
                id: "1",
                keys: &keys,
                timestamps: &[],
                standing: Standing::Unknown,
                discarded: &[],
                is_news: false,
            };
            let sums = |sum| Reading::Sums { totals: std::slice::from_ref(sum), picks: &[0] };
            let of_file = |value| Reading::Values { values: std::slice::from_ref(value), timestamps: &[] };
            let readings: Vec<Reading<'_>> = std::iter::once(sums(&archive))
                .chain(values.iter().zip(&absorbed).flat_map(|(value, absorbed)| [of_file(value), sums(absorbed)]))
                .collect();
            let (mut plan, _) = Plan::new(&catalog, &policy.limits, &vec![source; readings.len()], LiveFirst::Apply);
            plan.merge(readings.iter().copied());
            let now = match plan.families()[0].series[0].value {
                Value::Single(value) => value,
                ref other => panic!("{other:?} is no counter"),
            };
            prop_assert!(now >= last, "{now} after {last}");
            prop_assert!(may_move || now == last || last == 0.0, "{now} after {last}, and nothing was added");
            last = now;
        }
    }
}

fn key_of(sample: &str, bound: Option<&str>) -> Key {
    Key {
        family: "c".into(),
        sample: sample.into(),
        labels: bound
            .map(|bound| ("le".into(), bound.into()))
            .into_iter()
            .collect(),
        help: String::new(),
    }
}

#[test]
fn buckets_are_made_cumulative_before_they_are_rounded() {
    let entries = [("1", 1e16), ("2", 1.0), ("+Inf", 1.0)];
    let entries = entries.map(|(bound, count)| (key_of("c_bucket", Some(bound)), count, 0.0));
    // With a sum it is a regular histogram, without one it is not.
    for sum in [Some((key_of("c_sum", None), 0.0, 0.0)), None] {
        let entries = entries.iter().cloned().chain(sum).collect();
        let families = merge(&[ShardModel::new(FileKind::Histogram, "1", entries)]);
        let samples = samples_of(&families);
        let count = samples[&("c_count".to_owned(), Vec::new())];
        assert_eq!(f64::from_bits(count), 1e16 + 2.0);
    }
}
