//! The exact sum behind every total: doubles go in, nothing is rounded until somebody asks for the value.
//!
//! Invariant: the value is a function of what was added, not of the order, the grouping or the way through a file; what was
//! added and taken away again leaves no trace, infinities and NaN included; and adding what is not negative never lowers it.
//! Folding fractions as doubles made totals fall by one step, and Prometheus takes that for a restart. Pure.

mod window;

use std::cmp::Ordering;

use super::codec::{DecodeError, Reader, put_varint, put_zigzag};
use window::{WORD_COUNT_MAX, Window};

/// From here on a double cannot tell `n` from `n + 1`: a cell of this size swallows increments of one, in Python as well.
pub const SWALLOWS_ONE_FROM: f64 = (1_u64 << 53) as f64;

/// Parts that a stored sum has, as bits of its first byte.
const HAS_WHOLE: u8 = 1;
const HAS_WINDOW: u8 = 2;
const HAS_SPECIAL: u8 = 4;

/// Whether a cell that holds `value` no longer changes when one is added or taken away.
pub fn swallows_increments(value: f64) -> bool {
    value.is_finite() && value.abs() >= SWALLOWS_ONE_FROM
}

/// An exact sum of doubles. 16 bytes while only whole numbers up to 2^53 went in, as with nearly every counter.
#[derive(Debug, Clone, Default)]
pub struct Exact {
    whole: i64,
    rest: Option<Box<Rest>>,
}

/// What does not fit into the whole number.
#[derive(Debug, Clone, Default)]
struct Rest {
    window: Window,
    special: Special,
}

/// How often something that is no number was added, less how often it was taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Special {
    nan: i64,
    positive: i64,
    negative: i64,
}

impl Exact {
    /// Adds `value`.
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.add_signed(value, false);
    }

    /// Undoes one [`Exact::add`] of `value`; for a finite one this is the addition of its negative.
    #[inline]
    pub fn subtract(&mut self, value: f64) {
        self.add_signed(value, true);
    }

    /// Adds everything that went into `other`.
    pub fn merge(&mut self, other: &Exact) {
        self.merge_signed(other, false);
    }

    /// Undoes a [`Exact::merge`] of `other`.
    pub fn subtract_sum(&mut self, other: &Exact) {
        self.merge_signed(other, true);
    }

    /// The sum, rounded once, ties to even: bit for bit Python's `math.fsum`, except that what makes that raise is infinite or
    /// NaN here. Zero is never negative; NaN is one fixed NaN.
    pub fn value(&self) -> f64 {
        self.round().0
    }

    /// Whether [`Exact::value`] is the sum itself. A whole total for which this is false has swallowed an increment on display.
    pub fn is_exact_double(&self) -> bool {
        self.round().1
    }

    /// Compares the sum with zero; `None` for NaN.
    pub fn sign(&self) -> Option<Ordering> {
        // No sum but zero rounds to zero: it is a whole number of the smallest steps.
        self.value().partial_cmp(&0.0)
    }

    /// Whether nothing is left of all that was added.
    pub fn is_zero(&self) -> bool {
        match &self.rest {
            None => self.whole == 0,
            Some(_) => self.canonical().is_none(),
        }
    }

    #[inline]
    fn add_signed(&mut self, value: f64, negated: bool) {
        let whole = value as i64;
        // NaN and infinities fail the comparison of doubles or the one of sizes; -0.0 is the whole number zero.
        if whole as f64 == value && value.abs() <= SWALLOWS_ONE_FROM {
            let whole = if negated { -whole } else { whole };
            match self.whole.checked_add(whole) {
                Some(sum) => self.whole = sum,
                None => self.rest().window.add_whole(whole),
            }
        } else {
            self.rest().add(value, negated);
        }
    }

    fn merge_signed(&mut self, other: &Exact, negated: bool) {
        let sum = if negated {
            self.whole.checked_sub(other.whole)
        } else {
            self.whole.checked_add(other.whole)
        };
        match sum {
            Some(sum) => self.whole = sum,
            None => {
                let mut addend = Window::default();
                addend.add_whole(other.whole);
                self.rest().window.merge(&addend, negated);
            }
        }
        if let Some(rest) = &other.rest {
            self.rest().merge(rest, negated);
        }
    }

    fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    fn round(&self) -> (f64, bool) {
        match &self.rest {
            None => {
                let value = self.whole as f64;
                (value, value as i128 == i128::from(self.whole))
            }
            Some(rest) => match rest.special.value() {
                Some(value) => (value, true),
                None => rest.window.round(self.whole),
            },
        }
    }

    /// One spelling for equal sums: the whole number alone where it is one, else all of it in the window. `None`: zero.
    fn canonical(&self) -> Option<(i64, Option<Rest>)> {
        let Some(rest) = &self.rest else {
            return (self.whole != 0).then_some((self.whole, None));
        };
        let mut all = (**rest).clone();
        all.window.add_whole(self.whole);
        let has_special = all.special != Special::default();
        match all.window.as_whole() {
            Some(0) if !has_special => None,
            Some(whole) if !has_special => Some((whole, None)),
            Some(whole) => {
                all.window = Window::default();
                Some((whole, Some(all)))
            }
            None => Some((0, Some(all))),
        }
    }

    /// Appends the sum, unrounded. Equal sums give equal bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let Some((whole, rest)) = self.canonical() else {
            out.push(0);
            return;
        };
        let (low, words) = rest
            .as_ref()
            .map_or((0, &[][..]), |rest| rest.window.parts());
        let special = rest.as_ref().map(|rest| rest.special).unwrap_or_default();
        let flag = |is_there: bool, flag: u8| if is_there { flag } else { 0 };
        out.push(
            flag(whole != 0, HAS_WHOLE)
                | flag(!words.is_empty(), HAS_WINDOW)
                | flag(special != Special::default(), HAS_SPECIAL),
        );
        if whole != 0 {
            put_zigzag(out, whole);
        }
        if !words.is_empty() {
            put_varint(out, low as u64);
            put_varint(out, words.len() as u64);
            words
                .iter()
                .for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        }
        if special != Special::default() {
            let counts = [special.nan, special.positive, special.negative];
            counts.iter().for_each(|count| put_zigzag(out, *count));
        }
    }

    /// Reads back what [`Exact::encode`] wrote.
    ///
    /// # Errors
    /// Bytes that no sum is stored as.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Exact, DecodeError> {
        let flags = reader.u8()?;
        if flags & !(HAS_WHOLE | HAS_WINDOW | HAS_SPECIAL) != 0 {
            return Err(DecodeError::Tag {
                what: "parts of a sum",
                found: flags,
            });
        }
        let whole = if flags & HAS_WHOLE != 0 {
            reader.zigzag()?
        } else {
            0
        };
        let mut rest = Rest::default();
        if flags & HAS_WINDOW != 0 {
            let (low, count) = (
                reader.count(WORD_COUNT_MAX)?,
                reader.count(WORD_COUNT_MAX + 1)?,
            );
            let words = (0..count)
                .map(|_| reader.u64_le())
                .collect::<Result<_, _>>()?;
            rest.window = Window::from_parts(low, words).ok_or(DecodeError::TooLarge {
                what: "words of a sum",
                limit: WORD_COUNT_MAX,
            })?;
        }
        if flags & HAS_SPECIAL != 0 {
            rest.special = Special {
                nan: reader.zigzag()?,
                positive: reader.zigzag()?,
                negative: reader.zigzag()?,
            };
        }
        let rest = (flags & (HAS_WINDOW | HAS_SPECIAL) != 0).then(|| Box::new(rest));
        Ok(Exact { whole, rest })
    }
}

