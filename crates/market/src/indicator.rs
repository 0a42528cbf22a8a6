//! Indicators, streaming. Invariant: a value depends on the bars in its window alone and on no earlier one; sums are integers, so
//! nothing drifts however long a session runs, and two averages compare exactly.

use std::cmp::Ordering;

/// Simple moving average of the last `window` values, in units of 10^-10 (see [`crate::Candle::close_units`]).
#[derive(Debug, Clone)]
pub struct Sma {
    values: Box<[i64]>,
    /// Where the next value goes, which is where the oldest one is.
    next: usize,
    seen: usize,
    sum: i128,
}

impl Sma {
    /// An average over `window` values.
    ///
    /// # Panics
    /// If `window` is 0: the caller checks its configuration.
    pub fn new(window: usize) -> Sma {
        assert!(window > 0, "an average needs a window");
        Sma {
            values: vec![0; window].into_boxed_slice(),
            next: 0,
            seen: 0,
            sum: 0,
        }
    }

    /// Take the next value in and the oldest one out.
    #[inline]
    pub fn push(&mut self, value: i64) {
        let oldest = std::mem::replace(&mut self.values[self.next], value);
        // Until the window is full the oldest is one of the zeros it began with.
        self.sum += i128::from(value) - i128::from(oldest);
        self.next = if self.next + 1 == self.values.len() {
            0
        } else {
            self.next + 1
        };
        self.seen = (self.seen + 1).min(self.values.len());
    }

    /// Whether a whole window was seen; before that there is no average.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.seen == self.values.len()
    }

    /// Compare the two averages exactly, without dividing: a tie is a tie, never the last bit of a float.
    #[inline]
    pub fn compare(&self, other: &Sma) -> Option<Ordering> {
        // |sum| <= 2^63 x window, so that the products stay below 2^127 for every window that fits in memory.
        (self.is_full() && other.is_full()).then(|| {
            let left = self.sum * other.values.len() as i128;
            let right = other.sum * self.values.len() as i128;
            left.cmp(&right)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the average is the window's share of.
    fn sum(sma: &Sma) -> Option<i128> {
        sma.is_full().then_some(sma.sum)
    }

    #[test]
    fn there_is_no_average_before_the_window_is_full() {
        let mut sma = Sma::new(3);
        for (value, expected) in [(3, None), (6, None), (9, Some(18)), (12, Some(27))] {
            sma.push(value);
            assert_eq!(sum(&sma), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn streaming_equals_a_batch_recomputation_at_every_bar(
            values in prop::collection::vec(1_i64..9_000_000_000_000_000_000, 1..200),
            window in 1_usize..60,
        ) {
            let mut sma = Sma::new(window);
            for (index, value) in values.iter().enumerate() {
                sma.push(*value);
                let batch = (index + 1 >= window).then(|| {
                    let last = &values[index + 1 - window..=index];
                    last.iter().map(|value| i128::from(*value)).sum::<i128>()
                });
                prop_assert_eq!(sum(&sma), batch);
            }
        }

        #[test]
        fn two_averages_compare_like_their_exact_fractions(
            values in prop::collection::vec(1_i64..20, 10..60),
            (fast, slow) in (1_usize..5, 5_usize..10),
        ) {
            // Few distinct values: ties are frequent, and a tie must compare as one.
            let (mut left, mut right) = (Sma::new(fast), Sma::new(slow));
            for (index, value) in values.iter().enumerate() {
                left.push(*value);
                right.push(*value);
                if index + 1 >= slow {
                    let sum = |window: usize| values[index + 1 - window..=index].iter().sum::<i64>();
                    let expected = (sum(fast) * slow as i64).cmp(&(sum(slow) * fast as i64));
                    prop_assert_eq!(left.compare(&right), Some(expected));
                }
            }
        }
    }
}
