//! The series: each target gives samples, they are fresh, and what counts goes on counting.
//!
//! Invariant: an age is that of the sample itself, by Prometheus' own clock. An instant query alone would prove nothing: it answers with a
//! value for five minutes after the last scrape.

use std::collections::BTreeMap;
use std::time::Duration;

use super::asks::{Sample, listed, step};
use super::cli::{METRICSD_JOB, SENTINEL_JOB};
use super::targets::{INTERVALS_MAX, Target};
use super::{Hub, Party, ids};
use crate::verify::evidence::Finding;
use crate::verify::record::{Book, Probe};

/// Series in a sentence.
const SERIES_MAX: usize = 20;

/// A sample name that each job has from its first scrape on.
const OF_JOB: [(&str, &str); 6] = [
    (METRICSD_JOB, "metricsd_series"),
    (SENTINEL_JOB, "sentinel_build_info"),
    ("alertmanager", "alertmanager_build_info"),
    ("alertbridge", "alertbridge_build_info"),
    ("node", "node_boot_time_seconds"),
    ("prometheus", "prometheus_build_info"),
];

/// Counts every collection, that of each scrape among them.
const COLLECTIONS: &str = "metricsd_collect_duration_seconds_count";

const LOOK: &str = "look at Prometheus' /targets for the target, and at the page that it serves";

