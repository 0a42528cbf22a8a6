//! Shards at rest: which ones need not be read again, because nobody can have stored anything into them.
//!
//! Invariant: a store that was made before a collection began is in that collection. The proof has three parts, each needed:
//! 1. The kernel granted a lease: at that time nobody had the file open or mapped for writing.
//! 2. The values were read after that, so what was stored until then is known.
//! 3. Modification and change time are still those that the file had right after the lease was granted, and at that reading.
//!    Whoever opens the file later and maps it meets write-protected pages; the first store into each faults, and ext4, XFS and
//!    btrfs set both times in that fault. The lease must have been granted so long after them that a later fault gets others. The
//!    modification time can be put back by anybody who writes; that sets the change time. Times are compared for being the same,
//!    so a clock that steps does not make an old time of a new one.
//!
//! tmpfs sets no time in a fault (a page that was read first is writable at once), so shards there are read every time. So are shards
//! of live writers anywhere: further stores into a page leave no trace. Must not touch: files.

use std::time::{Duration, Instant, SystemTime};

use metricsd_shard::{FileStat, FileSystem, Liveness};

use super::shard::TIME_GRANULARITY;
use crate::directory::WHOLE_SECOND;
use crate::liveness::Answer;

/// After this long a shard is read again in spite of the proof: what it does not cover is shown late then, not never.
const REREAD_INTERVAL: Duration = Duration::from_secs(30);

/// Whether a store into a fresh mapping sets the file's modification time.
pub(super) fn faults_set_times(kind: FileSystem) -> bool {
    matches!(kind, FileSystem::Ext4 | FileSystem::Xfs | FileSystem::Btrfs)
}

/// When a file changed last, by its file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileTimes {
    /// Content; anybody who may write can set it.
    pub modified: SystemTime,
    /// Content or inode; nobody can set it.
    pub changed: SystemTime,
}

impl FileTimes {
    /// Of what `fstat` says.
    pub fn of(stat: &FileStat) -> FileTimes {
        FileTimes {
            modified: stat.modified,
            changed: stat.changed,
        }
    }

    /// Whether a change at any time from `began` to `now` would have left others, and one right after will: both are so long before, or
    /// so far in the future. What was written in between shows nothing.
    pub(super) fn are_far_from(&self, began: SystemTime, now: SystemTime) -> bool {
        [self.modified, self.changed].into_iter().all(|time| {
            let is_far = |distance| distance > granularity_of(time);
            began.duration_since(time).is_ok_and(is_far)
                || time.duration_since(now).is_ok_and(is_far)
        })
    }

    fn are_long_before(&self, then: SystemTime) -> bool {
        [self.modified, self.changed].into_iter().all(|time| {
            then.duration_since(time)
                .is_ok_and(|distance| distance > granularity_of(time))
        })
    }
}

/// How far from a time a change may be that leaves the same one. A time without a part of a second may be kept in seconds.
fn granularity_of(time: SystemTime) -> Duration {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    match since.unwrap_or_default().subsec_nanos() {
        0 => WHOLE_SECOND + TIME_GRANULARITY,
        _ => TIME_GRANULARITY,
    }
}

/// Whether a shard whose values were read at `read_at`, with the times `times` then and now, can hold no other values now.
pub(super) fn is_at_rest(answer: Answer, times: FileTimes, read_at: Instant, now: Instant) -> bool {
    answer.liveness == Liveness::Idle
        && answer.times == Some(times)
        && times.are_long_before(answer.asked_at)
        && read_at > answer.answered_at
        && now.duration_since(read_at) < REREAD_INTERVAL
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = TIME_GRANULARITY.saturating_mul(2);

    fn times(modified: SystemTime, changed: SystemTime) -> FileTimes {
        FileTimes { modified, changed }
    }

    #[test]
    fn each_part_of_the_proof_is_needed() {
        let (written, start) = (SystemTime::UNIX_EPOCH + LONG, Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let same = times(written, written);
        let idle = Answer {
            liveness: Liveness::Idle,
            asked_at: written + LONG,
            answered_at: at(1),
            times: Some(same),
        };
        assert!(is_at_rest(idle, same, at(2), at(3)));
        let busy = Answer {
            liveness: Liveness::Busy,
            ..idle
        };
        assert!(!is_at_rest(busy, same, at(2), at(3)), "somebody writes");
        for asked_at in [written + TIME_GRANULARITY, written - TIME_GRANULARITY] {
            let early = Answer { asked_at, ..idle };
            assert!(
                !is_at_rest(early, same, at(2), at(3)),
                "a later store could leave the same time"
            );
        }
        let recent = times(written, written + LONG);
        let touched = Answer {
            times: Some(recent),
            ..idle
        };
        assert!(
            !is_at_rest(touched, recent, at(2), at(3)),
            "a later change could leave the same change time"
        );
        assert!(
            !is_at_rest(idle, same, at(1), at(3)),
            "read before nobody wrote any more"
        );
        assert!(
            !is_at_rest(idle, same, at(2), at(2) + REREAD_INTERVAL),
            "read too long ago"
        );
    }

    #[test]
    fn times_in_whole_seconds_are_believed_a_second_later() {
        let second = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        let (coarse, fine) = (times(second, second), second + Duration::from_millis(1));
        let before_the_next = second + Duration::from_millis(950);
        let is_far = |times: FileTimes, now| times.are_far_from(now, now);
        assert!(!is_far(coarse, before_the_next) && !coarse.are_long_before(before_the_next));
        assert!(!is_far(times(fine, second), before_the_next));
        assert!(is_far(times(fine, fine), before_the_next));
        let later = second + WHOLE_SECOND + LONG;
        assert!(is_far(coarse, later) && coarse.are_long_before(later));
    }

    #[test]
    fn times_of_what_was_written_while_a_collection_ran_are_not_believed() {
        let began = SystemTime::UNIX_EPOCH + LONG * 100;
        let now = began + LONG * 50;
        let is_far = |written| times(written, written).are_far_from(began, now);
        assert!(is_far(began - LONG), "long before");
        assert!(is_far(now + LONG), "by a clock that was ahead");
        for written in [began, began + LONG, now - LONG, now] {
            assert!(!is_far(written), "{:?}", written.duration_since(began));
        }
    }

    #[test]
    fn times_that_were_put_back_or_come_from_a_clock_that_stepped_prove_nothing() {
        let (written, start) = (SystemTime::UNIX_EPOCH + LONG * 10, Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let idle = Answer {
            liveness: Liveness::Idle,
            asked_at: written + LONG * 10,
            answered_at: at(1),
            times: Some(times(written, written)),
        };
        for (now, what) in [
            (
                times(written, written + LONG),
                "stored, modification time put back",
            ),
            (
                times(written + LONG, written + LONG),
                "stored after the clock, which ran ahead when asked, was set right",
            ),
            (
                times(written - LONG, written - LONG),
                "stored after the clock was set far back",
            ),
        ] {
            assert!(!is_at_rest(idle, now, at(2), at(3)), "{what}");
        }
        let unknown = Answer {
            times: None,
            ..idle
        };
        assert!(!is_at_rest(unknown, times(written, written), at(2), at(3)));
    }
}
