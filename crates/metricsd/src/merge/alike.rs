//! Sources with the same entries are planned once and added up in blocks; here it is seen that nobody can tell.

use metricsd_exporter::{NameFilter, write_text_filtered};
use metricsd_shard::{FileKind, GaugeMode, Key};
use proptest::prelude::*;

use super::*;
use crate::policy::{Policy, SeriesLimits};

/// Entries that several sources have, and what each of those has on its own.
#[derive(Debug, Clone)]
struct Case {
    layouts: Vec<Vec<usize>>,
    sources: Vec<Drawn>,
    limits: SeriesLimits,
}

#[derive(Debug, Clone)]
struct Drawn {
    layout: usize,
    kind: FileKind,
    standing: Standing,
    values: Vec<f64>,
    timestamps: Vec<f64>,
}

/// Few families, two help texts, labels that are bounds, a name that is refused, a sample that is its family's only by name.
fn keys() -> Vec<Key> {
    let mut keys = Vec::new();
    for (family, sample) in [
        ("a", "a_total"),
        ("a", "a_bucket"),
        ("a", "a_sum"),
        ("a", "a"),
        ("a_total", "a_total"),
        ("up", "up"),
    ] {
        for labels in [
            vec![],
            vec![("le", "1")],
            vec![("le", "+Inf")],
            vec![("pid", "7")],
            vec![("l", "x")],
        ] {
            for help in ["h", "i"] {
                let owned =
                    |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
                keys.push(Key {
                    family: family.to_owned(),
                    sample: sample.to_owned(),
                    labels: labels.iter().map(owned).collect(),
                    help: help.to_owned(),
                });
            }
        }
    }
    keys
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (0_u32..1000).prop_map(f64::from),
        4 => (0_u32..1000).prop_map(|number| f64::from(number) / 10.0),
        1 => any::<f64>(),
        1 => prop::sample::select(vec![-0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e16, -1e16]),
    ]
}

fn kind() -> impl Strategy<Value = FileKind> {
    prop::sample::select(vec![
        FileKind::Counter,
        FileKind::Counter,
        FileKind::Histogram,
        FileKind::Gauge(GaugeMode::Sum),
        FileKind::Gauge(GaugeMode::LiveMax),
        FileKind::Gauge(GaugeMode::Min),
        FileKind::Gauge(GaugeMode::LiveAll),
        FileKind::Gauge(GaugeMode::LiveMostRecent),
    ])
}

fn standing() -> impl Strategy<Value = Standing> {
    let ended = |hides_live_gauges| Standing::Ended { hides_live_gauges };
    prop::sample::select(vec![
        Standing::Live,
        Standing::Unknown,
        ended(false),
        ended(true),
    ])
}

fn case() -> impl Strategy<Value = Case> {
    let key_count = keys().len();
    // Longer than what is added at a time, so that both ways of the sums are taken.
    let layouts = prop::collection::vec(prop::collection::vec(0..key_count, 0..40), 1..3);
    layouts.prop_flat_map(move |layouts| {
        let lens: Vec<usize> = layouts.iter().map(Vec::len).collect();
        let drawn = (0..layouts.len(), kind(), standing()).prop_flat_map(
            move |(layout, kind, standing)| {
                let numbers = |of| prop::collection::vec(of, lens[layout]);
                (
                    numbers(number().boxed()),
                    numbers(prop::sample::select(vec![0.0, 1.0, 2.0]).boxed()),
                )
                    .prop_map(move |(values, timestamps)| Drawn {
                        layout,
                        kind,
                        standing,
                        values,
                        timestamps,
                    })
            },
        );
        let limits =
            (1_usize..30, 1_usize..30).prop_map(|(series, series_per_family)| SeriesLimits {
                series,
                series_per_family,
                ..Policy::default().limits
            });
        (prop::collection::vec(drawn, 0..24), limits).prop_map(move |(sources, limits)| Case {
            layouts: layouts.clone(),
            sources,
            limits,
        })
    })
}

/// The page and the findings; `keys_of` says where the keys of a source are in memory.
fn outcome<'a>(
    catalog: &Catalog,
    case: &'a Case,
    keys_of: impl Fn(usize) -> &'a [KeyId],
) -> (String, Findings) {
    let sources: Vec<Source<'_>> = (0..)
        .zip(&case.sources)
        .map(|(index, drawn)| Source {
            kind: drawn.kind,
            id: ["1", "2", "3"][index % 3],
            keys: keys_of(index),
            timestamps: timestamps(drawn),
            standing: drawn.standing,
            discarded: &[],
            is_news: false,
        })
        .collect();
    let (mut plan, findings) = Plan::new(catalog, &case.limits, &sources, LiveFirst::Apply);
    plan.merge(case.sources.iter().map(|drawn| Reading::Values {
        values: &drawn.values,
        timestamps: timestamps(drawn),
    }));
    let (mut direct, mut by_values) = (Vec::new(), Vec::new());
    plan.write_text(&NameFilter::all(), &mut direct);
    write_text_filtered(plan.families(), &NameFilter::all(), &mut by_values);
    assert_eq!(direct, by_values);
    (String::from_utf8(direct).expect("text"), findings)
}

fn timestamps(drawn: &Drawn) -> &[f64] {
    match drawn.kind {
        FileKind::Gauge(GaugeMode::LiveMostRecent) => &drawn.timestamps,
        _ => &[],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whether_sources_share_their_keys_or_each_has_a_copy_shows_nowhere(case in case()) {
        let (mut catalog, policy) = (Catalog::default(), Policy::default());
        let numbers: Vec<KeyId> = keys().iter().map(|key| catalog.intern(key.encode().as_bytes(), &policy)).collect();
        let layout = |layout: &Vec<usize>| -> Vec<KeyId> { layout.iter().map(|key| numbers[*key]).collect() };
        let shared: Vec<Vec<KeyId>> = case.layouts.iter().map(layout).collect();
        let copies: Vec<Vec<KeyId>> = case.sources.iter().map(|drawn| shared[drawn.layout].clone()).collect();
        let (page, findings) = outcome(&catalog, &case, |source| &shared[case.sources[source].layout]);
        let (expected, expected_findings) = outcome(&catalog, &case, |source| &copies[source]);
        prop_assert_eq!(page, expected);
        prop_assert_eq!(findings, expected_findings);
    }
}
