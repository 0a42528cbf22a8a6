//! Sums over shards: counters, summaries, histogram buckets, `sum` gauges.
//!
//! Invariant: a total is the exact sum of its addends, rounded once, so it depends neither on their order nor on how they are
//! grouped (a file's value, or an archived one with a correction), and while they only grow it never falls: a fall by one step
//! of rounding is a restart to Prometheus. Must not touch: I/O, the clock, logging.
//!
//! Each sum is kept as three addends. Most additions of doubles are exact (all of whole numbers below 2^53), which is
//! checked, and then the first addend is all there is. What an addition rounds away is a double as well and goes to the second
//! one; what that rounds away, and whatever is not finite, goes to the third, which can hold anything.

use crate::archive::Exact;

/// A row of running sums, all zero after [`Sums::reset`].
#[derive(Debug, Clone, Default)]
pub(super) struct Sums {
    heads: Vec<f64>,
    /// None, or as many as heads from the first one on that is something: sums of whole numbers have none.
    tails: Vec<f64>,
    /// The same; none after a reset.
    rests: Vec<Exact>,
}

impl Sums {
    /// Adds one more sum and says at which index.
    pub(super) fn push(&mut self) -> usize {
        self.heads.push(0.0);
        if !self.tails.is_empty() {
            self.tails.push(0.0);
        }
        if !self.rests.is_empty() {
            self.rests.push(Exact::default());
        }
        self.heads.len() - 1
    }

    /// Every sum is 0.0 again (Python's start as well, so that -0.0 alone becomes 0.0).
    pub(super) fn reset(&mut self) {
        self.heads.fill(0.0);
        self.tails.fill(0.0);
        self.rests.clear();
    }

    /// Adds each value to the sum at its index.
    #[inline]
    pub(super) fn add_all(&mut self, mut addends: impl Iterator<Item = (usize, f64)>) {
        // The inner loop has nothing but the first addends in its hands, so that they need not be looked up for every value.
        loop {
            let heads = self.heads.as_mut_slice();
            match addends.find(|&(index, value)| !add_if_exact(&mut heads[index], value)) {
                Some((index, value)) => self.add_with_loss(index, value),
                None => return,
            }
        }
    }

    /// Adds `value` to the sum at `index`.
    fn add(&mut self, index: usize, value: f64) {
        self.add_all(std::iter::once((index, value)));
    }

    /// Adds another sum to the one at `index`.
    pub(super) fn merge(&mut self, index: usize, sum: &Exact) {
        let value = sum.value();
        // An infinity that was taken away is not one that was added.
        if value.is_finite() && sum.is_exact_double() {
            self.add(index, value);
        } else {
            self.rest(index).merge(sum);
        }
    }

    /// The sum at `index`, rounded.
    pub(super) fn total(&self, index: usize) -> f64 {
        if self.rests.get(index).is_none_or(Exact::is_zero) {
            return self.heads[index] + self.tail(index);
        }
        let mut sum = Exact::default();
        self.add_to(&mut sum, index);
        sum.value()
    }

    /// `sum` and the sum at `index`, if both and what comes of them are exact doubles; whole numbers are.
    #[inline]
    pub(super) fn plus_if_exact(&self, mut sum: f64, index: usize) -> Option<f64> {
        let is_double = self.tail(index) == 0.0 && self.rests.is_empty();
        (add_if_exact(&mut sum, self.heads[index]) && is_double).then_some(sum)
    }

    /// Adds the sum at `index` to `sum`.
    pub(super) fn add_to(&self, sum: &mut Exact, index: usize) {
        sum.add(self.heads[index]);
        sum.add(self.tail(index));
        if let Some(rest) = self.rests.get(index) {
            sum.merge(rest);
        }
    }

    #[inline]
    fn tail(&self, index: usize) -> f64 {
        self.tails.get(index).copied().unwrap_or(0.0)
    }

    fn rest(&mut self, index: usize) -> &mut Exact {
        self.rests.resize(self.heads.len(), Exact::default());
        &mut self.rests[index]
    }

    #[inline(never)]
    fn add_with_loss(&mut self, index: usize, value: f64) {
        let (sum, lost) = add_exactly(self.heads[index], value);
        // Neither is finite if one of the numbers was not, or if the sum is none that a double can be.
        if !(sum.is_finite() && lost.is_finite()) {
            self.rest(index).add(value);
            return;
        }
        self.heads[index] = sum;
        self.tails.resize(self.heads.len(), 0.0);
        let (tail, lost_again) = add_exactly(self.tails[index], lost);
        if lost_again == 0.0 {
            self.tails[index] = tail;
        } else {
            self.rest(index).add(lost);
        }
    }
}

/// Entries whose values are added at a time, so that the compiler can take several in one instruction.
const ENTRIES_AT_A_TIME: usize = 16;

/// What has to be added to the sum of an entry: one number if the rows' values have an exact sum, else each of them.
pub(super) enum Addends<'a> {
    One(std::iter::Once<f64>),
    Each(std::slice::Iter<'a, &'a [f64]>, usize),
}

impl Iterator for Addends<'_> {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        match self {
            Addends::One(sum) => sum.next(),
            Addends::Each(rows, entry) => rows.next().map(|row| row[*entry]),
        }
    }
}

