//! A real Prometheus scrapes metricsd while a session starts and ends: what an operator's queries see over the whole time.
//!
//! The shipped configuration is used, at a shorter interval and on free ports.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::child::{Running, eventually, free_port};
use xtask::prometheus::{self, Edition, Pace};
use xtask::scrape::{get, query, scrape};
use xtask::sockets::listening_ports;
use xtask::{tools, workspace};

const JOB: &str = r#"job="peak_trade_metricsd""#;
const FAMILIES: [&str; 6] = [
    "peaktrade_strategy_decisions_total",
    "peaktrade_strategy_signals_total",
    "peaktrade_strategy_position_gross_exposure",
    "peaktrade_risk_checks_total",
    "peaktrade_risk_limit_utilization",
    "peaktrade_risk_blocks_total",
];

#[test]
fn a_sessions_series_outlive_it_while_up_never_leaves_one() -> Result<()> {
    if tools::prometheus_program("prometheus").is_none() {
        tools::skip(
            "a_sessions_series_outlive_it_while_up_never_leaves_one",
            "no prometheus",
        );
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let shards = folder.path().join("prom_multiproc");
    let shards = shards.to_str().context("a temporary path in UTF-8")?;
    let port = free_port()?;
    let daemon = start_daemon(folder.path(), shards, port)?;
    let prometheus_port = free_port()?;
    let _prometheus = start_prometheus(folder.path(), port, prometheus_port)?;
    eventually(
        Duration::from_secs(20),
        "two scrapes before the session",
        || {
            let count = single(
                prometheus_port,
                &format!("count_over_time(up{{{JOB}}}[10m])"),
            )?;
            ensure!(count >= 2.0, "{count} scrapes so far");
            Ok(())
        },
    )?;

    let mut session = start_session(folder.path(), shards, "900")?;
    eventually(Duration::from_secs(10), "the session's first steps", || {
        scrape(port)?
            .total("shadow_session_steps_total")
            .context("no steps yet")
    })?;
    ensure!(
        listening_ports(session.id())?.is_empty(),
        "the session listens on {:?}",
        listening_ports(session.id())?
    );
    ensure!(
        listening_ports(daemon.id())? == [port].into(),
        "metricsd listens on {:?}, expected only {port}",
        listening_ports(daemon.id())?
    );
    let status = session.wait(Duration::from_secs(60))?;
    ensure!(
        status.success(),
        "the session ended with {status}; it printed:\n{}",
        session.output()
    );

    let end = now();
    eventually(
        Duration::from_secs(20),
        "three scrapes after the session's end",
        || {
            let scraped = single(prometheus_port, &format!("timestamp(up{{{JOB}}})"))?;
            ensure!(
                scraped > end + 3.0,
                "the last scrape is from {scraped}, the session ended at {end}"
            );
            Ok(())
        },
    )?;
    ensure!(
        single(prometheus_port, &format!("min_over_time(up{{{JOB}}}[10m])"))? == 1.0,
        "up was not always 1"
    );
    let exposed = scrape(port)?;
    for family in FAMILIES {
        let series = query(
            prometheus_port,
            &format!("{family}{{{JOB}}} and (timestamp({family}{{{JOB}}}) > {end})"),
        )?;
        ensure!(
            !series.is_empty(),
            "{family} is gone after the session's end"
        );
        let (seen, now): (f64, f64) = (
            series.iter().map(|(_, value)| value).sum(),
            exposed.total(family).unwrap_or(f64::NAN),
        );
        ensure!(
            seen == now,
            "{family}: Prometheus has {seen}, metricsd serves {now}"
        );
    }
    for moving in [
        "peaktrade_strategy_signals_total",
        "peaktrade_risk_checks_total",
    ] {
        let moved = query(
            prometheus_port,
            &format!("changes({moving}{{{JOB}}}[10m]) > 0"),
        )?;
        ensure!(
            !moved.is_empty(),
            "no series of {moving} moved while the session ran"
        );
    }
    Ok(())
}

#[test]
fn killing_and_restarting_metricsd_under_a_running_session_loses_no_step() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shards = folder.path().join("prom_multiproc");
    let shards = shards.to_str().context("a temporary path in UTF-8")?;
    let port = free_port()?;
    let mut daemon = start_daemon(folder.path(), shards, port)?;
    let mut session = start_session(folder.path(), shards, "1500")?;
    let mut seen = BTreeMap::new();
    for _ in 0..3 {
        let target = seen
            .get("shadow_session_steps_total")
            .copied()
            .unwrap_or(0.0)
            + 300.0;
        let before = eventually(Duration::from_secs(20), "the session's steps", || {
            let now = scrape(port)?;
            let steps = now.total("shadow_session_steps_total").unwrap_or(0.0);
            ensure!(steps >= target, "{steps} steps of {target}");
            Ok(now)
        })?;
        daemon.kill()?;
        daemon = start_daemon(folder.path(), shards, port)?;
        let after = scrape(port)?;
        for (series, was) in before.growing().filter(|(series, _)| {
            !series.starts_with("metricsd_") && !series.starts_with("process_")
        }) {
            let is = after
                .samples
                .get(series)
                .with_context(|| format!("{series} is gone after the restart"))?;
            ensure!(
                *is >= was,
                "{series} was {was} before the restart and is {is}"
            );
        }
        seen = after.samples;
    }
    let status = session.wait(Duration::from_secs(60))?;
    ensure!(
        status.success(),
        "the session ended with {status}; it printed:\n{}",
        session.output()
    );
    let printed = session.output();
    let line = printed
        .lines()
        .find(|line| line.trim_start().starts_with("Steps"))
        .context("no line 'Steps' in the summary")?;
    let steps: f64 = line
        .split_whitespace()
        .find_map(|word| word.parse().ok())
        .with_context(|| format!("no number in '{line}'"))?;
    let served = scrape(port)?.total("shadow_session_steps_total");
    ensure!(
        served == Some(steps),
        "the session made {steps} steps, metricsd serves {served:?}"
    );
    Ok(())
}

