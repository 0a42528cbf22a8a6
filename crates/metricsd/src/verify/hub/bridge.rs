//! The alert bridge: it can take and give, and what it was sent is delivered.
//!
//! Invariant: delivered is what the bridge's own counters say of targets that took it; that it accepted something is not enough. The
//! Watchdog, which comes all the time, is in none of the counters that are looked at.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::asks::step;
use super::cli::BRIDGE_JOB;
use super::{Hub, Party, ids};
use crate::verify::evidence::Finding;
use crate::verify::page::Page;
use crate::verify::record::{Book, Probe};

const NAME_IT: &str = "start the bridge, or name its own address with --alertbridge http://HOST:8060; its log says what keeps it";

/// The families that are looked at.
const FAMILIES: [&str; 11] = [
    "alertbridge_build_info",
    "alertbridge_alerts_received_total",
    "alertbridge_alerts_delivered_total",
    "alertbridge_send_attempts_total",
    "alertbridge_refused_targets",
    "alertbridge_queue_alerts",
    "alertbridge_queue_oldest_timestamp_seconds",
    "alertbridge_queue_writable",
    "alertbridge_orphaned_alerts",
    "alertbridge_config_last_reload_successful",
    "alertbridge_watchdog_missing",
];

/// What is wrong when a level is not as it should be.
const LEVELS: [(&str, f64, &str); 5] = [
    (
        "alertbridge_config_last_reload_successful",
        1.0,
        "the last reading of its configuration failed",
    ),
    (
        "alertbridge_queue_writable",
        1.0,
        "its queue cannot be written",
    ),
    (
        "alertbridge_refused_targets",
        0.0,
        "a target refuses what it is sent",
    ),
    (
        "alertbridge_watchdog_missing",
        0.0,
        "the alert that always fires has stayed away for too long",
    ),
    (
        "alertbridge_orphaned_alerts",
        0.0,
        "alerts wait for a target that is not configured",
    ),
];

/// The counters of all bridges together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counters {
    /// Alerts that were taken into the queue.
    queued: f64,
    /// Alerts that a target took, by its kind.
    delivered: BTreeMap<String, f64>,
    /// Attempts that were not taken, by kind and outcome.
    failed: BTreeMap<String, f64>,
    /// Targets that refuse.
    refused: f64,
    waiting: f64,
    /// Since when the oldest alert waits, as Unix time; infinite if none does.
    oldest: f64,
}

/// How far a delivery is.
pub(super) enum Delivery {
    /// Everything that was taken is delivered.
    Done(String),
    /// Not yet.
    Waiting(String),
    /// It will not be.
    Refused(String),
}

impl Counters {
    fn add(&mut self, page: &Page) {
        let total = |name: &str, label: &str| page.total(name, label).unwrap_or_default();
        self.queued += total("alertbridge_alerts_received_total", "result=\"queued\"");
        self.refused += total("alertbridge_refused_targets", "");
        let waiting = total("alertbridge_queue_alerts", "");
        self.waiting += waiting;
        if waiting > 0.0 {
            let oldest = total("alertbridge_queue_oldest_timestamp_seconds", "");
            self.oldest = self.oldest.min(oldest);
        }
        for sample in page.named("alertbridge_alerts_delivered_total") {
            *self.delivered.entry(labels_of(&sample.series)).or_default() += sample.value;
        }
        for sample in page.named("alertbridge_send_attempts_total") {
            if !sample.series.contains("outcome=\"sent\"") {
                *self.failed.entry(labels_of(&sample.series)).or_default() += sample.value;
            }
        }
    }

    /// How far the delivery is of what came since `before`. `taken_at` keeps when it was first seen in the queue's counter.
    pub(super) fn since(&self, before: &Counters, taken_at: &mut Option<f64>) -> Delivery {
        let failed = risen(&self.failed, &before.failed);
        let is_refused = failed.iter().any(|(name, _)| name.contains("refused"));
        if self.refused > before.refused || is_refused {
            return Delivery::Refused(format!(
                "{} targets refuse what they are sent: {}",
                self.refused,
                in_words(&failed)
            ));
        }
        let queued = self.queued - before.queued;
        if queued <= 0.0 {
            return Delivery::Waiting("the bridge has not been sent an alert".to_owned());
        }
        let taken_at =
            *taken_at.get_or_insert_with(|| Timestamp::now().as_millisecond() as f64 / 1000.0);
        let delivered = risen(&self.delivered, &before.delivered);
        let trouble = if failed.is_empty() {
            String::new()
        } else {
            format!("; attempts that failed: {}", in_words(&failed))
        };
        // What came later may wait: this did not.
        if delivered.is_empty() || (self.waiting > 0.0 && self.oldest <= taken_at) {
            return Delivery::Waiting(format!(
                "{queued} alerts were taken, {} wait in the bridge{trouble}",
                self.waiting
            ));
        }
        Delivery::Done(format!(
            "{queued} alerts were taken, and targets took them: {}{trouble}",
            in_words(&delivered)
        ))
    }
}

fn labels_of(series: &str) -> String {
    let labels = series.split_once('{').map_or("", |(_, labels)| labels);
    let values = labels.trim_end_matches('}').split(',');
    let values: Vec<&str> = values.filter_map(|label| label.split('"').nth(1)).collect();
    values.join(" ")
}

