//! The one clock of the program: wall time for what is shown and scheduled, monotonic time for budgets and ages.
//!
//! Invariant: nothing else reads time for a decision, so that a test that drives this clock drives the program. A wall clock that is
//! set while the program runs is noticed by comparing the two.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Now {
    /// Seconds since the Unix epoch, as the machine believes.
    pub unix: f64,
    /// Time that only moves forward.
    pub monotonic: Instant,
}

impl Now {
    /// Whole seconds since the Unix epoch.
    pub fn unix_seconds(self) -> i64 {
        self.unix.floor() as i64
    }
}

/// Where time comes from. Clones tell the same time.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    /// Moves only when it is told to.
    Driven(Arc<Mutex<Now>>),
    /// Asked at every look.
    Told(Arc<dyn Fn() -> Now + Send + Sync>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::System => "System",
            Source::Driven(_) => "Driven",
            Source::Told(_) => "Told",
        })
    }
}

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Clock {
        Clock(Source::System)
    }

    /// A clock that stands still at this wall time until it is moved.
    pub fn driven(unix: f64) -> Clock {
        Clock(Source::Driven(Arc::new(Mutex::new(Now {
            unix,
            monotonic: Instant::now(),
        }))))
    }

    /// A clock that shows what `tell` says, whose monotonic part must not go back: for a test in which several processes share a time.
    pub fn told_by(tell: impl Fn() -> Now + Send + Sync + 'static) -> Clock {
        Clock(Source::Told(Arc::new(tell)))
    }

    /// Both clocks now.
    pub fn now(&self) -> Now {
        match &self.0 {
            Source::System => Now {
                unix: SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0.0, |since| since.as_secs_f64()),
                monotonic: Instant::now(),
            },
            Source::Driven(now) => *now.lock().unwrap_or_else(PoisonError::into_inner),
            Source::Told(tell) => tell(),
        }
    }

    /// Let time pass; the machine's clocks do not need it.
    pub fn advance(&self, time: Duration) {
        if let Source::Driven(now) = &self.0 {
            let mut now = now.lock().unwrap_or_else(PoisonError::into_inner);
            now.unix += time.as_secs_f64();
            now.monotonic += time;
        }
    }

    /// Set the wall clock alone forward or back, as an operator does.
    pub fn step_wall(&self, seconds: f64) {
        if let Source::Driven(now) = &self.0 {
            now.lock().unwrap_or_else(PoisonError::into_inner).unix += seconds;
        }
    }
}

/// How far the two clocks may part between two looks, a second apart: slewing moves at most half a millisecond in a second.
const STEP_MIN_SECONDS: f64 = 2.0;

/// Notices a wall clock that was set, or a machine that slept.
#[derive(Debug)]
pub struct StepWatch {
    last: Now,
}

impl StepWatch {
    /// Compares from here on.
    pub fn new(now: Now) -> StepWatch {
        StepWatch { last: now }
    }

    /// By how many seconds the wall clock moved more than time passed since the last look; nothing when that is no step.
    pub fn look(&mut self, now: Now) -> Option<f64> {
        let passed = now
            .monotonic
            .saturating_duration_since(self.last.monotonic)
            .as_secs_f64();
        let step = now.unix - self.last.unix - passed;
        self.last = now;
        (step.abs() >= STEP_MIN_SECONDS).then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_is_set_is_noticed_once_and_time_that_passes_is_not() {
        let clock = Clock::driven(1_000.0);
        let mut watch = StepWatch::new(clock.now());
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(watch.look(clock.now()), None);
        for step in [-7_200.0, 2.5, 86_400.0] {
            clock.advance(Duration::from_secs(1));
            clock.step_wall(step);
            let seen = watch.look(clock.now()).unwrap();
            assert!((seen - step).abs() < 1e-6, "{seen}");
            assert_eq!(watch.look(clock.now()), None);
        }
        clock.step_wall(0.5);
        assert_eq!(watch.look(clock.now()), None);
    }
}
