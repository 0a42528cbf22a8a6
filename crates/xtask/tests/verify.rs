//! `metricsd verify mode-b` with real sessions and a real Prometheus: the whole of it passes, and the faults that need them make it fail.

mod verified;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use xtask::child::{Running, eventually, free_port};
use xtask::prometheus::{self, Edition, Pace};
use xtask::scrape::{get, query, scrape};
use xtask::{tools, workspace};

use verified::{expect, report, step};

const JOB: &str = r#"job="peak_trade_metricsd""#;

/// A daemon with its directories, and verifications of it.
struct Place {
    folder: tempfile::TempDir,
    port: u16,
    daemon: Running,
}

impl Place {
    fn new() -> Result<Place> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let daemon = start_daemon(folder.path(), port)?;
        Ok(Place {
            folder,
            port,
            daemon,
        })
    }

    fn path(&self, name: &str) -> String {
        path(self.folder.path(), name)
    }

    /// Starts `metricsd verify mode-b --json` on it; its output is one object.
    fn verify(&self, port: u16, flags: &[&str], variables: &[(&str, &str)]) -> Result<Running> {
        let (shards, state) = (self.path("prom_multiproc"), self.path("state"));
        let url = format!("http://127.0.0.1:{port}/metrics");
        let mut arguments = vec![
            "verify",
            "mode-b",
            "--json",
            "--multiproc-dir",
            &shards,
            "--state-dir",
            &state,
            "--url",
            &url,
        ];
        arguments.extend(flags);
        Running::start(
            &workspace::program("metricsd")?,
            &arguments,
            variables,
            &self.folder.path().join("verify.json"),
        )
    }
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

fn start_daemon(folder: &Path, port: u16) -> Result<Running> {
    let (port_text, shards, state) = (
        port.to_string(),
        path(folder, "prom_multiproc"),
        path(folder, "state"),
    );
    let arguments = [
        "serve",
        "--port",
        &port_text,
        "--multiproc-dir",
        &shards,
        "--state-dir",
        &state,
    ];
    let daemon = Running::start(
        &workspace::program("metricsd")?,
        &arguments,
        &[],
        &folder.join("metricsd.log"),
    )?;
    eventually(Duration::from_secs(20), "metricsd to be ready", || {
        get(port, "/-/ready")
    })?;
    Ok(daemon)
}

fn start_prometheus(folder: &Path, target: u16, port: u16) -> Result<Running> {
    let nobody = free_port()?;
    let ports = [target, nobody, nobody, nobody, nobody, port];
    prometheus::write(folder, Edition::Local, Pace::EverySecond, &ports)?;
    let running = prometheus::start(folder, Edition::Local, port)?;
    let up = format!("up{{{JOB}}} == 1");
    eventually(Duration::from_secs(30), "the first scrape", || {
        ensure!(!query(port, &up)?.is_empty(), "no scrape yet");
        Ok(())
    })?;
    Ok(running)
}

#[test]
fn a_whole_run_with_a_session_and_a_real_prometheus_passes_and_is_filed() -> Result<()> {
    if tools::prometheus_program("prometheus").is_none() {
        tools::skip(
            "a_whole_run_with_a_session_and_a_real_prometheus_passes_and_is_filed",
            "no prometheus",
        );
        return Ok(());
    }
    let place = Place::new()?;
    let port = free_port()?;
    let _prometheus = start_prometheus(place.folder.path(), place.port, port)?;
    let (base, evidence) = (format!("http://127.0.0.1:{port}"), place.path("evidence"));
    let flags = [
        "--run-session",
        "--session-time",
        "6s",
        "--prometheus",
        &base,
        "--scrape-interval",
        "1s",
        "--evidence",
        &evidence,
    ];
    let (report, code) = report(place.verify(place.port, &flags, &[])?)?;
    ensure!(code == Some(0), "exit code {code:?}: {report:#}");
    for step in report["steps"].as_array().context("no steps")? {
        ensure!(step["outcome"] == "pass", "{step:#}");
    }
    expect(&report, "up_stable", "pass", "none is missing")?;
    expect(&report, "families_present", "pass", "all 6 expected")?;

    let folder = PathBuf::from(report["evidence"].as_str().context("no folder")?);
    for name in [
        "report.md",
        "report.json",
        "metrics-before.prom",
        "metrics-during.prom",
        "metrics-after.prom",
        "prometheus-up-samples.json",
        "prometheus-up-range.json",
        "session.log",
    ] {
        ensure!(
            fs::metadata(folder.join(name))?.len() > 0,
            "{name} is empty"
        );
    }
    let text = fs::read_to_string(folder.join("report.md"))?;
    ensure!(
        text.contains("up{job=\"peak_trade_metricsd\"}["),
        "no query in {text}"
    );
    Ok(())
}

