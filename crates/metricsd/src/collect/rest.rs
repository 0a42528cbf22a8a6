//! Shards at rest: which ones need not be read again, because nobody can have stored anything into them.
//!
//! Invariant: a store that was made before a collection began is in that collection. The proof has three parts, each needed:
//! 1. The kernel granted a lease: at that time nobody had the file open or mapped for writing.
//! 2. The values were read after that, so what was stored until then is known.
//! 3. The file's modification time is still the one of that reading. Whoever opens the file later and maps it meets write-protected
//!    pages; the first store into each faults, and ext4, XFS and btrfs set the time in that fault. The lease must have been granted
//!    so long after the time that a later fault gets another one.
//!
//! tmpfs sets no time in a fault (a page that was read first is writable at once), so shards there are read every time. So are shards
//! of live writers anywhere: further stores into a page leave no trace. Must not touch: files.

use std::time::{Duration, Instant, SystemTime};

use metricsd_shard::{FileSystem, Liveness};

use super::shard::TIME_GRANULARITY;
use crate::liveness::Answer;

/// After this long a shard is read again in spite of the proof: what it does not cover is shown late then, not never.
const REREAD_INTERVAL: Duration = Duration::from_secs(30);

/// Whether a store into a fresh mapping sets the file's modification time.
pub(super) fn faults_set_times(kind: FileSystem) -> bool {
    matches!(kind, FileSystem::Ext4 | FileSystem::Xfs | FileSystem::Btrfs)
}

/// Whether a shard whose values were read at `read_at`, with the modification time `modified` then and now, can hold no other values
/// now.
pub(super) fn is_at_rest(
    answer: Answer,
    modified: SystemTime,
    read_at: Instant,
    now: Instant,
) -> bool {
    let asked_later = answer
        .asked_at
        .duration_since(modified)
        .is_ok_and(|distance| distance > TIME_GRANULARITY);
    answer.liveness == Liveness::Idle
        && asked_later
        && read_at > answer.answered_at
        && now.duration_since(read_at) < REREAD_INTERVAL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_proof_is_needed() {
        let (modified, start) = (SystemTime::UNIX_EPOCH, Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let answer = |liveness, asked_after: Duration| Answer {
            liveness,
            asked_at: modified + asked_after,
            answered_at: at(1),
        };
        let idle = answer(Liveness::Idle, TIME_GRANULARITY * 2);
        assert!(is_at_rest(idle, modified, at(2), at(3)));
        assert!(
            !is_at_rest(
                answer(Liveness::Busy, TIME_GRANULARITY * 2),
                modified,
                at(2),
                at(3)
            ),
            "somebody writes"
        );
        assert!(
            !is_at_rest(
                answer(Liveness::Idle, TIME_GRANULARITY),
                modified,
                at(2),
                at(3)
            ),
            "a later store could leave the same time"
        );
        assert!(
            !is_at_rest(idle, modified, at(1), at(3)),
            "read before nobody wrote any more"
        );
        assert!(
            !is_at_rest(idle, modified, at(2), at(2) + REREAD_INTERVAL),
            "read too long ago"
        );
        assert!(
            !is_at_rest(
                Answer {
                    asked_at: modified - TIME_GRANULARITY,
                    ..idle
                },
                modified,
                at(2),
                at(3)
            ),
            "the clock was set back"
        );
    }
}