#[test]
fn promtool_accepts_the_shipped_configuration_and_the_whole_exposition() -> Result<()> {
    let Some(promtool) = tools::prometheus_program("promtool") else {
        tools::skip(
            "promtool_accepts_the_shipped_configuration_and_the_whole_exposition",
            "no promtool",
        );
        return Ok(());
    };
    let shipped = workspace::root().join("ops/prometheus/prometheus.yml");
    workspace::run(
        std::process::Command::new(&promtool)
            .args(["check", "config"])
            .arg(shipped),
    )?;

    let folder = tempfile::tempdir()?;
    let shards = folder.path().join("prom_multiproc");
    let shards = shards.to_str().context("a temporary path in UTF-8")?;
    let port = free_port()?;
    let _daemon = start_daemon(folder.path(), shards, port)?;
    let mut session = start_session(folder.path(), shards, "max")?;
    ensure!(
        session.wait(Duration::from_secs(60))?.success(),
        "the session failed:\n{}",
        session.output()
    );
    let text = folder.path().join("exposition");
    fs::write(&text, get(port, "/metrics")?)?;
    let checked = std::process::Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(fs::File::open(&text)?)
        .output()?;
    let said = String::from_utf8_lossy(&checked.stderr).into_owned()
        + &String::from_utf8_lossy(&checked.stdout);
    ensure!(
        checked.status.success() && said.trim().is_empty(),
        "promtool check metrics ended with {} and said:\n{said}",
        checked.status
    );
    Ok(())
}

fn start_daemon(folder: &Path, shards: &str, port: u16) -> Result<Running> {
    let state = folder.join("state");
    let arguments = [
        "serve",
        "--port",
        &port.to_string(),
        "--multiproc-dir",
        shards,
        "--state-dir",
        state.to_str().context("a temporary path in UTF-8")?,
    ];
    let mut daemon = Running::start(
        &workspace::program("metricsd")?,
        &arguments,
        &[],
        &folder.join("metricsd.log"),
    )?;
    eventually(Duration::from_secs(10), "metricsd to be ready", || {
        ensure!(
            daemon.ended()?.is_none(),
            "metricsd ended; it printed:\n{}",
            daemon.output()
        );
        get(port, "/-/ready")
    })?;
    Ok(daemon)
}

fn start_session(folder: &Path, shards: &str, speed: &str) -> Result<Running> {
    let arguments = [
        "--config",
        "config/shadow-session.toml",
        "--strategy",
        "ma_crossover",
        "--speed",
        speed,
        "--no-logging",
    ];
    let variables = [
        ("PEAKTRADE_METRICS_MODE", "B"),
        ("PEAKTRADE_METRICS_MULTIPROC_DIR", shards),
    ];
    Running::start(
        &workspace::program("shadow-session")?,
        &arguments,
        &variables,
        &folder.join("session.log"),
    )
}

/// Prometheus on the shipped configuration, once a second, with metricsd as the one target that answers.
fn start_prometheus(folder: &Path, target: u16, port: u16) -> Result<Running> {
    let nobody = free_port()?;
    let ports = [target, nobody, nobody, nobody, nobody, port];
    prometheus::write(folder, Edition::Local, Pace::EverySecond, &ports)?;
    let running = prometheus::start(folder, Edition::Local, port)?;
    eventually(Duration::from_secs(20), "Prometheus to be ready", || {
        get(port, "/-/ready")
    })?;
    Ok(running)
}

/// The value of a query that has exactly one series.
fn single(port: u16, expression: &str) -> Result<f64> {
    let series = query(port, expression)?;
    ensure!(
        series.len() == 1,
        "{expression} gave {} series where one was expected",
        series.len()
    );
    Ok(series[0].1)
}

fn now() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
