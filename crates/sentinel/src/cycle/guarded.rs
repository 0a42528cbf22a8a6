//! A remote behind its circuit breaker. Invariant: a call that was not made says why the ones before it failed, so that whoever looks at
//! `/health` hours later still finds the cause. Must not touch: the clock, the network.

use std::time::{Duration, Instant};

use crate::breaker::{Breaker, State};
use crate::calls::NoAnswer;
use crate::error_code::ErrorCode;
use crate::http::CallError;
use crate::telemetry::{BreakerEndpoint, BreakerLabel};

/// Failures in a row after which a remote is left alone.
const FAILURES_TO_OPEN: u32 = 3;

/// For how long. Two periods of the usual schedule.
const OPEN_FOR: Duration = Duration::from_secs(120);

/// A remote's circuit breaker. It also keeps the pause that a server asks for with Retry-After.
#[derive(Debug)]
pub(super) struct Guarded {
    breaker: Breaker,
    label: BreakerEndpoint,
    /// What the breaker's times count from.
    start: Instant,
    last_failure: Option<CallError>,
}

impl Guarded {
    pub(super) fn new(label: BreakerEndpoint, start: Instant) -> Guarded {
        Guarded {
            breaker: Breaker::new(FAILURES_TO_OPEN, OPEN_FOR),
            label,
            start,
            last_failure: None,
        }
    }

    pub(super) fn label(&self) -> BreakerEndpoint {
        self.label
    }

    /// Whether it may be called; the reason where not.
    pub(super) fn check(&mut self, now: Instant) -> Result<(), CallError> {
        let now = self.since_start(now);
        if self.breaker.may_call(now) {
            return Ok(());
        }
        let wait = self.breaker.wait(now).as_secs();
        let mut detail = format!("not called: the circuit breaker is open for {wait} s more");
        if let Some(cause) = &self.last_failure {
            detail.push_str(&format!("; the last call failed: {cause}"));
        }
        Err(CallError::new(ErrorCode::BreakerOpen, &detail))
    }

    /// What came of a call.
    pub(super) fn answered<T>(&mut self, answer: &Result<T, NoAnswer>, now: Instant) {
        let now = self.since_start(now);
        match answer {
            Ok(_) => {
                self.breaker.succeeded(now);
                self.last_failure = None;
            }
            Err(NoAnswer::Failed(error)) => {
                self.breaker.failed(now, error.retry_after);
                self.last_failure = Some(error.clone());
            }
            Err(NoAnswer::Stopped) => {}
        }
    }

    pub(super) fn state(&self, now: Instant) -> BreakerLabel {
        match self.breaker.state(self.since_start(now)) {
            State::Closed => BreakerLabel::Closed,
            State::HalfOpen => BreakerLabel::HalfOpen,
            State::Open => BreakerLabel::Open,
        }
    }

    fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }
}
