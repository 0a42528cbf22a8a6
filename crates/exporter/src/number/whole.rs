//! Whole numbers of at most nine digits.
//!
//! Invariant: as for all numbers; nothing here branches on a number that is one of them. Their lengths are as good as random: a branch
//! that is guessed wrong costs more than all digits together. So digits are made at once in one register, and shifted instead of counted.

use std::hint::select_unpredictable;

use super::{EXACT_WHOLE_END, EXPONENT_FROM, ZEROS};

/// Room for the first part of a whole number.
const BEGIN_BYTES: usize = 16;

/// Room for what is behind it.
const END_BYTES: usize = 8;

/// The last whole number that is spelled from the table, and one more.
pub(super) const NINE_DIGITS_END: u64 = 1_000_000_000;

/// Three digits as bytes 0..=9, the first one lowest, for each number that has no more. (1024, so that ten bits are an index.)
static THREE_DIGITS: [u32; 1024] = {
    let mut table = [0; 1024];
    let mut number = 0;
    while number < 1000 {
        table[number as usize] = (number / 100) | ((number / 10 % 10) << 8) | ((number % 10) << 16);
        number += 1;
    }
    table
};

/// A whole number of at most nine digits, in two parts that are made in registers: its digits, and the exponent with the line feed that
/// ends the number. What is behind each part means nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole {
    /// `123.0`, or `1.23` of `1.23e+08`.
    pub(crate) begin: [u8; BEGIN_BYTES],
    /// At most 10.
    pub(crate) begin_len: usize,
    /// What is left, and a line feed.
    pub(crate) end: [u8; END_BYTES],
    pub(crate) end_len: usize,
}

impl Whole {
    /// Nothing if it is another number.
    #[inline(always)]
    pub(crate) fn of(v: f64) -> Option<Whole> {
        // Doubles from here up are whole, so adding rounds to a whole number and leaves it in the lowest bits.
        const WHOLE_FROM: f64 = EXACT_WHOLE_END as f64 / 2.0;
        let rounded = v + WHOLE_FROM;
        let whole = rounded.to_bits().wrapping_sub(WHOLE_FROM.to_bits());
        // By bits, since -0.0 is spelled otherwise.
        let is_whole = whole < NINE_DIGITS_END && (rounded - WHOLE_FROM).to_bits() == v.to_bits();
        is_whole.then(|| Whole::spell(whole as u32))
    }

    /// Both forms are made, and one is taken: which one is as good as random on a page, and a branch that is guessed wrong costs more. Of
    /// the other one anything may come, so nothing here is checked.
    #[inline(always)]
    fn spell(value: u32) -> Whole {
        let three = |number: u32| u64::from(THREE_DIGITS[number as usize % THREE_DIGITS.len()]);
        let (millions, thousands) = (three(value / 1_000_000), three(value / 1000 % 1000));
        let digits = millions >> 8 | thousands << 16 | three(value % 1000) << 40;
        // The one before these eight.
        let ninth = millions & 0xff;
        let is_long = ninth != 0;
        // Zero keeps its last digit.
        let leading_bits = (digits | ninth | 1 << 56).trailing_zeros() & 56;
        let text = (digits | ZEROS) >> leading_bits;
        let len = (64 - leading_bits as usize) / 8;
        let plain = text | u64::from(u16::from_le_bytes(*b".0")).wrapping_shl(64 - leading_bits);
        let first = select_unpredictable(is_long, ninth | u64::from(b'0'), text & 0xff);
        let rest = select_unpredictable(is_long, text, text >> 8);
        let pointed = first | u64::from(b'.') << 8 | rest << 16;
        let exponent = len.wrapping_add(usize::from(is_long)).wrapping_sub(1);
        // Zeros at the end, counted from there: on some processors `leading_zeros` takes as long as all digits.
        let zeros = digits.swap_bytes().trailing_zeros() as usize / 8;
        let behind_first = exponent.wrapping_sub(zeros);
        // A digit alone takes no point.
        let pointed_len = behind_first.wrapping_add(1 + usize::from(behind_first > 0));
        let exponent = u64::from_le_bytes(*b"e+00\n\0\0\0").wrapping_add((exponent as u64) << 24);
        let is_plain = u64::from(value) < EXPONENT_FROM;
        let begin = u128::from(select_unpredictable(is_plain, plain, pointed));
        Whole {
            begin: (begin | u128::from(rest >> 48) << 64).to_le_bytes(),
            begin_len: select_unpredictable(is_plain, len + 2, pointed_len),
            end: select_unpredictable(is_plain, u64::from(b'\n'), exponent).to_le_bytes(),
            end_len: select_unpredictable(is_plain, 1, 5),
        }
    }
}
