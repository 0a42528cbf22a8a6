//! When cycles are due: one at once, then on a grid of the wall clock.
//!
//! Invariant: a tick is taken or counted as missed, never both and never neither. Must not touch the clock: time is an argument.

use std::time::Duration;

use crate::clock::Now;

/// The grid: every so many seconds, at an offset within.
#[derive(Debug, Clone)]
pub struct Schedule {
    every: i64,
    offset: i64,
    /// Unix seconds of the next tick.
    next: f64,
}

impl Schedule {
    /// The first tick is at once. `every` in seconds, at least 1; `at_second` counts within it (58 of every 60: ..:58).
    pub fn new(every: i64, at_second: i64, now: Now) -> Schedule {
        let every = every.max(1);
        Schedule {
            every,
            offset: at_second.rem_euclid(every),
            next: now.unix,
        }
    }

    /// How long until the next tick; zero when it is due.
    pub fn until_due(&self, now: Now) -> Duration {
        Duration::try_from_secs_f64(self.next - now.unix).unwrap_or_default()
    }

    /// Take the tick that is due. Answers with the number of later ones that were missed, because the cycle before ran into them.
    pub fn take(&mut self, now: Now) -> u64 {
        let first_after_taken = self.grid_after(self.next);
        self.next = self.grid_after(now.unix);
        ((self.next - first_after_taken) / self.every as f64).max(0.0) as u64
    }

    /// Begin anew after the wall clock was set: the next tick is the next one of the new time.
    pub fn realign(&mut self, now: Now) {
        self.next = self.grid_after(now.unix);
    }

    /// Unix seconds of the tick that comes next.
    pub fn next_unix(&self) -> f64 {
        self.next
    }

    fn grid_after(&self, unix: f64) -> f64 {
        let seconds = unix.floor() as i64;
        let into = (seconds - self.offset).rem_euclid(self.every);
        (seconds - into + self.every) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn one_tick_is_due_at_once_and_the_next_at_second_58_of_every_minute() {
        let clock = Clock::driven(1_000_000_000.25); // 01:46:40
        let mut schedule = Schedule::new(60, 58, clock.now());
        assert_eq!(schedule.until_due(clock.now()), Duration::ZERO);
        assert_eq!(schedule.take(clock.now()), 0);
        assert_eq!(
            schedule.until_due(clock.now()),
            Duration::from_millis(17_750)
        );
        clock.advance(Duration::from_millis(17_750));
        assert_eq!(schedule.until_due(clock.now()), Duration::ZERO);
        assert_eq!(schedule.take(clock.now()), 0);
        assert_eq!(schedule.next_unix(), 1_000_000_078.0);
    }

    #[test]
    fn ticks_that_a_long_cycle_ran_into_are_counted_one_by_one() {
        let clock = Clock::driven(1_000_000_018.0);
        let mut schedule = Schedule::new(60, 58, clock.now());
        assert_eq!(schedule.take(clock.now()), 0);
        clock.advance(Duration::from_secs(60 + 59));
        // The tick of the first minute is taken late, and nothing is lost.
        assert_eq!(schedule.take(clock.now()), 0);
        clock.advance(Duration::from_secs(1 + 5 * 60));
        // The next one is taken, and five were due behind it.
        assert_eq!(schedule.take(clock.now()), 5);
    }

    #[test]
    fn after_the_wall_clock_was_set_the_next_tick_is_within_a_period_and_none_is_missed() {
        for step in [-86_400.0, 86_400.0] {
            let clock = Clock::driven(1_000_000_018.0);
            let mut schedule = Schedule::new(60, 58, clock.now());
            schedule.take(clock.now());
            clock.step_wall(step);
            schedule.realign(clock.now());
            let wait = schedule.until_due(clock.now());
            assert!(wait > Duration::ZERO && wait <= Duration::from_secs(60));
            clock.advance(wait);
            assert_eq!(schedule.take(clock.now()), 0);
        }
    }

    #[test]
    fn a_period_below_a_minute_wraps_the_second() {
        let clock = Clock::driven(1_000_000_000.0);
        let mut schedule = Schedule::new(5, 58, clock.now());
        schedule.take(clock.now());
        assert_eq!(schedule.next_unix(), 1_000_000_003.0);
    }
}
