//! The shipped configuration at another pace and on other ports: the same expressions, routes and inhibitions, with minutes made seconds.
//!
//! Invariant: what is replaced is in the tables below, and a text in which nothing is found to replace is an error.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use xtask::{rules, workspace};

/// What stands in the shipped files, and what by.
type Table<const LEN: usize> = [(&'static str, &'static str); LEN];

/// How long a condition holds before an alert fires, and goes on after it: `for` and `keep_firing_for`.
const HOLDS: Table<7> = [
    ("30s", "2s"),
    ("1m", "3s"),
    ("2m", "3s"),
    ("5m", "4s"),
    ("10m", "4s"),
    ("15m", "4s"),
    ("6h", "5s"),
];
/// Ranges and offsets of expressions, each longer than the `for` beside it.
const RANGES: Table<8> = [
    ("1m", "4s"),
    ("5m", "10s"),
    ("10m", "10s"),
    ("15m", "10s"),
    ("30m", "10s"),
    ("1h", "10s"),
    ("6h", "10s"),
    ("1d", "15s"),
];
/// How late something may be, in seconds.
const LATENESS: [&str; 4] = ["> 30", "> 60", "> 120", "> 300"];
/// Of the tree of Alertmanager. `repeat_interval` stays, apart from that of Watchdog.
const ROUTES: Table<8> = [
    ("group_wait: 30s", "group_wait: 1s"),
    ("group_wait: 5s", "group_wait: 500ms"),
    ("group_wait: 2m", "group_wait: 1s"),
    ("group_interval: 5m", "group_interval: 1s"),
    ("group_interval: 30s", "group_interval: 1s"),
    ("group_interval: 2m", "group_interval: 1s"),
    ("group_interval: 10m", "group_interval: 1s"),
    ("repeat_interval: 1m", "repeat_interval: 2s"),
];

/// Minutes as seconds, or what is shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// By the tables.
    Fast,
    /// Nothing but addresses is replaced.
    Shipped,
}

/// Where everything listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) prometheus: u16,
    pub(crate) alertmanager: u16,
    pub(crate) bridge: u16,
    /// Targets of the jobs `peak_trade_metricsd`, `sentinel-metrics`, `alertbridge`, `alertmanager` and `prometheus`.
    pub(crate) targets: [u16; 5],
}

/// The ports in the shipped files, in the order of [`Ports::targets`].
const SHIPPED_TARGETS: [u16; 5] = [9111, 8000, 8060, 9093, 9090];

/// Writes `prometheus.yml`, `rules/` and `alertmanager.yml` into the folder.
///
/// # Errors
/// When a shipped file cannot be read, or has nothing of what is to be replaced.
pub(crate) fn write(folder: &Path, pace: Pace, ports: Ports) -> Result<()> {
    fs::create_dir_all(folder.join("rules"))?;
    for file in rules::files()? {
        let text = rules::text(&file)?;
        let text = match pace {
            Pace::Fast => fast_rules(&text),
            Pace::Shipped => text,
        };
        fs::write(folder.join("rules").join(format!("{file}.rules.yml")), text)?;
    }
    let shipped = workspace::root().join("ops/prometheus/prometheus.yml");
    let mut text =
        fs::read_to_string(shipped)?.replace("../rules/*.rules.yml", "rules/*.rules.yml");
    if pace == Pace::Fast {
        text = text
            .replace(": 15s", ": 1s")
            .replace(": 5s", ": 1s")
            .replace(": 4s", ": 900ms");
    }
    let (head, targets) = text
        .split_once("scrape_configs:")
        .context("prometheus.yml without scrape_configs")?;
    let head = replaced(head, 9093, ports.alertmanager)?;
    let mut targets = targets.to_owned();
    for (shipped, port) in SHIPPED_TARGETS.into_iter().zip(ports.targets) {
        targets = replaced(&targets, shipped, port)?;
    }
    fs::write(
        folder.join("prometheus.yml"),
        format!("{head}scrape_configs:{targets}"),
    )?;
    let shipped = workspace::root().join("ops/alertmanager/alertmanager.yml");
    let text = replaced(&fs::read_to_string(shipped)?, 8060, ports.bridge)?;
    let mut text = with_targets_of_their_own(&text)?;
    if pace == Pace::Fast {
        for (was, by) in ROUTES {
            text = text.replace(was, by);
        }
    }
    Ok(fs::write(folder.join("alertmanager.yml"), text)?)
}

/// Each receiver sends to a target of its own name, so that it can be seen which one was chosen.
fn with_targets_of_their_own(text: &str) -> Result<String> {
    let mut receiver = None;
    let mut written = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("  - name: ") {
            receiver = Some(name);
        }
        match (line.split_once("/dingtalk/"), receiver) {
            (Some((before, _)), Some(name)) => {
                written.push_str(&format!("{before}/dingtalk/{name}/send\n"));
            }
            _ => written.push_str(&format!("{line}\n")),
        }
    }
    ensure!(
        written.contains("/dingtalk/watchdog/send"),
        "no receiver watchdog in:\n{text}"
    );
    Ok(written)
}

fn replaced(text: &str, shipped: u16, port: u16) -> Result<String> {
    let was = format!("127.0.0.1:{shipped}");
    ensure!(text.contains(&was), "no {was} in:\n{text}");
    Ok(text.replace(&was, &format!("127.0.0.1:{port}")))
}

/// Stands for the unit of a duration that has been replaced.
const NEW: &str = "\u{1}";

/// A rule's text with other durations. The new ones are marked until the end, so that none is replaced twice.
fn fast_rules(text: &str) -> String {
    let mut text = text.to_owned();
    for (was, by) in HOLDS {
        text = replaced_between(&text, was, by, ("for: ", "\n"));
    }
    for (was, by) in RANGES {
        text = replaced_between(&text, was, by, ("[", "]"));
        for after in ["\n", " ", ")"] {
            text = replaced_between(&text, was, by, ("offset ", after));
        }
    }
    for was in LATENESS {
        for after in [")", "\n"] {
            text = text.replace(&format!("{was}{after}"), &format!("> 2{after}"));
        }
    }
    text.replace(NEW, "s")
}

fn replaced_between(text: &str, was: &str, by: &str, (before, after): (&str, &str)) -> String {
    let by = by.replace('s', NEW);
    let was = format!("{before}{was}{after}");
    text.replace(&was, &format!("{before}{by}{after}"))
}
