//! Freshness by due times: the clocks agree, the next cycle and the next bar are not overdue, the gateway was heard of.
//!
//! Invariant: due times are the sentinel's, so they are held against its own clock, which its answers tell; that this clock is right is a
//! check of its own.

use super::cli::Mode;
use super::reading::{label_of, number};
use super::{Inspection, ids};
use crate::verify::evidence::Finding;
use crate::verify::record::{Book, Retry};

/// By when the next cycle should have completed.
pub(super) const NEXT_CYCLE: &str = "sentinel_next_cycle_due_timestamp_seconds";

/// By when the next bar should be there, by source.
pub(super) const NEXT_BAR: &str = "sentinel_next_bar_due_timestamp_seconds";

const CLOCK_OFFSET: &str = "sentinel_clock_offset_seconds";
const HEARTBEAT: &str = "sentinel_gateway_last_heartbeat_timestamp_seconds";

/// Clocks that are further apart make due times mean little; the alert has the same number.
const CLOCK_OFFSET_MAX_SECONDS: f64 = 2.0;

/// A gateway that was not heard of for longer is gone; the alert has the same number.
const HEARTBEAT_AGE_MAX_SECONDS: f64 = 60.0;

impl Inspection<'_> {
    pub(super) fn clocks_agree(&self, book: &mut Book<'_>) {
        let check = (
            ids::CLOCKS_AGREE,
            "The sentinel's clock agrees with ours, and with those that it knows",
        );
        self.judge(book, check, &[CLOCK_OFFSET], Retry::NEVER, |page| {
            let mut known: Vec<(String, f64, f64)> = page
                .series(CLOCK_OFFSET)
                .iter()
                .map(|series| {
                    let reference = label_of(series, "reference").unwrap_or_default();
                    let offset = number(&series.value).unwrap_or(f64::NAN);
                    (format!("that of the {reference}"), offset, 0.0)
                })
                .collect();
            if let Some((ahead, uncertain)) = page.time.ahead {
                known.push(("ours".to_owned(), ahead, uncertain));
            }
            if known.is_empty() {
                return Finding::skip(
                    "its answers have no Date, and it knows no other clock",
                    "ask the sentinel itself, without a proxy that takes headers away",
                );
            }
            let said: Vec<String> = known
                .iter()
                .map(|(whose, ahead, uncertain)| {
                    format!("{ahead:+.1} s to {whose} (within {uncertain:.1} s)")
                })
                .collect();
            let text = format!("its clock is {}", said.join(", "));
            let is_far = known.iter().any(|(_, ahead, uncertain)| {
                !ahead.is_finite() || ahead.abs() > CLOCK_OFFSET_MAX_SECONDS + uncertain
            });
            if is_far {
                Finding::fail(
                    text,
                    "run NTP on both hosts; which bar is closed is judged by the sentinel's clock",
                )
            } else {
                Finding::pass(text)
            }
        });
    }

    pub(super) fn cycle_due(&self, book: &mut Book<'_>) {
        let check = (ids::CYCLE_DUE, "The next cycle is not overdue");
        self.judge(book, check, &[NEXT_CYCLE], self.retry, |page| {
            let Some(due) = page.value(NEXT_CYCLE, &[]) else {
                return Finding::fail(
                    format!("{NEXT_CYCLE} has no sample"),
                    "see the check families_present",
                );
            };
            let left = due - page.time.now;
            if left >= 0.0 {
                Finding::pass(format!("due in {left:.0} s at most"))
            } else {
                Finding::fail(
                    format!("the next cycle should have completed {:.0} s ago", -left),
                    "the loop hangs: read the sentinel's log, see what it waits for (/proc/PID/stack), restart it",
                )
            }
        });
    }

    pub(super) fn bars_fresh(&self, book: &mut Book<'_>) {
        let check = (
            ids::BARS_FRESH,
            "The next bar is not overdue by more than --bar-grace, market calendar applied",
        );
        let grace = self.args.bar_grace;
        self.judge(book, check, &[NEXT_BAR, "sentinel_last_bar_"], self.retry, |page| {
            let dues: Vec<(&str, f64)> = page
                .series(NEXT_BAR)
                .iter()
                .map(|series| {
                    let source = label_of(series, "source").unwrap_or_default();
                    (source, number(&series.value).unwrap_or(f64::NAN))
                })
                .collect();
            if dues.is_empty() {
                return Finding::fail(
                    format!("{NEXT_BAR} has no sample"),
                    "see the check families_present",
                );
            }
            if page.series("sentinel_last_bar_timestamp_seconds").is_empty() {
                return Finding::fail(
                    "no bar was accepted since the start",
                    "see the check health_ok for what the feed answers",
                );
            }
            let said: Vec<String> = dues
                .iter()
                .map(|(source, due)| match due - page.time.now {
                    left if left >= 0.0 => format!("{source}: the next one is due in {left:.0} s"),
                    left => format!("{source}: the next one is overdue by {:.0} s", -left),
                })
                .collect();
            let is_late = |due: f64| due.is_nan() || page.time.now > due + grace.as_secs_f64();
            if dues.iter().any(|(_, due)| is_late(*due)) {
                Finding::fail(
                    format!("{}, expected within {grace:?}", said.join(", ")),
                    "see whether the feed answers and has new bars; health_ok says what its last answer was",
                )
            } else {
                Finding::pass(said.join(", "))
            }
        });
    }

    pub(super) fn gateway_heartbeat(&self, book: &mut Book<'_>) {
        let title = "In live trading the gateway was heard of just now";
        book.step_with(ids::GATEWAY_HEARTBEAT, title, self.retry, |probe| {
            let health = match self.health(probe) {
                Ok((health, _)) => health,
                Err(finding) => return finding,
            };
            if health.mode != Mode::Live.as_str() {
                return Finding::skip(
                    "a dry run, which has no gateway",
                    "verify a sentinel that runs with --live",
                );
            }
            let page = match self.samples(&[HEARTBEAT], probe) {
                Ok(page) => page,
                Err(finding) => return finding,
            };
            let next = "look whether the gateway runs and can be reached; docs/trading-safety.md says what follows";
            let Some(at) = page.value(HEARTBEAT, &[]) else {
                return Finding::fail("the gateway has not answered a heartbeat yet", next);
            };
            let age = page.time.now - at;
            let is_answering = health.gateway.is_some_and(|gateway| gateway.is_answering);
            let text = format!("the last heartbeat is {age:.1} s old");
            if age.is_nan() || age > HEARTBEAT_AGE_MAX_SECONDS {
                Finding::fail(format!("{text}, expected {HEARTBEAT_AGE_MAX_SECONDS} s or less"), next)
            } else if !is_answering {
                Finding::fail(format!("{text}, and /health says that the last one was not answered"), next)
            } else {
                Finding::pass(text)
            }
        });
    }
}
