//! Signs of life while the loop waits: the uptime, and the watchdog of the service manager.
//!
//! Invariant: the watchdog is fed by the loop's own thread, and only while cycles complete: a loop that hangs, or goes round without ever
//! completing one, is restarted.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::clock::{Clock, Now};
use crate::health::Health;
use crate::telemetry::Telemetry;

/// How often the loop shows a sign of life: a second, so that Mode B has a live uptime.
pub const BEAT: Duration = Duration::from_secs(1);

/// The signs.
#[derive(Debug, Clone)]
pub struct Pulse {
    clock: Clock,
    start: Now,
    telemetry: Telemetry,
    health: Health,
    has_watchdog: bool,
}

impl Pulse {
    /// `start` is what the uptime counts from.
    pub fn new(clock: Clock, start: Now, telemetry: Telemetry, health: Health) -> Pulse {
        Pulse {
            clock,
            start,
            telemetry,
            health,
            has_watchdog: sd_notify::watchdog_enabled().is_some(),
        }
    }

    /// One sign. Cheap; called at least once a second by whatever waits.
    pub fn beat(&self) {
        self.record_uptime();
        if self.has_watchdog && !self.health.is_stalled() {
            notify(&[NotifyState::Watchdog]);
        }
    }

    /// Bring the uptime up to now.
    pub fn record_uptime(&self) {
        let now = self.clock.now().monotonic;
        self.telemetry
            .record_uptime(now.saturating_duration_since(self.start.monotonic));
    }

    /// Time by the same clock.
    pub fn now(&self) -> Instant {
        self.clock.now().monotonic
    }
}

/// Tells the service manager, if there is one.
pub fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
