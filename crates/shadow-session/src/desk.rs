//! The loop: wait for a candle, take it, log it, look at the world once a second.
//!
//! Invariant: once it runs, only the end of the feed, the duration or a signal ends it; a fault of the run log costs events of the run log, a
//! fault of the telemetry costs the telemetry.

use std::time::{Duration, Instant};

use market::{Feed, Row};
use metricsd_client::Registry;
use tracing::{debug, info, warn};

use crate::event::Event;
use crate::pace::{Pace, Stop};
use crate::replay::{Replay, Step, Taken};
use crate::report::OrderResult;
use crate::run_log::{RunLog, RunLogError};
use crate::session::Session;
use crate::summary::{End, Summary};
use crate::telemetry::Telemetry;

/// How often the state of the telemetry itself is asked for.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// A session at work, with everything it reports to.
#[derive(Debug)]
pub struct Desk<'a> {
    replay: Replay<'a>,
    registry: &'a Registry,
    telemetry: &'a Telemetry,
    log: Option<RunLog>,
    /// Whether it was said that the run log has holes, for as long as writes fail.
    log_failure_said: bool,
    /// Defects of bars that were dropped since the last step: they stand in the next step's event.
    dropped: Vec<&'static str>,
    status_due: Instant,
}

impl<'a> Desk<'a> {
    /// Nothing taken yet.
    pub fn new(
        replay: Replay<'a>,
        registry: &'a Registry,
        telemetry: &'a Telemetry,
        log: Option<RunLog>,
    ) -> Desk<'a> {
        Desk {
            replay,
            registry,
            telemetry,
            log,
            log_failure_said: false,
            dropped: Vec::new(),
            status_due: Instant::now(),
        }
    }

    /// Take candles until there are no more, the deadline is over or a signal comes.
    pub fn trade(
        &mut self,
        feed: &Feed,
        mut pace: Pace,
        deadline: Option<Instant>,
        stop: &Stop,
    ) -> End {
        for (number, row) in feed.rows.iter().enumerate() {
            // The warm-up is history: there is nothing to wait for in it.
            let history = self.replay.warmup_left() > 0;
            if let Some(end) = self.wait(if history { None } else { Some(&pace) }, deadline, stop) {
                return end;
            }
            if !history {
                pace.advance();
            }
            self.take(row, feed.line_of(number));
        }
        End::EndOfData
    }

    /// The end: last words to the metrics and the run log.
    pub fn close(mut self, end: End, run_id: &str, warmup_candles: usize) -> Summary {
        let summary = Summary::of(
            self.replay.session(),
            end,
            run_id,
            warmup_candles,
            *self.replay.defects(),
        );
        self.telemetry.record_end();
        self.record_status(Instant::now());
        if let Some(log) = self.log.take() {
            let folder = log.folder().to_owned();
            let lost = log.lost();
            // Whoever sends a signal waits for the end of the process, and not for the disk as well.
            let durable = !matches!(end, End::Signal(_));
            let errors = log.finish(&summary.to_json(), durable, Instant::now());
            for error in &errors {
                self.telemetry.record_run_log_error();
                warn!(%error, cause = cause(error), "the end of the run log is lost");
            }
            if errors.is_empty() && lost == 0 {
                info!(folder = %folder.display(), "run log complete");
            } else {
                warn!(folder = %folder.display(), lost_events = lost, "run log has holes");
            }
        }
        info!(end = %end, steps = summary.totals.steps, filled = summary.totals.filled, "paper session ended");
        summary
    }

    /// The run log cannot be begun: said once, counted, and the session goes on without it.
    pub fn give_up_log(&mut self, error: &RunLogError) {
        self.log = None;
        self.telemetry.record_run_log_error();
        warn!(%error, cause = cause(error), "run log is off from here on; the session goes on without it");
    }

    /// Every failed write is counted; only the first of a row of them is said.
    fn record_write(&mut self, written: Result<(), RunLogError>) {
        let Some(log) = &self.log else { return };
        match written {
            Err(error) => {
                self.telemetry.record_run_log_error();
                if !self.log_failure_said {
                    self.log_failure_said = true;
                    warn!(%error, cause = cause(&error), "run log cannot be written and has a hole from here on; tried again every second");
                }
            }
            Ok(()) if self.log_failure_said && !log.is_failing() => {
                self.log_failure_said = false;
                warn!(lost_events = log.lost(), "run log is written again");
            }
            Ok(()) => {}
        }
    }

    /// The session's facts so far.
    pub fn session(&self) -> &Session {
        self.replay.session()
    }

    /// Wait until the next candle is due, at most until the deadline. `None` pace: it is due now.
    fn wait(&mut self, pace: Option<&Pace>, deadline: Option<Instant>, stop: &Stop) -> Option<End> {
        loop {
            if let Some(signal) = stop.signal() {
                return Some(End::Signal(signal));
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Some(End::Duration);
            }
            if now >= self.status_due {
                self.record_status(now);
            }
            let until_due = pace.map_or(Duration::ZERO, |pace| pace.until_due(now));
            if until_due.is_zero() {
                return None;
            }
            let until_deadline = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(now)
            });
            let wait = until_due.min(until_deadline).min(STATUS_INTERVAL);
            if let Some(written) = self.log.as_mut().map(|log| log.flush_before(wait, now)) {
                self.record_write(written);
            }
            stop.wait(wait);
        }
    }

    fn take(&mut self, row: &Row, line: Option<u32>) {
        match self.replay.take(row) {
            Taken::Dropped(defect) => {
                // The first of its kind, since a file full of them is one mistake; the summary has the counts.
                if self.replay.defects()[defect as usize] == 1 {
                    warn!(
                        defect = defect.as_str(),
                        line,
                        open_time = row.open_time(),
                        "candle dropped; more of this kind are only counted"
                    );
                } else {
                    debug!(
                        open_time = row.open_time(),
                        line,
                        defect = defect.as_str(),
                        "candle dropped"
                    );
                }
                // Without a run log nobody would ever take them out again.
                if self.log.is_some() {
                    self.dropped.push(defect.as_str());
                }
            }
            Taken::WarmedUp => {}
            Taken::Stepped(step) => {
                if !step.report.fills.is_empty()
                    || !step.report.orders.is_empty()
                    || step.report.signal_changed
                {
                    announce(&step);
                }
                self.append(&step);
            }
        }
    }

    fn append(&mut self, step: &Step<'_>) {
        let Some(log) = &mut self.log else { return };
        let appended = log.append(
            &Event::of(step, self.replay.session(), &self.dropped),
            Instant::now(),
        );
        self.dropped.clear();
        self.record_write(appended);
    }

    fn record_status(&mut self, now: Instant) {
        self.status_due = now + STATUS_INTERVAL;
        self.telemetry
            .record_degraded(self.registry.status().is_degraded());
    }
}

