//! The alert path, end to end: an alert of ours is taken, routed, sent, delivered, ended, and its end is sent and delivered.
//!
//! Invariant: the alert is over when this is, whatever was found and whoever interrupted it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::alert::TestAlert;
use super::asks::step;
use super::cli::HubArgs;
use super::leg::{Before, Leg};
use super::routes::{Route, integrations, routes};
use super::silences::in_words;
use super::{Hub, Party, ids};
use crate::verify::evidence::{Ended, Finding};
use crate::verify::record::{Book, Probe};

/// The name of the test alert.
const ALERTNAME: &str = "HubVerification";

/// What a notification may take beyond the waits of its route.
const GRACE: Duration = Duration::from_secs(15);

/// What the alert lives longer than all budgets together.
const MARGIN: Duration = Duration::from_secs(60);

/// How long Alertmanager may take to tell of an alert what it was told of it.
const TELL_TIME_MAX: Duration = Duration::from_secs(10);

/// Labels that are found again, with an instance and a verification of their own, so that it is a group of its own.
pub(super) fn test_labels(args: &HubArgs, id: &str) -> Vec<(String, String)> {
    let ours = [
        ("alertname", ALERTNAME),
        ("job", "metricsd-verify-hub"),
        ("instance", id),
        ("verification", id),
    ];
    let ours = ours.map(|(name, value)| (name.to_owned(), value.to_owned()));
    ours.into_iter()
        .chain(args.alert_labels.iter().cloned())
        .collect()
}

/// What was learned on the way.
#[derive(Debug, Default)]
struct Way {
    receivers: Vec<String>,
    kinds: Vec<String>,
}

