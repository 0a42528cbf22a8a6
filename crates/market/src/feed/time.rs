//! The spellings of time that candle files use. Invariant: UTC throughout; a spelling without a zone means UTC, and a fraction of
//! a second is refused because no bar opens there.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

/// What [`parse`] accepts, for messages.
pub(super) const EXPECTED: &str = "a time in UTC on a whole second, as 2017-01-01T22:00:00Z (or with an offset), 2017-01-01 22:00:00, 01.01.2017 22:00:00.000, 2017-01-01 (its midnight) or Unix seconds";

/// Unix seconds beyond this are milliseconds that lost their unit (the year 5138).
const UNIX_SECONDS_MAX: i64 = 100_000_000_000;

/// Unix seconds of one of the accepted spellings.
pub(super) fn parse(text: &str) -> Option<i64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text
            .parse()
            .ok()
            .filter(|seconds| *seconds < UNIX_SECONDS_MAX);
    }
    // With `Z` or an offset, behind a `T` or a blank; else without a zone.
    let timestamp = match text.parse::<jiff::Timestamp>() {
        Ok(timestamp) => timestamp,
        Err(_) => {
            let civil = [
                "%Y-%m-%dT%H:%M:%S%.f",
                "%Y-%m-%d %H:%M:%S%.f",
                "%d.%m.%Y %H:%M:%S%.f",
            ]
            .into_iter()
            .find_map(|spelling| DateTime::strptime(spelling, text).ok())
            // What daily bars are written with.
            .or_else(|| {
                let day = Date::strptime("%Y-%m-%d", text).ok()?;
                Some(day.to_datetime(Time::midnight()))
            })?;
            TimeZone::UTC.to_timestamp(civil).ok()?
        }
    };
    (timestamp.subsec_nanosecond() == 0).then(|| timestamp.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_accepted_spelling_means_the_same_second_and_nothing_else_is_a_time() {
        let same = [
            "2017-01-01T22:00:00Z",
            "2017-01-01T22:00:00+00:00",
            "2017-01-02T00:00:00+02:00",
            "2017-01-01T22:00:00.000Z",
            "2017-01-01 22:00:00",
            "01.01.2017 22:00:00.000",
            "01.01.2017 22:00:00",
            "2017-01-01T22:00:00",
            "2017-01-01T22:00:00.000",
            "2017-01-01 22:00:00.000",
            "2017-01-01 22:00:00+00:00",
            "2017-01-02 01:00:00+03:00",
            "1483308000",
        ];
        for text in same {
            assert_eq!(parse(text), Some(1_483_308_000), "{text}");
        }
        assert_eq!(parse("2017-01-02"), Some(1_483_315_200));
        let refused = [
            "2017-02-29",
            "2017-01",
            "2017-01-02T",
            "02.01.2017",
            "",
            "yesterday",
            "2017-01-01T22:00:00.5Z",
            "2017-01-01T22:00:00.5",
            "2017-13-01 22:00:00",
            "31.02.2017 22:00:00.000",
            "01/01/2017 22:00:00",
            "1483308000000",
            "-5",
            "1e9",
            "99999999999999999999",
        ];
        for text in refused {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
