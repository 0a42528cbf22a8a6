//! What stands between a fault and a telephone: Prometheus, Alertmanager, the bridge, and a robot that is as strict as the real one.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stand_in::{DingTalk, Robot};
use xtask::child::{Running, eventually, free_port};
use xtask::scrape::{get, query};
use xtask::{tools, workspace};

use crate::scale::{self, Pace, Ports};

/// The receivers of `ops/alertmanager/alertmanager.yml` that are for people.
const ROBOTS: [&str; 3] = ["critical", "warning", "info"];
/// How long an alert may take at the fast pace; many times what it takes on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A name in a message, and whether it fires or is over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Heard {
    /// The robot's.
    pub(crate) receiver: &'static str,
    /// `FIRING` or `RESOLVED`.
    pub(crate) status: &'static str,
    /// The alert.
    pub(crate) name: String,
}

/// Everything that runs.
pub(crate) struct Stage {
    pub(crate) ports: Ports,
    pub(crate) prometheus: Running,
    _alertmanager: Running,
    pub(crate) bridge: Running,
    robots: Vec<(&'static str, DingTalk)>,
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

/// Free ports. A target that the stage itself has (the bridge, Alertmanager, Prometheus) is watched where it is.
pub(crate) fn ports(metricsd: u16, sentinel: u16) -> Result<Ports> {
    let (prometheus, alertmanager, bridge) = (free_port()?, free_port()?, free_port()?);
    Ok(Ports {
        prometheus,
        alertmanager,
        bridge,
        targets: [metricsd, sentinel, bridge, alertmanager, prometheus],
    })
}

impl Stage {
    /// Starts everything, the last one first.
    pub(crate) fn start(folder: &Path, pace: Pace, ports: Ports) -> Result<Stage> {
        let window = match pace {
            // A robot mutes whoever sends more than 20 in this time; the vendor's minute would make digests of everything.
            Pace::Fast => Duration::from_millis(1000),
            Pace::Shipped => Duration::from_secs(60),
        };
        let mut robots = Vec::new();
        for name in ROBOTS {
            let robot = Robot {
                token: format!("token-of-{name}"),
                window,
                ..Robot::default()
            };
            robots.push((
                name,
                DingTalk::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), robot)?,
            ));
        }
        scale::write(folder, pace, ports)?;
        let bridge = start_bridge(folder, pace, ports.bridge, &robots)?;
        let alertmanager = start_alertmanager(folder, ports.alertmanager)?;
        let prometheus = start_prometheus(folder, pace, ports.prometheus)?;
        Ok(Stage {
            ports,
            prometheus,
            _alertmanager: alertmanager,
            bridge,
            robots,
        })
    }

    /// What the robots were told, oldest first for each.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        let mut all = Vec::new();
        for (receiver, robot) in &self.robots {
            for message in robot.delivered() {
                for line in message.text.lines() {
                    if let Some((status, name)) = read_line(line) {
                        all.push(Heard {
                            receiver,
                            status,
                            name: name.to_owned(),
                        });
                    }
                }
            }
        }
        all
    }

    /// How often this was told.
    pub(crate) fn count(&self, status: &str, name: &str) -> usize {
        let heard = self.heard();
        heard
            .iter()
            .filter(|heard| heard.status == status && heard.name == name)
            .count()
    }

    /// Waits until this has been told more often than `before`. Gives how long it took.
    pub(crate) fn hear(
        &self,
        status: &str,
        name: &str,
        before: usize,
        limit: Duration,
    ) -> Result<Duration> {
        let begin = Instant::now();
        eventually(limit, &format!("a message [{status}] {name}"), || {
            ensure!(
                self.count(status, name) > before,
                "told so far: {:?}\nfiring: {:?}",
                self.heard(),
                self.firing()?
            );
            Ok(())
        })
        .with_context(|| format!("the bridge printed:\n{}", self.bridge.output()))?;
        Ok(begin.elapsed())
    }

    /// What fires in Prometheus.
    pub(crate) fn firing(&self) -> Result<BTreeSet<String>> {
        let series = query(self.ports.prometheus, "ALERTS{alertstate=\"firing\"}")?;
        Ok(series
            .into_iter()
            .filter_map(|(mut labels, _)| labels.remove("alertname"))
            .collect())
    }

    /// What pends or fires in Prometheus.
    pub(crate) fn active(&self) -> Result<BTreeSet<String>> {
        let series = query(self.ports.prometheus, "ALERTS")?;
        Ok(series
            .into_iter()
            .filter_map(|(mut labels, _)| labels.remove("alertname"))
            .collect())
    }

    /// Waits until nothing but Watchdog is active.
    pub(crate) fn calm(&self, limit: Duration) -> Result<()> {
        eventually(limit, "nothing but Watchdog to fire", || {
            let active = self.active()?;
            ensure!(active.iter().eq(["Watchdog"]), "active: {active:?}");
            Ok(())
        })
    }

    /// Errcodes with which robots refused.
    pub(crate) fn refusals(&self) -> Vec<i64> {
        let robots = self.robots.iter();
        robots.flat_map(|(_, robot)| robot.refusals()).collect()
    }
}

