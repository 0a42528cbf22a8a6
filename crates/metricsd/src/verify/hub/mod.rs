//! `metricsd verify hub`: is everything up, is it arriving, and would somebody hear of it? Prometheus, its rules and targets, the series, and
//! the alert path from end to end with an alert of its own.
//!
//! Invariant: each check has a fault that makes it fail, and `docs/verification-hub.md` has a row for it; what was not looked at is said and is
//! no pass. Nothing is changed but for one alert, which is over when the verification is, whatever way it ends. Must not touch files but
//! those of the expected rules.

mod alert;
mod alertmanager;
mod asks;
mod bridge;
pub mod cli;
mod ids;
mod leg;
mod path;
mod prometheus;
mod routes;
mod rules;
mod series;
mod silences;
mod targets;
mod watchdog;
mod yaml;

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use super::evidence::{Ended, Verified};
use super::http::Client;
use super::record::{Book, Retry};
use super::subject;
use super::verification::{Plan, VerificationError, conduct};

use cli::HubArgs;
use rules::Group;
use targets::Target;
use yaml::Node;

pub use ids::CHECKS;

/// Verifies, tells `out` line by line or as one object at the end, and files the report.
///
/// # Errors
/// A file of rules that cannot be used, a report that cannot be filed or told. A check that fails is none.
pub fn run(args: &HubArgs, out: &mut dyn Write) -> Result<Ended, VerificationError> {
    let hub = Hub::new(args, rules::expected(&args.rules)?);
    let plan = Plan {
        name: "hub",
        subject: subject::describe("the HUB", verified(args)),
        report: &args.report,
    };
    conduct(plan, out, |book| hub.verify(book))
}

fn verified(args: &HubArgs) -> Vec<Verified> {
    let bridges = match args.alertbridge.as_slice() {
        [] => "the targets of its job".to_owned(),
        named => named.join(", "),
    };
    let rules = match args.rules.as_slice() {
        [] => "those that were shipped with this metricsd".to_owned(),
        files => {
            let files = files.iter().map(|file| file.display().to_string());
            files.collect::<Vec<_>>().join(", ")
        }
    };
    let rows = [
        ("prometheus", "Prometheus", args.prometheus.clone()),
        ("alertmanager", "Alertmanager", args.alertmanager.clone()),
        ("alertbridge", "Alert bridge", bridges),
        ("rules", "Expected rules", rules),
        ("jobs", "Required jobs", args.required_jobs().join(", ")),
    ];
    let rows = rows.into_iter().map(|(key, label, value)| Verified {
        key,
        label,
        value: Some(value),
    });
    rows.collect()
}

/// What a check asks, and nobody is asked twice who did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Party {
    Prometheus,
    Alertmanager,
    /// The test alert in Alertmanager.
    Alert,
    /// Who receives it.
    Receiver,
    /// The notification of its begin.
    Notification,
}

impl Party {
    /// The check that says why it cannot be asked.
    fn check(self) -> &'static str {
        match self {
            Party::Prometheus => ids::PROMETHEUS_READY,
            Party::Alertmanager => ids::ALERTMANAGER_READY,
            Party::Alert => ids::ALERT_ACTIVE,
            Party::Receiver => ids::ALERT_ROUTED,
            Party::Notification => ids::ALERT_NOTIFIED,
        }
    }
}

/// A check before it is made.
#[derive(Debug, Clone, Copy)]
struct Check {
    id: &'static str,
    title: &'static str,
    /// The check without which it cannot be made, if that did not pass.
    missing: Option<&'static str>,
}

/// What is verified, and what was learned of it on the way.
struct Hub<'a> {
    args: &'a HubArgs,
    expected: Vec<Group>,
    client: Client,
    missing: BTreeSet<Party>,
    /// How far its clock is ahead of ours.
    prometheus_ahead: f64,
    /// The same of Alertmanager, if it tells the time.
    alertmanager_ahead: Option<f64>,
    targets: Vec<Target>,
    /// The longest of the groups of rules.
    evaluation_interval: Duration,
    /// What Prometheus waits before it sends an alert again that still fires.
    resend_delay: Duration,
    /// Whether Prometheus is known to send to the Alertmanager that was named.
    is_known: bool,
    /// Alertmanager's configuration, if it could be read.
    routes: Option<Node>,
    bridges: Vec<String>,
}

impl<'a> Hub<'a> {
    fn new(args: &'a HubArgs, expected: Vec<Group>) -> Hub<'a> {
        Hub {
            args,
            expected,
            client: Client::default(),
            missing: BTreeSet::new(),
            prometheus_ahead: 0.0,
            alertmanager_ahead: None,
            targets: Vec::new(),
            evaluation_interval: Duration::from_secs(60),
            resend_delay: Duration::from_secs(60),
            is_known: false,
            routes: None,
            bridges: Vec::new(),
        }
    }

    /// The order is that in which a fault spreads: what a later check needs was checked before it.
    fn verify(mut self, book: &mut Book<'_>) {
        self.prometheus_ready(book);
        self.prometheus_config(book);
        self.rules_loaded(book);
        self.rules_healthy(book);
        self.targets_up(book);
        self.jobs_present(book);
        self.targets_dropped(book);
        self.samples_arrive(book);
        self.series_fresh(book);
        self.counters_rise(book);
        self.alertmanager_ready(book);
        self.alertmanager_config(book);
        self.alertmanager_cluster(book);
        self.clocks_agree(book);
        self.alertmanager_known(book);
        self.silences(book);
        self.watchdog_fires(book);
        self.watchdog_seen(book);
        self.bridge_ready(book);
        self.alert_path(book);
    }

    fn check(&self, id: &'static str, title: &'static str, needs: &[Party]) -> Check {
        let missing = needs.iter().find(|party| self.missing.contains(party));
        Check {
            id,
            title,
            missing: missing.map(|party| party.check()),
        }
    }

    /// Remembers that something cannot be asked.
    fn note(&mut self, party: Party, ended: Ended) {
        if ended != Ended::Pass {
            self.missing.insert(party);
        }
    }

    fn retry(&self) -> Retry {
        self.args.retry.retry()
    }

    /// As [`Hub::retry`], for at least so long.
    fn patience(&self, at_least: Duration) -> Retry {
        let Retry { count, interval } = self.retry_for(at_least);
        Retry {
            count: count.max(self.retry().count),
            interval,
        }
    }

    /// For so long, and not at all for no time.
    fn retry_for(&self, patience: Duration) -> Retry {
        let interval = self.retry().interval.max(Duration::from_millis(10));
        let count = patience.as_millis().div_ceil(interval.as_millis());
        Retry {
            count: u32::try_from(count).unwrap_or(u32::MAX),
            interval,
        }
    }
}
