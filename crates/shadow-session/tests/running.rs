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
use shadow_session::run_log::{Events, UNWRITTEN_LEN_MAX_BYTES, read_events};

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
        // No candle is due after the end.
        ("shadow_session_next_candle_due_timestamp_seconds", 0.0),
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
    // The default folder, which nobody named.
    fs::write(directory.path().join("live_runs"), "in the way").unwrap();
    let text = fs::read_to_string(judge::root().join("config/shadow-session.toml")).unwrap();
    let (without_key, _) = text.split_once("[run_log]").unwrap();
    let config = directory.path().join("c.toml");
    fs::write(&config, without_key).unwrap();
    let mut arguments = shipped(&["--log-level", "warn"]);
    arguments[1] = config.display().to_string();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = shadow_session(directory.path(), &arguments);
    command.env(
        "PEAKTRADE_METRICS_MULTIPROC_DIR",
        directory.path().join("shards"),
    );
    let (code, stdout, stderr) = ended(&command.output().unwrap());
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

/// The shipped session started by `sh -c`, where `"$0" "$@"` is the program with its arguments.
fn session_in_shell(directory: &Path, script: &str, arguments: &[&str]) -> Command {
    let template = session(directory, &[]);
    let mut command = Command::new("sh");
    command
        .current_dir(directory)
        .args(["-c", script, env!("CARGO_BIN_EXE_shadow-session")])
        .args(shipped(arguments))
        .stdin(Stdio::null());
    for (name, value) in template.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[test]
fn a_disk_that_fills_up_costs_events_and_neither_the_session_nor_its_summary() {
    let directory = tempfile::tempdir().unwrap();
    // A file may grow to 64 blocks of 512 or 1024 bytes, as if the disk were full: the run log of the year has 3 MB.
    let mut command = session_in_shell(
        directory.path(),
        "ulimit -f 64; exec \"$0\" \"$@\"",
        &["--run-id", "r", "--log-level", "warn"],
    );
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
            .filter(|line| line.contains("has a hole from here on"))
            .count(),
        1,
        "{stderr}"
    );
    assert!(
        stderr.contains("run log has holes"),
        "the end says it too: {stderr}"
    );
    let log = events(directory.path(), "r").unwrap();
    assert!(
        (10..6_025).contains(&log.events.len()),
        "{} events",
        log.events.len()
    );
    assert_eq!(
        json(&directory.path().join("live_runs/r/summary.json"))["steps"],
        6_025
    );
}

#[test]
fn a_run_log_whose_first_file_cannot_be_written_leaves_no_folder_behind() {
    let directory = tempfile::tempdir().unwrap();
    // The folder can be made and no file can get a byte; neither can a shard.
    let mut command = session_in_shell(
        directory.path(),
        "ulimit -f 0; exec \"$0\" \"$@\"",
        &["--run-id", "r", "--log-level", "warn"],
    );
    let (code, stdout, stderr) = ended(&command.output().unwrap());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("Steps:             6025\n"), "{stdout}");
    assert!(stderr.contains("run log is off from here on"), "{stderr}");
    assert!(!directory.path().join("live_runs/r").exists());
}

#[test]
fn a_log_that_reaches_the_limit_of_a_files_size_costs_its_lines_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = session_in_shell(
        directory.path(),
        "ulimit -f 0; exec \"$0\" \"$@\" 2>log",
        &["--no-logging", "--log-level", "debug"],
    );
    let (code, stdout, _) = ended(&command.output().unwrap());
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("Steps:             6025\n"), "{stdout}");
    assert_eq!(fs::metadata(directory.path().join("log")).unwrap().len(), 0);
    // The refusals of a start go the same way.
    let mut command = session_in_shell(
        directory.path(),
        "ulimit -f 0; exec \"$0\" --no-such-flag 2>log",
        &[],
    );
    assert_eq!(command.output().unwrap().status.code(), Some(2));
}