#[test]
fn a_daemon_that_was_down_for_two_scrapes_is_found_in_prometheus() -> Result<()> {
    if tools::prometheus_program("prometheus").is_none() {
        tools::skip(
            "a_daemon_that_was_down_for_two_scrapes_is_found_in_prometheus",
            "no prometheus",
        );
        return Ok(());
    }
    let mut place = Place::new()?;
    let port = free_port()?;
    let _prometheus = start_prometheus(place.folder.path(), place.port, port)?;
    let base = format!("http://127.0.0.1:{port}");
    let flags = [
        "--run-session",
        "--session-time",
        "10s",
        "--prometheus",
        &base,
        "--scrape-interval",
        "1s",
    ];
    let verification = place.verify(place.port, &flags, &[])?;
    eventually(Duration::from_secs(30), "the session's steps", || {
        let steps = scrape(place.port)?.total("shadow_session_steps_total");
        ensure!(steps.is_some_and(|steps| steps > 0.0), "{steps:?} steps");
        Ok(())
    })?;
    place.daemon.kill()?;
    let down = format!("count_over_time((up{{{JOB}}} == 0)[1m:1s]) >= 2");
    eventually(Duration::from_secs(20), "two failed scrapes", || {
        ensure!(!query(port, &down)?.is_empty(), "fewer");
        Ok(())
    })?;
    place.daemon = start_daemon(place.folder.path(), place.port)?;
    let (report, code) = report(verification)?;
    ensure!(code == Some(1), "exit code {code:?}: {report:#}");
    expect(&report, "up_stable", "fail", "was 0 at")?;
    expect(&report, "port_owner_at_end", "fail", " to pid ")?;
    // A restart loses nothing: these hold all the same.
    expect(&report, "still_there_after_end", "pass", "did not fall")?;
    expect(&report, "totals_proven", "pass", "")
}

#[test]
fn a_session_in_mode_a_is_found_by_its_socket_and_its_missing_shards() -> Result<()> {
    let place = Place::new()?;
    let shipped = fs::read_to_string(workspace::root().join("config/shadow-session.toml"))?;
    let config = shipped
        .replace("mode = \"B\"", "mode = \"A\"")
        .replace("127.0.0.1:9111", "127.0.0.1:0");
    ensure!(config != shipped, "the shipped configuration has changed");
    let file = place.path("mode-a.toml");
    fs::write(&file, config)?;
    let flags = [
        "--run-session",
        "--session-time",
        "4s",
        "--session-config",
        &file,
        "--retries",
        "4",
    ];
    let (report, code) = report(place.verify(place.port, &flags, &[])?)?;
    ensure!(code == Some(1), "exit code {code:?}");
    expect(&report, "session_started", "fail", "writes no shard")?;
    expect(
        &report,
        "sessions_listen_on_nothing",
        "fail",
        "listens on 127.0.0.1:",
    )?;
    expect(&report, "shards_present", "fail", "no shard")?;
    expect(&report, "families_present", "fail", "")?;
    expect(
        &report,
        "still_there_after_end",
        "skip",
        "not seen to write",
    )
}

#[test]
fn series_that_go_with_their_session_fail() -> Result<()> {
    let place = Place::new()?;
    // A page like that of an exporter that forgets the dead.
    let real = place.port;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = forget_the_dead(stream, real);
        }
    });
    let flags = ["--run-session", "--session-time", "4s", "--retries", "8"];
    let (report, code) = report(place.verify(port, &flags, &[])?)?;
    ensure!(code == Some(1), "exit code {code:?}");
    expect(&report, "session_ended", "pass", "exit code 0")?;
    expect(&report, "still_there_after_end", "fail", "is gone")
}

