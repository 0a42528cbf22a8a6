//! How many shards are retired at a time, and how soon it is looked again: bounded work, sooner under pressure.
//!
//! Invariant: however many processes come and go, there is no reason for more files than twice those of the live ones but
//! that they could not be retired. Pure.

use std::time::{Duration, Instant};

/// Haste ends when the number of ended processes has stood still for so long.
const HASTE_LASTS: Duration = Duration::from_secs(1);

/// How soon and how many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// How long a shard is left alone after its process has ended, in seconds.
    pub delay_seconds: f64,
    /// At most so many in one group, which costs two syncs of the directory and one of the journal.
    pub group_len_max: usize,
    /// So many shards of ended processes are no pressure, however few live.
    pub ended_count_free: usize,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            delay_seconds: 10.0,
            group_len_max: 256,
            ended_count_free: 32,
        }
    }
}

impl Pace {
    /// How many of the shards of ended processes to retire now, the oldest first. `ended_at` says when each was seen to have
    /// ended, unix seconds, in ascending order.
    ///
    /// Ordinarily those whose delay is over. When half as many have ended as live, more: those that are beyond.
    pub fn due_count(&self, live_count: usize, ended_at: &[f64], now_unix_seconds: f64) -> usize {
        // A clock that was set back counts as a delay that is over: it must not put off anything for ever.
        let is_due = |ended_at: &f64| {
            let elapsed = now_unix_seconds - ended_at;
            elapsed >= self.delay_seconds || elapsed < 0.0
        };
        let overdue_count = ended_at.iter().filter(|at| is_due(at)).count();
        let pressing_count = ended_at
            .len()
            .saturating_sub(self.tolerated_count(live_count));
        overdue_count.max(pressing_count).min(self.group_len_max)
    }

    /// Whether half as many have ended as are tolerated, so that it matters how soon it is looked again.
    pub fn is_near_pressure(&self, live_count: usize, ended_count: usize) -> bool {
        ended_count * 2 > self.tolerated_count(live_count)
    }

    /// So many wait for their delay.
    fn tolerated_count(&self, live_count: usize) -> usize {
        (live_count / 2).max(self.ended_count_free)
    }
}

/// Whether many processes end right now. Many that have ended and wait for their delay, an hour perhaps, are no reason to hurry.
#[derive(Debug, Default)]
pub struct Haste {
    ended_count: usize,
    changed_at: Option<Instant>,
}

impl Haste {
    /// Looks at how many have ended `now`; true if it is to be looked again very soon.
    pub fn looks(&mut self, is_near_pressure: bool, ended_count: usize, now: Instant) -> bool {
        if self.ended_count != ended_count {
            self.ended_count = ended_count;
            self.changed_at = Some(now);
        }
        let changed_lately = |at| now.saturating_duration_since(at) < HASTE_LASTS;
        is_near_pressure && self.changed_at.is_some_and(changed_lately)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        delay_seconds: 10.0,
        group_len_max: 100,
        ended_count_free: 4,
    };

    #[test]
    fn delay_is_kept_without_pressure() {
        assert_eq!(PACE.due_count(100, &[80.0, 90.0, 95.0], 100.0), 2);
        assert_eq!(PACE.due_count(0, &[95.0, 96.0, 97.0, 98.0], 100.0), 0);
    }

    #[test]
    fn pressure_shortens_the_delay_of_the_oldest() {
        assert_eq!(PACE.due_count(0, &[99.0; 6], 100.0), 2);
        assert_eq!(PACE.due_count(40, &[99.0; 21], 100.0), 1);
    }

    #[test]
    fn pressure_is_seen_coming_before_it_shortens_anything() {
        assert!(!PACE.is_near_pressure(0, 2));
        assert!(PACE.is_near_pressure(0, 3));
        assert_eq!(PACE.due_count(0, &[99.0; 3], 100.0), 0);
        assert!(!PACE.is_near_pressure(40, 10));
        assert!(PACE.is_near_pressure(40, 11));
    }

    #[test]
    fn haste_ends_while_nobody_ends_and_comes_back_with_the_next_who_does() {
        let start = Instant::now();
        let at = |tenths: u64| start + Duration::from_millis(100 * tenths);
        let mut haste = Haste::default();
        assert!(!haste.looks(false, 1, at(0)));
        assert!(haste.looks(true, 30, at(1)));
        assert!(haste.looks(true, 30, at(10)));
        assert!(!haste.looks(true, 30, at(11)));
        assert!(!haste.looks(true, 30, at(1000)));
        assert!(haste.looks(true, 31, at(1001)));
        // Who was retired was in the way as well.
        assert!(haste.looks(true, 20, at(1012)));
        assert!(!haste.looks(false, 19, at(1013)));
    }

    #[test]
    fn group_is_bounded_whatever_waits() {
        assert_eq!(PACE.due_count(0, &[0.0; 6_800], 100.0), 100);
    }

    #[test]
    fn clock_that_was_set_back_puts_nothing_off() {
        assert_eq!(PACE.due_count(100, &[1_000.0], 100.0), 1);
    }
}