/// `#### [FIRING] **Name** · critical`, or in a digest `**Name** · critical · firing 3`.
fn read_line(line: &str) -> Option<(&'static str, &str)> {
    let (before, rest) = line.split_once("**")?;
    let (name, after) = rest.split_once("**")?;
    [("FIRING", "· firing "), ("RESOLVED", "· resolved ")]
        .into_iter()
        .find(|(status, in_digest)| {
            before.contains(&format!("[{status}]")) || after.contains(in_digest)
        })
        .map(|(status, _)| (status, name))
}

pub(crate) fn start_bridge(
    folder: &Path,
    pace: Pace,
    port: u16,
    robots: &[(&'static str, DingTalk)],
) -> Result<Running> {
    let mut config = "targets:\n".to_owned();
    for (name, robot) in robots {
        config.push_str(&format!(
            "  {name}:\n    url: \"{}\"\n    secret: \"{}\"\n",
            robot.url(),
            Robot::default().secret.unwrap_or_default()
        ));
        if pace == Pace::Fast {
            config.push_str("    rate_limit: {messages: 10, per: 1s}\n");
        }
    }
    config.push_str(&format!(
        "  watchdog:\n    type: log\n    path: \"{}\"\n",
        folder.join("watchdog.log").display()
    ));
    let after = match pace {
        Pace::Fast => "20s",
        Pace::Shipped => "5m",
    };
    config.push_str(&format!(
        "dead_man:\n  after: {after}\n  targets: [critical]\n"
    ));
    let path = folder.join("alertbridge.yml");
    fs::write(&path, config)?;
    let arguments = [
        format!("--config.file={}", path.display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        format!("--queue.path={}", folder.join("queue").display()),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let log = folder.join("alertbridge.log");
    let mut bridge = Running::start(&workspace::program("alertbridge")?, &arguments, &[], &log)?;
    ready(&mut bridge, port)?;
    Ok(bridge)
}

pub(crate) fn start_alertmanager(folder: &Path, port: u16) -> Result<Running> {
    let (program, mut arguments) = tools::alertmanager().context("no alertmanager")?;
    arguments.extend([
        format!(
            "--config.file={}",
            folder.join("alertmanager.yml").display()
        ),
        format!("--storage.path={}", folder.join("alertmanager").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        // Alone: it would wait for others otherwise.
        "--cluster.listen-address=".to_owned(),
    ]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let log = folder.join("alertmanager.log");
    let mut running = Running::start(&program, &arguments, &[], &log)?;
    ready(&mut running, port)?;
    Ok(running)
}

pub(crate) fn start_prometheus(folder: &Path, pace: Pace, port: u16) -> Result<Running> {
    let program = tools::prometheus_program("prometheus").context("no prometheus")?;
    let mut arguments = vec![
        format!("--config.file={}", folder.join("prometheus.yml").display()),
        format!("--storage.tsdb.path={}", folder.join("tsdb").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    if pace == Pace::Fast {
        // What still fires is sent again after this; Alertmanager takes four times as long without it for an end.
        arguments.push("--rules.alert.resend-delay=1s".to_owned());
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let log = folder.join("prometheus.log");
    let mut running = Running::start(&program, &arguments, &[], &log)?;
    ready(&mut running, port)?;
    Ok(running)
}

/// Waits until the program answers that it is ready.
pub(crate) fn ready(program: &mut Running, port: u16) -> Result<()> {
    eventually(Duration::from_secs(20), "a program to be ready", || {
        ensure!(
            program.ended()?.is_none(),
            "it ended; it printed:\n{}",
            program.output()
        );
        get(port, "/-/ready")
    })
    .map(drop)
}
