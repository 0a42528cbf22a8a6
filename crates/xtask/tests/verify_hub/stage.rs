//! A HUB of real programs with the shipped rules, routes and jobs, and verifications of it. The sentinel and node_exporter are pages.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stand_in::{DingTalk, Robot, Server};
use xtask::child::{Running, eventually, free_port};
use xtask::scrape::{get, query, scrape};
use xtask::workspace;

use crate::programs::{ready, start_alertmanager, start_bridge, start_prometheus};
use crate::scale::{self, Pace, Ports};

/// How long a verification may take: the longest waits for a program that is frozen.
const LONG: Duration = Duration::from_secs(180);
/// How long the HUB may take to be as it was.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that runs.
pub(crate) struct Hub {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) ports: Ports,
    pub(crate) metricsd: Running,
    pub(crate) prometheus: Running,
    pub(crate) alertmanager: Running,
    pub(crate) bridge: Running,
    pub(crate) robots: Vec<(&'static str, DingTalk)>,
    _pages: [Server; 2],
}

impl Hub {
    pub(crate) fn start() -> Result<Hub> {
        let folder = tempfile::tempdir()?;
        let page = |text: &'static str| {
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            Server::answering(listen, move |_| text.as_bytes().to_vec())
        };
        let sentinel = page("sentinel_build_info{version=\"1\"} 1\n")?;
        let node = page("node_boot_time_seconds 1\n")?;
        let (prometheus, alertmanager, bridge) = (free_port()?, free_port()?, free_port()?);
        let metricsd = free_port()?;
        let sentinel_port = sentinel.address().port();
        let ports = Ports {
            prometheus,
            alertmanager,
            bridge,
            targets: [metricsd, sentinel_port, bridge, alertmanager, prometheus],
        };
        scale::write(folder.path(), Pace::Fast, ports)?;
        let file = folder.path().join("prometheus.yml");
        let text = fs::read_to_string(&file)?;
        ensure!(text.contains("127.0.0.1:9100"), "no job node in:\n{text}");
        let node_address = node.address().to_string();
        fs::write(&file, text.replace("127.0.0.1:9100", &node_address))?;
        let mut robots = Vec::new();
        for name in ["critical", "warning", "info"] {
            let robot = Robot {
                token: format!("token-of-{name}"),
                window: Duration::from_millis(1000),
                ..Robot::default()
            };
            robots.push((
                name,
                DingTalk::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), robot)?,
            ));
        }
        let hub = Hub {
            metricsd: start_metricsd(&folder, metricsd)?,
            bridge: start_bridge(folder.path(), Pace::Fast, bridge, &robots)?,
            alertmanager: start_alertmanager(folder.path(), alertmanager)?,
            prometheus: start_prometheus(folder.path(), Pace::Fast, prometheus)?,
            folder,
            ports,
            robots,
            _pages: [sentinel, node],
        };
        hub.settle()?;
        Ok(hub)
    }

    /// Waits until every target is up and nothing but Watchdog fires.
    pub(crate) fn settle(&self) -> Result<()> {
        eventually(PATIENCE, "a HUB in order", || {
            let up = query(self.ports.prometheus, "count(up == 1) == 6")?;
            let firing = query(self.ports.prometheus, "ALERTS")?;
            ensure!(
                up.len() == 1 && firing.len() == 1,
                "up: {up:?}, alerts: {firing:?}"
            );
            Ok(())
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Changes a file of the HUB. Gives what it was.
    pub(crate) fn edit(&self, name: &str, edit: impl FnOnce(&str) -> String) -> Result<String> {
        let was = fs::read_to_string(self.path(name))?;
        let is = edit(&was);
        ensure!(is != was, "nothing was changed in {name}:\n{was}");
        fs::write(self.path(name), is)?;
        Ok(was)
    }

    /// Has Prometheus read its configuration anew, and waits until it did.
    pub(crate) fn reload(&self) -> Result<()> {
        let state = || -> Result<Vec<(String, f64)>> {
            let page = scrape(self.ports.prometheus)?;
            let reloads = page.samples.into_iter();
            let reloads =
                reloads.filter(|(name, _)| name.starts_with("prometheus_config_last_reload_"));
            Ok(reloads.collect())
        };
        let before = state()?;
        signal(&self.prometheus, Signal::HUP)?;
        eventually(PATIENCE, "the configuration to be read", || {
            ensure!(state()? != before, "not yet");
            Ok(())
        })
    }

    /// Starts `metricsd verify hub --json`.
    pub(crate) fn begin(&self, flags: &[&str]) -> Result<Running> {
        let prometheus = format!("http://127.0.0.1:{}", self.ports.prometheus);
        // Another name than Prometheus has for it.
        let alertmanager = format!("http://localhost:{}", self.ports.alertmanager);
        let mut arguments = vec![
            "verify",
            "hub",
            "--json",
            "--prometheus",
            &prometheus,
            "--alertmanager",
            &alertmanager,
            "--deliver-within",
            "10s",
        ];
        if !flags.contains(&"--notify-within") {
            arguments.extend(["--notify-within", "10s"]);
        }
        arguments.extend(flags);
        Running::start(
            &workspace::program("metricsd")?,
            &arguments,
            &[],
            &self.path("verify.json"),
        )
    }

    /// A whole verification.
    pub(crate) fn verify(&self, flags: &[&str]) -> Result<Verdict> {
        let mut verification = self.begin(flags)?;
        let status = verification.wait(LONG)?;
        let text = verification.output();
        let report = serde_json::from_str(&text).with_context(|| format!("{status}: {text}"))?;
        Ok(Verdict {
            report,
            code: status.code(),
        })
    }

    /// The test alerts that Alertmanager has.
    pub(crate) fn test_alerts(&self) -> Result<Vec<Value>> {
        let path = "/api/v2/alerts?filter=alertname%3DHubVerification";
        Ok(serde_json::from_str(&get(self.ports.alertmanager, path)?)?)
    }
}

pub(crate) fn start_metricsd(folder: &tempfile::TempDir, port: u16) -> Result<Running> {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let arguments = [
        "serve",
        "--port",
        &port.to_string(),
        "--multiproc-dir",
        &path("prom_multiproc"),
        "--state-dir",
        &path("state"),
    ];
    let log = folder.path().join("metricsd.log");
    let mut running = Running::start(&workspace::program("metricsd")?, &arguments, &[], &log)?;
    ready(&mut running, port)?;
    Ok(running)
}

pub(crate) fn signal(program: &Running, signal: Signal) -> Result<()> {
    let pid = i32::try_from(program.id()).ok().and_then(Pid::from_raw);
    Ok(kill_process(pid.context("a process id")?, signal)?)
}

/// A report, and the exit code.
pub(crate) struct Verdict {
    pub(crate) report: Value,
    pub(crate) code: Option<i32>,
}

impl Verdict {
    /// That everything passed.
    pub(crate) fn passed(&self) -> Result<()> {
        ensure!(
            self.code == Some(0),
            "exit code {:?}: {:#}",
            self.code,
            self.report
        );
        for step in self.report["steps"].as_array().context("no steps")? {
            ensure!(step["outcome"] == "pass", "{step:#}");
        }
        Ok(())
    }

    /// That a check failed with this word, and that this made the exit code 1.
    pub(crate) fn failed(&self, id: &str, word: &str) -> Result<()> {
        ensure!(
            self.code == Some(1),
            "exit code {:?}: {:#}",
            self.code,
            self.report
        );
        let (outcome, text, next) = self.step(id)?;
        ensure!(
            outcome == "fail" && text.contains(word) && !next.is_empty(),
            "{id} is {outcome}: {text}; expected fail with {word:?}\n{}",
            self.told()
        );
        Ok(())
    }

    /// That these had the outcome.
    pub(crate) fn all(&self, outcome: &str, ids: &[&str]) -> Result<()> {
        for id in ids {
            let (found, text, _) = self.step(id)?;
            ensure!(
                found == outcome,
                "{id} is {found}: {text}; expected {outcome}\n{}",
                self.told()
            );
        }
        Ok(())
    }

    fn step(&self, id: &str) -> Result<(&str, &str, &str)> {
        let steps = self.report["steps"].as_array().context("no steps")?;
        let step = steps.iter().find(|step| step["id"] == id);
        let step = step.with_context(|| format!("no {id}:\n{}", self.told()))?;
        let field = |name: &str| step[name].as_str().unwrap_or_default();
        Ok((field("outcome"), field("text"), field("next")))
    }

    /// Its lines.
    fn told(&self) -> String {
        let steps = self.report["steps"].as_array().into_iter().flatten();
        let lines =
            steps.map(|step| format!("{} {} {}\n", step["outcome"], step["id"], step["text"]));
        lines.collect()
    }
}
