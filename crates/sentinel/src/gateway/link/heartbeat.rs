//! When a heartbeat is sent and when it is missed. Invariant: at most one is under way, and each that is due without a reply within the
//! time-out is missed once. Must not touch: the socket.

use std::time::{Duration, Instant};

use super::exchange::Sent;

/// Where the heartbeats are.
pub(super) enum Phase {
    /// The next one is due then.
    Rest { until: Instant },
    /// One is due since then, and nobody was there to take it.
    Due { since: Instant },
    /// One is under way.
    Sent(Box<Sent>),
}

/// The heartbeats.
pub(super) struct Heartbeats {
    pub(super) phase: Phase,
    every: Duration,
    timeout: Duration,
}

impl Heartbeats {
    /// The first one is due at once.
    pub(super) fn new(every: Duration, timeout: Duration, now: Instant) -> Heartbeats {
        Heartbeats {
            phase: Phase::Due { since: now },
            every,
            timeout,
        }
    }

    /// When something has to be looked at again; waiting for room is not a matter of time.
    pub(super) fn until(&self) -> Instant {
        match &self.phase {
            Phase::Rest { until } => *until,
            Phase::Due { since } => *since + self.timeout,
            Phase::Sent(sent) => sent.at + self.timeout,
        }
    }

    /// Whether one waits for somebody to take it.
    pub(super) fn is_due(&self) -> bool {
        matches!(self.phase, Phase::Due { .. })
    }

    /// Lets time pass; says whether one was missed by that.
    pub(super) fn pass(&mut self, now: Instant) -> bool {
        if now < self.until() {
            return false;
        }
        let is_missed = !matches!(self.phase, Phase::Rest { .. });
        // One that is late is not made up for: the next is due now.
        self.phase = Phase::Due { since: now };
        is_missed
    }

    /// While an exchange is under way none is sent, and so none is missed for want of somebody to take it.
    pub(super) fn hold(&mut self, now: Instant) {
        if self.is_due() {
            self.phase = Phase::Due { since: now };
        }
    }

    /// One was sent then, and nothing more comes of it; the next follows at its pace.
    pub(super) fn rest(&mut self, sent_at: Instant) {
        self.phase = Phase::Rest {
            until: sent_at + self.every,
        };
    }

    /// The connection is gone and with it the reply of the one under way, which is nobody's fault; ask anew.
    pub(super) fn anew(&mut self, now: Instant) {
        self.phase = Phase::Due { since: now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(5);
    const TIMEOUT: Duration = Duration::from_secs(1);

    #[test]
    fn a_heartbeat_that_nobody_takes_is_missed_once_per_timeout_and_not_while_an_exchange_is_under_way()
     {
        let start = Instant::now();
        let mut beats = Heartbeats::new(EVERY, TIMEOUT, start);
        assert!(beats.is_due() && !beats.pass(start));
        assert!(beats.pass(start + TIMEOUT) && !beats.pass(start + TIMEOUT));
        beats.hold(start + 2 * TIMEOUT);
        assert!(!beats.pass(start + 2 * TIMEOUT));
        assert!(beats.pass(start + 3 * TIMEOUT));
    }

    #[test]
    fn the_next_heartbeat_follows_the_sending_of_the_last_one_and_coming_due_is_no_miss() {
        let start = Instant::now();
        let mut beats = Heartbeats::new(EVERY, TIMEOUT, start);
        beats.rest(start);
        assert!(!beats.is_due() && !beats.pass(start + EVERY - TIMEOUT));
        assert!(!beats.is_due() && !beats.pass(start + EVERY) && beats.is_due());
    }
}
