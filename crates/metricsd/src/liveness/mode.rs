//! Whether what leases say may decide over a file in this directory, and why not.
//!
//! Invariant: leases are believed only after the self-test has passed in the directory that is followed now. Must not touch: files.

use std::fmt;

use metricsd_shard::SelfTestFailure;

/// How it is known who still writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LivenessMode {
    /// By leases, which have passed their test in this directory. Only then may a shard be retired.
    Leases,
    /// Not for certain. Whatever a lease says then is shown, and decides nothing.
    Off {
        /// Why.
        reason: OffReason,
    },
}

/// Why leases decide nothing. Displays as one sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffReason {
    /// No test has been made in this directory yet.
    Untested,
    /// It failed.
    SelfTest(SelfTestFailure),
}

impl LivenessMode {
    /// Every pair of [`LivenessMode::words`].
    pub fn all_words() -> impl Iterator<Item = (&'static str, &'static str)> {
        [("leases", "passed"), ("off", "untested")]
            .into_iter()
            .chain(SelfTestFailure::WORDS.into_iter().map(|word| ("off", word)))
    }

    /// Mode and reason, each a word of a finite list for a metric.
    pub const fn words(self) -> (&'static str, &'static str) {
        match self {
            LivenessMode::Leases => ("leases", "passed"),
            LivenessMode::Off {
                reason: OffReason::Untested,
            } => ("off", "untested"),
            LivenessMode::Off {
                reason: OffReason::SelfTest(failure),
            } => ("off", failure.word()),
        }
    }

    /// Whether the same directory may be judged otherwise later.
    pub(super) fn may_pass(self) -> bool {
        match self {
            LivenessMode::Leases => false,
            LivenessMode::Off {
                reason: OffReason::Untested,
            } => true,
            LivenessMode::Off {
                reason: OffReason::SelfTest(failure),
            } => failure.may_pass(),
        }
    }
}

impl Default for LivenessMode {
    fn default() -> LivenessMode {
        LivenessMode::Off {
            reason: OffReason::Untested,
        }
    }
}

impl From<Result<(), SelfTestFailure>> for LivenessMode {
    fn from(outcome: Result<(), SelfTestFailure>) -> LivenessMode {
        match outcome {
            Ok(()) => LivenessMode::Leases,
            Err(failure) => LivenessMode::Off {
                reason: OffReason::SelfTest(failure),
            },
        }
    }
}

impl fmt::Display for OffReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OffReason::Untested => f.write_str("leases have not been tested in this directory yet"),
            OffReason::SelfTest(failure) => failure.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_list_and_only_a_passed_test_means_leases() {
        let modes = [
            LivenessMode::default(),
            LivenessMode::from(Ok(())),
            LivenessMode::from(Err(SelfTestFailure::MappingUnseen)),
            LivenessMode::from(Err(SelfTestFailure::NoSpace(28))),
        ];
        let words: Vec<_> = LivenessMode::all_words().collect();
        assert!(modes.iter().all(|mode| words.contains(&mode.words())));
        assert_eq!(
            modes.map(|mode| mode == LivenessMode::Leases),
            [false, true, false, false]
        );
        assert_eq!(
            modes.map(LivenessMode::may_pass),
            [true, false, false, true]
        );
    }
}