/// Adds up rows of the same length, entry by entry, and tells of each entry what came of it. Whole numbers, and all others whose sum is
/// a double at every step, go without a branch; a value that does not costs its entry alone.
#[inline]
pub(super) fn add_up<'a>(rows: &'a [&'a [f64]], mut tell: impl FnMut(usize, Addends<'a>)) {
    let Some((first, others)) = rows.split_first() else {
        return;
    };
    let whole_len = first.len() / ENTRIES_AT_A_TIME * ENTRIES_AT_A_TIME;
    for start in (0..whole_len).step_by(ENTRIES_AT_A_TIME) {
        let part = |row: &[f64]| -> [f64; ENTRIES_AT_A_TIME] {
            let part = row[start..].first_chunk();
            *part.expect("rows are as long as the first one")
        };
        let mut sums = part(first);
        // All bits of an entry are set while its sum is exact.
        let mut exact = [u64::MAX; ENTRIES_AT_A_TIME];
        for row in others {
            let row = part(row);
            for entry in 0..ENTRIES_AT_A_TIME {
                let (old, value) = (sums[entry], row[entry]);
                let sum = old + value;
                // As in `add_if_exact`.
                let is_exact = (sum - old == value) & (sum - value == old);
                exact[entry] &= if is_exact { u64::MAX } else { 0 };
                sums[entry] = sum;
            }
        }
        for entry in 0..ENTRIES_AT_A_TIME {
            let addends = match exact[entry] {
                0 => Addends::Each(rows.iter(), start + entry),
                _ => Addends::One(std::iter::once(sums[entry])),
            };
            tell(start + entry, addends);
        }
    }
    for entry in whole_len..first.len() {
        tell(entry, Addends::Each(rows.iter(), entry));
    }
}

/// Adds if that is exact; `false` if it is not.
#[inline]
fn add_if_exact(head: &mut f64, value: f64) -> bool {
    let sum = *head + value;
    // Taking the greater of two numbers from their sum is exact, so this finds out whether the addition was; infinities and NaN
    // fail it.
    let is_exact = (sum - *head == value) & (sum - value == *head);
    if is_exact {
        *head = sum;
    }
    is_exact
}

/// The rounded sum and what rounding took from it (Knuth's `TwoSum`): together they are the exact sum if both are finite.
#[inline]
fn add_exactly(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_in_sum = sum - a;
    let a_in_sum = sum - b_in_sum;
    (sum, (a - a_in_sum) + (b - b_in_sum))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn total(addends: &[f64]) -> f64 {
        let mut sums = Sums::default();
        let index = sums.push();
        // What was added before a reset leaves no trace.
        for value in [f64::NAN, 0.1, 1e300, -3.7, 1e-300] {
            sums.add(index, value);
        }
        sums.reset();
        addends.iter().for_each(|value| sums.add(index, *value));
        sums.total(index)
    }

    #[test]
    fn a_total_is_rounded_once_and_does_not_depend_on_the_order() {
        assert_eq!(
            total(&[0.1; 10]),
            1.0,
            "one by one it is 0.9999999999999999"
        );
        assert_eq!(total(&[1e16, 1.0, -1e16]), 1.0);
        assert_eq!(total(&[1.0, 1e16, -1e16]), 1.0);
        assert_eq!(total(&[1e300, 1.0, 1e-300, -1e300, -1.0]), 1e-300);
        assert_eq!(total(&[1e308, 1e308, -1e308]), 1e308);
        assert_eq!(total(&[-0.0]).to_bits(), 0.0_f64.to_bits());
        assert_eq!(total(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert_eq!(total(&[1.0, f64::NEG_INFINITY]), f64::NEG_INFINITY);
        assert_eq!(total(&[f64::MAX, f64::MAX]), f64::INFINITY);
        assert!(total(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
        assert!(total(&[f64::NAN, 1.0]).is_nan());
    }

    #[test]
    fn an_infinity_that_was_absorbed_and_is_taken_away_leaves_no_trace() {
        let mut sums = Sums::default();
        let index = sums.push();
        let mut correction = Exact::default();
        correction.subtract(f64::INFINITY);
        sums.add(index, f64::INFINITY);
        sums.merge(index, &correction);
        sums.add(index, 2.0);
        assert_eq!(sums.total(index), 2.0);
    }

    fn any_number() -> impl Strategy<Value = f64> {
        prop_oneof![
            (0_u32..1000).prop_map(f64::from),
            -1e3..1e3_f64,
            any::<f64>(),
            prop::sample::select(vec![
                0.0,
                -0.0,
                0.1,
                1e16,
                -1e16,
                5e-324,
                f64::MAX,
                f64::MIN
            ]),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn three_addends_hold_what_one_exact_sum_holds(
            values in prop::collection::vec((any_number(), any::<bool>()), 0..12),
            absorbed in prop::collection::vec((any_number(), any::<bool>()), 0..4),
        ) {
            let mut sums = Sums::default();
            sums.push();
            let index = sums.push();
            let mut expected = Exact::default();
            for (value, is_merged) in values {
                if is_merged {
                    sums.merge(index, &Exact::from(value));
                } else {
                    sums.add(index, value);
                }
                expected.add(value);
            }
            let mut correction = Exact::default();
            for (value, is_rebase) in absorbed {
                if is_rebase {
                    correction.add(value);
                } else {
                    correction.subtract(value);
                }
            }
            sums.merge(index, &correction);
            expected.merge(&correction);
            prop_assert_eq!(sums.total(index).to_bits(), expected.value().to_bits());
            let mut unrounded = Exact::default();
            sums.add_to(&mut unrounded, index);
            prop_assert_eq!(unrounded, expected);
        }
    }
}
