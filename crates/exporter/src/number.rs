//! Doubles as text, spelled exactly as Python's `prometheus_client` spells them.
//!
//! Invariant: for every double the bytes equal `floatToGoString` of release 0.26 (Python's `repr`, except that positive values
//! from a million up take an exponent), so an `le` is one identity whoever wrote it. Must not touch: I/O, the clock, logging.
//!
//! Whole numbers are nearly all there is on a page: those of nine digits are `whole`'s. Others that do not change are `kept`.

mod kept;
mod whole;

pub(crate) use kept::Spellings;
pub(crate) use whole::Whole;

use whole::NINE_DIGITS_END;

/// No spelling is longer: `-1.7976931348623157e+308` has 24 bytes. What is behind a spelling in the buffer means nothing.
pub(crate) const SPELLING_LEN_MAX: usize = 32;

/// The first whole number of nine digits.
const EIGHT_DIGITS: u64 = 100_000_000;

/// From here up positive numbers take an exponent.
const EXPONENT_FROM: u64 = 1_000_000;

/// From here up (and below a ten thousandth) Python's `repr` takes an exponent by itself.
const REPR_EXPONENT_FROM: f64 = 1e16;

/// Whole numbers below are all there, so their digits are their shortest spelling.
const EXACT_WHOLE_END: u64 = 1 << 53;

/// "0" eight times.
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Append `v` to `out`: `1.0`, `0.005`, `1e+06`, `1.2345e+06`, `-1234567.5`, `1e+16`, `1e-05`, `+Inf`, `-Inf`, `NaN`, `-0.0`.
pub fn format_float(v: f64, out: &mut Vec<u8>) {
    let mut buffer = [0; SPELLING_LEN_MAX];
    let len = spell(v, &mut buffer);
    out.extend_from_slice(&buffer[..len]);
}

/// Writes `v` to the begin of `to` and says how long it is.
pub(crate) fn spell(v: f64, to: &mut [u8; SPELLING_LEN_MAX]) -> usize {
    let Some(whole) = Whole::of(v) else {
        return spell_other(v, to);
    };
    let (begin_len, end_len) = (whole.begin_len, whole.end_len - 1);
    to[..begin_len].copy_from_slice(&whole.begin[..begin_len]);
    to[begin_len..begin_len + end_len].copy_from_slice(&whole.end[..end_len]);
    begin_len + end_len
}

/// Eight digits as bytes 0..=9, the first one lowest. Nothing here overflows, and checking that would cost as much again.
#[inline(always)]
fn eight_digits(value: u64) -> u64 {
    let fours = ((value % 10_000) << 32) | (value / 10_000);
    let hundreds = (fours.wrapping_mul(10_486) >> 20) & 0x7f_0000_007f;
    let twos = (fours.wrapping_sub(100 * hundreds) << 16).wrapping_add(hundreds);
    let tens = (twos.wrapping_mul(103) >> 10) & 0x000f_000f_000f_000f;
    (twos.wrapping_sub(10 * tens) << 8).wrapping_add(tens)
}

/// A whole number of ten to sixteen digits.
fn spell_sixteen(value: u64, to: &mut [u8; SPELLING_LEN_MAX]) -> usize {
    let (high, low) = (value / EIGHT_DIGITS, value % EIGHT_DIGITS);
    let digits = u128::from(eight_digits(high)) | u128::from(eight_digits(low)) << 64;
    let leading_bits = digits.trailing_zeros() & 120;
    let zeros = u128::from(ZEROS);
    let text = (digits | zeros | zeros << 64) >> leading_bits;
    let len = 16 - leading_bits as usize / 8;
    let significant = len - digits.leading_zeros() as usize / 8;
    to[0] = text as u8;
    to[1] = b'.';
    to[2..18].copy_from_slice(&(text >> 8).to_le_bytes());
    spell_exponent(significant, len - 1, to)
}