impl Rest {
    fn add(&mut self, value: f64, negated: bool) {
        let count = if negated { -1 } else { 1 };
        if value.is_nan() {
            self.special.nan = self.special.nan.saturating_add(count);
        } else if value == f64::INFINITY {
            self.special.positive = self.special.positive.saturating_add(count);
        } else if value == f64::NEG_INFINITY {
            self.special.negative = self.special.negative.saturating_add(count);
        } else {
            self.window.add(value, negated);
        }
    }

    fn merge(&mut self, other: &Rest, negated: bool) {
        self.window.merge(&other.window, negated);
        let add = |count: &mut i64, addend: i64| {
            *count = match negated {
                false => count.saturating_add(addend),
                true => count.saturating_sub(addend),
            };
        };
        add(&mut self.special.nan, other.special.nan);
        add(&mut self.special.positive, other.special.positive);
        add(&mut self.special.negative, other.special.negative);
    }
}

impl Special {
    /// What the sum is if it is no number. Taking away an infinity that never was added counts as adding the opposite one.
    fn value(self) -> Option<f64> {
        let rises = self.positive > 0 || self.negative < 0;
        let falls = self.negative > 0 || self.positive < 0;
        match (self.nan != 0 || (rises && falls), rises, falls) {
            (true, _, _) => Some(f64::NAN),
            (false, true, _) => Some(f64::INFINITY),
            (false, _, true) => Some(f64::NEG_INFINITY),
            (false, false, false) => None,
        }
    }
}

impl PartialEq for Exact {
    /// Whether the sums are the same to the last step, not only after rounding.
    fn eq(&self, other: &Exact) -> bool {
        if self.rest.is_none() && other.rest.is_none() {
            return self.whole == other.whole;
        }
        let mut difference = self.clone();
        difference.subtract_sum(other);
        difference.is_zero()
    }
}

impl Eq for Exact {}

impl From<f64> for Exact {
    fn from(value: f64) -> Exact {
        let mut sum = Exact::default();
        sum.add(value);
        sum
    }
}

impl FromIterator<f64> for Exact {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Exact {
        let mut sum = Exact::default();
        values.into_iter().for_each(|value| sum.add(value));
        sum
    }
}
