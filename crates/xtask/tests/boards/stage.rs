//! What the boards show: metricsd with a session, the sentinel over recorded bars in a dry run, the bridge, Alertmanager and a Prometheus that
//! scrapes all of them with the shipped configuration and rules, once a second.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use stand_in::{Eodhd, Replay};
use xtask::child::{Running, eventually, free_port};
use xtask::prometheus::{self, Edition, JOBS, Pace, Ports};
use xtask::scrape::get;
use xtask::{tools, workspace};

/// Everything that runs; ends when dropped.
pub(crate) struct Stage {
    /// Where Prometheus listens.
    pub(crate) prometheus: u16,
    _feed: Eodhd,
    _running: Vec<Running>,
    _folder: tempfile::TempDir,
}

/// What has to be there, or the reason of a skip.
pub(crate) fn missing() -> Option<&'static str> {
    if tools::prometheus_program("prometheus").is_none() {
        Some("no prometheus")
    } else if tools::alertmanager().is_none() {
        Some("no alertmanager")
    } else {
        None
    }
}

impl Stage {
    /// Starts everything, the targets first.
    pub(crate) fn start() -> Result<Stage> {
        let folder = tempfile::tempdir()?;
        let mut ports: Ports = [0; JOBS.len()];
        for port in &mut ports {
            *port = free_port()?;
        }
        // No board has anything of node_exporter, and it is not started.
        let [metricsd, sentinel, bridge, alertmanager, _, scraper] = ports;
        configure(folder.path(), &ports)?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        let feed = Eodhd::start(Replay::default()).context("starting the feed's stand-in")?;
        let mut running = Vec::new();
        let mut start = |name: &str, arguments: &[&str], variables: &[(&str, &str)]| {
            let log = folder.path().join(format!("{name}.log"));
            running.push(Running::start(
                &workspace::program(name)?,
                arguments,
                variables,
                &log,
            )?);
            anyhow::Ok(())
        };
        let (shards, state) = (path("prom_multiproc"), path("state"));
        let expect = path("metricsd.toml");
        let port = metricsd.to_string();
        let arguments = [
            "serve",
            "--port",
            &port,
            "--multiproc-dir",
            &shards,
            "--state-dir",
            &state,
        ];
        start(
            "metricsd",
            &[&arguments[..], &["--config.file", &expect]].concat(),
            &[],
        )?;
        answers(metricsd, "/-/ready")?;
        // Thirty candles a second: the recorded year lasts longer than the test.
        start(
            "shadow-session",
            &[
                "--config",
                "config/shadow-session.toml",
                "--speed",
                "30",
                "--no-logging",
            ],
            &[
                ("PEAKTRADE_METRICS_MODE", "B"),
                ("PEAKTRADE_METRICS_MULTIPROC_DIR", shards.as_str()),
            ],
        )?;
        let (config, port, url) = (path("sentinel.toml"), sentinel.to_string(), feed.url());
        start(
            "sentinel",
            &[
                "--config.file",
                &config,
                "--model",
                "embedded",
                "--metrics-port",
                &port,
            ],
            &[
                ("PEAKTRADE_METRICS_MODE", "A"),
                ("EODHD_BASE_URL", url.as_str()),
                ("EODHD_API_TOKEN", "demo"),
            ],
        )?;
        let config = path("alertbridge.yml");
        let listen = format!("--web.listen-address=127.0.0.1:{bridge}");
        let queue = format!("--queue.path={}", path("queue"));
        start(
            "alertbridge",
            &["--config.file", &config, &listen, &queue],
            &[],
        )?;
        answers(bridge, "/-/ready")?;
        running.push(prometheus::start_alertmanager(folder.path(), alertmanager)?);
        answers(alertmanager, "/-/ready")?;
        running.push(prometheus::start(folder.path(), Edition::Local, scraper)?);
        answers(scraper, "/-/ready")?;
        answers(sentinel, "/health")?;
        Ok(Stage {
            prometheus: scraper,
            _feed: feed,
            _running: running,
            _folder: folder,
        })
    }
}

fn answers(port: u16, path: &str) -> Result<()> {
    eventually(Duration::from_secs(20), "a program to answer", || {
        get(port, path)
    })
    .map(drop)
}

/// Writes what the programs read: the shipped files on other ports and with a second for five, and the smallest ones of our own.
fn configure(folder: &Path, ports: &Ports) -> Result<()> {
    prometheus::write(folder, Edition::Local, Pace::EverySecond, ports)?;
    let tree = folder.join("alertmanager/alertmanager.yml");
    let text = fs::read_to_string(&tree)?;
    let mut targets = "targets:\n".to_owned();
    for name in names_of_targets(&text) {
        let log = folder.join(format!("{name}.alerts"));
        targets.push_str(&format!(
            "  {name}:\n    type: log\n    path: \"{}\"\n",
            log.display()
        ));
    }
    fs::write(folder.join("alertbridge.yml"), targets)?;
    let text = text.replace("group_wait: 30s", "group_wait: 1s");
    fs::write(tree, text)?;
    // The second is never started, so that there is an alert to show.
    let expect = "[expect]\nprograms = [\"shadow-session\", \"a-program-that-never-ran\"]\n";
    fs::write(folder.join("metricsd.toml"), expect)?;
    let text = "[market]\ninterval = \"1m\"\ncalendar = \"always\"\n[schedule]\nevery = \"1s\"\n";
    Ok(fs::write(folder.join("sentinel.toml"), text)?)
}

/// Targets of the bridge that the tree of Alertmanager sends to, each once.
fn names_of_targets(tree: &str) -> Vec<&str> {
    let mut names: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split_once("/dingtalk/")?.1.split('/').next())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}
