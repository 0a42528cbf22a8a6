//! `metricsd verify inf` on real sentinels, dry and live: what is well passes, and each fault that is caused fails by the check that is for it.

mod verified;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stand_in::{Clock, Eodhd, Fault, Mlflow, Predict, Replay};
use xtask::child::{Running, eventually, free_port};
use xtask::feed::Feed;
use xtask::scrape::{get, scrape};
use xtask::workspace;

use verified::{expect, report, step};

const LONG: Duration = Duration::from_secs(90);
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What a dry run has nothing of.
const NOT_IN_A_DRY_RUN: [&str; 2] = ["families_later", "gateway_heartbeat"];

/// A sentinel, and where it keeps its files.
struct Sentinel {
    folder: tempfile::TempDir,
    port: u16,
    running: Running,
}

impl Sentinel {
    /// On one-minute bars of a market that is always open, with a cycle each second.
    fn start(feed: &str, more: &str, flags: &[&str]) -> Result<Sentinel> {
        Sentinel::start_in(tempfile::tempdir()?, feed, more, flags)
    }

    fn start_in(
        folder: tempfile::TempDir,
        feed: &str,
        more: &str,
        flags: &[&str],
    ) -> Result<Sentinel> {
        let port = free_port()?;
        let config = format!(
            "[market]\nbase_url = \"{feed}\"\ninterval = \"1m\"\ncalendar = \"always\"\n{more}\n[schedule]\nevery = \"1s\"\n"
        );
        let file = folder.path().join("sentinel.toml");
        fs::write(&file, config)?;
        let (file, port_text) = (file.display().to_string(), port.to_string());
        let state = folder.path().join("state").display().to_string();
        let mut arguments = vec!["--config.file", &file, "--metrics-port", &port_text];
        arguments.extend(flags);
        let variables = [
            ("PEAKTRADE_METRICS_MODE", "A"),
            ("EODHD_API_TOKEN", "s3cret-token"),
            ("SENTINEL_STATE_DIR", state.as_str()),
        ];
        let running = Running::start(
            &workspace::program("sentinel")?,
            &arguments,
            &variables,
            &folder.path().join("sentinel.log"),
        )?;
        let sentinel = Sentinel {
            folder,
            port,
            running,
        };
        eventually(LONG, "a decision", || {
            let health = sentinel.health()?;
            let decided = &health["stages"][2]["last_success"];
            let failed = &health["stages"][2]["error"];
            ensure!(!decided.is_null() || !failed.is_null(), "{health}");
            Ok(())
        })
        .with_context(|| format!("it printed:\n{}", sentinel.running.output()))?;
        Ok(sentinel)
    }

    fn health(&self) -> Result<Value> {
        Ok(serde_json::from_str(&get(self.port, "/health")?)?)
    }

    /// What a verification of it finds, and its exit code.
    fn verify(&self, flags: &[&str]) -> Result<(Value, Option<i32>)> {
        let target = format!("http://127.0.0.1:{}", self.port);
        let mut arguments = vec!["verify", "inf", "--json", "--target", &target];
        arguments.extend(flags);
        report(Running::start(
            &workspace::program("metricsd")?,
            &arguments,
            &[],
            &self.folder.path().join("verify.json"),
        )?)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.running.id())
            .ok()
            .and_then(Pid::from_raw);
        Ok(kill_process(pid.context("no process id")?, signal)?)
    }
}

/// All checks passed but those that were left out.
fn passed_but(report: &Value, code: Option<i32>, left_out: &[&str]) -> Result<()> {
    ensure!(code == Some(0), "exit code {code:?}: {report:#}");
    for step in report["steps"].as_array().context("no steps")? {
        let id = step["id"].as_str().context("no id")?;
        let wanted = match left_out.contains(&id) {
            true => "skip",
            false => "pass",
        };
        ensure!(step["outcome"] == wanted, "{step:#}");
    }
    Ok(())
}

