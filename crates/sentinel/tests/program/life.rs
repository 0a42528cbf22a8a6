//! A life without faults: from the first cycle to the end, with and without an endpoint.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use rustix::process::Signal;
use stand_in::Fault;

use crate::daemon::{DEADLINE, Daemon, Start, eodhd, free_port, frozen_eodhd, mlflow};

#[test]
fn a_closed_bar_is_decided_on_once_and_nothing_is_called_before_the_next_one_is_due() {
    // An hour between two bars: none closes while the test looks, except around the full hour.
    let (bars, hub) = (eodhd(), mlflow());
    let daemon = Daemon::start(&Start {
        eodhd: &bars.url(),
        hub: Some(hub.address()),
        ..Start::default()
    });
    let first = daemon.eventually("a decision", |daemon| {
        let metrics = daemon.metrics()?;
        (metrics.signals() >= 1.0).then_some(metrics)
    });
    // The cycle is counted as complete after its decision.
    daemon.eventually("a status of ok", |daemon| {
        (daemon.health()?["status"] == "ok").then_some(())
    });
    assert_eq!(daemon.get("/health").unwrap().0, 200);
    let cycles = first.get("sentinel_trading_cycles_total").unwrap();
    let later = daemon.after_cycles(cycles + 5.0);
    let of = |name: &str| later.get(name).unwrap();
    let decided = of("sentinel_trading_signals_total{action=\"BUY\"}");
    // Seconds passed; at most one more minute closed.
    assert!(decided <= 2.0, "{decided}");
    assert_eq!(
        of("sentinel_signals_suppressed_total{reason=\"dry_run\"}"),
        decided
    );
    assert_eq!(of("sentinel_prediction_requests_total"), decided);
    assert_eq!(of("sentinel_prediction_latency_seconds_count"), decided);
    assert_eq!(
        of("sentinel_trading_signals_executed_total{action=\"BUY\"}"),
        0.0
    );
    assert_eq!(of("sentinel_trading_cycles_failed_total"), 0.0);
    assert_eq!(of("sentinel_last_prediction_confidence"), 0.9);
    assert!(of("sentinel_cycles_skipped_total{reason=\"no_new_bar\"}") >= 4.0);
    assert_eq!(
        of("sentinel_model_info{model=\"mlflow\",origin=\"hub\",version=\"3.17.2\"}"),
        1.0
    );
    assert_eq!(later.0.matches("\nsentinel_model_info{").count(), 1);
    // The feed was asked once for the lookback, then only for a bar that was due.
    assert!(bars.requests().len() <= 4, "{}", bars.requests().len());
    daemon.end();
}

#[test]
fn the_embedded_model_needs_no_server_and_says_where_a_prediction_comes_from() {
    let bars = frozen_eodhd();
    let daemon = Daemon::start(&Start {
        eodhd: &bars.url(),
        ..Start::default()
    });
    let metrics = daemon.eventually("a prediction", |daemon| {
        let metrics = daemon.metrics()?;
        (metrics.get("sentinel_prediction_confidence_ratio_count")? >= 1.0).then_some(metrics)
    });
    assert!(metrics.0.contains("origin=\"embedded\""));
    assert!(
        daemon
            .log()
            .contains("the embedded model was trained on EURUSD at 1h")
    );
    assert_eq!(
        metrics.get("sentinel_api_calls_total{endpoint=\"hub\"}"),
        Some(0.0)
    );
    let uptime = metrics.get("sentinel_daemon_uptime_seconds").unwrap();
    daemon.eventually("an uptime that moves between cycles", |daemon| {
        (daemon.metrics()?.get("sentinel_daemon_uptime_seconds")? > uptime).then_some(())
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let resident = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    let kib: u64 = resident.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib <= 30 * 1024, "{resident}");
    daemon.end();
}

#[test]
fn a_busy_port_costs_the_endpoint_until_it_is_free_and_is_counted_then() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let bars = frozen_eodhd();
    let daemon = Daemon::start(&Start {
        eodhd: &bars.url(),
        port: busy.local_addr().unwrap().port(),
        ..Start::default()
    });
    daemon.eventually("the work", |daemon| {
        let log = daemon.log();
        (log.contains("no endpoint for /metrics and /health") && log.contains("decided"))
            .then_some(())
    });
    drop(busy);
    let metrics = daemon.after_cycles(1.0);
    let failures = metrics.get("sentinel_telemetry_endpoint_failures_total");
    assert!(failures >= Some(1.0));
    let log = daemon.log();
    assert_eq!(
        log.matches("no endpoint for /metrics and /health").count(),
        1,
        "{log}"
    );
    daemon.end();
}

