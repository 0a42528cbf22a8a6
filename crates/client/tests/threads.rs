//! Totals from many threads at once: nothing lost, nothing doubled, on memory and on shards, first touches included.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod common;

use common::shards_in;
use metricsd_client::{GaugeMode, Registry, label_set, label_text, label_value};

label_value! { enum Side { Buy = "buy", Sell = "sell" } }
label_text! { struct StrategyId { spelling: Lower, len_max_bytes: 16, values_max: 8 } }
label_set! { struct Finite { side: Side } }
label_set! { struct Texted { strategy_id: StrategyId, side: Side } }

const THREADS: usize = 8;
const ROUNDS: usize = 20_000;

fn totals_are_exact(registry: &Registry) {
    let counter = registry.counter("plain_total", "Held handle.");
    let family = registry.counter_family::<Finite>("finite_total", "Through the table.");
    let texted =
        registry.counter_family::<Texted>("texted_total", "First touch while others record.");
    let gauge = registry.gauge("level", "Up twice, down once.", GaugeMode::Sum);
    let histogram = registry.histogram("sizes", "Whole numbers.", &[1.0, 2.0, 3.0]);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (counter, family, texted, gauge, histogram) = (
                counter.clone(),
                family.clone(),
                texted.clone(),
                gauge.clone(),
                histogram.clone(),
            );
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let side = Side::ALL[(thread + round) % 2];
                    counter.inc();
                    family.with(&Finite { side }).add(2.0);
                    let strategy_id = StrategyId::new(["a", "b", "c", "d"][round % 4]);
                    texted.with(&Texted { strategy_id, side }).inc();
                    gauge.add(2.0);
                    gauge.dec();
                    histogram.observe((round % 5) as f64);
                }
            });
        }
    });
    let all = (THREADS * ROUNDS) as f64;
    assert_eq!(counter.get(), all);
    assert_eq!(gauge.get(), all);
    assert_eq!((histogram.count(), histogram.sum()), (all, all * 2.0));
    let text = registry.render();
    let of_family = |name: &str| -> f64 {
        let samples = text
            .lines()
            .filter(|line| line.starts_with(&format!("{name}{{")));
        samples
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    };
    assert_eq!(of_family("finite_total"), all * 2.0);
    assert_eq!(of_family("texted_total"), all);
    for (bound, expected) in [("1.0", 0.4), ("2.0", 0.6), ("3.0", 0.8), ("+Inf", 1.0)] {
        let line = format!("sizes_bucket{{le=\"{bound}\"}} ");
        let value: f64 = text
            .lines()
            .find_map(|found| found.strip_prefix(&line))
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(value, all * expected, "{bound}");
    }
}

#[test]
fn totals_from_many_threads_are_exact_on_memory() {
    totals_are_exact(&Registry::in_memory());
}

#[test]
fn totals_from_many_threads_are_exact_on_shards() {
    let directory = tempfile::tempdir().unwrap();
    totals_are_exact(&Registry::start(shards_in(directory.path())));
}

#[test]
fn handles_and_registry_can_go_to_any_thread() {
    fn check<T: Send + Sync + Clone + 'static>() {}
    check::<Registry>();
    check::<metricsd_client::Counter>();
    check::<metricsd_client::Gauge>();
    check::<metricsd_client::Histogram>();
    check::<metricsd_client::CounterFamily<Texted>>();
    check::<metricsd_client::GaugeFamily<Texted>>();
    check::<metricsd_client::HistogramFamily<Texted>>();
}