impl Hub<'_> {
    pub(super) fn samples_arrive(&self, book: &mut Book<'_>) {
        let title = "Every target gives samples, and they are fresh";
        let check = self.check(ids::SAMPLES_ARRIVE, title, &[Party::Prometheus]);
        step(book, check, self.retry(), |probe| {
            let counts = self.vector("scrape_samples_scraped", probe)?;
            let ages = self.vector("time() - timestamp(scrape_samples_scraped)", probe)?;
            let mut faults = Vec::new();
            let mut samples = 0.0;
            for target in &self.targets {
                match (of(&counts, target), of(&ages, target)) {
                    (Some(count), Some(age)) if count > 0.0 => {
                        samples += count;
                        faults.extend(too_old(&target.name(), age, target.interval));
                    }
                    (Some(_), Some(_)) => {
                        faults.push(format!("{}: a page without samples", target.name()))
                    }
                    _ => faults.push(format!("{}: nothing within five minutes", target.name())),
                }
            }
            if self.targets.is_empty() {
                faults.push("there is no target".to_owned());
            }
            if faults.is_empty() {
                return Ok(Finding::pass(format!(
                    "{samples} samples in the last scrapes of {} targets, none older than {INTERVALS_MAX} intervals",
                    self.targets.len()
                )));
            }
            Err(Finding::fail(listed(&faults, SERIES_MAX), LOOK))
        });
    }

    pub(super) fn series_fresh(&self, book: &mut Book<'_>) {
        let title = "The expected series have fresh samples";
        let check = self.check(ids::SERIES_FRESH, title, &[Party::Prometheus]);
        let names = self.expected_names();
        if names.is_empty() {
            book.step(ids::SERIES_FRESH, title, |_| {
                Finding::skip(
                    "no name is known of the required jobs, and none was given",
                    "name one that each program has with --expect NAME",
                )
            });
            return;
        }
        step(book, check, self.retry(), |probe| {
            let mut faults = Vec::new();
            let mut series = 0;
            for name in &names {
                let query = format!("max by (job, instance) (time() - timestamp({name}))");
                let ages = self.vector(&query, probe)?;
                if ages.is_empty() {
                    faults.push(format!("{name} has no sample"));
                }
                series += ages.len();
                for age in &ages {
                    let interval = self.interval_of(age);
                    let what = format!("{name} of {}", age.label("instance"));
                    faults.extend(too_old(&what, age.value, interval));
                }
            }
            if faults.is_empty() {
                return Ok(Finding::pass(format!(
                    "{} names at {series} places, none older than {INTERVALS_MAX} intervals: {}",
                    names.len(),
                    listed(&names, SERIES_MAX)
                )));
            }
            Err(Finding::fail(
                listed(&faults, SERIES_MAX),
                "start the program that records it, with a target or a shard that Prometheus reaches; /targets says what is scraped",
            ))
        });
    }

    fn expected_names(&self) -> Vec<&str> {
        let required = self.args.required_jobs();
        let known = OF_JOB.iter().filter(|(job, _)| required.contains(job));
        known
            .map(|(_, name)| *name)
            .chain(self.args.expect.iter().map(String::as_str))
            .collect()
    }

    /// How often the place of a series is scraped; the longest interval if its labels are another's.
    fn interval_of(&self, sample: &Sample) -> Duration {
        let same = |target: &&Target| {
            ["job", "instance"].iter().all(|name| {
                target.labels.get(*name).map_or("", String::as_str) == sample.label(name)
            })
        };
        let found = self.targets.iter().find(same);
        found.map_or_else(|| self.longest_interval(), |target| target.interval)
    }

    fn longest_interval(&self) -> Duration {
        let intervals = self.targets.iter().map(|target| target.interval);
        intervals.max().unwrap_or(Duration::from_secs(60))
    }

    pub(super) fn counters_rise(&self, book: &mut Book<'_>) {
        let title = "What counts goes on counting";
        let check = self.check(ids::COUNTERS_RISE, title, &[Party::Prometheus]);
        let mut names: Vec<&str> = self.args.rising.iter().map(String::as_str).collect();
        if self.args.required_jobs().contains(&METRICSD_JOB) {
            names.insert(0, COLLECTIONS);
        }
        if names.is_empty() {
            book.step(ids::COUNTERS_RISE, title, |_| {
                Finding::skip(
                    "metricsd is no required job, and no counter was named",
                    "name one with --rising NAME",
                )
            });
            return;
        }
        let mut first: Option<Readings> = None;
        // Two scrapes, and then some.
        let retry = self.patience(self.longest_interval().mul_f64(INTERVALS_MAX));
        step(book, check, retry, |probe| {
            let now = self
                .readings(&names, probe)
                .inspect_err(|_| probe.do_not_retry())?;
            let before = first.get_or_insert_with(|| now.clone());
            let mut stuck = Vec::new();
            for (series, value) in &now {
                match before.get(series) {
                    Some(old) if value > old => {}
                    Some(old) if value == old => stuck.push(format!("{series} stands at {value}")),
                    // A restart, or a new one: from here on.
                    _ => {
                        before.insert(series.clone(), *value);
                        stuck.push(format!("{series} began anew at {value}"));
                    }
                }
            }
            let gone = before.keys().filter(|series| !now.contains_key(*series));
            stuck.extend(gone.map(|series| format!("{series} is gone")));
            for name in &names {
                let begin = format!("{name} of");
                if !now.keys().any(|series| series.starts_with(&begin)) {
                    probe.do_not_retry();
                    stuck.push(format!("{name} has no sample"));
                }
            }
            if stuck.is_empty() {
                return Ok(Finding::pass(format!(
                    "{} series rose: {}",
                    now.len(),
                    listed(&names, SERIES_MAX)
                )));
            }
            Err(Finding::fail(
                listed(&stuck, SERIES_MAX),
                "a page that is served and never changes is not the program's own: look what stands between it and Prometheus, and whether it hangs",
            ))
        });
    }

    fn readings(&self, names: &[&str], probe: &mut Probe) -> Result<Readings, Finding> {
        let mut readings = Readings::new();
        for name in names {
            for sample in self.vector(&format!("sum by (job, instance) ({name})"), probe)? {
                readings.insert(
                    format!("{name} of {}", sample.label("instance")),
                    sample.value,
                );
            }
        }
        Ok(readings)
    }
}

/// Values by series, in words.
type Readings = BTreeMap<String, f64>;

fn of(samples: &[Sample], target: &Target) -> Option<f64> {
    let mine = |sample: &&Sample| {
        let labels = sample.labels.iter().filter(|(name, _)| *name != "__name__");
        labels.eq(target.labels.iter())
    };
    samples.iter().find(mine).map(|sample| sample.value)
}

fn too_old(what: &str, age_seconds: f64, interval: Duration) -> Option<String> {
    let seconds = interval.as_secs_f64();
    (age_seconds > INTERVALS_MAX * seconds)
        .then(|| format!("{what}: {age_seconds:.1} s old, expected every {seconds} s"))
}
