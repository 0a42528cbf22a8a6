//! Everything of the HUB that runs, and how it is started, watched and ended.
//!
//! Invariant: a program that ends by itself is found at the next wait, with what it printed; only the session, whose candles come to an end, is
//! started again. Must not touch: what listens on the machine already.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{programs, targets};
use crate::child::Running;
use crate::demo::trading::{Script, Trading};
use crate::prometheus::{self, Edition, JOBS, Pace, Ports};
use crate::scrape::get;
use crate::terminal::say;

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
        programs::write_bridge_configuration(folder, &ports)?;

        stage.add("metricsd", metricsd, programs::daemon(folder, metricsd)?)?;
        stage.until_ready("metricsd", metricsd, "/-/ready")?;
        stage.session = Some(programs::session(folder)?);
        stage.trading = Some(Trading::launch(
            &folder.join("trading"),
            sentinel,
            Script::CALM,
        )?);
        stage.add("alertbridge", bridge, programs::bridge(folder, bridge)?)?;
        stage.until_ready("alertbridge", bridge, "/-/ready")?;
        let child = prometheus::start_alertmanager(folder, alertmanager)?;
        stage.add("alertmanager", alertmanager, child)?;
        stage.until_ready("alertmanager", alertmanager, "/-/ready")?;
        stage.add(
            "node_exporter",
            node,
            programs::node_exporter(folder, node)?,
        )?;
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
            self.session = Some(programs::session(&self.folder)?);
        }
        Ok(())
    }

    /// Waits until Prometheus has scraped a target of every job. How many there are.
    pub(super) fn until_all_targets_are_up(&mut self) -> Result<usize> {
        self.until(UP_TIME_MAX, "every target to be up", |stage| {
            let answer = get(stage.port("prometheus"), "/api/v1/targets?state=active")?;
            let answer: Value = serde_json::from_str(&answer).context("reading the targets")?;
            targets::all_up(&answer)
        })
    }

    /// Ends everything, what was started last first. One that does not end in order is killed, and does not keep the next from its order.
    ///
    /// # Errors
    /// Of the first one that did not end in order.
    pub(super) fn end(mut self) -> Result<()> {
        let mut outcome = Ok(());
        while let Some((name, mut child)) = self.children.pop() {
            // Before metricsd, which is the first: it notes their last values.
            if name == "metricsd" {
                outcome = outcome.and(self.end_writers());
            }
            // node_exporter does not know SIGTERM.
            let is_ours = ["metricsd", "alertbridge"].contains(&name);
            outcome = outcome.and(ended_in_order(name, &mut child, is_ours));
        }
        outcome
    }

    fn end_writers(&mut self) -> Result<()> {
        let trading = self.trading.take().map_or(Ok(()), Trading::end);
        let session = self.session.take().map_or(Ok(()), |mut session| {
            ended_in_order("shadow-session", &mut session, true)
        });
        trading.and(session)
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

    /// The sentinel and what it trades with.
    pub(super) fn trading(&self) -> Option<&Trading> {
        self.trading.as_ref()
    }
}

fn ended_in_order(name: &str, child: &mut Running, zero_is_expected: bool) -> Result<()> {
    let status = child.terminate()?;
    ensure!(
        status.success() || !zero_is_expected,
        "{name} answered SIGTERM with {status}; it printed:\n{}",
        child.output()
    );
    Ok(())
}
