//! Families whose labels are known at run time only: one series for each label set, and nothing that a typed family would refuse.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod common;

use std::thread;

use common::shards_in;
use metricsd_client::{
    COMBINATIONS_MAX, Counter, Defect, GaugeMode, OpenFamily, Registry, label_set, label_value,
};

label_value! { enum Side { Buy = "buy", Sell = "sell" } }
label_set! { struct BySide { side: Side } }

fn samples(registry: &Registry) -> Vec<String> {
    let text = registry.render();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(str::to_owned).collect()
}

#[test]
fn a_series_is_its_labels_whatever_their_order_and_whoever_asks() {
    let registry = Registry::in_memory();
    let family = registry.open_counter_family("requests_total", "Requests.");
    family.with(&[("path", "/a"), ("method", "GET")]).inc();
    family.with(&[("method", "GET"), ("path", "/a")]).inc();
    family
        .with(&[("method", "GET"), ("path", "/a"), ("empty", "")])
        .inc();
    family.with(&[]).inc();
    let again = registry.open_counter_family("requests", "Another help text.");
    again.with(&[("method", "GET"), ("path", "/a")]).inc();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for path in ["/a", "/b \"ü\"\n"] {
                    family.with(&[("method", "GET"), ("path", path)]).inc();
                }
            });
        }
    });
    assert_eq!(
        samples(&registry),
        [
            "requests_total 1.0",
            r#"requests_total{method="GET",path="/a"} 8.0"#,
            r#"requests_total{method="GET",path="/b \"ü\"\n"} 4.0"#,
        ]
    );
    assert!(
        registry
            .render()
            .contains("# HELP requests_total Requests.\n")
    );
    assert_eq!(registry.defects(Defect::Registration), 0);
}

#[test]
fn labels_that_cannot_stand_are_counted_and_hidden() {
    let registry = Registry::in_memory();
    let family = registry.open_gauge_family("level", "Level.", GaugeMode::LiveSum);
    let long = "v".repeat(129);
    let refused: [&[(&str, &str)]; 8] = [
        &[("symbol", "EURUSD")],
        &[("le", "1.0")],
        &[("__name__", "x")],
        &[("a.b", "x")],
        &[("", "x")],
        &[("a", "1"), ("a", "2")],
        &[("a", &long)],
        &[("a", "bell\u{7}")],
    ];
    for (count, labels) in refused.iter().enumerate() {
        family.with(labels).set(1.0);
        assert_eq!(
            registry.defects(Defect::Registration),
            count as u64 + 1,
            "{labels:?}"
        );
    }
    assert_eq!(samples(&registry), [""; 0]);
    family.with(&[("a", "1"), ("b", &long[1..])]).set(2.0);
    assert_eq!(samples(&registry).len(), 1);
}

#[test]
fn a_family_has_at_most_as_many_series_as_a_typed_one() {
    let registry = Registry::in_memory();
    let family = registry.open_counter_family("wide_total", "");
    let histograms = registry.open_histogram_family("h", "", &[1.0]);
    for n in 0..COMBINATIONS_MAX + 2 {
        family.with(&[("n", &n.to_string())]).inc();
    }
    assert_eq!(samples(&registry).len(), COMBINATIONS_MAX);
    assert_eq!(registry.defects(Defect::LabelOverflow), 2);
    family.with(&[("n", "0")]).inc();
    assert_eq!(
        registry.defects(Defect::LabelOverflow),
        2,
        "a known one is found"
    );
    histograms.with(&[]).observe(1.0);

    let many: Vec<f64> = (0..200).map(f64::from).collect();
    let wide = Registry::in_memory();
    let family = wide.open_histogram_family("h", "", &many);
    for n in 0..500 {
        family.with(&[("n", &n.to_string())]);
    }
    assert_eq!(
        wide.defects(Defect::LabelOverflow),
        5,
        "100,000 cells are 495 series of 202"
    );
}

#[test]
fn a_family_that_contradicts_another_is_counted_and_hidden() {
    let registry = Registry::in_memory();
    registry
        .open_counter_family("a_total", "A.")
        .with(&[])
        .inc();
    registry.counter_family::<BySide>("typed", "Typed.");
    let refused: [fn(&Registry); 6] = [
        |r| {
            r.open_gauge_family("a", "A.", GaugeMode::All)
                .with(&[])
                .set(9.0)
        },
        |r| {
            r.open_counter_family("typed", "Typed.")
                .with(&[("side", "buy")])
                .inc()
        },
        |r| r.counter("a", "A.").inc(),
        |r| r.open_counter_family("a b", "").with(&[]).inc(),
        |r| r.open_counter_family("process_x", "").with(&[]).inc(),
        |r| r.open_histogram_family("h", "", &[]).with(&[]).observe(1.0),
    ];
    for (count, register) in refused.iter().enumerate() {
        register(&registry);
        assert_eq!(registry.defects(Defect::Registration), count as u64 + 1);
    }
    assert_eq!(
        samples(&registry),
        [
            r#"a_total 1.0"#,
            r#"typed_total{side="buy"} 0.0"#,
            r#"typed_total{side="sell"} 0.0"#
        ]
    );
}

#[test]
fn an_open_family_is_in_the_shards_under_the_help_text_that_came_first() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::start(shards_in(directory.path()));
    let first: OpenFamily<Counter> = registry.open_counter_family("late_total", "");
    first.with(&[("n", "1")]).add(2.0);
    let later = registry.open_counter_family("late_total", "A description that comes late.");
    later.with(&[("n", "1")]).add(3.0);
    later.with(&[("n", "2")]).inc();
    let keys: Vec<String> = common::keys_in(directory.path(), "counter_");
    let of_family: Vec<&String> = keys
        .iter()
        .filter(|key| key.contains("late_total"))
        .collect();
    assert_eq!(
        of_family,
        [
            r#"["late", "late_total", {"n": "1"}, ""]"#,
            r#"["late", "late_total", {"n": "2"}, ""]"#,
        ]
    );
    assert!(samples(&registry).contains(&r#"late_total{n="1"} 5.0"#.to_owned()));
}

#[test]
fn an_observation_made_many_times_is_that_many_observations() {
    let registry = Registry::in_memory();
    let once = registry.histogram("once", "", &[1.0, 2.0]);
    let many = registry.histogram("many", "", &[1.0, 2.0]);
    for (value, count) in [(0.5, 3), (2.0, 1), (7.0, 2), (1.0, 0)] {
        (0..count).for_each(|_| once.observe(value));
        many.observe_many(value, count);
    }
    many.observe_many(f64::NAN, 1);
    many.observe_many(1e280, u64::MAX);
    many.observe_many(f64::INFINITY, 0);
    assert_eq!(registry.defects(Defect::NotFinite), 3);
    let of = |name: &str| {
        let lines = samples(&registry).into_iter();
        let own = lines.filter_map(|line| line.strip_prefix(name).map(str::to_owned));
        own.collect::<Vec<_>>()
    };
    assert_eq!(of("many"), of("once"));
}