#[test]
fn a_disk_with_room_again_is_written_again_and_the_numbers_show_the_hole() {
    let directory = tempfile::tempdir().unwrap();
    let child = start(&mut session_in_shell(
        directory.path(),
        "ulimit -S -f 64; exec \"$0\" \"$@\"",
        &["--run-id", "r", "--log-level", "warn", "--speed", "1000"],
    ));
    let path = directory.path().join("live_runs/r/events.jsonl");
    // The limit is no multiple of a line: the file ends within one when it is reached.
    eventually("a torn line", || {
        events(directory.path(), "r").filter(|log| log.torn.is_some() && log.events.len() > 10)
    });
    let full = fs::metadata(&path).unwrap().len();
    let freed = Command::new("prlimit")
        .args(["--pid", &child.id().to_string(), "--fsize=unlimited:"])
        .status()
        .unwrap();
    assert!(freed.success());
    eventually("events behind the hole", || {
        events(directory.path(), "r").filter(|log| log.missing > 0)
    });
    signal(&child, "TERM");
    let (code, _, stderr) = ended(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("run log is written again"), "{stderr}");
    assert!(fs::metadata(&path).unwrap().len() > full);
    let log = events(directory.path(), "r").unwrap();
    let summary = json(&directory.path().join("live_runs/r/summary.json"));
    let last = log.events.last().unwrap();
    assert_eq!(
        (&last["seq"], &last["step"]),
        (&summary["steps"], &summary["steps"]),
        "every step has its number, also those that are lost"
    );
    assert!(
        stderr.contains(&format!("lost_events={}", log.missing)),
        "{} are missing: {stderr}",
        log.missing
    );
    let Some(samples) = collected(
        "a_disk_with_room_again_is_written_again_and_the_numbers_show_the_hole",
        directory.path(),
    ) else {
        return;
    };
    assert!(samples["shadow_session_run_log_errors_total"] >= 1.0);
}

#[test]
fn after_kill_9_the_run_log_reads_up_to_its_tail_and_lacks_no_more_than_fits_in_its_buffer() {
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
    assert_eq!(log.missing, 0);
    assert!(!directory.path().join("live_runs/r/summary.json").exists());
    let Some(samples) = collected(
        "after_kill_9_the_run_log_reads_up_to_its_tail_and_lacks_no_more_than_fits_in_its_buffer",
        directory.path(),
    ) else {
        return;
    };
    let steps = samples["shadow_session_steps_total"];
    assert!(
        steps >= log.events.len() as f64,
        "a step is in the shards before it is in the log"
    );
    let text = fs::read_to_string(directory.path().join("live_runs/r/events.jsonl")).unwrap();
    let shortest = text.lines().map(str::len).min().unwrap();
    // One more was counted and not yet appended.
    let most = UNWRITTEN_LEN_MAX_BYTES / shortest + 2;
    assert!(
        steps - log.events.len() as f64 <= most as f64,
        "{steps} steps, {} events",
        log.events.len()
    );
    assert!(
        samples["peaktrade_strategy_position_gross_exposure{ccy=\"USD\",strategy_id=\"ma_crossover\"}"]
            >= 0.0
    );
}

#[test]
fn a_standard_error_that_cannot_be_written_costs_the_log_lines_and_nothing_else() {
    for redirection in ["2>/dev/full", "2>&-"] {
        let directory = tempfile::tempdir().unwrap();
        let mut command = session_in_shell(
            directory.path(),
            &format!("exec \"$0\" \"$@\" {redirection}"),
            &["--run-id", "r"],
        );
        let (code, stdout, _) = ended(&command.output().unwrap());
        assert_eq!(code, Some(0), "{redirection}");
        assert!(stdout.starts_with("Steps:             6025\n"), "{stdout}");
    }
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = session(directory.path(), &["--run-id", "r"])
        .stderr(writer)
        .output()
        .unwrap();
    let (code, stdout, _) = ended(&output);
    assert_eq!(code, Some(0), "a closed pipe");
    assert!(stdout.starts_with("Steps:             6025\n"), "{stdout}");
}

