//! How much may be sent: a bucket that is filled over time.
//!
//! Invariant: in any time of length `per`, also over a restart, at most `messages` are sent. A third of them may go at once, the rest comes
//! back evenly: a first alert does not wait, and after a burst the next waits seconds and not the whole time. Time is an argument.

use std::time::{Duration, Instant};

use crate::config::Rate;

/// The bucket of one target.
#[derive(Debug, Clone)]
pub struct Bucket {
    capacity: f64,
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// As it is when messages were sent that many seconds ago, oldest first, by a process that is gone. Ages below 0 are of a clock that was
    /// set; they count as now.
    pub fn new(rate: Rate, now: Instant, ages: &[f64]) -> Bucket {
        let messages = f64::from(rate.messages);
        let capacity = (messages / 3.0).floor().max(1.0);
        let per_second = (messages - capacity) / rate.per.as_secs_f64();
        let mut tokens = capacity;
        let mut last = f64::INFINITY;
        for age in ages {
            let age = age.max(0.0).min(last);
            let passed = if last.is_finite() { last - age } else { 0.0 };
            // Below zero when a former configuration allowed more: that is waited for.
            tokens = (tokens + passed * per_second).min(capacity) - 1.0;
            last = age;
        }
        if last.is_finite() {
            tokens = (tokens + last * per_second).min(capacity);
        }
        Bucket {
            capacity,
            per_second,
            tokens,
            at: now,
        }
    }

    /// How many messages may be sent now.
    pub fn available(&mut self, now: Instant) -> usize {
        self.fill(now);
        // A hair below a whole one is rounding.
        (self.tokens + 1e-9).floor().max(0.0) as usize
    }

    /// How long until one may.
    pub fn until_available(&mut self, now: Instant) -> Duration {
        self.fill(now);
        let missing = (1.0 - 1e-9 - self.tokens).max(0.0);
        Duration::from_secs_f64(missing / self.per_second)
    }

    /// One is sent.
    pub fn take(&mut self, now: Instant) {
        self.fill(now);
        self.tokens -= 1.0;
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.capacity);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: Rate = Rate {
        messages: 18,
        per: Duration::from_secs(60),
    };

    #[test]
    fn a_first_message_goes_at_once_and_one_after_a_burst_waits_five_seconds() {
        let now = Instant::now();
        let mut bucket = Bucket::new(RATE, now, &[]);
        for _ in 0..6 {
            assert_eq!(bucket.until_available(now), Duration::ZERO);
            bucket.take(now);
        }
        assert_eq!(bucket.available(now), 0);
        assert_eq!(bucket.until_available(now).as_millis(), 4_999);
    }

    proptest! {
        /// Whoever sends as soon as it may, with pauses and with restarts in between, never sends more than the rate in any window.
        #[test]
        fn no_window_holds_more_than_the_rate(
            messages in 2u32..=19,
            steps in proptest::collection::vec((0u64..20_000, any::<bool>()), 1..120),
        ) {
            let rate = Rate { messages, per: Duration::from_secs(60) };
            let start = Instant::now();
            let mut now = start;
            let mut bucket = Bucket::new(rate, now, &[]);
            let mut sent: Vec<Instant> = Vec::new();
            for (pause, restarts) in steps {
                now += Duration::from_millis(pause);
                if restarts {
                    let first = sent.len().saturating_sub(32);
                    let ages: Vec<f64> = sent[first..].iter().map(|at| (now - *at).as_secs_f64()).collect();
                    bucket = Bucket::new(rate, now, &ages);
                }
                while bucket.available(now) > 0 {
                    bucket.take(now);
                    sent.push(now);
                }
            }
            for (index, at) in sent.iter().enumerate() {
                let within = sent[index..].iter().take_while(|other| **other - *at < rate.per).count();
                prop_assert!(within <= messages as usize, "{within} of {messages}");
            }
        }
    }
}
