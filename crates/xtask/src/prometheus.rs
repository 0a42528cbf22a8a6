//! The shipped configurations of Prometheus and Alertmanager at other addresses, and the two programs started on them: what `cargo xtask hub` and
//! the tests run is what a site runs.
//!
//! Invariant: nothing but ports, and where asked the pace, differs from the files in `ops`; a shipped address that is not found in them is an
//! error, since nobody would listen there. Must not touch: the files in `ops`, and other addresses than loopback.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::child::Running;
use crate::{rules, tools, workspace};

/// Which of the two shipped configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// `prometheus.yml`: one machine, its targets in the file.
    Local,
    /// `hub.yml`: its targets in files of their own.
    Hub,
}

impl Edition {
    /// Its file in `ops/prometheus`.
    pub fn file(self) -> &'static str {
        match self {
            Edition::Local => "prometheus.yml",
            Edition::Hub => "hub.yml",
        }
    }
}

/// How often is scraped and evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As shipped.
    Shipped,
    /// For whoever waits.
    EverySecond,
}

/// The jobs and the port at which each one's target is in the shipped files.
pub const JOBS: [(&str, u16); 6] = [
    ("peak_trade_metricsd", 9111),
    ("sentinel-metrics", 8000),
    ("alertbridge", 8060),
    ("alertmanager", 9093),
    ("node", 9100),
    ("prometheus", 9090),
];

/// The ports at which the targets of [`JOBS`] are instead, in that order.
pub type Ports = [u16; JOBS.len()];

/// A text with each shipped address on its new port. Addresses of others stay.
pub fn moved(text: &str, ports: &Ports) -> String {
    const LOOPBACK: &str = "127.0.0.1:";
    let mut pieces = text.split(LOOPBACK);
    let mut written = pieces.next().unwrap_or_default().to_owned();
    // One pass: what was written is not looked at again, so that two jobs may change places.
    for piece in pieces {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        let (shipped, rest) = piece.split_at(digits);
        let new = JOBS.iter().zip(ports).find_map(|((_, usual), port)| {
            (shipped == usual.to_string()).then(|| port.to_string())
        });
        written.push_str(LOOPBACK);
        written.push_str(new.as_deref().unwrap_or(shipped));
        written.push_str(rest);
    }
    written
}

/// Writes both editions with their targets, the rules and Alertmanager's tree below `folder`, laid out as in `ops`. Gives the file for Prometheus.
///
/// # Errors
/// When a file cannot be read or written, or the edition does not name the shipped address of every job.
pub fn write(folder: &Path, edition: Edition, pace: Pace, ports: &Ports) -> Result<PathBuf> {
    let ops = workspace::root().join("ops");
    let mut relative: Vec<String> = vec![
        "prometheus/prometheus.yml".into(),
        "prometheus/hub.yml".into(),
        "alertmanager/alertmanager.yml".into(),
    ];
    relative.extend(JOBS.map(|(job, _)| targets(job)));
    let files = rules::files()?.into_iter();
    relative.extend(files.map(|name| format!("rules/{name}.rules.yml")));
    for name in relative {
        let from = ops.join(&name);
        let text =
            fs::read_to_string(&from).with_context(|| format!("reading {}", from.display()))?;
        let text = match pace {
            Pace::EverySecond if name.starts_with("prometheus/") => faster(&text),
            _ => text,
        };
        let to = folder.join(&name);
        let parent = to.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        fs::write(&to, moved(&text, ports)).with_context(|| format!("writing {}", to.display()))?;
    }
    for ((job, usual), port) in JOBS.iter().zip(ports) {
        let name = match edition {
            Edition::Local => format!("prometheus/{}", edition.file()),
            Edition::Hub => targets(job),
        };
        let text = fs::read_to_string(folder.join(&name))
            .with_context(|| format!("reading {}", folder.join(&name).display()))?;
        ensure!(
            text.contains(&format!("127.0.0.1:{port}\"")),
            "ops/{name}: no target 127.0.0.1:{usual}, at which {job} is expected"
        );
    }
    Ok(folder.join("prometheus").join(edition.file()))
}

/// The file with the targets of a job, below `ops`.
pub fn targets(job: &str) -> String {
    format!("prometheus/targets/{job}.yml")
}

fn faster(text: &str) -> String {
    let mut text = text.to_owned();
    for key in ["scrape_interval", "evaluation_interval"] {
        for shipped in ["5s", "15s"] {
            text = text.replace(&format!("{key}: {shipped}"), &format!("{key}: 1s"));
        }
    }
    for shipped in ["4s", "10s"] {
        let timeout = format!("scrape_timeout: {shipped}");
        text = text.replace(&timeout, "scrape_timeout: 900ms");
    }
    text
}

/// Starts Prometheus on what [`write()`] wrote, with its samples and its output below `folder`.
///
/// # Errors
/// When there is none, or it cannot be started.
pub fn start(folder: &Path, edition: Edition, port: u16) -> Result<Running> {
    let program = tools::prometheus_program("prometheus").context("there is no prometheus")?;
    let config = folder.join("prometheus").join(edition.file());
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", folder.join("tsdb").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        // Links in alerts lead here; else they carry the name of the machine.
        format!("--web.external-url=http://127.0.0.1:{port}"),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Running::start(&program, &arguments, &[], &folder.join("prometheus.log"))
}

/// Starts Alertmanager on what [`write()`] wrote, alone, with its state and its output below `folder`.
///
/// # Errors
/// When there is none, or it cannot be started.
pub fn start_alertmanager(folder: &Path, port: u16) -> Result<Running> {
    let (program, mut arguments) = tools::alertmanager().context("there is no alertmanager")?;
    let config = folder.join("alertmanager/alertmanager.yml");
    arguments.extend([
        format!("--config.file={}", config.display()),
        format!("--storage.path={}", folder.join("silences").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        format!("--web.external-url=http://127.0.0.1:{port}"),
        // It would wait for others otherwise.
        "--cluster.listen-address=".to_owned(),
    ]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Running::start(&program, &arguments, &[], &folder.join("alertmanager.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_jobs_that_change_places_are_not_mixed_up_and_other_addresses_stay() {
        let text = "127.0.0.1:9111 127.0.0.1:8000/x 127.0.0.1:91110 127.0.0.1:5555 http://127.0.0.1:8060/y";
        let ports = [8000, 9111, 1, 2, 3, 4];
        assert_eq!(
            moved(text, &ports),
            "127.0.0.1:8000 127.0.0.1:9111/x 127.0.0.1:91110 127.0.0.1:5555 http://127.0.0.1:1/y"
        );
    }
}
