//! One row of a feed: judged, stepped through, recorded as metrics.
//!
//! Invariant: a session sees closed candles in order and nothing else, and whatever happened to a row is in the metrics before the next
//! one is looked at. It does no I/O beyond the metrics' own memory: this is what a candle costs.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use market::{Admission, Candle, Defect, Row, Sequence};

use crate::report::StepReport;
use crate::session::Session;
use crate::telemetry::{StepTimes, Telemetry};

/// What became of a row.
#[allow(
    clippy::large_enum_variant,
    reason = "one at a time, taken apart at once; a box would be an allocation per candle"
)]
#[derive(Debug)]
pub enum Taken<'a> {
    /// It was not used.
    Dropped(Defect),
    /// It fed the averages.
    WarmedUp,
    /// The session stepped.
    Stepped(Step<'a>),
}

/// A step and where it stands in the feed.
#[derive(Debug)]
pub struct Step<'a> {
    /// The candle.
    pub candle: &'a Candle,
    /// Expected bars that are missing before it.
    pub missing_bars: u64,
    /// What happened.
    pub report: StepReport,
}

/// Candles of one feed on their way through one session.
#[derive(Debug)]
pub struct Replay<'a> {
    session: Session,
    sequence: Sequence,
    telemetry: &'a Telemetry,
    warmup_left: usize,
    interval: Duration,
    defects: [u64; Defect::ALL.len()],
}

impl<'a> Replay<'a> {
    /// The first `warmup_candles` accepted candles feed the averages only; `interval` is the feed's pace.
    pub fn new(
        session: Session,
        sequence: Sequence,
        telemetry: &'a Telemetry,
        warmup_candles: usize,
        interval: Duration,
    ) -> Replay<'a> {
        Replay {
            session,
            sequence,
            telemetry,
            warmup_left: warmup_candles,
            interval,
            defects: [0; Defect::ALL.len()],
        }
    }

    /// Take the next row.
    pub fn take<'row>(&mut self, row: &'row Row) -> Taken<'row> {
        let now = unix_seconds_now();
        let (candle, missing_bars) = match self.sequence.admit(row, now as i64) {
            Admission::Accepted(candle, missing_bars) => (candle, missing_bars),
            Admission::Dropped(defect) => {
                self.count(defect);
                return Taken::Dropped(defect);
            }
        };
        if missing_bars > 0 {
            self.count(Defect::Gap);
        }
        if self.warmup_left > 0 {
            self.warmup_left -= 1;
            self.session.warm_up(candle);
            return Taken::WarmedUp;
        }
        let begin = Instant::now();
        let report = self.session.step(candle);
        let times = StepTimes {
            now,
            next_due: now + self.interval.as_secs_f64(),
            duration: begin.elapsed(),
        };
        self.telemetry
            .record_step(&report, &self.session, candle.open_time, &times);
        Taken::Stepped(Step {
            candle,
            missing_bars,
            report,
        })
    }

    /// Candles of the warm-up still to come.
    pub fn warmup_left(&self) -> usize {
        self.warmup_left
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Defects so far, by their index in [`Defect::ALL`].
    pub fn defects(&self) -> &[u64; Defect::ALL.len()] {
        &self.defects
    }

    fn count(&mut self, defect: Defect) {
        self.defects[defect as usize] += 1;
        self.telemetry.record_defect(defect);
    }
}

/// Wall time; a clock before 1970 reads as 1970, in which every candle is unclosed and nothing is traded.
pub fn unix_seconds_now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
