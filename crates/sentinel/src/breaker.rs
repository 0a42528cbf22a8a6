//! A circuit breaker: after some failures in a row a remote is left alone for a while, then asked once before it is trusted again.
//!
//! Invariant: at most one probe is out in the half-open state, and the breaker always comes to a state in which a call is allowed: no
//! order of events closes it for good. Must not touch: the clock (the time is an argument, monotonic, measured from any fixed start), sockets, metrics.

use std::time::Duration;

/// Longest that a breaker stays open, whatever the remote asked for with `Retry-After`.
pub const OPEN_FOR_MAX: Duration = Duration::from_secs(3_600);

/// How a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Calls are allowed.
    Closed,
    /// One call is allowed, or is out.
    HalfOpen,
    /// No call is allowed.
    Open,
}

impl State {
    /// All of them.
    pub const ALL: [State; 3] = [State::Closed, State::HalfOpen, State::Open];

    /// The spelling in metrics, logs and `/health`.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::HalfOpen => "half_open",
            State::Open => "open",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inner {
    Closed {
        /// Failures since the last success, below the number that opens.
        failures: u32,
    },
    Open {
        until: Duration,
    },
    /// A probe was allowed. One that never reports back is given up after the time that the breaker would be open.
    Probing {
        until: Duration,
    },
}

/// A circuit breaker for one remote.
///
/// Times are distances from any fixed moment and should not go back; one that does makes a wait longer by as much, never shorter.
#[derive(Debug, Clone)]
pub struct Breaker {
    failures_to_open: u32,
    open_for: Duration,
    /// How long it was opened for the last time; doubles with each failed probe.
    last_open_for: Duration,
    inner: Inner,
}

impl Breaker {
    /// A closed one that opens at the `failures_to_open`-th failure in a row (at least one), for `open_for` at first. Each failed probe
    /// doubles that, up to [`OPEN_FOR_MAX`].
    pub fn new(failures_to_open: u32, open_for: Duration) -> Breaker {
        let open_for = open_for.min(OPEN_FOR_MAX);
        Breaker {
            failures_to_open: failures_to_open.max(1),
            open_for,
            last_open_for: open_for,
            inner: Inner::Closed { failures: 0 },
        }
    }

    /// Whether a call may be made now. In the half-open state a yes is the one probe: whoever gets it makes the call and reports its
    /// outcome, and every other question is answered with no until then.
    pub fn may_call(&mut self, now: Duration) -> bool {
        match self.inner {
            Inner::Closed { .. } => true,
            Inner::Open { until } | Inner::Probing { until } if now < until => false,
            Inner::Open { .. } | Inner::Probing { .. } => {
                self.inner = Inner::Probing {
                    until: now.saturating_add(self.last_open_for),
                };
                true
            }
        }
    }

    /// A call succeeded: the remote is well, also when the call was made long ago.
    pub fn succeeded(&mut self, _now: Duration) {
        self.last_open_for = self.open_for;
        self.inner = Inner::Closed { failures: 0 };
    }

    /// A call failed; `retry_after` is what the remote asked for, if it did. Whoever asks for a pause gets it at once, also when the
    /// breaker would not open yet, up to [`OPEN_FOR_MAX`].
    pub fn failed(&mut self, now: Duration, retry_after: Option<Duration>) {
        let asked = retry_after.unwrap_or_default().min(OPEN_FOR_MAX);
        match self.inner {
            Inner::Closed { failures } => {
                let failures = failures.saturating_add(1);
                if failures >= self.failures_to_open {
                    self.open(now, self.open_for.max(asked));
                } else if asked > Duration::ZERO {
                    self.open(now, asked);
                } else {
                    self.inner = Inner::Closed { failures };
                }
            }
            Inner::Probing { .. } => {
                self.last_open_for = self.last_open_for.saturating_mul(2).min(OPEN_FOR_MAX);
                self.open(now, self.last_open_for.max(asked));
            }
            // A call that was made before it opened. It may ask for a longer pause, and never shortens the one there is.
            Inner::Open { until } => {
                self.inner = Inner::Open {
                    until: until.max(now.saturating_add(asked)),
                };
            }
        }
    }

    /// How it stands at this time.
    pub fn state(&self, now: Duration) -> State {
        match self.inner {
            Inner::Closed { .. } => State::Closed,
            Inner::Open { until } if now < until => State::Open,
            Inner::Open { .. } | Inner::Probing { .. } => State::HalfOpen,
        }
    }

    /// How long until a call may be allowed; zero when it is allowed now.
    pub fn wait(&self, now: Duration) -> Duration {
        match self.inner {
            Inner::Closed { .. } => Duration::ZERO,
            Inner::Open { until } | Inner::Probing { until } => until.saturating_sub(now),
        }
    }

