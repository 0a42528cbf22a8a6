//! Everything of the HUB that runs, and how it is started, watched and ended.
//!
//! Invariant: a program that ends by itself is found at the next wait, with what it printed; only the session, whose candles come to an end, is
//! started again. Must not touch: what listens on the machine already.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::child::Running;
use crate::demo::text;
use crate::demo::trading::{Script, Trading};
use crate::prometheus::{self, Edition, JOBS, Pace, Ports, moved};
use crate::scrape::get;
use crate::terminal::say;
use crate::{tools, workspace};

/// Candles a second: the recorded year lasts for more than an hour and a half.
const SESSION_SPEED: &str = "1";
/// A program to answer, on a busy machine.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// A first scrape comes within fifteen seconds; one that failed is tried again after as many.
const UP_TIME_MAX: Duration = Duration::from_secs(120);

/// Everything that runs.
pub(super) struct Stage<'a> {
    folder: PathBuf,
    ports: Ports,
    interrupted: &'a AtomicBool,
    trading: Option<Trading>,
    session: Option<Running>,
    /// In the order in which they were started.
    children: Vec<(&'static str, Running)>,
}

impl<'a> Stage<'a> {
    /// Starts everything: what is scraped, what carries alerts, what scrapes.
    pub(super) fn start(
        folder: &Path,
        ports: Ports,
        interrupted: &'a AtomicBool,
    ) -> Result<Stage<'a>> {
        let mut stage = Stage {
            folder: folder.to_owned(),
            ports,
            interrupted,
            trading: None,
            session: None,
            children: Vec::new(),
        };
        let [metricsd, sentinel, bridge, alertmanager, node, prometheus] = ports;
        prometheus::write(folder, Edition::Hub, Pace::Shipped, &ports)?;
        stage.write_bridge_configuration()?;

