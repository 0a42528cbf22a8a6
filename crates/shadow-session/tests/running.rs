//! The real program at work: to the end, stopped, killed, two at once, and with nothing to write to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where it cannot go on"
)]

mod judge;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use judge::{ended, shadow_session};
use serde_json::Value;
use shadow_session::run_log::{Events, read_events};

const PATIENCE: Duration = Duration::from_secs(60);

fn shipped(arguments: &[&str]) -> Vec<String> {
    let config = judge::root()
        .join("config/shadow-session.toml")
        .display()
        .to_string();
    let feed = format!(
        "recorded:{}",
        judge::root().join("data/eurusd-1h-2017.csv").display()
    );
    let mut all = vec!["--config".to_owned(), config, "--feed".to_owned(), feed];
    all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    all
}

/// The shipped session in `directory`; its shards go to `shards`, its runs to `live_runs` there.
fn session(directory: &Path, arguments: &[&str]) -> Command {
    let arguments = shipped(arguments);
    let mut command = shadow_session(
        directory,
        &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    command.env("PEAKTRADE_METRICS_MULTIPROC_DIR", directory.join("shards"));
    command
}

fn start(command: &mut Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn events(directory: &Path, run: &str) -> Option<Events> {
    read_events(&directory.join("live_runs").join(run).join("events.jsonl")).ok()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn signal(child: &Child, name: &str) {
    assert!(
        Command::new("kill")
            .args([&format!("-{name}"), &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// What Python's own collector makes of the shards: `name{label="value",...}` to value.
fn collected(test: &str, directory: &Path) -> Option<BTreeMap<String, f64>> {
    const COLLECT: &str = r#"
import json, sys
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry, path=sys.argv[1])
samples = {}
for family in registry.collect():
    for s in family.samples:
        labels = ",".join('%s="%s"' % pair for pair in sorted(s.labels.items()))
        samples["%s{%s}" % (s.name, labels) if labels else s.name] = s.value
json.dump(samples, sys.stdout)
"#;
    let python = judge::python(test)?;
    let printed = judge::output(
        Command::new(python)
            .args(["-c", COLLECT])
            .arg(directory.join("shards")),
    );
    Some(serde_json::from_str(&printed).unwrap())
}

#[test]
fn the_shipped_session_runs_to_the_end_and_all_its_accounts_agree_with_the_golden_ones() {
    let directory = tempfile::tempdir().unwrap();
    let output = session(
        directory.path(),
        &[
            "--run-id",
            "whole",
            "--strategy",
            "ma_crossover",
            "--log-level",
            "WARNING",
        ],
    )
    .output()
    .unwrap();
    let (code, stdout, stderr) = ended(&output);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let golden: Value =
        serde_json::from_str(include_str!("golden/eurusd-1h-2017-ma-crossover.json")).unwrap();
    let expected = "\
Steps:             6025
Total Orders:      135
Filled:            135
Rejected:          0
Blocked (Risk):    0
Fill Rate:         100.0 %
Current Position:  809.290000 EUR/USD
Pending Orders:    0
Signals:           135
Equity:            9615.66 USD
Realised PnL:      -394.85 USD
Unrealised PnL:    10.51 USD
Fees:              344.14 USD
Max Drawdown:      3.98 %
Candle Defects:    2 gap
Ended By:          end of data
Run:               whole
Fill assumptions:
  - decided at the close of a bar, filled at the open of the next one
  - slippage 5 basis points against the order, whatever its size
  - fee 0.0026 of notional on every fill (taker)
";
    assert!(stdout.starts_with(expected), "{stdout}");

    let run = directory.path().join("live_runs/whole");
    let summary = json(&run.join("summary.json"));
    for name in [
        "steps",
        "rejected",
        "blocked",
        "pending",
        "position",
        "equity",
        "realised_pnl",
        "unrealised_pnl",
        "fees",
        "max_drawdown_ratio",
    ] {
        assert_eq!(summary[name], golden[name], "{name}");
    }
    let meta = json(&run.join("meta.json"));
    assert_eq!(
        (&meta["run_id"], &meta["strategy"], &meta["symbol"]),
        (&"whole".into(), &"ma_crossover".into(), &"EUR/USD".into())
    );
    let log = events(directory.path(), "whole").unwrap();
    assert_eq!(
        (log.torn, log.events.len()),
        (None, 6_025),
        "one line a step"
    );
    let last = log.events.last().unwrap();
    assert_eq!(
        (last["step"].as_u64(), &last["open_time"]),
        (Some(6_025), &"2017-12-29T21:00:00Z".into())
    );
    let fills: usize = log
        .events
        .iter()
        .map(|event| event["fills"].as_array().unwrap().len())
        .sum();
    let missing: u64 = log
        .events
        .iter()
        .map(|event| event["missing_bars"].as_u64().unwrap())
        .sum();
    assert_eq!((fills, missing), (135, 15));

    let Some(samples) = collected(
        "the_shipped_session_runs_to_the_end_and_all_its_accounts_agree_with_the_golden_ones",
        directory.path(),
    ) else {
        return;
    };
    let exact = [
        ("shadow_session_steps_total", 6_025.0),
        ("shadow_session_step_duration_seconds_count", 6_025.0),
        ("shadow_session_orders_total{result=\"filled\"}", 135.0),
        ("shadow_session_orders_total{result=\"rejected\"}", 0.0),
        ("shadow_session_orders_total{result=\"blocked\"}", 0.0),
        ("shadow_session_fills_total{side=\"buy\"}", 68.0),
        ("shadow_session_fills_total{side=\"sell\"}", 67.0),
        ("shadow_session_candle_defects_total{defect=\"gap\"}", 2.0),
        (
            "shadow_session_candle_defects_total{defect=\"unclosed\"}",
            0.0,
        ),
        ("shadow_session_run_log_errors_total", 0.0),
        (
            "shadow_session_last_candle_timestamp_seconds",
            1_514_581_200.0,
        ),
        ("shadow_session_telemetry_degraded", 0.0),
        (
            "peaktrade_strategy_signals_total{signal=\"long\",strategy_id=\"ma_crossover\"}",
            68.0,
        ),
        (
            "peaktrade_strategy_signals_total{signal=\"flat\",strategy_id=\"ma_crossover\"}",
            67.0,
        ),
        (
            "peaktrade_strategy_signals_total{signal=\"short\",strategy_id=\"ma_crossover\"}",
            0.0,
        ),
        (
            "peaktrade_strategy_decisions_total{decision=\"entry_long\",strategy_id=\"ma_crossover\"}",
            68.0,
        ),
        (
            "peaktrade_strategy_decisions_total{decision=\"exit_long\",strategy_id=\"ma_crossover\"}",
            67.0,
        ),
        (
            "peaktrade_risk_checks_total{check=\"live_limits.check_orders\",result=\"allow\"}",
            135.0,
        ),
        (
            "peaktrade_risk_checks_total{check=\"live_limits.check_orders\",result=\"error\"}",
            0.0,
        ),
        (
            "peaktrade_risk_blocks_total{reason=\"limit:max_daily_loss_abs\"}",
            0.0,
        ),
        (
            "peaktrade_risk_limit_utilization{limit_id=\"max_open_positions\"}",
            0.2,
        ),
        // The paper position ended with its session.
        (
            "peaktrade_strategy_position_gross_exposure{ccy=\"USD\",strategy_id=\"ma_crossover\"}",
            0.0,
        ),
    ];
    for (name, value) in exact {
        assert_eq!(samples.get(name), Some(&value), "{name}");
    }
    let number = |name: &str| golden[name].as_str().unwrap().parse::<f64>().unwrap();
    let near = [
        ("shadow_session_fees_quote_total", number("fees")),
        (
            "shadow_session_equity_ratio{strategy_id=\"ma_crossover\"}",
            number("equity") / 10_000.0,
        ),
        (
            "shadow_session_realized_pnl_ratio{strategy_id=\"ma_crossover\"}",
            number("realised_pnl") / 10_000.0,
        ),
        (
            "shadow_session_unrealized_pnl_ratio{strategy_id=\"ma_crossover\"}",
            number("unrealised_pnl") / 10_000.0,
        ),
        (
            "peaktrade_risk_limit_utilization{limit_id=\"max_symbol_exposure\"}",
            809.29 * 1.20075 / 2_000.0,
        ),
    ];
    for (name, value) in near {
        let sample = samples[name];
        assert!(
            (sample - value).abs() < 1e-9 * value.abs().max(1.0),
            "{name}: {sample} is not {value}"
        );
    }
}

#[test]
fn a_signal_ends_even_a_wait_of_an_hour_with_the_summary_and_status_0() {
    for name in ["TERM", "INT"] {
        let directory = tempfile::tempdir().unwrap();
        // The first candle comes at once and the next one in an hour: the session is waiting when the event is in the file.
        let child = start(&mut session(
            directory.path(),
            &["--run-id", "r", "--speed", "realtime"],
        ));
        eventually("the first step", || {
            events(directory.path(), "r").filter(|log| !log.events.is_empty())
        });
        signal(&child, name);
        let (code, stdout, stderr) = ended(&child.wait_with_output().unwrap());
        assert_eq!(code, Some(0), "{stderr}");
        assert!(
            stdout.starts_with("Steps:             1\n")
                && stdout.contains(&format!("Ended By:          SIG{name}\n")),
            "{stdout}"
        );
        assert_eq!(
            json(&directory.path().join("live_runs/r/summary.json"))["end"],
            format!("SIG{name}")
        );
    }
}

#[test]
fn a_duration_ends_a_session_that_has_candles_left() {
    let directory = tempfile::tempdir().unwrap();
    let output = session(
        directory.path(),
        &["--run-id", "r", "--speed", "20", "--duration", "0.01"],
    )
    .output()
    .unwrap();
    let (code, stdout, stderr) = ended(&output);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stdout.contains("Ended By:          duration reached\n"),
        "{stdout}"
    );
    let steps = json(&directory.path().join("live_runs/r/summary.json"))["steps"]
        .as_u64()
        .unwrap();
    // 0.6 s at 20 candles a second are 12 or 13, fewer on a machine that is busy; more would be a pace that is not kept.
    assert!(steps <= 13, "{steps} steps");
}

#[test]
fn two_sessions_at_once_keep_apart_and_their_counts_add_up() {
    let directory = tempfile::tempdir().unwrap();
    let children =
        ["one", "two"].map(|run| start(&mut session(directory.path(), &["--run-id", run])));
    for child in children {
        let (code, _, stderr) = ended(&child.wait_with_output().unwrap());
        assert_eq!(code, Some(0), "{stderr}");
    }
    for run in ["one", "two"] {
        assert_eq!(events(directory.path(), run).unwrap().events.len(), 6_025);
    }
    let Some(samples) = collected(
        "two_sessions_at_once_keep_apart_and_their_counts_add_up",
        directory.path(),
    ) else {
        return;
    };
    assert_eq!(samples["shadow_session_steps_total"], 12_050.0);
    assert_eq!(
        samples["shadow_session_orders_total{result=\"filled\"}"],
        270.0
    );
}

#[test]
fn generated_run_names_differ_and_a_given_one_is_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        assert!(
            session(directory.path(), &[])
                .output()
                .unwrap()
                .status
                .success()
        );
    }
    let runs = directory.path().join("live_runs");
    assert_eq!(fs::read_dir(&runs).unwrap().count(), 2);
    assert!(
        session(directory.path(), &["--run-id", "mine"])
            .output()
            .unwrap()
            .status
            .success()
    );
    let before = fs::read(runs.join("mine/events.jsonl")).unwrap();
    let shards = fs::read_dir(directory.path().join("shards"))
        .unwrap()
        .count();
    let (code, stdout, stderr) = ended(
        &session(directory.path(), &["--run-id", "mine"])
            .output()
            .unwrap(),
    );
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("live_runs/mine: the run folder exists already and is not overwritten; give another --run-id or --log-dir"), "{stderr}");
    assert_eq!(fs::read(runs.join("mine/events.jsonl")).unwrap(), before);
    assert_eq!(
        fs::read_dir(directory.path().join("shards"))
            .unwrap()
            .count(),
        shards,
        "the refused run left no shards"
    );
}

#[test]
fn no_logging_writes_no_run_and_counts_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (code, stdout, _) = ended(
        &session(directory.path(), &["--no-logging"])
            .output()
            .unwrap(),
    );
    assert_eq!(code, Some(0));
    assert!(
        stdout.starts_with("Steps:             6025\nTotal Orders:      135\n"),
        "{stdout}"
    );
    assert!(!directory.path().join("live_runs").exists());
}

#[test]
fn a_telemetry_directory_that_cannot_be_written_costs_the_telemetry_and_not_the_session() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "in the way").unwrap();
    let mut command = session(directory.path(), &["--run-id", "r", "--log-level", "warn"]);
    command.env(
        "PEAKTRADE_METRICS_MULTIPROC_DIR",
        directory.path().join("file"),
    );
    let (code, stdout, stderr) = ended(&command.output().unwrap());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stdout.starts_with("Steps:             6025\n")
            && stdout.contains("Equity:            9615.66 USD\n"),
        "{stdout}"
    );
    let warnings: Vec<&str> = stderr
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"))
        .collect();
    assert!(
        !warnings.is_empty() && warnings.iter().all(|line| line.contains("file")),
        "{stderr}"
    );
    assert_eq!(events(directory.path(), "r").unwrap().events.len(), 6_025);
}

