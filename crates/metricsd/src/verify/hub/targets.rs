//! The targets: all of them up, those of the required jobs there.
//!
//! Invariant: a target that is down is named with the error that Prometheus has of it, a job without targets is a failure and no silence.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::asks::{age_seconds, listed, step, time};
use super::cli::SENTINEL_JOB;
use super::{Hub, Party, ids};
use crate::retention::parse_duration;
use crate::verify::evidence::Finding;
use crate::verify::record::{Book, Probe};

/// A target may have been scraped so many of its intervals ago.
pub(super) const INTERVALS_MAX: f64 = 3.0;

/// Targets in a sentence.
const TARGETS_MAX: usize = 20;

/// A target that Prometheus scrapes.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) url: String,
    pub(super) interval: Duration,
    health: String,
    error: String,
    last_scrape: Option<Timestamp>,
}

impl Target {
    fn read(value: &Value) -> Option<Target> {
        let labels = value["labels"].as_object()?.iter();
        let labels = labels.map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Some(Target {
            labels: labels.collect::<Option<_>>()?,
            url: text("scrapeUrl"),
            interval: parse_duration(&text("scrapeInterval"))?,
            health: text("health"),
            error: text("lastError"),
            last_scrape: time(&value["lastScrape"]),
        })
    }

    pub(super) fn job(&self) -> &str {
        self.labels.get("job").map_or("", String::as_str)
    }

    /// How it is called in a sentence.
    pub(super) fn name(&self) -> String {
        let instance = self.labels.get("instance").map_or("", String::as_str);
        let job = self.job();
        // A site may give it another name than its address.
        if self.url.contains(instance) {
            format!("{job} at {instance}")
        } else {
            format!("{job} at {instance} ({})", self.url)
        }
    }

    /// What is wrong with it.
    fn defect(&self, prometheus_ahead: f64) -> Option<String> {
        let name = self.name();
        match (self.health.as_str(), self.last_scrape) {
            ("up", Some(last)) => {
                let age = age_seconds(last, prometheus_ahead);
                let seconds = self.interval.as_secs_f64();
                (age > INTERVALS_MAX * seconds).then(|| {
                    format!("{name}: last scraped {age:.1} s ago, expected every {seconds} s")
                })
            }
            ("up", None) | ("unknown", _) => Some(format!("{name}: not scraped yet")),
            _ => Some(format!("{name}: {}", self.error)),
        }
    }
}

impl Hub<'_> {
    pub(super) fn targets_up(&mut self, book: &mut Book<'_>) {
        let title = "Every target is up";
        let check = self.check(ids::TARGETS_UP, title, &[Party::Prometheus]);
        let mut targets = Vec::new();
        step(book, check, self.retry(), |probe| {
            targets = self.active_targets(Some("prometheus-targets.json"), probe)?;
            if targets.is_empty() {
                return Err(Finding::fail(
                    "Prometheus has no target",
                    "name targets in scrape_configs, or lines in the files of its discovery",
                ));
            }
            let ahead = self.prometheus_ahead;
            let down: Vec<String> = targets.iter().filter_map(|it| it.defect(ahead)).collect();
            if down.is_empty() {
                return Ok(Finding::pass(format!(
                    "{} targets are up, each scraped within {INTERVALS_MAX} of its intervals",
                    targets.len()
                )));
            }
            Err(Finding::fail(
                format!(
                    "{} of {} targets are down: {}",
                    down.len(),
                    targets.len(),
                    listed(&down, TARGETS_MAX)
                ),
                "start what is down or look why it does not answer (its log, the address, a firewall); take away what the site does not run",
            ))
        });
        self.targets = targets;
    }

    pub(super) fn jobs_present(&self, book: &mut Book<'_>) {
        let title = "The required jobs have targets";
        let check = self.check(ids::JOBS_PRESENT, title, &[Party::Prometheus]);
        step(book, check, self.retry(), |probe| {
            let targets = self.active_targets(None, probe)?;
            let (mut present, mut missing) = (Vec::new(), Vec::new());
            for job in self.args.required_jobs() {
                match targets.iter().filter(|target| target.job() == job).count() {
                    0 if job == SENTINEL_JOB => match self.sentinel_behind_metricsd(probe)? {
                        Ok(text) => present.push(text),
                        Err(text) => missing.push(text),
                    },
                    0 => missing.push(format!("{job} has no target")),
                    count => present.push(format!("{job} ({count})")),
                }
            }
            if missing.is_empty() {
                return Ok(Finding::pass(present.join(", ")));
            }
            Err(Finding::fail(
                missing.join("; "),
                "add the job to scrape_configs, or its line to the files of discovery, and reload Prometheus; --job says which jobs this site has",
            ))
        });
    }

    /// A sentinel in Mode B is no target: whether metricsd has a live one.
    fn sentinel_behind_metricsd(
        &self,
        probe: &mut Probe,
    ) -> Result<Result<String, String>, Finding> {
        let live = r#"sum(metricsd_sessions{program="sentinel",state="live"}) > 0"#;
        if !self.vector(live, probe)?.is_empty() {
            return Ok(Ok(format!("{SENTINEL_JOB} (behind metricsd)")));
        }
        Ok(Err(format!(
            "{SENTINEL_JOB} has no target, and there is no live sentinel behind metricsd"
        )))
    }

    pub(super) fn targets_dropped(&self, book: &mut Book<'_>) {
        let title = "No target of the required jobs is dropped";
        let check = self.check(ids::TARGETS_DROPPED, title, &[Party::Prometheus]);
        step(book, check, self.retry(), |probe| {
            let data = self.prometheus("targets", &[("state", "dropped")], None, probe)?;
            let required = self.args.required_jobs();
            let (mut ours, mut all) = (Vec::new(), 0);
            for target in data["droppedTargets"].as_array().into_iter().flatten() {
                all += 1;
                let label = |name: &str| {
                    target["discoveredLabels"][name]
                        .as_str()
                        .unwrap_or_default()
                };
                if required.contains(&label("job")) {
                    ours.push(format!("{} at {}", label("job"), label("__address__")));
                }
            }
            if ours.is_empty() || self.args.allow_dropped {
                return Ok(Finding::pass(format!(
                    "{} targets of required jobs are dropped, {all} in all",
                    ours.len()
                )));
            }
            Err(Finding::fail(
                format!("dropped by relabelling: {}", listed(&ours, TARGETS_MAX)),
                "look at relabel_configs of the job; where discovery finds what is not meant, say --allow-dropped",
            ))
        });
    }

    fn active_targets(
        &self,
        file: Option<&str>,
        probe: &mut Probe,
    ) -> Result<Vec<Target>, Finding> {
        let data = self.prometheus("targets", &[("state", "active")], file, probe)?;
        let targets = data["activeTargets"].as_array().into_iter().flatten();
        targets
            .map(Target::read)
            .collect::<Option<_>>()
            .ok_or_else(|| {
                Finding::fail(
                    "a target without labels or interval in the answer",
                    "verify a Prometheus from 2.30 on",
                )
            })
    }
}