/// What the system said.
fn cause(error: &RunLogError) -> String {
    std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// What a person at the terminal wants to see go by.
fn announce(step: &Step<'_>) {
    let bar = jiff::Timestamp::from_second(step.candle.open_time).unwrap_or_default();
    if step.report.signal_changed {
        debug!(%bar, signal = step.report.signal.as_str(), close = %step.candle.close, "signal changed");
    }
    for report in &step.report.fills {
        let order = &report.order;
        match &report.fill {
            Ok(fill) => info!(
                %bar, decision = order.decision.as_str(), side = order.side.as_str(), quantity = %fill.quantity,
                price = %fill.price.normalize(), fee = %fill.fee.round_dp(4), "filled"
            ),
            Err(error) => {
                warn!(%bar, decision = order.decision.as_str(), %error, "order not filled")
            }
        }
    }
    for report in step
        .report
        .orders
        .iter()
        .filter(|report| report.result != OrderResult::Sent)
    {
        let order = &report.order;
        let limits: Vec<&str> = report
            .verdict
            .iter()
            .flat_map(|verdict| verdict.breached.iter().map(|limit| limit.as_str()))
            .collect();
        info!(
            %bar, decision = order.decision.as_str(), quantity = %order.quantity, result = report.result.as_str(),
            limits = limits.join(" "), "order not sent"
        );
    }
}