#[test]
fn a_busy_port_in_mode_a_costs_the_endpoint_and_not_the_session() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = session(directory.path(), &["--no-logging", "--log-level", "warn"]);
    command.env("PEAKTRADE_METRICS_MODE", "A").env(
        "PEAK_TRADE_METRICSD_PORT",
        taken.local_addr().unwrap().port().to_string(),
    );
    let (code, stdout, stderr) = ended(&command.output().unwrap());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("Steps:             6025\n"), "{stdout}");
    assert!(stderr.contains("PEAKTRADE_METRICS_MODE=B"), "{stderr}");
    assert!(!directory.path().join("shards").exists());
}

#[test]
fn a_run_log_that_cannot_be_begun_is_one_warning_and_no_end() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "in the way").unwrap();
    let (code, stdout, stderr) = ended(
        &session(
            directory.path(),
            &["--log-dir", "file", "--log-level", "warn"],
        )
        .output()
        .unwrap(),
    );
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("Steps:             6025\n"), "{stdout}");
    assert_eq!(
        stderr
            .lines()
            .filter(|line| line.contains("run log is off from here on"))
            .count(),
        1,
        "{stderr}"
    );
    let Some(samples) = collected(
        "a_run_log_that_cannot_be_begun_is_one_warning_and_no_end",
        directory.path(),
    ) else {
        return;
    };
    assert_eq!(samples["shadow_session_run_log_errors_total"], 1.0);
}

