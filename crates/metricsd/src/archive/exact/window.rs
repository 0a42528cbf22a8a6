//! A whole number of the smallest steps of a double (2^-1074), as wide as it needs to be: what every finite sum is exactly.
//!
//! Invariant: the number is the two's complement reading of the words, so it depends on what was added and on nothing else,
//! neither the order nor the grouping; and no intermediate result can overflow. Pure.

/// Position of 2^0, counted in steps.
const UNIT_BIT: u32 = 1074;
/// Bits of the mantissa of a double, the hidden one among them.
const MANTISSA_BITS: usize = 53;
/// Words that a sum of doubles can reach: 2^1024 is bit 2098, in word 32, and 2^64 addends add one word.
pub(super) const WORD_COUNT_MAX: usize = 34;
/// Room for rounding: whatever the words in use are, a number beyond this is beyond all doubles.
const SCRATCH_WORDS: usize = 40;

/// The number: words from the least significant, which stands for bits `64 * low ..`; the sign bit of the last one goes on for
/// ever. No words are zero.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    low: usize,
    words: Vec<u64>,
}

impl Window {
    /// Reads back what [`Window::parts`] gave; `None` if no sum of doubles reaches so far.
    pub(super) fn from_parts(low: usize, words: Vec<u64>) -> Option<Window> {
        (low.checked_add(words.len())? <= WORD_COUNT_MAX + 1).then_some(Window { low, words })
    }

    /// First word's position and the words, without those that say nothing. Equal numbers have equal parts.
    pub(super) fn parts(&self) -> (usize, &[u64]) {
        let Some(first) = self.words.iter().position(|word| *word != 0) else {
            return (0, &[]);
        };
        let mut end = self.words.len();
        while end - first > 1 && self.words[end - 1] == sign_word(self.words[end - 2]) {
            end -= 1;
        }
        (self.low + first, &self.words[first..end])
    }

    /// Adds a finite double, or takes it away.
    pub(super) fn add(&mut self, value: f64, negated: bool) {
        let bits = value.to_bits();
        let exponent = ((bits >> 52) & 0x7ff) as u32;
        let fraction = bits & ((1 << 52) - 1);
        // Subnormal numbers have the scale of the smallest normal ones and no hidden bit.
        let (mantissa, shift) = match exponent {
            0 => (fraction, 0),
            _ => (fraction | 1 << 52, exponent - 1),
        };
        self.add_magnitude(mantissa, shift, value.is_sign_negative() != negated);
    }

    /// Adds a whole number.
    pub(super) fn add_whole(&mut self, value: i64) {
        self.add_magnitude(value.unsigned_abs(), UNIT_BIT, value < 0);
    }

    /// Adds another number, or takes it away.
    pub(super) fn merge(&mut self, other: &Window, negated: bool) {
        let (low, words) = other.parts();
        let Some(last) = words.last() else { return };
        let sign = sign_word(*last);
        // Subtraction is the addition of the complement and one.
        let flip = if negated { u64::MAX } else { 0 };
        self.cover(low, words.len() + 1);
        let at = low - self.low;
        let mut carry = negated;
        for (index, word) in self.words[at..].iter_mut().enumerate() {
            let addend = words.get(index).copied().unwrap_or(sign) ^ flip;
            (*word, carry) = add_carry(*word, addend, carry);
        }
    }

    /// The number as a whole one, if it is one and small enough.
    pub(super) fn as_whole(&self) -> Option<i64> {
        let (low, words) = self.parts();
        let (unit_word, unit_shift) = (UNIT_BIT as usize / 64, UNIT_BIT % 64);
        let sign = words.last().map_or(0, |last| sign_word(*last));
        let word = |index: usize| match index.checked_sub(low) {
            None => 0,
            Some(at) => words.get(at).copied().unwrap_or(sign),
        };
        let has_fraction = (!words.is_empty() && low < unit_word)
            || word(unit_word) & ((1 << unit_shift) - 1) != 0;
        let whole = (word(unit_word) >> unit_shift) | (word(unit_word + 1) << (64 - unit_shift));
        let whole = whole.cast_signed();
        let above = word(unit_word + 1).cast_signed() >> unit_shift;
        let fits = above == whole >> 63 && low + words.len() <= unit_word + 3;
        let fits = fits && word(unit_word + 2) == sign;
        (!has_fraction && fits).then_some(whole)
    }