fn forget_the_dead(mut stream: std::net::TcpStream, real: u16) -> Result<()> {
    use std::io::{BufRead, BufReader, Write};
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let target = line.split(' ').nth(1).unwrap_or("/").to_owned();
    while line.len() > 2 {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let mut page = get(real, &target)?;
    let is_live = page.contains("metricsd_sessions{program=\"shadow-session\",state=\"live\"} 1.0");
    if target == "/metrics" && !is_live {
        let lines = page.lines().filter(|line| !line.starts_with("peaktrade_"));
        page = lines.map(|line| format!("{line}\n")).collect();
    }
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    )?;
    Ok(())
}

#[test]
fn an_interrupted_verification_ends_its_session_and_says_so() -> Result<()> {
    let place = Place::new()?;
    let flags = [
        "--run-session",
        "--session-time",
        "10m",
        "--session-speed",
        "5",
    ];
    let mut verification = place.verify(place.port, &flags, &[])?;
    let live = "metricsd_sessions{program=\"shadow-session\",state=\"live\"}";
    let sessions = || Ok::<_, anyhow::Error>(scrape(place.port)?.samples.get(live).copied());
    eventually(Duration::from_secs(30), "the session lives", || {
        ensure!(sessions()? == Some(1.0), "not yet");
        Ok(())
    })?;
    let status = verification.terminate()?;
    ensure!(status.code() == Some(1), "{status}");
    let report: Value = serde_json::from_str(&verification.output())?;
    expect(&report, "verdict", "fail", "interrupted")?;
    eventually(Duration::from_secs(10), "the session is gone", || {
        ensure!(sessions()?.is_none_or(|live| live == 0.0), "it lives");
        Ok(())
    })
}

#[test]
fn every_drill_holds_or_says_why_it_cannot_be_made() -> Result<()> {
    let place = Place::new()?;
    let before = get(place.port, "/metrics")?;
    let (report, code) = report(place.verify(place.port, &["--drill=only"], &[])?)?;
    ensure!(code == Some(0), "exit code {code:?}: {report:#}");
    for id in [
        "drill_second_daemon",
        "drill_session_killed",
        "drill_daemon_killed",
        "drill_directory_wiped",
    ] {
        expect(&report, id, "pass", "")?;
    }
    match step(&report, "drill_full_disk")? {
        ("pass", _) => {}
        (outcome, why) => {
            ensure!(outcome == "skip", "{why}");
            tools::skip("every_drill_holds_or_says_why_it_cannot_be_made", why);
        }
    }
    let steps = |page: &str| page.contains("shadow_session_steps_total");
    ensure!(
        !steps(&before) && !steps(&get(place.port, "/metrics")?),
        "a drill touched the daemon that was not its own"
    );
    Ok(())
}

/// A session that goes on when it is killed, since it is the child of what is killed, and that says another number of steps than it made.
const IMPOSTOR: &str = r#"#!/bin/sh
"REAL" "$@" > "$0.out" &
echo $! >> "$0.pids"
wait $!
sed 's/^Steps: .*/Steps: 1/' "$0.out"
"#;

#[test]
fn drills_fail_by_counts_that_differ_and_by_a_session_that_is_not_dead() -> Result<()> {
    let place = Place::new()?;
    let session = place.path("impostor");
    let real = workspace::program("shadow-session")?;
    fs::write(&session, IMPOSTOR.replace("REAL", &real.to_string_lossy()))?;
    fs::set_permissions(&session, fs::Permissions::from_mode(0o755))?;
    let flags = ["--drill=only", "--session-bin", &session];
    let verified = report(place.verify(place.port, &flags, &[])?);
    // What went on was started by what is gone; nobody else ends it.
    for pid in fs::read_to_string(format!("{session}.pids"))?.lines() {
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw)
            && program == real
        {
            kill_process(pid, Signal::KILL)?;
        }
    }
    let (report, code) = verified?;
    ensure!(code == Some(1), "exit code {code:?}: {report:#}");
    expect(&report, "drill_second_daemon", "pass", "")?;
    expect(&report, "drill_session_killed", "fail", "")?;
    let miscounted = "the session made 1 steps, the page shows ";
    expect(&report, "drill_daemon_killed", "fail", miscounted)?;
    if step(&report, "drill_full_disk")?.0 != "skip" {
        expect(&report, "drill_full_disk", "fail", miscounted)?;
    }
    expect(&report, "drill_directory_wiped", "fail", miscounted)
}
