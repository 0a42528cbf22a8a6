//! The stage that brings bars. Invariant: the feed is asked only when a bar is due, and only a newest bar that was not decided on waits for
//! a decision afterwards. Must not touch: the model.

use super::{Cycle, Undecided, was_called};
use crate::calls::{NoAnswer, Remotes};
use crate::clock::Now;
use crate::telemetry::{Endpoint, Stage};
use tracing::warn;

impl Cycle {
    pub(super) fn is_bar_due(&self, now: Now) -> bool {
        self.next_bar_due.is_none_or(|due| now.unix >= due as f64)
    }

    /// Fetch what is new. A failure ends the cycle, also where an older bar waits for its decision: a newer one is due.
    pub(super) fn fetch(&mut self, remotes: &mut dyn Remotes) -> Result<(), Undecided> {
        let now = self.clock.now();
        let answer = match self.eodhd.check(now.monotonic) {
            Err(error) => Err(NoAnswer::Failed(error)),
            Ok(()) => {
                let to = now.unix_seconds();
                let from = self.history.fetch_from(to);
                let deadline = now.monotonic + self.fetch_timeout;
                let answer = remotes.fetch(from, to, deadline);
                let end = self.clock.now();
                if was_called(&answer) {
                    self.eodhd.answered(&answer, end.monotonic);
                    self.telemetry.record_call(Endpoint::Eodhd);
                    self.telemetry
                        .record_fetch(end.monotonic.saturating_duration_since(now.monotonic));
                }
                answer
            }
        };
        let rows = match answer {
            Ok(rows) => rows,
            Err(NoAnswer::Stopped) => return Err(Undecided::Stopped),
            Err(NoAnswer::Failed(error)) => {
                self.telemetry.record_fetch_failure();
                self.call_failed(Stage::Fetch, Endpoint::Eodhd, &error);
                return Err(Undecided::Failed);
            }
        };
        let now = self.clock.now();
        self.succeeded(Stage::Fetch, now);
        let admitted = self.history.admit(&rows, now.unix_seconds());
        self.telemetry.record_defects(&admitted.defects);
        if admitted.defects.total() > 0 {
            warn!(defects = ?admitted.defects, "the bars have defects");
        }
        if let Some(newest) = self.history.newest_open_time() {
            self.telemetry.record_last_bar(newest);
            let step = self.interval.seconds();
            let due = self
                .calendar
                .next_bar_close_after(newest.saturating_add(step), self.interval);
            self.next_bar_due = Some(due);
            self.telemetry.record_next_bar_due(due as f64);
            self.health.set_stale_from(self.stale_from(due));
            if admitted.new_closed > 0 && self.desk.last_decided() < Some(newest) {
                self.pending = Some(newest);
            }
        }
        Ok(())
    }

    /// The newest bar ages from its close on, and only while bars are due: it is as old as the interval when the next one is due.
    pub(super) fn stale_from(&self, next_bar_due: i64) -> i64 {
        let stale_after = i64::try_from(self.stale_after.as_secs()).unwrap_or(i64::MAX);
        next_bar_due.saturating_add(stale_after - self.interval.seconds())
    }
}
