//! Two looks, some time apart: the page moves, nothing that only grows fell or went, and nothing failed meanwhile.
//!
//! Invariant: both looks are of the same process; a restart in between is a failure, not a new beginning.

use std::time::{Duration, Instant};

use super::reading::Samples;
use super::{Inspection, ids};
use crate::verify::evidence::Finding;
use crate::verify::page::{Page, losses, named};
use crate::verify::record::Book;

const UPTIME: &str = "sentinel_daemon_uptime_seconds";

/// Two looks are not exactly so far apart as the sentinel's own clock says.
const SLACK_SECONDS: f64 = 1.0;

/// What grows with each thing that fails.
const FAILURES: [&str; 7] = [
    "sentinel_trading_cycles_failed_total",
    "sentinel_data_fetch_failed_total",
    "sentinel_prediction_failures_total",
    "sentinel_api_errors_total",
    "sentinel_zmq_send_failures_total",
    "sentinel_telemetry_defects_total",
    "sentinel_telemetry_endpoint_failures_total",
];

impl Inspection<'_> {
    /// The last look, and what it says beside the first one.
    pub(super) fn over_time(&mut self, book: &mut Book<'_>) {
        let stop = book.stop().clone();
        let mut last: Option<Samples> = None;
        let mut first = self.first.take();
        let title = "The page moves: the uptime grows as time goes by";
        book.step(ids::NOT_FROZEN, title, |probe| {
            if first.is_none() {
                match self.samples(&[UPTIME], probe) {
                    Ok(samples) => first = Some(samples),
                    Err(finding) => return finding,
                }
            }
            let Some(first) = &first else {
                return Finding::fail("there is no first page", "see the check http_ok");
            };
            let left = self.args.watch.saturating_sub(first.at.elapsed());
            stop.sleep(left.max(Duration::from_millis(1)));
            match self.samples(&[UPTIME], probe) {
                Ok(samples) => {
                    probe.file("metrics-last.prom", &samples.bytes);
                    let finding = judge_uptime(first, &samples);
                    last = Some(samples);
                    finding
                }
                Err(finding) => finding,
            }
        });
        let title = "Nothing that only grows fell or went between first and last look";
        book.step(ids::COUNTERS_DO_NOT_FALL, title, |_| match (&first, &last) {
            (Some(first), Some(last)) => {
                let (before, after) = (page(first), page(last));
                let lost = losses(&before, &after);
                if lost.is_empty() {
                    Finding::pass(format!(
                        "{} counts over {:.1} s",
                        before.growing().len(),
                        last.at.duration_since(first.at).as_secs_f64()
                    ))
                } else {
                    Finding::fail(
                        named(&lost),
                        "find out who restarted the sentinel, or whether several answer at this address",
                    )
                }
            }
            _ => Finding::fail("there are no two pages to compare", "see the check not_frozen"),
        });
        let title = "Nothing failed between first and last look";
        book.step(ids::NOTHING_FAILS_MEANWHILE, title, |_| match (&first, &last) {
            (Some(first), Some(last)) => {
                let grown: Vec<String> = FAILURES
                    .iter()
                    .map(|name| (name, first.sum(name), last.sum(name)))
                    .filter(|(_, before, after)| after > before)
                    .map(|(name, before, after)| format!("{name} rose from {before} to {after}"))
                    .collect();
                if grown.is_empty() {
                    Finding::pass(format!("{} counters of failures stand still", FAILURES.len()))
                } else {
                    Finding::fail(
                        named(&grown),
                        "read the sentinel's log; the label error_code of sentinel_api_errors_total says how calls fail",
                    )
                }
            }
            _ => Finding::fail("there are no two pages to compare", "see the check not_frozen"),
        });
    }
}

fn page(samples: &Samples) -> Page {
    Page::read(samples.bytes.clone())
}

fn judge_uptime(first: &Samples, last: &Samples) -> Finding {
    let uptime = |samples: &Samples| samples.value(UPTIME, &[]);
    let (Some(before), Some(after)) = (uptime(first), uptime(last)) else {
        return Finding::fail(
            format!("{UPTIME} has no sample"),
            "see the check families_present",
        );
    };
    let passed = seconds_between(first.at, last.at);
    let text = format!("{before:.1} s, and {after:.1} s after {passed:.1} s");
    let grown = after - before;
    if after < before {
        Finding::fail(
            format!("{text}: it was restarted, or another one answers"),
            "find out who restarted the sentinel, or whether several answer at this address",
        )
    } else if grown <= 0.0 || (grown - passed).abs() > SLACK_SECONDS {
        Finding::fail(
            format!("{text}: what is served is not how it is now"),
            "ask the sentinel itself, without a cache in between",
        )
    } else {
        Finding::pass(text)
    }
}

fn seconds_between(first: Instant, last: Instant) -> f64 {
    last.duration_since(first).as_secs_f64()
}