#[test]
fn a_disk_that_fills_up_ends_the_run_log_once_and_what_was_written_stays_readable() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = shipped(&["--run-id", "r", "--log-level", "warn"]);
    // A file may grow to 64 blocks of 512 or 1024 bytes, as if the disk were full: the run log of the year has 3 MB.
    let limited = [
        "-c",
        "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_shadow-session"),
    ];
    let template = session(directory.path(), &[]);
    let mut command = Command::new("sh");
    command
        .current_dir(directory.path())
        .args(limited)
        .args(arguments)
        .stdin(Stdio::null());
    for (name, value) in template.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let (code, stdout, stderr) = ended(&command.output().unwrap());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stdout.starts_with("Steps:             6025\n")
            && stdout.contains("Equity:            9615.66 USD\n"),
        "{stdout}"
    );
    assert_eq!(
        stderr
            .lines()
            .filter(|line| line.contains("run log is off from here on"))
            .count(),
        1,
        "{stderr}"
    );
    let log = events(directory.path(), "r").unwrap();
    assert!(
        (10..6_025).contains(&log.events.len()),
        "{} events",
        log.events.len()
    );
}

#[test]
fn after_kill_9_the_run_log_reads_up_to_its_torn_tail_and_the_shards_hold_every_step() {
    let directory = tempfile::tempdir().unwrap();
    // Fast enough that the buffer is written through many times a second, slow enough to be killed in the middle.
    let mut child = start(&mut session(
        directory.path(),
        &["--run-id", "r", "--speed", "2000"],
    ));
    eventually("a hundred events", || {
        events(directory.path(), "r").filter(|log| log.events.len() >= 100)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let log = events(directory.path(), "r").unwrap();
    assert!(log.events.len() >= 100);
    assert!(!directory.path().join("live_runs/r/summary.json").exists());
    let Some(samples) = collected(
        "after_kill_9_the_run_log_reads_up_to_its_torn_tail_and_the_shards_hold_every_step",
        directory.path(),
    ) else {
        return;
    };
    assert!(
        samples["shadow_session_steps_total"] >= log.events.len() as f64,
        "a step is in the shards before it is in the log"
    );
    assert!(
        samples["peaktrade_strategy_position_gross_exposure{ccy=\"USD\",strategy_id=\"ma_crossover\"}"]
            >= 0.0
    );
}

#[test]
fn a_synthetic_session_trades_and_repeats_itself() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("c.toml"), "[environment]\nmode = \"paper\"\n[session]\nsymbol = \"BTC/EUR\"\ntimeframe = \"5m\"\n[feed]\nsource = \"synthetic\"\n").unwrap();
    let run = |seed: &str| {
        let arguments = [
            "--config",
            "c.toml",
            "--feed",
            seed,
            "--run-id",
            "r",
            "--no-logging",
            "--log-level",
            "error",
        ];
        let (code, stdout, stderr) = ended(
            &shadow_session(directory.path(), &arguments)
                .output()
                .unwrap(),
        );
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        stdout
    };
    let (first, again, other) = (run("synthetic:7"), run("synthetic:7"), run("synthetic:8"));
    assert!(
        first.starts_with("Steps:             9800\n") && !first.contains("Filled:            0\n"),
        "{first}"
    );
    assert_eq!(first, again);
    assert_ne!(first, other);
}