fn risen(now: &BTreeMap<String, f64>, before: &BTreeMap<String, f64>) -> Vec<(String, f64)> {
    let rises = now.iter().map(|(name, value)| {
        let old = before.get(name).copied().unwrap_or_default();
        (name.clone(), value - old)
    });
    rises.filter(|(_, rise)| *rise > 0.0).collect()
}

fn in_words(rises: &[(String, f64)]) -> String {
    let words = rises.iter().map(|(name, rise)| format!("{name} {rise}"));
    words.collect::<Vec<_>>().join(", ")
}

impl Hub<'_> {
    pub(super) fn bridge_ready(&mut self, book: &mut Book<'_>) {
        let title = "The alert bridge is ready, and no target of it refuses";
        self.bridges = self.find_bridges();
        if self.bridges.is_empty() {
            book.step(ids::BRIDGE_READY, title, |_| {
                Finding::skip(
                    format!(
                        "no bridge was named, and Prometheus has no target of the job {BRIDGE_JOB}"
                    ),
                    "name it with --alertbridge http://HOST:8060",
                )
            });
            return;
        }
        let check = self.check(ids::BRIDGE_READY, title, &[]);
        step(book, check, self.retry(), |probe| {
            let mut faults = Vec::new();
            for base in &self.bridges {
                self.is_ready(base, NAME_IT, probe)?;
                let page = self.page(base, &FAMILIES, NAME_IT, probe)?;
                if page.named("alertbridge_build_info").next().is_none() {
                    let text = format!("{base}/metrics is no page of an alert bridge");
                    return Err(Finding::fail(text, NAME_IT));
                }
                for (name, expected, fault) in LEVELS {
                    let found = page.total(name, "");
                    if found != Some(expected) {
                        let found = found.map_or("absent".to_owned(), |found| found.to_string());
                        faults.push(format!("{base}: {fault} ({name} is {found})"));
                    }
                }
            }
            if faults.is_empty() {
                return Ok(Finding::pass(format!("ready: {}", self.bridges.join(", "))));
            }
            Err(Finding::fail(
                faults.join("; "),
                "read the bridge's log, which names target, key and answer; its runbooks are at /runbooks/NAME of the bridge",
            ))
        });
    }

    /// Those that were named, else those that Prometheus scrapes.
    fn find_bridges(&self) -> Vec<String> {
        if !self.args.alertbridge.is_empty() {
            return self.args.alertbridge.clone();
        }
        if self.missing.contains(&Party::Prometheus) {
            return Vec::new();
        }
        let bridges = self.targets.iter().filter(|it| it.job() == BRIDGE_JOB);
        bridges
            .map(|target| target.url.trim_end_matches("/metrics").to_owned())
            .collect()
    }

    pub(super) fn counters(&self, probe: &mut Probe) -> Result<Counters, Finding> {
        let mut counters = Counters {
            oldest: f64::INFINITY,
            ..Counters::default()
        };
        for base in &self.bridges {
            counters.add(&self.page(base, &FAMILIES[1..7], NAME_IT, probe)?);
        }
        Ok(counters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(queued: f64, delivered: f64, waiting: f64, oldest: f64, refused: f64) -> Counters {
        let page = format!(
            "alertbridge_alerts_received_total{{result=\"queued\"}} {queued}\n\
             alertbridge_alerts_received_total{{result=\"watchdog\"}} {}\n\
             alertbridge_alerts_delivered_total{{kind=\"log\"}} {delivered}\n\
             alertbridge_send_attempts_total{{kind=\"log\",outcome=\"sent\"}} {delivered}\n\
             alertbridge_send_attempts_total{{kind=\"log\",outcome=\"refused\"}} {refused}\n\
             alertbridge_queue_alerts {waiting}\n\
             alertbridge_queue_oldest_timestamp_seconds {oldest}\n",
            100.0 * queued
        );
        let mut counters = Counters {
            oldest: f64::INFINITY,
            ..Counters::default()
        };
        counters.add(&Page::read(page.into_bytes()));
        counters
    }

    #[test]
    fn delivered_is_only_what_a_target_took_and_nothing_older_waits() {
        let before = counters(5.0, 5.0, 0.0, 0.0, 0.0);
        let of = |now: &Counters| match now.since(&before, &mut None) {
            Delivery::Done(_) => "done",
            Delivery::Waiting(_) => "waiting",
            Delivery::Refused(_) => "refused",
        };
        assert_eq!(of(&before), "waiting");
        assert_eq!(of(&counters(6.0, 5.0, 1.0, 9.0, 0.0)), "waiting");
        assert_eq!(of(&counters(7.0, 6.0, 1.0, 9.0, 0.0)), "waiting");
        assert_eq!(of(&counters(6.0, 6.0, 0.0, 0.0, 0.0)), "done");
        // What came after it may wait.
        assert_eq!(of(&counters(7.0, 6.0, 1.0, 1e12, 0.0)), "done");
        assert_eq!(of(&counters(6.0, 5.0, 1.0, 9.0, 1.0)), "refused");
    }
}
