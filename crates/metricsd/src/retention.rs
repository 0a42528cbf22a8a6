//! How long what has ended is kept: the words and durations of the settings about it, and how they are spelled.
//!
//! Invariant: a duration that is accepted can be added to any time without overflow. Pure.

use std::str::FromStr;
use std::time::Duration;

/// What [`parse_duration`] takes, for messages.
pub const DURATION_ACCEPTED: &str =
    "a duration such as 250ms, 10s, 5m, 24h, 7d or 1h30m, at most 100y";

/// What [`RetireAfter`] takes, for messages.
pub const RETIRE_AFTER_ACCEPTED: &str =
    "off, or a duration such as 250ms, 10s, 5m, 24h, 7d or 1h30m, at most 100y";

/// What [`DeadGauges`] takes, for messages.
pub const DEAD_GAUGES_ACCEPTED: &str =
    "keep, drop, or a duration such as 250ms, 10s, 5m, 24h, 7d or 1h30m, at most 100y";

/// Units with their length in milliseconds, longest first. A year has 365 days, as in Prometheus.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Longer ones are mistakes, and could not be added to a time of the clock.
const DURATION_MAX_MILLISECONDS: u64 = 100 * UNITS[0].1;

/// When shards are retired, and how long gauges of ended processes are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetirementSettings {
    /// How long a shard must have had no writer before it is absorbed into the archive; none: shards are never retired.
    pub after: Option<Duration>,
    /// How long gauges of the modes `all` and `liveall` are served after the end of their process: each of them is a series
    /// of its own, so without an end there would be ever more.
    pub retain_ended: Duration,
    /// What becomes of the `live*` gauges of ended processes.
    pub dead_gauges: DeadGauges,
}

impl Default for RetirementSettings {
    fn default() -> RetirementSettings {
        RetirementSettings {
            after: RetireAfter::default().0,
            retain_ended: Duration::from_secs(86_400),
            dead_gauges: DeadGauges::Keep,
        }
    }
}

/// How long after the end of its last writer a shard is retired: a duration, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetireAfter(pub Option<Duration>);

impl Default for RetireAfter {
    fn default() -> RetireAfter {
        RetireAfter(Some(Duration::from_secs(10)))
    }
}

impl FromStr for RetireAfter {
    type Err = String;

    fn from_str(text: &str) -> Result<RetireAfter, String> {
        match text {
            "off" => Ok(RetireAfter(None)),
            _ => parse_duration(text)
                .map(|after| RetireAfter(Some(after)))
                .ok_or_else(|| format!("accepted is {RETIRE_AFTER_ACCEPTED}")),
        }
    }
}

/// What becomes of the `live*` gauges of ended processes while no live process has the series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeadGauges {
    /// They are served, as Python's collector does until it is told that the process died.
    #[default]
    Keep,
    /// They are not served.
    Drop,
    /// They are served for this long after the end of their process.
    For(Duration),
}

impl FromStr for DeadGauges {
    type Err = String;

    fn from_str(text: &str) -> Result<DeadGauges, String> {
        match text {
            "keep" => Ok(DeadGauges::Keep),
            "drop" => Ok(DeadGauges::Drop),
            _ => parse_duration(text)
                .map(DeadGauges::For)
                .ok_or_else(|| format!("accepted is {DEAD_GAUGES_ACCEPTED}")),
        }
    }
}

/// A duration as Prometheus spells it: whole numbers with units, longest unit first, each at most once. A number without a
/// unit is none, not even 0.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total_milliseconds: u64 = 0;
    let mut units = UNITS.iter();
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let letters = behind.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, behind) = behind.split_at(letters);
        // Units that were passed over cannot come any more.
        let (_, unit_milliseconds) = units.by_ref().find(|(name, _)| *name == unit)?;
        total_milliseconds =
            total_milliseconds.checked_add(number.checked_mul(*unit_milliseconds)?)?;
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    (total_milliseconds <= DURATION_MAX_MILLISECONDS)
        .then(|| Duration::from_millis(total_milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_prometheus_spells_them() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("5m", 300_000),
            ("24h", 86_400_000),
            ("7d", 7 * 86_400_000),
            ("2w", 14 * 86_400_000),
            ("1y", 365 * 86_400_000),
            ("1h30m", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("90m", 5_400_000),
            ("0s", 0),
            ("007s", 7000),
            ("100y", 100 * 365 * 86_400_000),
        ] {
            let expected = Some(Duration::from_millis(milliseconds));
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "0",
            "10",
            "s",
            "ms",
            "-1s",
            "+1s",
            "1.5h",
            " 1s",
            "1s ",
            "1 s",
            "1S",
            "1h1h",
            "30m1h",
            "5ms1s",
            "1h30",
            "1hour",
            "1µs",
            "1us",
            "1m\0",
            "off",
            "١s",
            "100y1ms",
            "18446744073709551615y",
            "99999999999999999999s",
            "18446744073709551615ms1ms",
        ] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_longest_duration_can_be_added_to_a_time() {
        let longest = parse_duration("100y").unwrap();
        assert!(std::time::Instant::now().checked_add(longest).is_some());
        assert!(std::time::SystemTime::now().checked_add(longest).is_some());
    }

    #[test]
    fn the_words_are_understood_and_only_where_they_mean_something() {
        let second = Duration::from_secs(1);
        assert_eq!("off".parse(), Ok(RetireAfter(None)));
        assert_eq!("1s".parse(), Ok(RetireAfter(Some(second))));
        assert_eq!("keep".parse(), Ok(DeadGauges::Keep));
        assert_eq!("drop".parse(), Ok(DeadGauges::Drop));
        assert_eq!("1s".parse(), Ok(DeadGauges::For(second)));
        assert_eq!(
            "keep".parse::<RetireAfter>(),
            Err(
                "accepted is off, or a duration such as 250ms, 10s, 5m, 24h, 7d or 1h30m, at most 100y"
                    .to_owned()
            )
        );
        assert_eq!(
            "off".parse::<DeadGauges>(),
            Err(
                "accepted is keep, drop, or a duration such as 250ms, 10s, 5m, 24h, 7d or 1h30m, at most 100y"
                    .to_owned()
            )
        );
    }
}