impl Hub<'_> {
    pub(super) fn alert_path(&mut self, book: &mut Book<'_>) {
        let id = format!(
            "{}-{}",
            Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ"),
            std::process::id()
        );
        let labels = test_labels(self.args, &id);
        let possible = self.routes.as_ref().map(|config| routes(config, &labels));
        let possible = possible.unwrap_or_default();
        let (begin, end) = self.budgets(&possible, &[]);
        let life = begin + end + self.args.deliver_within * 2 + MARGIN;
        let client = self.client.clone();
        let mut alert = TestAlert::new(
            &client,
            &self.args.alertmanager,
            &labels,
            format!("{}/alerts", self.args.prometheus),
            self.alertmanager_ahead.unwrap_or_default(),
            SignedDuration::try_from(life).unwrap_or(SignedDuration::from_mins(10)),
        );
        let mut way = Way::default();
        let before = self.alert_active(book, &mut alert, &id, &mut way);
        self.alert_routed(book, &mut way);
        let (begin, end) = self.budgets(&possible, &way.receivers);
        let leg = Leg {
            notified: (
                ids::ALERT_NOTIFIED,
                "Alertmanager sends the test alert, and no request fails",
            ),
            delivered: (
                ids::ALERT_DELIVERED,
                "The bridge delivers the test alert, and no target refuses it",
            ),
            budget: begin,
            kinds: &way.kinds,
            is_end: false,
        };
        let ended = self.leg(book, &leg, before);
        self.note(Party::Notification, ended);
        let before = self.alert_resolved(book, &mut alert, &id);
        let leg = Leg {
            notified: (
                ids::END_NOTIFIED,
                "Alertmanager sends the end of the test alert, and no request fails",
            ),
            delivered: (
                ids::END_DELIVERED,
                "The bridge delivers the end of the test alert, and no target refuses it",
            ),
            budget: end,
            kinds: &way.kinds,
            is_end: true,
        };
        self.leg(book, &leg, before);
    }

    /// How long the notification of begin and end may take, by the routes to these receivers; by all if none is known.
    fn budgets(&self, routes: &[Route], receivers: &[String]) -> (Duration, Duration) {
        if let Some(within) = self.args.notify_within {
            return (within, within);
        }
        let taken = routes
            .iter()
            .filter(|route| receivers.is_empty() || receivers.contains(&route.receiver));
        let (mut wait, mut interval) = (Duration::ZERO, Duration::ZERO);
        for route in taken {
            wait = wait.max(route.group_wait);
            interval = interval.max(route.group_interval);
        }
        if interval.is_zero() {
            (wait, interval) = (Duration::from_secs(30), Duration::from_secs(300));
        }
        // A group that is there already is sent with its next interval.
        (wait + interval + GRACE, interval + GRACE)
    }

    fn alert_active(
        &mut self,
        book: &mut Book<'_>,
        alert: &mut TestAlert<'_>,
        id: &str,
        way: &mut Way,
    ) -> Option<Before> {
        let title = "A test alert is taken, active and neither silenced nor held back";
        let check = self.check(ids::ALERT_ACTIVE, title, &[Party::Alertmanager]);
        let mut before = None;
        let ended = step(book, check, self.patience(TELL_TIME_MAX), |probe| {
            if before.is_none() {
                before = Some(self.before(probe)?);
            }
            alert.fire(probe)?;
            let Some(found) = self.look_up(id, Some("alertmanager-alert.json"), probe)? else {
                return Err(Finding::fail(
                    "Alertmanager took the alert and does not have it",
                    "look at Alertmanager's log; another one may answer behind the same address",
                ));
            };
            let status = &found["status"];
            match status["state"].as_str() {
                Some("active") => {
                    way.receivers = names(&found["receivers"]);
                    Ok(Finding::pass(format!("{ALERTNAME} {id} is active")))
                }
                Some("suppressed") => {
                    probe.do_not_retry();
                    Err(self.suppressed(status, probe))
                }
                state => Err(Finding::fail(
                    format!("the alert is {} yet", state.unwrap_or("in no state")),
                    "look at Alertmanager's log and load",
                )),
            }
        });
        self.note(Party::Alert, ended);
        before
    }

    fn suppressed(&self, status: &Value, probe: &mut Probe) -> Finding {
        let mut by = Vec::new();
        for id in status["silencedBy"].as_array().into_iter().flatten() {
            let id = id.as_str().unwrap_or_default();
            let path = format!("silence/{id}");
            let silence = self.alertmanager(&path, &[], None, probe);
            by.push(silence.map_or_else(|_| format!("silence {id}"), |found| in_words(&found)));
        }
        for id in status["inhibitedBy"].as_array().into_iter().flatten() {
            let id = id.as_str().unwrap_or_default();
            by.push(format!("the alert with fingerprint {id}"));
        }
        Finding::fail(
            format!("the alert is suppressed by {}", by.join(", ")),
            "end the silence if nobody needs it any more (amtool silence expire ID); an alert that holds back others is in /#/alerts of Alertmanager",
        )
    }

    fn alert_routed(&mut self, book: &mut Book<'_>, way: &mut Way) {
        let title = "The test alert has a receiver, and that sends something somewhere";
        let check = self.check(
            ids::ALERT_ROUTED,
            title,
            &[Party::Alertmanager, Party::Alert],
        );
        let ended = step(book, check, self.retry(), |probe| {
            probe.do_not_retry();
            let Some(config) = &self.routes else {
                return Err(Finding::skip(
                    "Alertmanager's configuration could not be read",
                    "verify an Alertmanager from 0.22 on",
                ));
            };
            let told = way.receivers.join(", ");
            let kinds = way
                .receivers
                .iter()
                .flat_map(|name| integrations(config, name));
            way.kinds = kinds.collect();
            if way.kinds.is_empty() {
                return Err(Finding::fail(
                    format!("the alert goes to {told:?}, which has no integration: nobody is told"),
                    "give the receiver a webhook_configs with the address of the bridge, or route the alert to one that has; --alert-label chooses another way",
                ));
            }
            Ok(Finding::pass(format!(
                "to {told} by {}",
                way.kinds.join(", ")
            )))
        });
        // Where the configuration cannot be read, Alertmanager's word is enough to go on.
        if ended == Ended::Fail {
            self.note(Party::Receiver, ended);
        }
    }

    /// Also after an interrupt: it is what an interrupt waits for.
    fn alert_resolved(
        &self,
        book: &mut Book<'_>,
        alert: &mut TestAlert<'_>,
        id: &str,
    ) -> Option<Before> {
        let title = "The test alert is ended, and Alertmanager has it no longer";
        if !alert.is_told() {
            let check = self.check(
                ids::ALERT_RESOLVED,
                title,
                &[Party::Alertmanager, Party::Alert],
            );
            step(book, check, self.retry(), |_| {
                Err(Finding::skip("no alert was fired", "see above"))
            });
            return None;
        }
        let mut before = None;
        let mut is_told = false;
        let ends = alert.ends;
        let retry = self.patience(TELL_TIME_MAX);
        book.step_even_if_stopped(ids::ALERT_RESOLVED, title, retry, |probe| {
            let mut attempt = || {
                if before.is_none() {
                    before = self.before(probe).ok();
                }
                if !is_told {
                    alert.resolve(probe)?;
                    is_told = true;
                }
                match self.look_up(id, None, probe)? {
                    None => Ok(Finding::pass(format!("{ALERTNAME} {id} is over and gone"))),
                    Some(found) => Err(Finding::fail(
                        format!(
                            "the alert is still {}",
                            found["status"]["state"].as_str().unwrap_or("there")
                        ),
                        "it was told to be over; look at the clock of Alertmanager's host",
                    )),
                }
            };
            attempt().unwrap_or_else(|finding| Finding {
                text: format!("{}; by itself the alert ends at {ends}", finding.text),
                ..finding
            })
        });
        before
    }

    /// The test alert, as Alertmanager has it.
    fn look_up(
        &self,
        id: &str,
        file: Option<&str>,
        probe: &mut Probe,
    ) -> Result<Option<Value>, Finding> {
        let filter = format!("verification={id:?}");
        let alerts = self.alertmanager("alerts", &[("filter", &filter)], file, probe)?;
        let mut alerts = match alerts {
            Value::Array(alerts) => alerts.into_iter(),
            _ => Vec::new().into_iter(),
        };
        Ok(alerts.next())
    }
}

fn names(receivers: &Value) -> Vec<String> {
    let receivers = receivers.as_array().into_iter().flatten();
    let names = receivers.filter_map(|receiver| receiver["name"].as_str());
    names.map(str::to_owned).collect()
}
