//! `cargo xtask hub`: the HUB on one machine, on loopback. Real Prometheus, Alertmanager and node_exporter on the shipped configurations, the bridge,
//! metricsd with a paper session, the sentinel with a paper gateway; then the three verifications, whose evidence is filed. Stays up for a look.
//!
//! Invariant: whatever way out is taken, everything that was started has ended. Exit code 0 is for: all targets were up and all verifications passed.

mod programs;
mod stage;
mod targets;
mod verification;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::child::watch_for_interrupts;
use crate::demo::{Ending, Programs, build, headline};
use crate::prometheus::{Edition, JOBS, Ports};
use crate::run_folder::{RunFolder, usual_or_free_port};
use crate::scrape::{get, query};
use crate::terminal::{complain, say};
use crate::{tools, workspace};

use stage::Stage;

/// The packages with our programs.
const PACKAGES: [&str; 4] = ["metricsd", "shadow-session", "sentinel", "alertbridge"];
/// What an earlier run leaves, apart from its evidence.
const STALE: [&str; 11] = [
    "alerts",
    "prom_multiproc",
    "state",
    "live_runs",
    "trading",
    "queue",
    "prometheus",
    "rules",
    "alertmanager",
    "silences",
    "tsdb",
];

/// A job, a page of its target, and what is seen there. What does not answer is not named: Debian's Prometheus has pages for people only where its
/// package is installed.
const PAGES: [(&str, &str, &str); 7] = [
    ("prometheus", "/classic/targets", "Prometheus"),
    ("prometheus", "/api/v1/targets", "its targets"),
    ("prometheus", "/api/v1/alerts", "its alerts"),
    ("alertmanager", "/api/v2/alerts", "alerts that are carried"),
    ("alertbridge", "/", "the bridge, and its runbooks"),
    ("peak_trade_metricsd", "/metrics", "metricsd"),
    ("sentinel-metrics", "/health", "the sentinel"),
];

/// Brings the HUB up, verifies it, and stays up or ends.
///
/// # Errors
/// When something is missing or ends, a target does not come up, a verification does not pass, or it was interrupted before that was known.
pub fn run(ending: Ending, programs: Programs) -> Result<()> {
    let interrupted = watch_for_interrupts()?;
    if programs == Programs::Build {
        build(&PACKAGES)?;
    }
    for package in PACKAGES {
        workspace::program(package)?;
    }
    tools::install_prometheus().context("Prometheus with Alertmanager")?;
    tools::install_node_exporter().context("node_exporter")?;
    let folder = RunFolder::claim("hub", &STALE)?;
    let evidence = folder.path().join("evidence");
    fs::create_dir_all(&evidence).with_context(|| format!("creating {}", evidence.display()))?;

    headline("everything is started, what is scraped before what scrapes")?;
    let mut stage = Stage::start(folder.path(), ports()?, &interrupted)?;
    headline("Prometheus scrapes")?;
    let up = stage.until_all_targets_are_up()?;
    say(format_args!("   checked: {up} targets, all up"))?;
    let failed = verification::run_all(&mut stage, &evidence)?;
    where_to_look(&stage, &evidence)?;
    if ending == Ending::OnInterrupt {
        let verdict = if failed.is_empty() {
            "All verifications passed".to_owned()
        } else {
            format!("NOT all verifications passed ({})", failed.join(", "))
        };
        say(format_args!(
            "\n   {verdict}. The HUB stays up, and the sentinel goes on trading on paper; Ctrl-C ends it."
        ))?;
        while !interrupted.load(Ordering::Relaxed) {
            stage.look_after()?;
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let ended = stage.end();
    if let (Err(error), false) = (&ended, failed.is_empty()) {
        // What did not pass is the news, and may be why.
        complain(format_args!("xtask: {error:#}"));
    }
    ensure!(
        failed.is_empty(),
        "{} of {} verifications did not pass ({}), the evidence is in {}",
        failed.len(),
        verification::COUNT,
        failed.join(", "),
        evidence.display()
    );
    ended
}

/// The usual ones, or free ones where somebody has them.
fn ports() -> Result<Ports> {
    let mut ports = JOBS.map(|(_, usual)| usual);
    for port in &mut ports {
        *port = usual_or_free_port(*port)?;
    }
    Ok(ports)
}

fn where_to_look(stage: &Stage<'_>, evidence: &Path) -> Result<()> {
    headline("where to look")?;
    for (job, path, what) in PAGES {
        if get(stage.port(job), path).is_ok() {
            say(format_args!("   {:44} {what}", stage.url(job) + path))?;
        }
    }
    let config = stage.folder().join("prometheus").join(Edition::Hub.file());
    let boards = workspace::root().join("ops/grafana/boards");
    let places: [(&str, PathBuf); 5] = [
        ("evidence", evidence.to_owned()),
        ("alerts", programs::alerts(stage.folder())),
        ("configuration", config),
        ("output", stage.folder().join("*.log")),
        ("boards", boards),
    ];
    for (what, path) in places {
        say(format_args!("   {what:13} {}", path.display()))?;
    }
    let firing = query(stage.port("prometheus"), "ALERTS{alertstate=\"firing\"}")?;
    let mut names: Vec<String> = firing
        .into_iter()
        .filter_map(|(mut labels, _)| labels.remove("alertname"))
        .collect();
    names.sort();
    names.dedup();
    say(format_args!("   firing now    {}", names.join(", ")))?;
    if let Some(trading) = stage.trading() {
        for words in trading.where_to_look()? {
            say(format_args!("   {words}"))?;
        }
    }
    Ok(())
}