#[test]
fn a_dry_run_that_is_well_passes_and_one_without_its_feed_stopped_or_killed_fails() -> Result<()> {
    let feed = Eodhd::start(Replay {
        forming: false,
        ..Replay::default()
    })?;
    let mut sentinel = Sentinel::start(&feed.url(), "", &["--model", "embedded"])?;
    let evidence = sentinel
        .folder
        .path()
        .join("evidence")
        .display()
        .to_string();
    let (report, code) = sentinel.verify(&["--mode", "dry-run", "--evidence", &evidence])?;
    passed_but(&report, code, &NOT_IN_A_DRY_RUN)?;
    let pid = format!("pid {} ", sentinel.running.id());
    expect(&report, "port_owner", "pass", &pid)?;
    let folder = Path::new(report["evidence"].as_str().context("no folder")?);
    let text = fs::read_to_string(folder.join("report.md"))?;
    ensure!(
        text.contains("# Verification of a sentinel: PASS") && !text.contains("s3cret"),
        "{text}"
    );

    // The feed is gone. That is no news before the next bar is due.
    drop(feed);
    let due = "sentinel_next_bar_due_timestamp_seconds{source=\"eodhd\"}";
    eventually(LONG, "a bar that is overdue", || {
        let due = scrape(sentinel.port)?.samples.get(due).copied();
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        ensure!(due.is_some_and(|due| now > due + 2.0), "due at {due:?}");
        Ok(())
    })?;
    let (report, code) = sentinel.verify(&["--bar-grace", "1s", "--retries", "0"])?;
    ensure!(code == Some(1), "exit code {code:?}");
    expect(
        &report,
        "bars_fresh",
        "fail",
        "eodhd: the next one is overdue by",
    )?;
    expect(&report, "health_ok", "fail", "fetch failed")?;
    expect(&report, "health_truthful", "pass", "degraded")?;
    expect(&report, "cycle_due", "pass", "")?;

    sentinel.signal(Signal::STOP)?;
    let (report, code) = sentinel.verify(&["--timeout", "500ms"])?;
    ensure!(code == Some(1), "exit code {code:?}");
    expect(&report, "port_owner", "pass", &pid)?;
    expect(&report, "http_ok", "fail", "no whole answer within 500ms")?;
    expect(&report, "process_age", "fail", "is in state T")?;
    expect(&report, "health_ok", "fail", "the page did not come")?;
    sentinel.signal(Signal::CONT)?;

    sentinel.running.kill()?;
    let (report, code) = sentinel.verify(&["--retries", "1"])?;
    ensure!(code == Some(1), "exit code {code:?}");
    expect(&report, "port_owner", "fail", "nobody listens")?;
    expect(&report, "http_ok", "fail", "connection refused")
}

#[test]
fn a_model_server_that_breaks_is_found_by_the_predictions_and_told_by_a_truthful_health()
-> Result<()> {
    // The time of the feed is behind and is moved by hand: a bar closes when the test wants one.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let time = Arc::new(AtomicI64::new(i64::try_from(now)? - 1800));
    let told = Arc::clone(&time);
    let feed = Eodhd::start(Replay {
        clock: Clock(Arc::new(move || told.load(Ordering::Relaxed))),
        forming: false,
        ..Replay::default()
    })?;
    let hub = Mlflow::start(ANY, &[], Predict::always([0.05, 0.05, 0.9]))?;
    let hub_port = hub.address().port().to_string();
    let flags = ["--model", "hub", "--hub-port", &hub_port];
    let sentinel = Sentinel::start(&feed.url(), "stale_after = \"2h\"", &flags)?;
    let late = ["--bar-grace", "2h"];
    let (report, code) = sentinel.verify(&late)?;
    passed_but(&report, code, &NOT_IN_A_DRY_RUN)?;
    expect(&report, "health_ok", "pass", "model hub")?;

    hub.set_fault(Some(Fault::Status(500)));
    time.fetch_add(60, Ordering::Relaxed);
    eventually(LONG, "the breaker in front of the hub to open", || {
        let state = "sentinel_circuit_breaker_state{endpoint=\"hub\",state=\"open\"}";
        let page = scrape(sentinel.port)?;
        ensure!(page.samples.get(state) == Some(&1.0), "it is closed");
        Ok(())
    })?;
    let (report, code) = sentinel.verify(&["--bar-grace", "2h", "--retries", "0"])?;
    ensure!(code == Some(1), "exit code {code:?}");
    expect(
        &report,
        "predictions_work",
        "fail",
        "older than the features",
    )?;
    expect(
        &report,
        "breakers_closed",
        "fail",
        "in front of hub is open",
    )?;
    expect(&report, "health_ok", "fail", "predict failed")?;
    expect(&report, "health_truthful", "pass", "degraded")?;
    expect(
        &report,
        "nothing_fails_meanwhile",
        "fail",
        "sentinel_trading_cycles_failed_total",
    )?;
    for id in [
        "http_ok",
        "exposition_valid",
        "families_present",
        "cycle_due",
        "bars_fresh",
    ] {
        expect(&report, id, "pass", "")?;
    }

    // One that never had a usable prediction.
    let other = Sentinel::start(&feed.url(), "stale_after = \"2h\"", &flags)?;
    let (report, _) = other.verify(&["--bar-grace", "2h", "--retries", "0"])?;
    let (outcome, text) = step(&report, "predictions_work")?;
    ensure!(
        outcome == "fail" && text.contains("predictions failed"),
        "{text}"
    );
    Ok(())
}

