//! Durations as configuration files spell them: a whole number and its unit. Must not touch the clock.

use std::time::Duration;

/// Longest unit first, in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// `250ms`, `10s`, `5m`, `1h`; `None` for everything else, a bare number included: it has no unit.
pub fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, millis) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let millis = number.parse::<u64>().ok()?.checked_mul(millis)?;
    Some(Duration::from_millis(millis))
}

/// The shortest spelling that [`parse`] reads as the same; fractions of a millisecond, which it never gives, are cut off.
pub fn spelled(duration: Duration) -> String {
    let millis = duration.as_millis();
    let fits = |(_, unit): &(&str, u64)| millis.is_multiple_of(u128::from(*unit));
    match UNITS.into_iter().find(fits) {
        Some((name, unit)) if millis > 0 => format!("{}{name}", millis / u128::from(unit)),
        _ => "0s".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spelled_is_read_again() {
        for text in ["250ms", "1s", "90s", "1m", "2h", "0s", "1500ms"] {
            assert_eq!(spelled(parse(text).unwrap()), text);
        }
    }

    #[test]
    fn a_duration_is_a_whole_number_and_a_unit() {
        for (text, millis) in [
            ("250ms", 250),
            ("1s", 1_000),
            ("60s", 60_000),
            ("1m", 60_000),
            ("1h", 3_600_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "s",
            "1",
            "60",
            "1 s",
            "1.5s",
            "-1s",
            "+1s",
            "1S",
            "1min",
            "1s1s",
            "1d",
            "99999999999999999999s",
            "9999999999999999999h",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
