//! Mode B against Python's own code: its collector reads what we write, and its client writes the keys that we write.
//! Method: the text of `MultiProcessCollector` over our shards must be, line for line, what the registry renders itself, since
//! with one process every merge is the identity; and the keys in Python's shards of the same metrics must be ours, byte for
//! byte and in the same order.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{python, run_python, shards_in};
use metricsd_client::{GaugeMode, Registry, Status, label_set, label_text, label_value};
use metricsd_shard::{HEADER_LEN_BYTES, parse_from};

label_value! { enum Side { Buy = "buy", Sell = "sell" } }
label_value! { enum Reason { Limit = "limit:max_order_notional", Halt = "runtime:halt" } }
label_text! { struct StrategyId { spelling: Lower, len_max_bytes: 96, values_max: 3 } }
label_set! { struct Order { side: Side, reason: Reason } }
label_set! { struct Exposure { strategy_id: StrategyId, side: Side } }

const COLLECT: &str = "
import sys
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry)
sys.stdout.buffer.write(generate_latest(registry))
";

/// Lines of the text without the `pid` label that the modes all and liveall have, sorted: Python's order is that of a directory.
fn lines(text: &str, id: &str) -> Vec<String> {
    let pid = format!("pid=\"{id}\"");
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| {
            line.replace(&format!("{{{pid}}}"), "")
                .replace(&format!(",{pid}"), "")
                .replace(&format!("{{{pid},"), "{")
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn pythons_collector_shows_every_type_and_mode_as_the_registry_renders_it() {
    let Some(python) =
        python("pythons_collector_shows_every_type_and_mode_as_the_registry_renders_it")
    else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::start(shards_in(directory.path()));
    let Status::Shards { writer: id, .. } = registry.status() else {
        panic!("{:?}", registry.status())
    };

    registry
        .counter("plain_total", "With a line\nbreak, a \\ and a \" and an é.")
        .add(0.1);
    registry
        .counter("bare", "Given without the suffix.")
        .add(9_007_199_254_740_993.0);
    registry.counter("untouched_total", "").get();
    let orders = registry.counter_family::<Order>("orders_total", "Orders.");
    orders
        .with(&Order {
            side: Side::Sell,
            reason: Reason::Limit,
        })
        .add(1_234_567.0);
    for mode in GaugeMode::ALL {
        let name = format!("gauge_{}", mode.as_str());
        let gauges = registry.gauge_family::<Exposure>(&name, "A gauge.", mode);
        for (value, strategy) in [
            (-1_234_567.5, "MA Crossover"),
            (f64::INFINITY, "rsi"),
            (1e-7, "x"),
            (2.5, "too many"),
        ] {
            gauges
                .with(&Exposure {
                    strategy_id: StrategyId::new(strategy),
                    side: Side::Buy,
                })
                .set(value);
        }
        registry
            .gauge(&format!("{name}_bare"), "A gauge.", mode)
            .set(0.25);
        registry
            .gauge(&format!("{name}_untouched"), "Never set.", mode)
            .set(f64::NAN);
    }
    let step = registry.histogram("step_seconds", "Steps.", &[0.005, 1.0, 2.5, 1e6]);
    for value in [-1.0, 0.005, 0.0051, 2.5, 2.6, 1e6, 1e9] {
        step.observe(value);
    }
    let sized = registry.histogram_family::<Order>("sized", "By order.", &[10.0]);
    sized
        .with(&Order {
            side: Side::Buy,
            reason: Reason::Halt,
        })
        .observe(10.5);

    let ours = registry.render();
    assert!(ours.lines().count() > 100, "{ours}");
    assert!(
        ours.contains("# TYPE gauge_livemostrecent gauge") && !ours.contains("untouched gauge"),
        "{ours}"
    );
    assert!(ours.contains("strategy_id=\"other\""), "{ours}");
    assert_eq!(
        lines(&run_python(&python, directory.path(), COLLECT), &id),
        lines(&ours, &id)
    );
}

/// The keys of every shard in the directory, by the type in its name.
fn keys(directory: &Path) -> BTreeMap<String, Vec<String>> {
    let mut keys = BTreeMap::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        let Some((kind, _)) = name
            .strip_suffix(".db")
            .and_then(|stem| stem.rsplit_once('_'))
        else {
            continue;
        };
        let bytes = std::fs::read(file.path()).unwrap();
        let parsed = parse_from(&bytes, HEADER_LEN_BYTES);
        assert!(parsed.damage.is_none(), "{name}");
        let of_file = parsed
            .entries
            .iter()
            .map(|entry| String::from_utf8(entry.key.to_vec()).unwrap())
            .collect();
        keys.insert(kind.to_owned(), of_file);
    }
    keys
}

#[test]
fn the_keys_are_those_of_pythons_own_client_in_the_same_order() {
    let Some(python) = python("the_keys_are_those_of_pythons_own_client_in_the_same_order") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::start(shards_in(directory.path()));
    registry.counter("a", "Help \"é\" \\ /.").inc();
    registry.counter("b_total", "");
    let orders = registry.counter_family::<Order>("orders", "Orders.");
    orders
        .with(&Order {
            side: Side::Buy,
            reason: Reason::Limit,
        })
        .inc();
    registry.histogram(
        "h_seconds",
        "H.",
        &[0.005, 0.1, 1.0, 10.0, 1e6, 2.5e6, 1e17],
    );
    let bounded = registry.histogram_family::<Exposure>("k", "K.", &[1.0]);
    bounded
        .with(&Exposure {
            strategy_id: StrategyId::new("MA Crossover"),
            side: Side::Buy,
        })
        .observe(1.0);
    let gauge = registry.gauge_family::<Exposure>("g", "G.", GaugeMode::LiveMax);
    gauge
        .with(&Exposure {
            strategy_id: StrategyId::new("MA Crossover"),
            side: Side::Buy,
        })
        .set(1.0);
    registry.gauge("m", "M.", GaugeMode::MostRecent).set(1.0);

    let theirs = tempfile::tempdir().unwrap();
    let program = r#"
from prometheus_client import Counter, Gauge, Histogram
c = Counter("judge_me_telemetry_defects_total", "Calls that telemetry refused or recorded under another label value, by defect.", ["defect"])
for defect in ["negative", "not_finite", "gauge_mode", "registration", "label_overflow"]:
    c.labels(defect)
Counter("judge_me_telemetry_degraded_seconds_total", "Time in which what was recorded went into memory, because shards could not be written.")
Counter("a", "Help \"é\" \\ /.")
Counter("b_total", "")
orders = Counter("orders", "Orders.", ["side", "reason"])
for side in ["buy", "sell"]:
    for reason in ["limit:max_order_notional", "runtime:halt"]:
        orders.labels(side, reason)
Histogram("h_seconds", "H.", buckets=[0.005, 0.1, 1.0, 10.0, 1e6, 2.5e6, 1e17])
Histogram("k", "K.", ["strategy_id", "side"], buckets=[1]).labels("ma_crossover", "buy")
Gauge("g", "G.", ["strategy_id", "side"], multiprocess_mode="livemax").labels("ma_crossover", "buy")
Gauge("m", "M.", multiprocess_mode="mostrecent")
"#;
    run_python(&python, theirs.path(), program);
    assert_eq!(keys(directory.path()), keys(theirs.path()));
}