    /// The nearest double to this number plus `whole`, ties to even, and whether it is that number exactly.
    pub(super) fn round(&self, whole: i64) -> (f64, bool) {
        let mut sum = self.clone();
        if whole != 0 {
            sum.add_whole(whole);
        }
        let (low, words) = sum.parts();
        let Some(last) = words.last() else {
            return (0.0, true);
        };
        let is_negative = sign_word(*last) != 0;
        if low + words.len() > SCRATCH_WORDS {
            return (
                if is_negative {
                    f64::NEG_INFINITY
                } else {
                    f64::INFINITY
                },
                false,
            );
        }
        let mut magnitude = [0; SCRATCH_WORDS];
        magnitude[low..low + words.len()].copy_from_slice(words);
        if is_negative {
            negate(&mut magnitude[low..low + words.len()]);
        }
        let (value, is_exact) = round_magnitude(&magnitude, low + words.len());
        (if is_negative { -value } else { value }, is_exact)
    }

    fn add_magnitude(&mut self, mantissa: u64, shift: u32, is_negative: bool) {
        if mantissa == 0 {
            return;
        }
        let wide = u128::from(mantissa) << (shift % 64);
        self.cover(shift as usize / 64, 2);
        let at = shift as usize / 64 - self.low;
        let mut rest = [wide as u64, (wide >> 64) as u64].into_iter();
        let mut carry = false;
        for word in &mut self.words[at..] {
            let addend = rest.next();
            if addend.is_none() && !carry {
                break;
            }
            let addend = addend.unwrap_or(0);
            (*word, carry) = match is_negative {
                false => add_carry(*word, addend, carry),
                true => subtract_borrow(*word, addend, carry),
            };
        }
    }

    /// Makes room for an addend of `count` words from position `low` on, and for the carry: the last word says nothing but the
    /// sign, so one addition cannot leave it.
    fn cover(&mut self, low: usize, count: usize) {
        if self.words.is_empty() {
            self.low = low;
        } else if low < self.low {
            let missing = self.low - low;
            self.words.splice(0..0, std::iter::repeat_n(0, missing));
            self.low = low;
        }
        let sign = self.words.last().map_or(0, |last| sign_word(*last));
        let is_pure = self.words.last().is_some_and(|last| *last == sign);
        let needed = (low - self.low + count + 1).max(self.words.len() + usize::from(!is_pure));
        self.words.resize(needed, sign);
    }
}

/// The word that goes on above `word`.
fn sign_word(word: u64) -> u64 {
    (word.cast_signed() >> 63).cast_unsigned()
}

fn add_carry(left: u64, right: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = left.overflowing_add(right);
    let (sum, second) = sum.overflowing_add(u64::from(carry));
    (sum, first || second)
}

fn subtract_borrow(left: u64, right: u64, borrow: bool) -> (u64, bool) {
    let (difference, first) = left.overflowing_sub(right);
    let (difference, second) = difference.overflowing_sub(u64::from(borrow));
    (difference, first || second)
}

fn negate(words: &mut [u64]) {
    let mut carry = true;
    for word in words {
        (*word, carry) = add_carry(!*word, 0, carry);
    }
}

/// Rounds a positive number; `end` is behind its last word that may be set.
fn round_magnitude(words: &[u64; SCRATCH_WORDS], end: usize) -> (f64, bool) {
    let Some(top_word) = words[..end].iter().rposition(|word| *word != 0) else {
        return (0.0, true);
    };
    let top = top_word * 64 + 63 - words[top_word].leading_zeros() as usize;
    if top < MANTISSA_BITS {
        // Subnormal numbers and the first binade of normal ones: the count of steps is the bit pattern.
        return (f64::from_bits(words[0]), true);
    }
    let shift = top + 1 - MANTISSA_BITS;
    let mantissa = bits_from(words, shift) & ((1 << MANTISSA_BITS) - 1);
    let half = bits_from(words, shift - 1) & 1 == 1;
    let below = shift - 1;
    let has_rest = words[..below / 64].iter().any(|word| *word != 0)
        || words[below / 64] & ((1 << (below % 64)) - 1) != 0;
    let rounded = mantissa + u64::from(half && (has_rest || mantissa & 1 == 1));
    // A carry out of the mantissa goes into the exponent, as it should, and from the last one to infinity.
    let pattern = ((shift as u64) << 52) + rounded;
    let infinity = f64::INFINITY.to_bits();
    if shift as u64 >= 0x7ff || pattern >= infinity {
        return (f64::INFINITY, false);
    }
    (f64::from_bits(pattern), !half && !has_rest)
}

/// 64 bits from bit `at` on.
fn bits_from(words: &[u64; SCRATCH_WORDS], at: usize) -> u64 {
    let low = words[at / 64] >> (at % 64);
    let high = words.get(at / 64 + 1).copied().unwrap_or(0);
    if at.is_multiple_of(64) {
        low
    } else {
        low | high << (64 - at % 64)
    }
}
