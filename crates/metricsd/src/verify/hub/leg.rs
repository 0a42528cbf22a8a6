//! One leg of the alert path: that something was sent by Alertmanager, and that the bridge delivered it.
//!
//! Invariant: both are read from counters that moved after it was done, with none of the failures beside them. Alertmanager's counters are
//! those of a kind of integration, whoever else uses it; the bridge's are of all alerts but the Watchdog.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::asks::step;
use super::bridge::{Counters, Delivery};
use super::{Hub, Party};
use crate::verify::evidence::{Ended, Finding};
use crate::verify::record::{Book, Probe};

/// Requests that failed, after which none is waited for any more: Alertmanager goes on trying, at the end for a minute.
const FAILURES_MAX: f64 = 2.0;

/// Alertmanager's counters of requests, those that failed among them.
const REQUESTS: &str = "alertmanager_notification_requests_total";
const REQUESTS_FAILED: &str = "alertmanager_notification_requests_failed_total";

const LOOK: &str = "read Alertmanager's log, which names the receiver and what it was answered; start what the receiver's address names";

/// Requests that Alertmanager made and those that failed, by kind of integration.
#[derive(Debug, Clone, Default)]
pub(super) struct Sent(BTreeMap<String, (f64, f64)>);

impl Sent {
    /// Those that were taken since then and those that failed, of these kinds; of all if none is named.
    fn since(&self, before: &Sent, kinds: &[String]) -> (f64, f64) {
        let mine = self
            .0
            .iter()
            .filter(|(kind, _)| kinds.is_empty() || kinds.contains(kind));
        mine.fold(
            (0.0, 0.0),
            |(taken, failed), (kind, (requests, failures))| {
                let (old_requests, old_failures) = before.0.get(kind).copied().unwrap_or_default();
                let newly_failed = failures - old_failures;
                let newly_taken = requests - old_requests - newly_failed;
                (taken + newly_taken, failed + newly_failed)
            },
        )
    }
}

/// Counters before something was done, and when that was.
#[derive(Debug, Clone)]
pub(super) struct Before {
    sent: Sent,
    bridge: Option<Counters>,
    at: Instant,
}

impl Before {
    fn left_of(&self, budget: Duration) -> Duration {
        budget.saturating_sub(self.at.elapsed())
    }
}

/// Begin or end of the alert.
pub(super) struct Leg<'a> {
    pub(super) notified: (&'static str, &'static str),
    pub(super) delivered: (&'static str, &'static str),
    /// How long Alertmanager may take.
    pub(super) budget: Duration,
    /// The kinds of integrations that its receivers have; all if none is known.
    pub(super) kinds: &'a [String],
    /// Whether it is the end.
    pub(super) is_end: bool,
}

impl Hub<'_> {
    /// One of both: the notification, and its delivery.
    pub(super) fn leg(&self, book: &mut Book<'_>, leg: &Leg<'_>, before: Option<Before>) -> Ended {
        let mut needs = vec![Party::Alertmanager, Party::Alert, Party::Receiver];
        if leg.is_end {
            // Of what was never told, no end is told.
            needs.push(Party::Notification);
        }
        let check = self.check(leg.notified.0, leg.notified.1, &needs);
        let left = before
            .as_ref()
            .map_or(Duration::ZERO, |before| before.left_of(leg.budget));
        let ended = step(book, check, self.retry_for(left), |probe| {
            let before = before.as_ref().ok_or_else(nothing_to_compare)?;
            let (sent, failed) = self.sent(probe)?.since(&before.sent, leg.kinds);
            let kinds = leg.kinds.join(", ");
            if failed > 0.0 && (sent > 0.0 || failed >= FAILURES_MAX) {
                probe.do_not_retry();
                return Err(Finding::fail(
                    format!("{kinds}: {failed} requests failed, {sent} were taken"),
                    LOOK,
                ));
            }
            if sent > 0.0 {
                return Ok(Finding::pass(format!(
                    "{kinds}: {sent} requests were taken, none failed, {:.1} s after it was {}",
                    before.at.elapsed().as_secs_f64(),
                    if leg.is_end { "ended" } else { "fired" }
                )));
            }
            Err(Finding::fail(
                format!("{kinds}: no request within {:?}", leg.budget),
                if leg.is_end {
                    "set send_resolved: true for the receiver, and look at group_interval of its route; --notify-within allows more"
                } else {
                    "look at group_wait of the route, and at mute or active time intervals; --notify-within allows more"
                },
            ))
        });
        self.delivered(book, leg, before.as_ref(), ended, &needs);
        ended
    }

    fn delivered(
        &self,
        book: &mut Book<'_>,
        leg: &Leg<'_>,
        before: Option<&Before>,
        notified: Ended,
        needs: &[Party],
    ) {
        let (id, title) = leg.delivered;
        if self.bridges.is_empty() {
            book.step(id, title, |_| {
                Finding::skip(
                    "no bridge is known, so that only Alertmanager's word is there",
                    "name it with --alertbridge http://HOST:8060",
                )
            });
            return;
        }
        let check = self.check(id, title, needs);
        // What was seen above may have been another's: Watchdog is sent all the time.
        let left = before.map_or(Duration::ZERO, |before| before.left_of(leg.budget));
        let left = left + self.args.deliver_within;
        let mut taken_at = None;
        step(
            book,
            check,
            self.retry_for(self.if_passed(notified, left)),
            |probe| {
                let next = "read the bridge's log, which names the target and its answer; AlertbridgeDeliveryFailing and AlertbridgeTargetRefuses of its runbooks say what to do";
                let first = before.and_then(|before| before.bridge.as_ref());
                let first = first.ok_or_else(nothing_to_compare)?;
                match self.counters(probe)?.since(first, &mut taken_at) {
                    Delivery::Done(text) => Ok(Finding::pass(text)),
                    Delivery::Waiting(text) => Err(Finding::fail(text, next)),
                    Delivery::Refused(text) => {
                        probe.do_not_retry();
                        Err(Finding::fail(text, next))
                    }
                }
            },
        );
    }

    pub(super) fn before(&self, probe: &mut Probe) -> Result<Before, Finding> {
        let sent = self.sent(probe)?;
        // A bridge that does not answer has failed its own check.
        let bridge = self.counters(probe).ok();
        Ok(Before {
            sent,
            bridge,
            at: Instant::now(),
        })
    }

    fn sent(&self, probe: &mut Probe) -> Result<Sent, Finding> {
        let page = self.alertmanager_page(&[REQUESTS, REQUESTS_FAILED], probe)?;
        let mut sent = Sent::default();
        for sample in &page.samples {
            let kind = sample.series.split("integration=\"").nth(1);
            let Some(kind) = kind.and_then(|rest| rest.split('"').next()) else {
                continue;
            };
            let (requests, failed) = sent.0.entry(kind.to_owned()).or_default();
            match sample.name.as_str() {
                REQUESTS => *requests += sample.value,
                REQUESTS_FAILED => *failed += sample.value,
                _ => {}
            }
        }
        Ok(sent)
    }
}

fn nothing_to_compare() -> Finding {
    Finding::fail(
        "the counters could not be read before, so that nothing can be compared",
        "do what the failed checks before say, then verify again",
    )
}