        stage.start_daemon()?;
        stage.until_ready("metricsd", metricsd, "/-/ready")?;
        stage.session = Some(stage.start_session()?);
        stage.trading = Some(Trading::launch(
            &folder.join("trading"),
            sentinel,
            Script::CALM,
        )?);
        stage.start_bridge()?;
        stage.until_ready("alertbridge", bridge, "/-/ready")?;
        let child = prometheus::start_alertmanager(folder, alertmanager)?;
        stage.add("alertmanager", alertmanager, child)?;
        stage.until_ready("alertmanager", alertmanager, "/-/ready")?;
        stage.start_node_exporter()?;
        stage.until_ready("node_exporter", node, "/metrics")?;
        stage.until_ready("the sentinel", sentinel, "/health")?;
        let child = prometheus::start(folder, Edition::Hub, prometheus)?;
        stage.add("prometheus", prometheus, child)?;
        stage.until_ready("prometheus", prometheus, "/-/ready")?;
        Ok(stage)
    }

    fn add(&mut self, name: &'static str, port: u16, child: Running) -> Result<()> {
        // Before it is told: a reader that went away must not leave a child that nobody ends.
        let id = child.id();
        self.children.push((name, child));
        say(format_args!("   {name}: pid {id} on 127.0.0.1:{port}"))?;
        Ok(())
    }

    fn start_daemon(&mut self) -> Result<()> {
        let (shards, state) = (self.path("prom_multiproc"), self.path("state"));
        let port = self.ports[0];
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
        let child = Running::start(&program, &arguments, &[], &self.path("metricsd.log"))?;
        self.add("metricsd", port, child)
    }

    fn start_session(&self) -> Result<Running> {
        let (shards, runs) = (self.path("prom_multiproc"), self.path("live_runs"));
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
        let child = Running::start(
            &workspace::program("shadow-session")?,
            &arguments,
            &variables,
            &self.path("session.log"),
        )?;
        say(format_args!(
            "   shadow-session: pid {}, a candle a second; it listens on nothing",
            child.id()
        ))?;
        Ok(child)
    }

    /// The one of a service, with its log of alerts in our folder.
    fn write_bridge_configuration(&self) -> Result<()> {
        const SHIPPED: &str = "/var/log/alertbridge/alerts.jsonl";
        let from = workspace::root().join("ops/etc/alertbridge.yml");
        let shipped =
            fs::read_to_string(&from).with_context(|| format!("reading {}", from.display()))?;
        ensure!(
            shipped.contains(SHIPPED),
            "ops/etc/alertbridge.yml: no target writes {SHIPPED}"
        );
        let folder = self.path("alerts");
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        // A string of JSON is one of YAML.
        let alerts = Value::from(text(&self.alerts())?).to_string();
        let to = self.path("alertbridge.yml");
        let text = moved(&shipped.replace(SHIPPED, &alerts), &self.ports);
        fs::write(&to, text).with_context(|| format!("writing {}", to.display()))
    }

    fn start_bridge(&mut self) -> Result<()> {
        let port = self.ports[2];
        let arguments = [
            format!("--config.file={}", self.path("alertbridge.yml").display()),
            format!("--queue.path={}", self.path("queue").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            format!("--web.external-url=http://127.0.0.1:{port}"),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let program = workspace::program("alertbridge")?;
        let child = Running::start(&program, &arguments, &[], &self.path("alertbridge.log"))?;
        self.add("alertbridge", port, child)
    }

    fn start_node_exporter(&mut self) -> Result<()> {
        let port = self.ports[4];
        let program =
            tools::prometheus_program(tools::NODE_EXPORTER).context("there is no node_exporter")?;
        let listen = format!("--web.listen-address=127.0.0.1:{port}");
        let log = self.path("node_exporter.log");
        let child = Running::start(&program, &[&listen], &[], &log)?;
        self.add("node_exporter", port, child)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Waits until the program answers.
    fn until_ready(&mut self, name: &str, port: u16, path: &str) -> Result<()> {
        self.until(START_TIME_MAX, &format!("{name} to be ready"), |_| {
            get(port, path).map(drop)
        })
    }

    /// Waits until `check` gives a value, while nothing ends and nobody interrupts.
    pub(super) fn until<T>(
        &mut self,
        limit: Duration,
        what: &str,
        mut check: impl FnMut(&Stage<'_>) -> Result<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            self.go_on()?;
            match check(self) {
                Ok(value) => return Ok(value),
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context(format!("waited {limit:?} for: {what}")));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// What is done between two looks at something that is waited for. An error when somebody wants the end.
    pub(super) fn go_on(&mut self) -> Result<()> {
        ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted");
        self.look_after()
    }

    /// Everything still runs, bars close, and a session whose candles came to an end begins again.
    pub(super) fn look_after(&mut self) -> Result<()> {
        for (name, child) in &mut self.children {
            if let Some(status) = child.ended()? {
                bail!(
                    "{name} ended with {status}; it printed:\n{}",
                    child.output()
                );
            }
        }
        if let Some(trading) = &mut self.trading {
            trading.go_on()?;
        }
        let ended = match &mut self.session {
            Some(session) => session.ended()?,
            None => None,
        };
        if let (Some(status), Some(session)) = (ended, &self.session) {
            let said = session.output();
            ensure!(
                status.success(),
                "shadow-session ended with {status}; it printed:\n{said}"
            );
            self.session = Some(self.start_session()?);
        }
        Ok(())
    }

    /// Waits until Prometheus has scraped a target of every job. How many there are.
    pub(super) fn until_all_targets_are_up(&mut self) -> Result<usize> {
        self.until(UP_TIME_MAX, "every target to be up", |stage| {
            let answer = get(stage.port("prometheus"), "/api/v1/targets?state=active")?;
            let answer: Value = serde_json::from_str(&answer).context("reading the targets")?;
            all_up(&answer)
        })
    }

    /// Ends everything, what was started last first, and says who did not end in order.
    pub(super) fn end(mut self) -> Result<()> {
        while let Some((name, mut child)) = self.children.pop() {
            // Before metricsd, which is the first: it notes their last values.
            if name == "metricsd" {
                self.end_writers()?;
            }
            let status = child.terminate()?;
            // node_exporter does not know SIGTERM.
            let is_ours = ["metricsd", "alertbridge"].contains(&name);
            ensure!(
                status.success() || !is_ours,
                "{name} answered SIGTERM with {status}; it printed:\n{}",
                child.output()
            );
        }
        Ok(())
    }

    fn end_writers(&mut self) -> Result<()> {
        if let Some(trading) = self.trading.take() {
            trading.end()?;
        }
        if let Some(mut session) = self.session.take() {
            let status = session.terminate()?;
            ensure!(
                status.success(),
                "shadow-session answered SIGTERM with {status}; it printed:\n{}",
                session.output()
            );
        }
        Ok(())
    }

    /// The port of the job's target.
    pub(super) fn port(&self, job: &str) -> u16 {
        let mut known = JOBS.iter().zip(self.ports);
        let found = known.find(|((name, _), _)| *name == job);
        found.map_or(0, |(_, port)| port)
    }

    /// Its address.
    pub(super) fn url(&self, job: &str) -> String {
        format!("http://127.0.0.1:{}", self.port(job))
    }

    /// The folder of this run.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the bridge writes what it is told.
    pub(super) fn alerts(&self) -> PathBuf {
        self.path("alerts").join("alerts.jsonl")
    }

    /// The sentinel and what it trades with.
    pub(super) fn trading(&self) -> Option<&Trading> {
        self.trading.as_ref()
    }
}

/// How many targets there are, when each job of ours has one and all are up.
fn all_up(answer: &Value) -> Result<usize> {
    let targets = answer["data"]["activeTargets"]
        .as_array()
        .context("an answer without targets")?;
    for (job, _) in JOBS {
        let mut mine = targets
            .iter()
            .filter(|target| target["labels"]["job"] == job)
            .peekable();
        ensure!(mine.peek().is_some(), "{job} has no target");
        for target in mine {
            ensure!(
                target["health"] == "up",
                "{job} at {} is {}: {}",
                target["scrapeUrl"],
                target["health"],
                target["lastError"]
            );
        }
    }
    Ok(targets.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn target(job: &str, health: &str) -> Value {
        json!({"labels": {"job": job}, "health": health, "scrapeUrl": "http://x/metrics", "lastError": "refused"})
    }

    #[test]
    fn a_job_without_a_target_and_a_target_that_is_not_up_are_named() {
        let mut targets: Vec<Value> = JOBS.iter().map(|(job, _)| target(job, "up")).collect();
        let answer = |targets: &[Value]| json!({"data": {"activeTargets": targets}});
        assert_eq!(all_up(&answer(&targets)).unwrap(), JOBS.len());
        let missing = all_up(&answer(&targets[1..])).unwrap_err().to_string();
        assert_eq!(missing, "peak_trade_metricsd has no target");
        targets.push(target("node", "down"));
        let down = all_up(&answer(&targets)).unwrap_err().to_string();
        assert!(
            down.starts_with("node at ") && down.contains("refused"),
            "{down}"
        );
    }
}
