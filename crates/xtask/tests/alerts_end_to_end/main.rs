//! From a fault to a telephone and back: real Prometheus and Alertmanager with the shipped rules and routes, the bridge, and a robot that checks
//! signature, rate and size as DingTalk does.
//!
//! Real faults of real programs: a sentinel and a session killed, a session that gets no candle, a directory wiped, a disk full, metricsd killed.
//! All other alerts are caused by pages that are made up (`synthetic`), at the same jobs. Minutes are seconds (`scale` has the table);
//! `METRICSD_TEST_LONG` runs the death of the sentinel with the shipped values.

mod scale;
mod stage;
mod synthetic;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use stand_in::{Eodhd, Replay};
use xtask::child::{Running, eventually, free_port};
use xtask::scrape::{query, scrape};
use xtask::terminal::complain;
use xtask::{rules, tools, workspace};

use crate::scale::{Pace, Ports};
use crate::stage::{PATIENCE, Stage, missing, ports, ready};
use crate::synthetic::{Scene, Targets};

/// What Alertmanager holds back in the scene in which everything else is wrong, and the scene that shows it.
const HELD_BACK: [(&str, Scene); 8] = [
    ("SessionNoStep", Scene::Lesser),
    ("SessionRiskLimitNear", Scene::Lesser),
    ("SessionDrawdown", Scene::Lesser),
    ("SentinelMarketDataStale", Scene::Lesser),
    ("SentinelCycleOverrun", Scene::Lesser),
    ("SentinelGatewayLost", Scene::Lesser),
    ("SentinelSilentHold", Scene::Lesser),
    ("SessionKilled", Scene::Killed),
];
const DOWN: [&str; 4] = [
    "MetricsdDown",
    "SentinelDown",
    "AlertbridgeDown",
    "AlertmanagerDown",
];

