//! The alert that always fires: it does, and Alertmanager has it, lately sent.
//!
//! Invariant: a Watchdog that Alertmanager has of some time ago proves nothing; what counts is when it came last.

use super::asks::{age_seconds, step, time};
use super::{Hub, Party, ids};
use crate::verify::evidence::{Ended, Finding};
use crate::verify::record::Book;

/// What it may come later than Prometheus means to send it.
const GRACE_SECONDS: f64 = 5.0;

impl Hub<'_> {
    fn expects_watchdog(&self) -> bool {
        let name = &self.args.watchdog;
        self.expected.iter().any(|group| group.has_alert(name))
    }

    fn skip_watchdog(&self, book: &mut Book<'_>, id: &str, title: &str) {
        book.step(id, title, |_| {
            Finding::skip(
                format!("{} is none of the expected rules", self.args.watchdog),
                "ship one that always fires, and name it with --watchdog: without it nobody hears of a dead Prometheus",
            )
        });
    }

    pub(super) fn watchdog_fires(&self, book: &mut Book<'_>) {
        let title = "The alert that always fires does";
        let check = self.check(ids::WATCHDOG_FIRES, title, &[Party::Prometheus]);
        if !self.expects_watchdog() {
            return self.skip_watchdog(book, check.id, title);
        }
        let name = &self.args.watchdog;
        step(book, check, self.retry(), |probe| {
            let data = self.prometheus("alerts", &[], None, probe)?;
            let mut alerts = data["alerts"].as_array().into_iter().flatten();
            let firing = alerts.find(|alert| {
                alert["labels"]["alertname"] == name.as_str() && alert["state"] == "firing"
            });
            match firing {
                Some(alert) => Ok(Finding::pass(format!(
                    "{name} fires since {}",
                    alert["activeAt"].as_str().unwrap_or_default()
                ))),
                None => Err(Finding::fail(
                    format!("{name} does not fire in Prometheus"),
                    "look whether its rule is loaded and evaluated: its expression is vector(1)",
                )),
            }
        });
    }

    pub(super) fn watchdog_seen(&self, book: &mut Book<'_>) {
        let title = "Alertmanager has the alert that always fires, lately sent";
        let needs = [Party::Prometheus, Party::Alertmanager];
        let check = self.check(ids::WATCHDOG_SEEN, title, &needs);
        if !self.expects_watchdog() {
            return self.skip_watchdog(book, check.id, title);
        }
        let name = &self.args.watchdog;
        // Sent again with the first evaluation after that.
        let age_max = self.resend_delay.as_secs_f64()
            + 2.0 * self.evaluation_interval.as_secs_f64()
            + GRACE_SECONDS;
        let ended = if self.is_known {
            Ended::Pass
        } else {
            Ended::Fail
        };
        let patience = std::time::Duration::try_from_secs_f64(age_max).unwrap_or_default();
        let retry = self.patience(self.if_passed(ended, patience));
        step(book, check, retry, |probe| {
            let filter = format!("alertname={name:?}");
            let file = Some("alertmanager-watchdog.json");
            let alerts = self.alertmanager("alerts", &[("filter", &filter)], file, probe)?;
            let alerts = alerts.as_array().into_iter().flatten();
            let newest = alerts
                .filter_map(|alert| Some((time(&alert["updatedAt"])?, alert)))
                .max_by_key(|(updated, _)| *updated);
            let next = "look whether Prometheus sends to this Alertmanager (alerting.alertmanagers, prometheus_notifications_errors_total), and what it logs";
            let Some((updated, alert)) = newest else {
                return Err(Finding::fail(format!("Alertmanager has no {name}"), next));
            };
            let age = age_seconds(updated, self.alertmanager_ahead.unwrap_or_default());
            if age > age_max {
                return Err(Finding::fail(
                    format!("{name} came {age:.0} s ago, expected within {age_max:.0} s"),
                    next,
                ));
            }
            if alert["status"]["state"] == "suppressed" {
                return Err(Finding::fail(
                    format!("{name} is silenced or held back: whoever waits for it hears nothing"),
                    "end the silence that hides it (amtool silence query, amtool silence expire ID)",
                ));
            }
            Ok(Finding::pass(format!(
                "{name} came {:.0} s ago, {age_max:.0} s are allowed",
                age.max(0.0)
            )))
        });
    }
}
