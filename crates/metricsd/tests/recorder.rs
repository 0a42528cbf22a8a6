//! A program that records with the macros of the `metrics` crate, killed in the middle of it: `metricsd render` and Python's collector show
//! what it had recorded. Method: the child acknowledges each round on a pipe; what is shown is at least what was acknowledged and at
//! most one round more.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{expect_value, metricsd, python, run, value_of};
use metrics::{counter, describe_counter, gauge, histogram};

/// Set in the child alone.
const ROLE: &str = "METRICSD_TEST_FACADE_PROGRAM";
/// The line that the child sends before it records.
const READY: &str = "ready";
const ROUNDS: usize = 500;

/// In the child: records until it is killed. In any other process: nothing.
#[test]
fn program_of_the_facade() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let registry = metricsd_recorder::install("facade-program").expect("the only recorder");
    describe_counter!("facade.orders", "Orders by side.");
    let mut output = std::io::stdout().lock();
    write!(output, "\n{READY} {:?}\n", registry.status()).expect("the parent reads");
    for round in 1_u32.. {
        // Two threads, so that the series have cells of several; each is waited for, so a round is whole.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                counter!("facade.orders", "side" => "buy", "kind" => "limit").increment(1)
            });
        });
        counter!("facade.orders", "kind" => "limit", "side" => "buy").increment(1);
        histogram!("facade_step_seconds").record(0.5);
        gauge!("facade_round").set(round);
        output.write_all(b"+").expect("the parent reads");
        output.flush().expect("the parent reads");
    }
}

/// Runs the child until it has acknowledged so many rounds, and kills it. The answer is all that it had acknowledged.
fn killed_after(rounds: usize, directory: &Path) -> f64 {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["program_of_the_facade", "--exact", "--nocapture"])
        .env(ROLE, "1")
        .env("PEAKTRADE_METRICS_MODE", "B")
        .env("PEAKTRADE_METRICS_MULTIPROC_DIR", directory)
        .env_remove("PROMETHEUS_MULTIPROC_DIR")
        .env_remove("PEAK_TRADE_METRICSD_PORT")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.starts_with(READY) {
        line.clear();
        let length = output.read_line(&mut line).expect("the child writes text");
        assert_ne!(length, 0, "the child ended before it was ready");
    }
    assert!(line.contains("Shards"), "{line}");
    let mut acknowledged = vec![0; rounds];
    output
        .read_exact(&mut acknowledged)
        .expect("the child goes on");
    child.kill().expect("a child of ours");
    child.wait().expect("a child of ours");
    output.read_to_end(&mut acknowledged).expect("a pipe");
    acknowledged.len() as f64
}

#[test]
fn a_killed_program_of_the_facade_has_lost_nothing_that_it_acknowledged() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let acknowledged = killed_after(ROUNDS, directory.path());
    let dir = directory.path().to_str().expect("a path in UTF-8");
    let output = run(&mut metricsd(&["render", "--multiproc-dir", dir]));
    let page = String::from_utf8(output.stdout).expect("text");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let orders = expect_value(&page, r#"facade_orders_total{kind="limit",side="buy"}"#);
    let steps = expect_value(&page, r#"facade_step_seconds_bucket{le="0.5"}"#);
    assert!(
        orders >= 2.0 * acknowledged && orders <= 2.0 * acknowledged + 2.0,
        "{orders}, {acknowledged}"
    );
    assert!(
        steps >= acknowledged && steps <= acknowledged + 1.0,
        "{steps}, {acknowledged}"
    );
    assert_eq!(
        value_of(&page, r#"facade_step_seconds_bucket{le="0.25"}"#),
        Some(0.0)
    );
    assert!(
        page.contains(
            "# HELP facade_orders_total Orders by side.\n# TYPE facade_orders_total counter\n"
        ),
        "{page}"
    );

    let Some(python) =
        python("a_killed_program_of_the_facade_has_lost_nothing_that_it_acknowledged")
    else {
        return;
    };
    let collect = "
import sys
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry, path=sys.argv[1])
sys.stdout.buffer.write(generate_latest(registry))
";
    let judged = run(Command::new(python).args(["-c", collect, dir]));
    let theirs = String::from_utf8(judged.stdout).expect("text");
    for series in [
        r#"facade_orders_total{kind="limit",side="buy"}"#,
        r#"facade_step_seconds_bucket{le="0.5"}"#,
        r#"facade_step_seconds_bucket{le="+Inf"}"#,
        "facade_step_seconds_sum",
    ] {
        assert_eq!(
            expect_value(&theirs, series),
            expect_value(&page, series),
            "{series}"
        );
    }
}