    fn open(&mut self, now: Duration, wait: Duration) {
        self.inner = Inner::Open {
            until: now.saturating_add(wait),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_opens_at_the_third_failure_in_a_row_and_closes_after_a_good_probe() {
        let mut breaker = Breaker::new(3, seconds(10));
        for now in [0, 1] {
            breaker.failed(seconds(now), None);
            assert!(breaker.may_call(seconds(now)));
        }
        breaker.succeeded(seconds(2));
        for now in [3, 4] {
            breaker.failed(seconds(now), None);
        }
        assert_eq!(breaker.state(seconds(4)), State::Closed);
        breaker.failed(seconds(5), None);
        assert_eq!(breaker.state(seconds(5)), State::Open);
        assert!(!breaker.may_call(seconds(14)));
        assert_eq!(breaker.wait(seconds(14)), seconds(1));
        assert_eq!(breaker.state(seconds(15)), State::HalfOpen);
        assert!(breaker.may_call(seconds(15)), "the probe");
        assert!(!breaker.may_call(seconds(16)), "only one");
        breaker.succeeded(seconds(17));
        assert_eq!(breaker.state(seconds(17)), State::Closed);
        assert!(breaker.may_call(seconds(17)));
    }

    #[test]
    fn each_failed_probe_doubles_the_pause_up_to_the_cap_and_a_success_forgets_it() {
        let mut breaker = Breaker::new(1, seconds(1_000));
        breaker.failed(seconds(0), None);
        let mut now = seconds(0);
        for pause in [1_000, 2_000, 3_600, 3_600] {
            assert_eq!(breaker.wait(now), seconds(pause));
            now += seconds(pause);
            assert!(breaker.may_call(now));
            breaker.failed(now, None);
        }
        now += seconds(3_600);
        assert!(breaker.may_call(now));
        breaker.succeeded(now);
        breaker.failed(now, None);
        assert_eq!(breaker.wait(now), seconds(1_000));
    }

    #[test]
    fn a_remote_that_asks_for_a_pause_gets_it_at_once_but_not_for_ever() {
        let mut breaker = Breaker::new(5, seconds(10));
        breaker.failed(seconds(0), Some(seconds(120)));
        assert!(!breaker.may_call(seconds(119)));
        assert!(breaker.may_call(seconds(120)));
        breaker.failed(seconds(120), Some(seconds(1_000_000)));
        assert!(!breaker.may_call(seconds(120 + 3_599)));
        assert!(breaker.may_call(seconds(120 + 3_600)));
    }

    #[test]
    fn a_probe_that_never_reports_is_given_up() {
        let mut breaker = Breaker::new(1, seconds(10));
        breaker.failed(seconds(0), None);
        assert!(breaker.may_call(seconds(10)));
        assert!(!breaker.may_call(seconds(19)));
        assert!(breaker.may_call(seconds(20)));
    }

    #[derive(Debug, Clone)]
    enum Event {
        Ask,
        Succeed,
        Fail(Option<u64>),
    }

    fn any_event() -> impl Strategy<Value = (u64, Event)> {
        let event = prop_oneof![
            4 => Just(Event::Ask),
            1 => Just(Event::Succeed),
            3 => prop::option::of(0..10_000_u64).prop_map(Event::Fail),
        ];
        (0..200_u64, event)
    }

    proptest! {
        #[test]
        fn whatever_happens_pauses_are_kept_and_end(
            limit in 1..6_u32,
            open_for in 1..100_u64,
            events in prop::collection::vec(any_event(), 0..200),
        ) {
            let mut breaker = Breaker::new(limit, seconds(open_for));
            let mut now = Duration::ZERO;
            let mut in_a_row = 0;
            let mut not_before = Duration::ZERO;
            for (step, event) in events {
                now += seconds(step);
                let state = breaker.state(now);
                match event {
                    Event::Ask => {
                        let wait = breaker.wait(now);
                        let allowed = breaker.may_call(now);
                        prop_assert_eq!(allowed, wait.is_zero());
                        prop_assert!(!(allowed && state == State::Open));
                        prop_assert!(allowed || state != State::Closed);
                        if allowed {
                            prop_assert!(now >= not_before, "before the remote wanted");
                            // The probe is the only one.
                            prop_assert_eq!(breaker.may_call(now), state == State::Closed);
                        }
                    }
                    Event::Succeed => {
                        breaker.succeeded(now);
                        (in_a_row, not_before) = (0, now);
                        prop_assert_eq!(breaker.state(now), State::Closed);
                    }
                    Event::Fail(asked) => {
                        breaker.failed(now, asked.map(seconds));
                        in_a_row += 1;
                        let pause = seconds(asked.unwrap_or(0)).min(OPEN_FOR_MAX);
                        not_before = not_before.max(now + pause);
                        if in_a_row >= limit || !pause.is_zero() {
                            prop_assert!(breaker.state(now) != State::Closed);
                        }
                    }
                }
                prop_assert!(breaker.wait(now) <= OPEN_FOR_MAX, "every pause ends");
                let later = now + OPEN_FOR_MAX;
                prop_assert!(breaker.clone().may_call(later));
            }
        }
    }
}
