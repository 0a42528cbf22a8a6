//! How each program of the HUB is started, apart from Prometheus and Alertmanager: on shipped configurations, below one folder, on loopback.
//!
//! Invariant: nothing is written outside the folder of the run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::child::Running;
use crate::demo::text;
use crate::prometheus::{Ports, moved};
use crate::terminal::say;
use crate::{tools, workspace};

/// Candles a second: the recorded year lasts for more than an hour and a half.
const SESSION_SPEED: &str = "1";

/// metricsd, which expects a session.
pub(super) fn daemon(folder: &Path, port: u16) -> Result<Running> {
    let (shards, state) = (folder.join("prom_multiproc"), folder.join("state"));
    let arguments = [
        "serve",
        "--config.file",
        "config/metricsd.toml",
        "--port",
        &port.to_string(),
        "--multiproc-dir",
        text(&shards)?,
        "--state-dir",
        text(&state)?,
    ];
    let program = workspace::program("metricsd")?;
    Running::start(&program, &arguments, &[], &folder.join("metricsd.log"))
}

/// A paper session over recorded candles.
pub(super) fn session(folder: &Path) -> Result<Running> {
    let (shards, runs) = (folder.join("prom_multiproc"), folder.join("live_runs"));
    let arguments = [
        "--config",
        "config/shadow-session.toml",
        "--speed",
        SESSION_SPEED,
        "--log-dir",
        text(&runs)?,
    ];
    let variables = [
        ("PEAKTRADE_METRICS_MODE", "B"),
        ("PEAKTRADE_METRICS_MULTIPROC_DIR", text(&shards)?),
    ];
    let program = workspace::program("shadow-session")?;
    let log = folder.join("session.log");
    let child = Running::start(&program, &arguments, &variables, &log)?;
    say(format_args!(
        "   shadow-session: pid {}, a candle a second; it listens on nothing",
        child.id()
    ))?;
    Ok(child)
}

/// Where the bridge writes what it is told.
pub(super) fn alerts(folder: &Path) -> PathBuf {
    folder.join("alerts").join("alerts.jsonl")
}

/// The bridge's configuration as a service, with its log of alerts in our folder.
pub(super) fn write_bridge_configuration(folder: &Path, ports: &Ports) -> Result<()> {
    const SHIPPED: &str = "/var/log/alertbridge/alerts.jsonl";
    let from = workspace::root().join("ops/etc/alertbridge.yml");
    let shipped =
        fs::read_to_string(&from).with_context(|| format!("reading {}", from.display()))?;
    ensure!(
        shipped.contains(SHIPPED),
        "ops/etc/alertbridge.yml: no target writes {SHIPPED}"
    );
    let log = alerts(folder);
    let parent = log.parent().unwrap_or(folder);
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    // A string of JSON is one of YAML.
    let log = Value::from(text(&log)?).to_string();
    let to = folder.join("alertbridge.yml");
    fs::write(&to, moved(&shipped.replace(SHIPPED, &log), ports))
        .with_context(|| format!("writing {}", to.display()))
}

/// The bridge, on that.
pub(super) fn bridge(folder: &Path, port: u16) -> Result<Running> {
    let path = |name: &str| folder.join(name).display().to_string();
    let arguments = [
        format!("--config.file={}", path("alertbridge.yml")),
        format!("--queue.path={}", path("queue")),
        format!("--web.listen-address=127.0.0.1:{port}"),
        format!("--web.external-url=http://127.0.0.1:{port}"),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let program = workspace::program("alertbridge")?;
    Running::start(&program, &arguments, &[], &folder.join("alertbridge.log"))
}

/// What serves the machine's own numbers.
pub(super) fn node_exporter(folder: &Path, port: u16) -> Result<Running> {
    let program =
        tools::prometheus_program(tools::NODE_EXPORTER).context("there is no node_exporter")?;
    let listen = format!("--web.listen-address=127.0.0.1:{port}");
    let log = folder.join("node_exporter.log");
    Running::start(&program, &[&listen], &[], &log)
}
