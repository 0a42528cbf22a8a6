//! Money, prices and volumes. Invariant: an amount is the very decimal number that was written, and it writes itself the same way. Must not
//! touch: floats.

use std::fmt;

use rust_decimal::Decimal;

/// A decimal number of at most 15 digits before and 8 behind the point; in JSON a string, never a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Amount(Decimal);

impl Amount {
    /// None if the number needs more digits than the wire has. Minus zero becomes zero.
    pub fn new(value: Decimal) -> Option<Amount> {
        let value = if value.is_zero() { value.abs() } else { value };
        Amount::parse(&value.to_string())
    }

    /// None if the text is not `-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,8})?`, or is minus zero.
    pub fn parse(text: &str) -> Option<Amount> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = match digits.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (digits, None),
        };
        let are_digits = |text: &str, max: usize| {
            (1..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        let is_written_well = are_digits(whole, 15)
            && (whole == "0" || !whole.starts_with('0'))
            && fraction.is_none_or(|fraction| are_digits(fraction, 8));
        if !is_written_well {
            return None;
        }
        let value = Decimal::from_str_exact(text).ok()?;
        (digits.len() == text.len() || !value.is_zero()).then_some(Amount(value))
    }

    /// The number.
    pub const fn value(self) -> Decimal {
        self.0
    }

    /// Whether it is greater than zero.
    pub fn is_positive(self) -> bool {
        self.0 > Decimal::ZERO
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
