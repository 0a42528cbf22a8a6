//! Registration and the calls that make no sense: nothing panics, everything is counted, logged once, and leaves the good
//! families alone.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod common;

use common::logged;
use metricsd_client::{
    AMOUNT_MAX, CurrencyCode, Defect, GaugeMode, Registry, label_set, label_text, label_value,
};

label_value! { enum Side { Buy = "buy", Sell = "sell" } }
label_value! { enum Outcome { Filled = "filled", Blocked = "blocked" } }
label_text! { struct StrategyId { spelling: Lower, len_max_bytes: 96, values_max: 2 } }
label_text! { struct Wide { spelling: Lower, len_max_bytes: 96, values_max: 999 } }
label_set! { struct ByWide { wide: Wide } }
label_set! { struct BySide { side: Side } }
label_set! { struct AlsoBySide { side: Side } }
label_set! { struct Fill { side: Side, outcome: Outcome } }
label_set! { struct ByStrategy { strategy_id: StrategyId } }
label_set! { struct ByCurrency { ccy: CurrencyCode } }

fn samples(registry: &Registry) -> Vec<String> {
    registry
        .render()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_same_registration_twice_gives_the_same_cells() {
    let registry = Registry::in_memory();
    registry.counter("orders_total", "Orders.").inc();
    registry.counter("orders", "Orders.").inc();
    let fills = || registry.counter_family::<Fill>("fills", "Fills.");
    fills()
        .with(&Fill {
            side: Side::Buy,
            outcome: Outcome::Filled,
        })
        .inc();
    fills()
        .with(&Fill {
            side: Side::Buy,
            outcome: Outcome::Filled,
        })
        .inc();
    registry.histogram("h", "H.", &[1.0]).observe(1.0);
    assert_eq!(
        registry.histogram("h", "H.", &[1.0, f64::INFINITY]).count(),
        1.0
    );
    assert_eq!(registry.counter("orders", "Orders.").get(), 2.0);
    assert_eq!(
        fills()
            .with(&Fill {
                side: Side::Buy,
                outcome: Outcome::Filled
            })
            .get(),
        2.0
    );
    assert_eq!(registry.defects(Defect::Registration), 0);
}

#[test]
fn finite_counters_and_histograms_exist_at_zero_and_gauges_do_not() {
    let registry = Registry::in_memory();
    registry.counter_family::<Fill>("fills_total", "Fills.");
    registry.histogram_family::<BySide>("h", "H.", &[1.0]);
    registry
        .gauge_family::<BySide>("g", "G.", GaugeMode::LiveMax)
        .with(&BySide { side: Side::Buy });
    registry.counter_family::<ByStrategy>("by_strategy_total", "Text has no list to begin with.");
    let expected = [
        r#"fills_total{outcome="blocked",side="buy"} 0.0"#,
        r#"fills_total{outcome="blocked",side="sell"} 0.0"#,
        r#"fills_total{outcome="filled",side="buy"} 0.0"#,
        r#"fills_total{outcome="filled",side="sell"} 0.0"#,
        r#"h_bucket{le="+Inf",side="buy"} 0.0"#,
        r#"h_bucket{le="+Inf",side="sell"} 0.0"#,
        r#"h_bucket{le="1.0",side="buy"} 0.0"#,
        r#"h_bucket{le="1.0",side="sell"} 0.0"#,
        r#"h_count{side="buy"} 0.0"#,
        r#"h_count{side="sell"} 0.0"#,
        r#"h_sum{side="buy"} 0.0"#,
        r#"h_sum{side="sell"} 0.0"#,
    ];
    let mut found = samples(&registry);
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_registration_that_cannot_stand_is_counted_logged_once_and_hidden() {
    type Register = fn(&Registry);
    let table: [(&str, Register); 18] = [
        ("empty name", |r| r.counter("", "").inc()),
        ("nothing before the suffix", |r| {
            r.counter("_total", "").inc()
        }),
        ("dot", |r| r.gauge("a.b", "", GaugeMode::All).set(1.0)),
        ("digit first", |r| {
            r.gauge("9a", "", GaugeMode::All).set(1.0)
        }),
        ("long name", |r| {
            r.gauge(&"a".repeat(201), "", GaugeMode::All).set(1.0)
        }),
        ("line feed in a name", |r| {
            r.gauge("a\n", "", GaugeMode::All).set(1.0)
        }),
        ("the daemon's name", |r| {
            r.counter("metricsd_mine_total", "").inc()
        }),
        ("the process's name", |r| {
            r.gauge("process_threads", "", GaugeMode::All).set(1.0)
        }),
        ("control character in help", |r| r.counter("a", "a\0").inc()),
        ("long help", |r| r.counter("a", &"h".repeat(1025)).inc()),
        ("another type", |r| {
            r.gauge("taken", "Help.", GaugeMode::All).set(1.0)
        }),
        ("another help", |r| {
            r.counter("taken_total", "Other help.").inc()
        }),
        ("other labels", |r| {
            r.counter_family::<AlsoBySide>("by_side", "Help.")
                .with(&AlsoBySide { side: Side::Buy })
                .inc()
        }),
        ("another mode", |r| {
            r.gauge("level", "Help.", GaugeMode::Min).set(9.0)
        }),
        ("other buckets", |r| {
            r.histogram("h", "Help.", &[2.0]).observe(1.0)
        }),
        ("too many series", |r| {
            let buckets: Vec<f64> = (0..100).map(f64::from).collect();
            r.histogram_family::<ByWide>("wide", "", &buckets)
                .with(&ByWide {
                    wide: Wide::new("a"),
                })
                .observe(1.0);
        }),
        ("a name the histogram exposes", |r| {
            r.counter("h_sum", "Help.").inc()
        }),
        ("a name the counter exposes", |r| {
            r.gauge("taken_total", "Help.", GaugeMode::All).set(1.0)
        }),
    ];
    for (what, register) in table {
        let registry = Registry::in_memory();
        registry.counter("taken", "Help.").inc();
        registry.counter_family::<BySide>("by_side", "Help.");
        registry.gauge("level", "Help.", GaugeMode::Max).set(1.0);
        registry.histogram("h", "Help.", &[1.0]);
        let before = registry.render();
        let ((), lines) = logged(|| {
            register(&registry);
            register(&registry);
        });
        assert_eq!(lines.len(), 1, "{what}: {lines:?}");
        assert!(
            lines[0].contains("metric not registered"),
            "{what}: {lines:?}"
        );
        assert_eq!(registry.defects(Defect::Registration), 2, "{what}");
        assert_eq!(registry.render(), before, "{what}");
    }
}

#[test]
fn bad_buckets_give_a_histogram_that_nobody_sees() {
    let too_many: Vec<f64> = (0..201).map(f64::from).collect();
    for buckets in [
        &[][..],
        &[2.0, 1.0],
        &[1.0, 1.0],
        &[f64::NAN],
        &[f64::NEG_INFINITY, 1.0],
        &[f64::INFINITY],
        &too_many,
    ] {
        let registry = Registry::in_memory();
        let histogram = registry.histogram("h", "H.", buckets);
        histogram.observe(1.5);
        assert_eq!(
            (histogram.count(), histogram.sum()),
            (1.0, 1.5),
            "{buckets:?}"
        );
        assert_eq!(
            (
                registry.render().as_str(),
                registry.defects(Defect::Registration)
            ),
            ("", 1),
            "{buckets:?}"
        );
        // The mistake did not take the name.
        registry.histogram("h", "H.", &[1.0]).observe(1.5);
        assert_eq!(registry.render().lines().count(), 6, "{buckets:?}");
    }
}

#[test]
fn a_counter_never_falls_and_never_becomes_infinite_or_nan() {
    let registry = Registry::in_memory();
    let counter = registry.counter("c_total", "C.");
    counter.add(1.5);
    let ((), lines) = logged(|| {
        for amount in [-1.0, -0.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            counter.add(amount);
        }
        // In a registry without a thread for it, this is what logs.
        registry.status();
        registry.status();
    });
    counter.add(0.0);
    counter.add(-0.0);
    assert_eq!(counter.get(), 1.5);
    assert_eq!(
        (
            registry.defects(Defect::Negative),
            registry.defects(Defect::NotFinite)
        ),
        (2, 3)
    );
    assert_eq!(
        lines.len(),
        2,
        "one line for each kind of defect of a family: {lines:?}"
    );
}

#[test]
fn no_sum_becomes_infinite_however_large_its_amounts() {
    let registry = Registry::in_memory();
    let counter = registry.counter("c_total", "C.");
    let gauge = registry.gauge("g", "G.", GaugeMode::Sum);
    let histogram = registry.histogram("h", "H.", &[1.0]);
    for amount in [f64::MAX, AMOUNT_MAX * 1.000_001] {
        for _ in 0..2 {
            counter.add(amount);
            gauge.add(amount);
            gauge.sub(amount);
            histogram.observe(amount);
            histogram.observe(-amount);
        }
    }
    assert_eq!((counter.get(), gauge.get()), (0.0, 0.0));
    assert_eq!((histogram.count(), histogram.sum()), (0.0, 0.0));
    assert_eq!(registry.defects(Defect::NotFinite), 20);
    // The largest amount that is taken changes nothing any more long before the end of the numbers.
    counter.add(AMOUNT_MAX);
    gauge.set(f64::MAX);
    gauge.add(AMOUNT_MAX);
    assert_eq!((counter.get(), gauge.get()), (AMOUNT_MAX, f64::MAX));
    gauge.set(-f64::MAX);
    gauge.sub(AMOUNT_MAX);
    assert_eq!(gauge.get(), -f64::MAX);
    let standstill = 2f64.powi(1015);
    assert_eq!(standstill + AMOUNT_MAX, standstill);
}

#[test]
fn names_made_of_data_end_at_the_bound() {
    let registry = Registry::in_memory();
    for order in 0..10_050 {
        registry.counter(&format!("order_{order}"), "O.").inc();
    }
    assert_eq!(registry.defects(Defect::Registration), 50);
    assert_eq!(samples(&registry).len(), 10_000);
    assert_eq!(registry.counter("order_7", "O.").get(), 1.0);
    assert_eq!(registry.defects(Defect::Registration), 50);
}

#[test]
fn registrations_that_cannot_stand_share_cells_beyond_the_bound() {
    let registry = Registry::in_memory();
    for order in 0..1_000 {
        let counter = registry.counter(&format!("order-{order}"), "O.");
        counter.inc();
        assert_eq!(counter.get(), 1.0);
    }
    let ((), lines) = logged(|| {
        for order in 1_000..1_010 {
            let name = format!("order-{order}");
            registry.counter(&name, "O.").inc();
            registry
                .histogram(&name, "O.", &[f64::from(order)])
                .observe(1.0);
            registry.gauge(&name, "O.", GaugeMode::Max).set(1.0);
            registry
                .counter_family::<BySide>(&name, "O.")
                .with(&BySide { side: Side::Buy })
                .inc();
        }
    });
    assert_eq!(registry.counter("order-1010", "O.").get(), 10.0);
    assert_eq!(registry.counter("order-7", "O.").get(), 1.0);
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(registry.defects(Defect::Registration), 1_000 + 40 + 2);
    assert_eq!(registry.render(), "");
}

#[test]
fn a_refused_increment_leaves_no_series_behind() {
    let registry = Registry::in_memory();
    registry.gauge("g", "G.", GaugeMode::All).add(f64::NAN);
    registry.gauge("m", "M.", GaugeMode::MostRecent).inc();
    assert_eq!(registry.render(), "");
}

#[test]
fn gauges_follow_their_mode() {
    let registry = Registry::in_memory();
    for mode in GaugeMode::ALL {
        let most_recent = matches!(mode, GaugeMode::MostRecent | GaugeMode::LiveMostRecent);
        let gauge = registry.gauge(&format!("g_{}", mode.as_str()), "G.", mode);
        gauge.set(2.0);
        gauge.inc();
        gauge.dec();
        gauge.add(3.0);
        gauge.sub(0.5);
        assert_eq!(gauge.get(), if most_recent { 2.0 } else { 4.5 }, "{mode:?}");
        gauge.set(f64::NAN);
        gauge.add(f64::INFINITY);
        assert_eq!(gauge.get(), if most_recent { 2.0 } else { 4.5 }, "{mode:?}");
        gauge.set(f64::NEG_INFINITY);
        assert_eq!(gauge.get(), f64::NEG_INFINITY, "{mode:?}");
    }
    assert_eq!(registry.defects(Defect::GaugeMode), 2 * 5);
    assert_eq!(registry.defects(Defect::NotFinite), 10 + 8);
}

#[test]
fn a_histogram_puts_each_value_into_the_first_bucket_that_holds_it() {
    let registry = Registry::in_memory();
    let histogram = registry.histogram("h", "H.", &[-1.0, 0.0, 1.0]);
    for value in [
        -2.0,
        -1.0,
        -0.5,
        -0.0,
        0.0,
        1.0,
        1.5,
        f64::NAN,
        f64::INFINITY,
    ] {
        histogram.observe(value);
    }
    let expected = [
        r#"h_bucket{le="+Inf"} 7.0"#,
        r#"h_bucket{le="-1.0"} 2.0"#,
        r#"h_bucket{le="0.0"} 5.0"#,
        r#"h_bucket{le="1.0"} 6.0"#,
        "h_count 7.0",
        "h_sum -1.0",
    ];
    let mut found = samples(&registry);
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(registry.defects(Defect::NotFinite), 2);
}

#[test]
fn text_past_its_bound_is_recorded_as_other_and_counted() {
    let registry = Registry::in_memory();
    let counters = registry.counter_family::<ByStrategy>("by_strategy_total", "C.");
    for strategy in ["One", "two", "one ", "three", "four", "other"] {
        counters
            .with(&ByStrategy {
                strategy_id: StrategyId::new(strategy),
            })
            .inc();
    }
    registry
        .gauge_family::<ByCurrency>("g", "G.", GaugeMode::All)
        .with(&ByCurrency {
            ccy: CurrencyCode::new("eur"),
        })
        .set(1.0);
    let expected = [
        r#"by_strategy_total{strategy_id="one"} 2.0"#,
        r#"by_strategy_total{strategy_id="other"} 3.0"#,
        r#"by_strategy_total{strategy_id="two"} 1.0"#,
        r#"g{ccy="EUR"} 1.0"#,
    ];
    assert_eq!(samples(&registry), expected);
    assert_eq!(registry.defects(Defect::LabelOverflow), 2);
}

#[test]
fn a_declaration_says_what_was_registered_also_before_it_has_a_value() {
    let registry = Registry::in_memory();
    let gauge = registry.gauge_family::<AreaLabels>("area_ratio", "Area.", GaugeMode::LiveMax);
    registry.counter("things_total", "Things.");
    registry.histogram("wait_seconds", "Waiting.", &[0.5]);
    let declared = registry.declarations();
    let names: Vec<&str> = declared.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["area_ratio", "things_total", "wait_seconds"]);
    assert_eq!(declared[0].labels, [("area", &["north", "south"][..])]);
    assert_eq!(declared[2].bounds, [0.5, f64::INFINITY]);
    assert!(!registry.render().contains("area_ratio"));
    let mut text = Vec::new();
    metricsd_exporter::write_text(&[declared[0].without_series()], &mut text);
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "# HELP area_ratio Area.\n# TYPE area_ratio gauge\n"
    );
    gauge.with(&AreaLabels { area: Area::North }).set(1.0);
    assert_eq!(registry.declarations(), declared);
}

metricsd_client::label_value! { enum Area { North = "north", South = "south" } }
metricsd_client::label_set! { struct AreaLabels { area: Area } }
