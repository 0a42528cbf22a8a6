//! When the self-test is made, and what came of it.
//!
//! Invariant: the mode is that of the directory tested last. Must run on the thread that takes the leases only.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use metricsd_shard::self_test;

use super::LivenessMode;

/// A test that failed for a reason that can pass is made again after this, then after twice as long each time.
const AGAIN_AFTER_FIRST: Duration = Duration::from_secs(1);

/// Longest time until then.
const AGAIN_AFTER_LAST: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Tester {
    mode: LivenessMode,
    again: Option<Again>,
}

/// A test that is due later.
#[derive(Debug, Clone, Copy)]
struct Again {
    due: Instant,
    delay: Duration,
}

impl Tester {
    /// What the last test says.
    pub(super) fn mode(&self) -> LivenessMode {
        self.mode
    }

    /// When the next test is to be made, unless there is another directory before.
    pub(super) fn due(&self) -> Option<Instant> {
        self.again.map(|again| again.due)
    }

    /// Tests a directory that was not followed before.
    pub(super) fn test(&mut self, directory: &OwnedFd) {
        self.test_and_repeat_after(directory, AGAIN_AFTER_FIRST);
    }

    /// Tests again if that is due.
    pub(super) fn test_again(&mut self, directory: &OwnedFd, now: Instant) {
        if let Some(again) = self.again.filter(|again| again.due <= now) {
            self.test_and_repeat_after(directory, (again.delay * 2).min(AGAIN_AFTER_LAST));
        }
    }

    fn test_and_repeat_after(&mut self, directory: &OwnedFd, delay: Duration) {
        let mode = LivenessMode::from(self_test(directory.as_fd()));
        if mode != self.mode {
            match mode {
                LivenessMode::Leases => tracing::info!("who still writes is known by leases"),
                LivenessMode::Off { reason } => {
                    tracing::warn!(%reason, "who still writes cannot be known for certain; no shard is retired");
                }
            }
        }
        self.mode = mode;
        self.again = mode.may_pass().then(|| Again {
            due: Instant::now() + delay,
            delay,
        });
    }
}
