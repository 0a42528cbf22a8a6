//! The bound of a histogram bucket as Python's `float()` reads the label `le`.
//!
//! Invariant: spellings of one number (`1`, `1.0`, `1e0`) give one bound, and a bound is never -0.0 or NaN, so equal bounds
//! have equal bits. Must not touch: I/O, the clock, logging.

/// The number that `text` spells; `None` for no number and for NaN, which no observation is below.
pub(super) fn parse_bound(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits_around = |index: usize| {
        let digit_at = |place: usize| text.as_bytes().get(place).is_some_and(u8::is_ascii_digit);
        index > 0 && digit_at(index - 1) && digit_at(index + 1)
    };
    let parsed: f64 = if text.contains('_') {
        // Python lets an underscore stand between two digits, and nowhere else.
        if !text
            .char_indices()
            .all(|(index, c)| c != '_' || digits_around(index))
        {
            return None;
        }
        text.replace('_', "").parse().ok()?
    } else {
        text.parse().ok()?
    };
    // Adding zero turns -0.0 into 0.0 and leaves everything else alone.
    (!parsed.is_nan()).then_some(parsed + 0.0)
}

#[cfg(test)]
mod tests {
    use super::parse_bound;

    #[test]
    fn every_spelling_of_a_bound_is_the_same_number() {
        for text in ["1", "1.0", "1e0", " 1 ", "+1", "01", "1."] {
            assert_eq!(parse_bound(text), Some(1.0), "{text:?}");
        }
        for text in ["+Inf", "inf", "Infinity", "+infinity"] {
            assert_eq!(parse_bound(text), Some(f64::INFINITY), "{text:?}");
        }
        assert_eq!(parse_bound("1_000.5"), Some(1000.5));
        assert_eq!(
            parse_bound("-0.0").map(f64::to_bits),
            Some(0.0_f64.to_bits())
        );
        for text in ["", "x", "nan", "_1", "1_", "1__0", "0x10", "1 2"] {
            assert_eq!(parse_bound(text), None, "{text:?}");
        }
    }
}