/// The exponent, 6 to 15, behind so many significant digits, which stand there with their point behind the first one.
#[inline(always)]
fn spell_exponent(significant: usize, exponent: usize, to: &mut [u8; SPELLING_LEN_MAX]) -> usize {
    // A digit alone takes no point.
    let len = significant + usize::from(significant > 1);
    let tens = (exponent / 10) as u32;
    let ones = exponent as u32 - 10 * tens;
    let text = u32::from_le_bytes(*b"e+00") + (tens << 16) + (ones << 24);
    to[len..len + 4].copy_from_slice(&text.to_le_bytes());
    len + 4
}

/// Whether it is a whole number of ten to sixteen digits, all of which are there.
fn is_long_whole(v: f64) -> bool {
    (NINE_DIGITS_END as f64..EXACT_WHOLE_END as f64).contains(&v) && v as u64 as f64 == v
}

#[inline(never)]
fn spell_other(v: f64, to: &mut [u8; SPELLING_LEN_MAX]) -> usize {
    if is_long_whole(v) {
        return spell_sixteen(v as u64, to);
    }
    if !v.is_finite() {
        let text: &[u8] = match v {
            f64::INFINITY => b"+Inf",
            f64::NEG_INFINITY => b"-Inf",
            _ => b"NaN",
        };
        return spell_text(text, to);
    }
    let mut zmij = zmij::Buffer::new();
    let text = zmij.format_finite(v).as_bytes();
    // zmij spells as `repr` does from a ten thousandth up.
    if v >= EXPONENT_FROM as f64 && v < REPR_EXPONENT_FROM {
        spell_moved(text, to)
    } else if v.abs() < 1e-4 && v != 0.0 {
        spell_small(text, to)
    } else {
        spell_text(text, to)
    }
}

/// A text that is spelled right.
#[inline(always)]
fn spell_text(text: &[u8], to: &mut [u8; SPELLING_LEN_MAX]) -> usize {
    let len = text.len();
    // Two copies of a fixed length, which overlap, are faster than one of any length.
    if let (Some(first), Some(last)) = (text.first_chunk::<16>(), text.last_chunk::<16>()) {
        to[..16].copy_from_slice(first);
        to[len - 16..len].copy_from_slice(last);
    } else {
        to[..len].copy_from_slice(text);
    }
    len
}

/// `1234567.5` as `1.2345675e+06`.
fn spell_moved(text: &[u8], to: &mut [u8; SPELLING_LEN_MAX]) -> usize {
    let whole_len = text
        .iter()
        .position(|&byte| byte == b'.')
        .unwrap_or(text.len());
    let fraction = text.get(whole_len + 1..).unwrap_or_default();
    to[0] = text[0];
    to[1] = b'.';
    let mut len = 2;
    for part in [&text[1..whole_len], fraction] {
        to[len..len + part.len()].copy_from_slice(part);
        len += part.len();
    }
    let significant = to[..len]
        .iter()
        .rposition(|byte| !matches!(byte, b'0' | b'.'))
        .map_or(1, |last| last.max(1));
    spell_exponent(significant, whole_len - 1, to)
}

/// `-0.000015` as `-1.5e-05`, and `1.5e-7` as `1.5e-07`.
fn spell_small(text: &[u8], to: &mut [u8; SPELLING_LEN_MAX]) -> usize {
    let (sign_len, magnitude) = match text {
        [b'-', magnitude @ ..] => (1, magnitude),
        magnitude => (0, magnitude),
    };
    if let Some(digits) = magnitude.strip_prefix(b"0.0000") {
        to[0] = b'-';
        to[sign_len] = digits[0];
        to[sign_len + 1] = b'.';
        let end = sign_len + 1 + digits.len();
        to[sign_len + 2..end].copy_from_slice(&digits[1..]);
        // A digit alone takes no point.
        let end = end - usize::from(digits.len() == 1);
        to[end..end + 4].copy_from_slice(b"e-05");
        return end + 4;
    }
    let len = spell_text(text, to);
    if to[len - 2] != b'-' {
        return len;
    }
    to[len] = to[len - 1];
    to[len - 1] = b'0';
    len + 1
}

#[cfg(test)]
mod tests;