#[test]
fn a_live_sentinel_passes_until_its_kill_switch_is_on_and_its_gateway_gone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let feed = Feed::start(ANY, &folder.path().join("prices.json"), 60)?;
    let (secret, kill) = (path("gateway.secret"), path("kill"));
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&secret)
        .and_then(|mut file| std::io::Write::write_all(&mut file, &[b'7'; 64]))?;
    let (journal, prices) = (path("gateway.journal"), path("prices.json"));
    let arguments = [
        "paper-gateway",
        "--bind",
        "127.0.0.1:0",
        "--account",
        "1000001",
        "--secret-file",
        &secret,
        "--journal",
        &journal,
        "--prices",
        &prices,
    ];
    let mut gateway = Running::start(
        &workspace::program("sentinel")?,
        &arguments,
        &[],
        &folder.path().join("gateway.log"),
    )?;
    let port: u16 = eventually(LONG, "the gateway to listen", || {
        let output = gateway.output();
        let line = output
            .lines()
            .find_map(|line| line.strip_prefix("listening on tcp://127.0.0.1:"));
        Ok(line.context("it does not say where")?.parse()?)
    })?;
    let more = format!(
        r#"stale_after = "2h"
lookback_bars = 300
[gateway]
port = {port}
timeout = "1s"
heartbeat_every = "200ms"
secret_file = "{secret}"
contract_sizes = {{ EURUSD = "100000" }}
[arm]
account = "1000001"
confirm = "1000001"
[limits]
max_symbol_exposure = "5000"
max_daily_loss_abs = "500"
[state]
kill_file = "{kill}"
"#
    );
    let flags = ["--live", "--model", "embedded"];
    let sentinel = Sentinel::start(&feed.url(), &more, &flags)?;
    let (report, code) = sentinel.verify(&["--bar-grace", "2h", "--mode", "live"])?;
    // Of a hundred predictions it made one.
    passed_but(&report, code, &["families_later"])?;
    expect(
        &report,
        "gateway_heartbeat",
        "pass",
        "the last heartbeat is",
    )?;
    expect(&report, "mode_consistent", "pass", "live")?;
    let (report, code) = sentinel.verify(&["--bar-grace", "2h", "--mode", "dry-run"])?;
    ensure!(code == Some(1), "exit code {code:?}");
    expect(
        &report,
        "mode_consistent",
        "fail",
        "it is live, expected dry_run",
    )?;

    fs::write(&kill, "")?;
    eventually(LONG, "the halt", || {
        let health = sentinel.health()?;
        ensure!(health["trading_state"] == "halted", "{health}");
        Ok(())
    })?;
    let impatient = ["--bar-grace", "2h", "--retries", "0"];
    let (report, code) = sentinel.verify(&impatient)?;
    ensure!(code == Some(1), "exit code {code:?}");
    expect(&report, "trading_active", "fail", "halted")?;
    expect(&report, "health_ok", "fail", "the kill switch is on")?;
    expect(&report, "health_truthful", "pass", "degraded")?;

    gateway.kill()?;
    eventually(LONG, "a heartbeat that is not answered", || {
        let health = sentinel.health()?;
        ensure!(health["gateway"]["is_answering"] == false, "{health}");
        Ok(())
    })?;
    let (report, code) = sentinel.verify(&impatient)?;
    ensure!(code == Some(1), "exit code {code:?}");
    expect(&report, "gateway_heartbeat", "fail", "was not answered")?;
    expect(&report, "health_truthful", "pass", "")
}