#[test]
fn a_signal_ends_it_in_order_also_while_a_call_hangs() {
    let bars = frozen_eodhd();
    bars.set_fault(Some(Fault::Hang));
    let mut daemon = Daemon::start(&Start {
        eodhd: &bars.url(),
        // The end comes long before the budget, or the status tells of the emergency exit.
        extra_config: "[market]\ntimeout = \"55s\"",
        ..Start::default()
    });
    daemon.eventually("a call that hangs", |_| {
        (!bars.requests().is_empty()).then_some(())
    });
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
}

#[test]
fn sighup_is_logged_and_ends_nothing() {
    let bars = frozen_eodhd();
    let daemon = Daemon::start(&Start {
        eodhd: &bars.url(),
        ..Start::default()
    });
    daemon.after_cycles(1.0);
    daemon.send(Signal::HUP);
    daemon.eventually("a word on it", |daemon| {
        daemon
            .log()
            .contains("SIGHUP: the configuration is read at start only")
            .then_some(())
    });
    let cycles = daemon
        .after_cycles(0.0)
        .get("sentinel_trading_cycles_total")
        .unwrap();
    daemon.after_cycles(cycles + 2.0);
    daemon.end();
}

#[test]
fn sigusr1_is_the_kill_switch_and_ends_no_process() {
    let bars = frozen_eodhd();
    let daemon = Daemon::start(&Start {
        eodhd: &bars.url(),
        ..Start::default()
    });
    daemon.after_cycles(1.0);
    daemon.send(Signal::USR1);
    daemon.eventually("a word on it", |daemon| {
        daemon
            .log()
            .contains("SIGUSR1: the kill switch of a sentinel that decides is on, it sends no order any more")
            .then_some(())
    });
    let cycles = daemon
        .after_cycles(0.0)
        .get("sentinel_trading_cycles_total")
        .unwrap();
    daemon.after_cycles(cycles + 2.0);
    daemon.end();
}

#[test]
fn the_service_manager_is_told_after_the_first_cycle_and_the_watchdog_is_fed() {
    let bars = frozen_eodhd();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let daemon = Daemon::start(&Start {
        eodhd: &bars.url(),
        variables: &[
            ("NOTIFY_SOCKET", path.to_str().unwrap()),
            ("WATCHDOG_USEC", "5000000"),
        ],
        ..Start::default()
    });
    let mut told = Vec::new();
    while told.iter().filter(|one| *one == "WATCHDOG=1").count() < 3
        || !told.contains(&"READY=1".to_owned())
    {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).unwrap();
        told.push(String::from_utf8_lossy(&bytes[..length]).trim().to_owned());
    }
    assert!(
        daemon.log().contains("decided"),
        "ready before the first cycle"
    );
    daemon.end();
}

#[test]
fn in_mode_b_it_writes_shards_and_opens_no_port() {
    let bars = frozen_eodhd();
    let shards = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&Start {
        eodhd: &bars.url(),
        variables: &[(
            "PEAKTRADE_METRICS_MULTIPROC_DIR",
            shards.path().to_str().unwrap(),
        )],
        ..Start::default()
    });
    daemon.eventually("a decision", |daemon| {
        daemon.log().contains("decided").then_some(())
    });
    let contains = |name: &str| {
        std::fs::read_dir(shards.path())
            .unwrap()
            .flatten()
            .any(|entry| {
                let bytes = std::fs::read(entry.path()).unwrap_or_default();
                bytes
                    .windows(name.len())
                    .any(|window| window == name.as_bytes())
            })
    };
    for name in [
        "sentinel_trading_cycles_total",
        "sentinel_daemon_uptime_seconds",
        "sentinel_trading_state",
    ] {
        assert!(contains(name), "{name}");
    }
    assert!(daemon.get("/metrics").is_none());
    daemon.end();
}

#[test]
fn a_wrong_start_is_one_sentence_and_status_2() {
    for (arguments, message) in [
        (
            &["--live"][..],
            "built-in defaults: arm.account: not set, --live needs it",
        ),
        (
            &["--threshold", "2"],
            "--threshold: found `2`, accepted: a number from 0 to 1",
        ),
        (
            &["--config.file", "/nowhere.toml"],
            "/nowhere.toml: cannot read the configuration",
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_sentinel"))
            .args(arguments)
            .args(["--metrics-port", &free_port().to_string()])
            .env_clear()
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(message), "{text}");
    }
}
