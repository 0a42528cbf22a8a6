//! How many shards are retired at a time: bounded work, sooner under pressure.
//!
//! Invariant: however many processes come and go, there is no reason for more files than twice those of the live ones but
//! that they could not be retired. Pure.

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
    fn group_is_bounded_whatever_waits() {
        assert_eq!(PACE.due_count(0, &[0.0; 6_800], 100.0), 100);
    }

    #[test]
    fn clock_that_was_set_back_puts_nothing_off() {
        assert_eq!(PACE.due_count(100, &[1_000.0], 100.0), 1);
    }
}
