//! Increments by labels, without a handle: the same as through one, for every kind of family.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod common;

use common::shards_in;
use metricsd_client::{AMOUNT_MAX, Defect, LabelSet, Registry, label_set, label_text, label_value};

label_value! { enum Side { Buy = "buy", Sell = "sell" } }
label_value! { enum Outcome { Filled = "filled", Rejected = "rejected", Blocked = "blocked" } }
label_set! { struct Fill { side: Side, outcome: Outcome } }
label_set! { struct BySide { side: Side } }
label_text! { struct Strategy { spelling: Lower, len_max_bytes: 16, values_max: 1 } }
label_set! { struct ByStrategy { strategy: Strategy, side: Side } }

const THREADS: usize = 4;

/// The value of the line that begins so; none if there is no such line.
fn value(registry: &Registry, beginning: &str) -> Option<f64> {
    let text = registry.render();
    let line = text.lines().find_map(|line| line.strip_prefix(beginning))?;
    Some(line.trim().parse().unwrap())
}

fn every_label_set_has_its_own(registry: &Registry) {
    let before = registry.counter_family::<BySide>("before_total", "A neighbour.");
    let fills = registry.counter_family::<Fill>("fills_total", "Fills.");
    let after = registry.counter_family::<BySide>("after_total", "A neighbour.");
    let all = || {
        let of_side = |&side: &Side| {
            Outcome::ALL
                .iter()
                .map(move |&outcome| Fill { side, outcome })
        };
        Side::ALL.iter().flat_map(of_side)
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for round in 0..1_000 {
                    for (place, labels) in all().enumerate() {
                        // Each way of counting also comes first for one of them.
                        match (round + place) % 3 {
                            0 => fills.inc(&labels),
                            1 => fills.add(&labels, 1.0),
                            _ => fills.with(&labels).inc(),
                        }
                        fills.add(&labels, place as f64);
                    }
                }
            });
        }
    });
    for (place, labels) in all().enumerate() {
        let expected = (THREADS * 1_000 * (place + 1)) as f64;
        assert_eq!(fills.with(&labels).get(), expected, "{labels:?}");
        let line = format!(
            "fills_total{{outcome=\"{}\",side=\"{}\"}} ",
            labels.outcome, labels.side
        );
        assert_eq!(value(registry, &line), Some(expected), "{line}");
    }
    for &side in Side::ALL {
        let of_neighbours =
            before.with(&BySide { side }).get() + after.with(&BySide { side }).get();
        assert_eq!(of_neighbours, 0.0, "{side}");
    }
}

#[test]
fn every_label_set_has_its_own_count_in_memory() {
    every_label_set_has_its_own(&Registry::in_memory());
}

#[test]
fn every_label_set_has_its_own_count_in_shards() {
    let directory = tempfile::tempdir().unwrap();
    every_label_set_has_its_own(&Registry::start(shards_in(directory.path())));
}

#[test]
fn what_a_handle_refuses_is_refused() {
    let registry = Registry::in_memory();
    let fills = registry.counter_family::<BySide>("fills_total", "Fills.");
    let labels = BySide { side: Side::Sell };
    for _ in 0..2 {
        for amount in [-1.0, f64::NAN, f64::INFINITY, AMOUNT_MAX * 2.0] {
            fills.add(&labels, amount);
        }
        // Now it has a cell.
        fills.inc(&labels);
    }
    assert_eq!(fills.with(&labels).get(), 2.0);
    assert_eq!(registry.defects(Defect::Negative), 2);
    assert_eq!(registry.defects(Defect::NotFinite), 6);
}

#[test]
fn a_family_over_text_counts_by_labels_too_and_tells_of_a_full_domain() {
    let registry = Registry::in_memory();
    let family = registry.counter_family::<ByStrategy>("runs_total", "Runs.");
    let of = |name| ByStrategy {
        strategy: Strategy::new(name),
        side: Side::Buy,
    };
    for _ in 0..3 {
        family.inc(&of("one"));
        family.add(&of("two too many"), 2.0);
    }
    let line = |strategy: &str| format!("runs_total{{side=\"buy\",strategy=\"{strategy}\"}} ");
    assert_eq!(value(&registry, &line("one")), Some(3.0));
    assert_eq!(value(&registry, &line("other")), Some(6.0));
    assert_eq!(value(&registry, "runs_total{side=\"sell\"}"), None);
    assert_eq!(registry.defects(Defect::LabelOverflow), 3);
}

#[test]
fn a_registration_that_cannot_stand_counts_nowhere_and_the_same_one_again_counts_together() {
    let registry = Registry::in_memory();
    let first = registry.counter_family::<BySide>("fills_total", "Fills.");
    let again = registry.counter_family::<BySide>("fills_total", "Fills.");
    let refused = registry.counter_family::<BySide>("fills_total", "Another help.");
    let labels = BySide { side: Side::Buy };
    for _ in 0..2 {
        first.inc(&labels);
        again.inc(&labels);
        refused.inc(&labels);
    }
    assert_eq!(first.with(&labels).get(), 4.0);
    assert_eq!(refused.with(&labels).get(), 2.0);
    assert_eq!(value(&registry, "fills_total{side=\"buy\"} "), Some(4.0));
}

/// A set by hand that names a place it does not have.
#[derive(Clone, Copy)]
struct Beyond(usize);

impl LabelSet for Beyond {
    const NAMES: &'static [&'static str] = &["place"];
    const COMBINATIONS: usize = 2;
    const VALUES: &'static [&'static [&'static str]] = &[&["first", "last"]];

    fn position(&self) -> usize {
        self.0
    }

    fn values(&self) -> Vec<&'static str> {
        vec!["beyond"]
    }

    fn has_overflow(&self) -> bool {
        false
    }
}

#[test]
fn a_place_that_a_set_does_not_have_is_its_last_and_nobody_elses() {
    let registry = Registry::in_memory();
    let family = registry.counter_family::<Beyond>("beyond_total", "Places.");
    let neighbours = registry.counter_family::<Fill>("fills_total", "Fills.");
    let touch_all = |count: f64| {
        for &side in Side::ALL {
            for &outcome in Outcome::ALL {
                neighbours.add(&Fill { side, outcome }, count);
            }
        }
    };
    touch_all(1.0);
    for place in [0, 1, 2, 3, 5, usize::MAX] {
        family.inc(&Beyond(place));
    }
    touch_all(0.0);
    assert_eq!(family.with(&Beyond(0)).get(), 1.0);
    assert_eq!(value(&registry, "beyond_total{place=\"last\"} "), Some(5.0));
    for &side in Side::ALL {
        for &outcome in Outcome::ALL {
            assert_eq!(neighbours.with(&Fill { side, outcome }).get(), 1.0);
        }
    }
}