#[test]
fn every_shipped_alert_fires_and_ends_at_the_robot_of_its_severity() -> Result<()> {
    const NAME: &str = "every_shipped_alert_fires_and_ends_at_the_robot_of_its_severity";
    if let Some(why) = missing() {
        tools::skip(NAME, why);
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let targets = Targets::start()?;
    let ports = Ports {
        targets: targets.ports,
        ..ports(0, 0)?
    };
    let mut stage = Stage::start(folder.path(), Pace::Fast, ports)?;
    // What is compared with the past needs one: longer than the longest range but that of a day.
    eventually(PATIENCE, "a past to compare with", || {
        let scrapes = query(stage.ports.prometheus, "min(count_over_time(up[1h]))")?;
        ensure!(
            scrapes.iter().any(|(_, count)| *count > 15.0),
            "{scrapes:?}"
        );
        Ok(())
    })?;
    stage.calm(PATIENCE)?;

    let alerts = rules::alerts()?;
    let mut seen = BTreeSet::new();
    for scene in [
        Scene::Bad,
        Scene::Lesser,
        Scene::Unready,
        Scene::Killed,
        Scene::Down,
    ] {
        let expected = alerts
            .iter()
            .map(|alert| alert.name.as_str())
            .filter(|name| scene_of(name) == Some(scene));
        let expected: Vec<&str> = expected.collect();
        let counts = |status: &str| -> Vec<usize> {
            let names = expected.iter();
            names.map(|name| stage.count(status, name)).collect()
        };
        let (fired, ended) = (counts("FIRING"), counts("RESOLVED"));
        targets.play(scene);
        for (name, before) in expected.iter().zip(fired) {
            stage.hear("FIRING", name, before, PATIENCE)?;
        }
        if scene == Scene::Bad {
            // They fire as well, and what holds them back says more.
            for name in ["SessionNoStep", "SessionRiskLimitNear", "SessionDrawdown"] {
                eventually(PATIENCE, name, || {
                    ensure!(stage.firing()?.contains(name));
                    Ok(())
                })?;
                ensure!(stage.count("FIRING", name) == 0, "{name} was not held back");
            }
        }
        targets.play(Scene::Good);
        for (name, before) in expected.iter().zip(ended) {
            stage.hear("RESOLVED", name, before, PATIENCE)?;
            seen.insert((*name).to_owned());
        }
        stage.calm(PATIENCE)?;
    }
    for heard in stage.heard() {
        let severity = alerts
            .iter()
            .find(|alert| alert.name == heard.name)
            .map(|alert| alert.severity.as_str());
        ensure!(
            severity.is_none_or(|severity| severity == heard.receiver),
            "{} went to {}",
            heard.name,
            heard.receiver
        );
    }

    // Watchdog has fired all the time, and has been no message. When Prometheus is gone it ends, and that is one.
    ensure!(stage.count("FIRING", "Watchdog") == 0);
    let received = || -> Result<f64> {
        let page = scrape(stage.ports.bridge)?;
        let taken = page.of("alertbridge_alerts_received_total");
        Ok(taken
            .filter(|(series, _)| series.contains("watchdog"))
            .map(|(_, value)| value)
            .sum())
    };
    ensure!(received()? > 1.0, "Watchdog has not come");
    stage.prometheus.kill()?;
    stage.hear("FIRING", "AlertbridgeWatchdogMissing", 0, PATIENCE)?;
    seen.insert("Watchdog".to_owned());

    let all: BTreeSet<String> = alerts.into_iter().map(|alert| alert.name).collect();
    ensure!(
        seen == all,
        "not seen: {:?}",
        all.difference(&seen).collect::<Vec<_>>()
    );
    ensure!(
        stage.refusals().is_empty(),
        "the robots refused: {:?}",
        stage.refusals()
    );
    Ok(())
}

fn scene_of(name: &str) -> Option<Scene> {
    if name == "Watchdog" {
        return None;
    }
    if DOWN.contains(&name) {
        return Some(Scene::Down);
    }
    // The other way round: it would hold back what comes from the same place.
    if name == "MetricsdNotReady" {
        return Some(Scene::Unready);
    }
    let held_back = HELD_BACK.iter().find(|(held, _)| *held == name);
    Some(held_back.map_or(Scene::Bad, |(_, scene)| *scene))
}

/// Our programs, real ones.
struct Programs {
    folder: PathBuf,
    shards: String,
    metricsd_port: u16,
    sentinel_port: u16,
    feed: Eodhd,
}

impl Programs {
    fn new(folder: &Path, shards: &Path) -> Result<Programs> {
        Ok(Programs {
            folder: folder.to_owned(),
            shards: shards.to_str().context("a path in UTF-8")?.to_owned(),
            metricsd_port: free_port()?,
            sentinel_port: free_port()?,
            feed: Eodhd::start(Replay::default()).context("starting the feed's stand-in")?,
        })
    }

    fn path(&self, name: &str) -> Result<String> {
        let path = self.folder.join(name);
        Ok(path.to_str().context("a path in UTF-8")?.to_owned())
    }

    fn metricsd(&self) -> Result<Running> {
        let config = self.path("metricsd.toml")?;
        fs::write(&config, "[expect]\nprograms = [\"shadow-session\"]\n")?;
        let arguments = [
            "serve",
            "--port",
            &self.metricsd_port.to_string(),
            "--multiproc-dir",
            &self.shards,
            "--state-dir",
            &self.path("state")?,
            "--retire-after",
            "1s",
            "--config.file",
            &config,
        ];
        let log = self.folder.join("metricsd.log");
        let mut metricsd = Running::start(&workspace::program("metricsd")?, &arguments, &[], &log)?;
        ready(&mut metricsd, self.metricsd_port)?;
        Ok(metricsd)
    }

    /// Four candles a second for forty minutes.
    fn session(&self) -> Result<Running> {
        let arguments = [
            "--config",
            "config/shadow-session.toml",
            "--feed",
            "synthetic:7",
            "--speed",
            "4",
            "--no-logging",
        ];
        let variables = [
            ("PEAKTRADE_METRICS_MODE", "B"),
            ("PEAKTRADE_METRICS_MULTIPROC_DIR", self.shards.as_str()),
        ];
        let log = self.folder.join("session.log");
        Running::start(
            &workspace::program("shadow-session")?,
            &arguments,
            &variables,
            &log,
        )
    }

    fn sentinel(&self) -> Result<Running> {
        let config = self.path("sentinel.toml")?;
        let text =
            "[market]\ninterval = \"1m\"\ncalendar = \"always\"\n[schedule]\nevery = \"1s\"\n";
        fs::write(&config, text)?;
        let (url, port) = (self.feed.url(), self.sentinel_port.to_string());
        let variables = [
            ("PEAKTRADE_METRICS_MODE", "A"),
            ("EODHD_BASE_URL", url.as_str()),
            ("EODHD_API_TOKEN", "demo"),
        ];
        let arguments = [
            "--config.file",
            &config,
            "--model",
            "embedded",
            "--metrics-port",
            &port,
        ];
        let log = self.folder.join("sentinel.log");
        Running::start(
            &workspace::program("sentinel")?,
            &arguments,
            &variables,
            &log,
        )
    }
}

fn signal(program: &Running, signal: Signal) -> Result<()> {
    let pid = i32::try_from(program.id()).ok().and_then(Pid::from_raw);
    Ok(kill_process(pid.context("a process id")?, signal)?)
}

/// Calls `cause`, waits for the message, calls `mend`, waits for the end of it.
fn provoke<T>(
    stage: &Stage,
    name: &str,
    cause: impl FnOnce() -> Result<()>,
    mend: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let (fired, ended) = (stage.count("FIRING", name), stage.count("RESOLVED", name));
    cause()?;
    let took = stage.hear("FIRING", name, fired, PATIENCE)?;
    let mended = mend()?;
    let over = stage.hear("RESOLVED", name, ended, PATIENCE)?;
    complain(format_args!(
        "{name}: told after {:.1} s, its end after {:.1} s",
        took.as_secs_f64(),
        over.as_secs_f64()
    ));
    Ok(mended)
}

#[test]
fn faults_of_real_programs_reach_the_robot_and_so_do_their_ends() -> Result<()> {
    const NAME: &str = "faults_of_real_programs_reach_the_robot_and_so_do_their_ends";
    if let Some(why) = missing() {
        tools::skip(NAME, why);
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let shards = folder.path().join("prom_multiproc");
    let programs = Programs::new(folder.path(), &shards)?;
    let mut metricsd = programs.metricsd()?;
    let mut session = programs.session()?;
    let mut sentinel = programs.sentinel()?;
    let stage = Stage::start(
        folder.path(),
        Pace::Fast,
        ports(programs.metricsd_port, programs.sentinel_port)?,
    )?;
    quiet_about(
        &stage,
        &[
            "SentinelDown",
            "SessionCandleOverdue",
            "MetricsdExpectedProgramNotLive",
        ],
    )?;

    // The sentinel dies.
    sentinel = provoke(
        &stage,
        "SentinelDown",
        || sentinel.kill().map(drop),
        || programs.sentinel(),
    )?;

    // The session gets no time, so no candle.
    provoke(
        &stage,
        "SessionCandleOverdue",
        || signal(&session, Signal::STOP),
        || signal(&session, Signal::CONT),
    )?;

    // The session is killed. It was expected, so that is one message and not two.
    session = provoke(
        &stage,
        "MetricsdExpectedProgramNotLive",
        || session.kill().map(drop),
        || programs.session(),
    )?;
    ensure!(
        stage.count("FIRING", "SessionKilled") == 0,
        "SessionKilled was not held back: {:?}",
        stage.heard()
    );

    // Somebody removes the directory with everything in it. It ends with the session that wrote there.
    session = provoke(
        &stage,
        "MetricsdShardsDeleted",
        || Ok(fs::remove_dir_all(&shards)?),
        || {
            session.terminate()?;
            programs.session()
        },
    )?;

    // Somebody puts a file in its place, so that nobody can make it anew. The due time that is still served passes; that is no news.
    let overdue = stage.count("FIRING", "SessionCandleOverdue");
    provoke(
        &stage,
        "MetricsdNotReady",
        || {
            fs::remove_dir_all(&shards)?;
            Ok(fs::write(&shards, "")?)
        },
        || {
            fs::remove_file(&shards)?;
            Ok(fs::create_dir(&shards)?)
        },
    )?;
    ensure!(
        stage.count("FIRING", "SessionCandleOverdue") == overdue,
        "SessionCandleOverdue was not held back: {:?}",
        stage.heard()
    );
    session.terminate()?;
    session = programs.session()?;

    // metricsd dies: one message, and no all-clear of what nobody can see any more.
    metricsd = provoke(
        &stage,
        "MetricsdDown",
        || metricsd.kill().map(drop),
        || programs.metricsd(),
    )?;
    drop((metricsd, session, sentinel));
    Ok(())
}

/// Waits until none of these is active: everything that they are about has been seen.
fn quiet_about(stage: &Stage, names: &[&str]) -> Result<()> {
    eventually(PATIENCE, "a quiet start", || {
        let active = stage.active()?;
        ensure!(
            active.contains("Watchdog") && names.iter().all(|name| !active.contains(*name)),
            "active: {active:?}"
        );
        Ok(())
    })
}

#[test]
fn a_full_disk_under_a_starting_session_reaches_the_robot_and_room_ends_it() -> Result<()> {
    const NAME: &str = "a_full_disk_under_a_starting_session_reaches_the_robot_and_room_ends_it";
    if let Some(why) = missing() {
        tools::skip(NAME, why);
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let shards = folder.path().join("small");
    fs::create_dir(&shards)?;
    let mounted = Command::new("mount")
        .args([
            "-t",
            "tmpfs",
            "-o",
            "size=1m,nr_inodes=100,mode=777",
            "tmpfs",
        ])
        .arg(&shards)
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        tools::skip(NAME, "no file system can be mounted here");
        return Ok(());
    }
    let outcome = on_a_full_disk(folder.path(), &shards);
    let unmounted = Command::new("umount").arg("-l").arg(&shards).status()?;
    outcome?;
    ensure!(unmounted.success(), "{} stays mounted", shards.display());
    Ok(())
}

fn on_a_full_disk(folder: &Path, shards: &Path) -> Result<()> {
    let programs = Programs::new(folder, shards)?;
    let _metricsd = programs.metricsd()?;
    let stage = Stage::start(
        folder,
        Pace::Fast,
        ports(programs.metricsd_port, programs.sentinel_port)?,
    )?;
    let filler = shards.join("filler");
    let mut session = None;
    provoke(
        &stage,
        "MetricsdWritersDegraded",
        || {
            // A page is left for the sidecar of the session, which says that it cannot write.
            let room = rustix::fs::statvfs(shards)?;
            let free = usize::try_from(room.f_bavail * room.f_frsize)?;
            fs::write(&filler, vec![b'x'; free.saturating_sub(4096)])?;
            session = Some(programs.session()?);
            Ok(())
        },
        || Ok(fs::remove_file(&filler)?),
    )?;
    drop(session);
    Ok(())
}

#[test]
fn the_death_of_the_sentinel_is_told_within_two_minutes_with_the_shipped_values() -> Result<()> {
    const NAME: &str =
        "the_death_of_the_sentinel_is_told_within_two_minutes_with_the_shipped_values";
    if std::env::var_os("METRICSD_TEST_LONG").is_none() {
        tools::skip(NAME, "only with --long");
        return Ok(());
    }
    if let Some(why) = missing() {
        tools::skip(NAME, why);
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let shards = folder.path().join("prom_multiproc");
    let programs = Programs::new(folder.path(), &shards)?;
    let _metricsd = programs.metricsd()?;
    let _session = programs.session()?;
    let mut sentinel = programs.sentinel()?;
    let stage = Stage::start(
        folder.path(),
        Pace::Shipped,
        ports(programs.metricsd_port, programs.sentinel_port)?,
    )?;
    // Two scrapes, so that it is its death and not its absence that is told.
    eventually(PATIENCE, "two scrapes of the sentinel", || {
        let up = query(
            stage.ports.prometheus,
            "sum_over_time(up{job=\"sentinel-metrics\"}[5m])",
        )?;
        ensure!(up.iter().any(|(_, value)| *value >= 2.0), "{up:?}");
        Ok(())
    })?;
    sentinel.kill()?;
    let took = stage.hear("FIRING", "SentinelDown", 0, Duration::from_secs(120))?;
    let _sentinel = programs.sentinel()?;
    let over = stage.hear("RESOLVED", "SentinelDown", 0, Duration::from_secs(120))?;
    complain(format_args!(
        "SentinelDown with the shipped values: told after {:.1} s, its end {:.1} s after the start",
        took.as_secs_f64(),
        over.as_secs_f64()
    ));
    Ok(())
}