#[test]
fn a_standard_error_that_nobody_reads_neither_stops_the_session_nor_keeps_a_signal_from_ending_it()
{
    let directory = tempfile::tempdir().unwrap();
    // Held open and never read; full from the beginning, so that the first log line finds no room.
    let (reader, mut writer) = std::io::pipe().unwrap();
    let filler = std::thread::spawn({
        let mut writer = writer.try_clone().unwrap();
        move || {
            // Ends when the reader is dropped.
            let _ = std::io::copy(&mut std::io::repeat(b'x'), &mut writer);
        }
    });
    let child = session(
        directory.path(),
        &["--run-id", "r", "--speed", "20", "--log-level", "debug"],
    )
    .stdout(Stdio::piped())
    .stderr(writer.try_clone().unwrap())
    .spawn()
    .unwrap();
    let _ = std::io::Write::flush(&mut writer);
    drop(writer);
    eventually("events", || {
        events(directory.path(), "r").filter(|log| log.events.len() >= 3)
    });
    signal(&child, "TERM");
    let (code, stdout, _) = ended(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(0));
    assert!(stdout.contains("Ended By:          SIGTERM\n"), "{stdout}");
    assert!(directory.path().join("live_runs/r/summary.json").exists());
    drop(reader);
    filler.join().unwrap();
}

#[test]
fn a_standard_output_that_nobody_reads_does_not_keep_a_signal_from_ending_the_session() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let filler = std::thread::spawn({
        let mut writer = writer.try_clone().unwrap();
        move || {
            let _ = std::io::copy(&mut std::io::repeat(b'x'), &mut writer);
        }
    });
    let child = session(directory.path(), &["--run-id", "r"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The session is over; its summary finds no room.
    eventually("the summary file", || {
        directory
            .path()
            .join("live_runs/r/summary.json")
            .exists()
            .then_some(())
    });
    signal(&child, "TERM");
    let (code, _, stderr) = ended(&child.wait_with_output().unwrap());
    // The pipe may have had room for the little that a summary is; then all is well.
    assert!(
        code == Some(0) || (code == Some(1) && stderr.contains("did not end in time")),
        "{code:?} {stderr}"
    );
    drop(reader);
    filler.join().unwrap();
}

#[test]
fn a_standard_output_that_cannot_be_written_is_said_and_a_reader_that_went_away_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = session(directory.path(), &["--no-logging", "--log-level", "warn"])
        .stdout(full)
        .output()
        .unwrap();
    let (code, _, stderr) = ended(&output);
    assert_eq!(code, Some(1));
    assert!(
        stderr.starts_with("shadow-session: standard output cannot be written: No space left"),
        "{stderr}"
    );
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = session(directory.path(), &["--no-logging", "--log-level", "warn"])
        .stdout(writer)
        .output()
        .unwrap();
    let (code, _, stderr) = ended(&output);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_signal_while_the_feed_is_loaded_ends_the_start_with_status_0_and_a_word() {
    use std::io::Write;
    let directory = tempfile::tempdir().unwrap();
    // Large enough that it takes a while to read; the program is told to end as soon as its handlers are there.
    let mut file =
        std::io::BufWriter::new(fs::File::create(directory.path().join("big.csv")).unwrap());
    writeln!(file, "open_time,open,high,low,close,volume").unwrap();
    for row in 0..1_500_000_i64 {
        writeln!(file, "{},1.1,1.3,1.0,1.2,7", row * 3_600).unwrap();
    }
    file.into_inner().unwrap();
    let config = judge::root()
        .join("config/shadow-session.toml")
        .display()
        .to_string();
    let child = start(&mut shadow_session(
        directory.path(),
        &["--config", &config, "--feed", "recorded:big.csv"],
    ));
    let caught = format!("/proc/{}/status", child.id());
    eventually("the handler of SIGTERM", || {
        let status = fs::read_to_string(&caught).unwrap();
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))?;
        let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
        (mask & (1 << 14) != 0).then_some(())
    });
    signal(&child, "TERM");
    let (code, stdout, stderr) = ended(&child.wait_with_output().unwrap());
    assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");
    assert!(
        stderr.contains("shadow-session: SIGTERM during the start; ended, nothing was traded\n"),
        "{stderr}"
    );
    assert!(!directory.path().join("live_runs").exists());
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
