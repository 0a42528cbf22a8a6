//! When a market is open, as far as gaps are concerned. Invariant: pure arithmetic on UTC seconds, no time zone data, so the
//! same file has the same gaps on every machine.

use crate::timeframe::Timeframe;

/// When bars of an instrument are to be expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calendar {
    /// Closed from Friday 21:00 to Sunday 22:00 UTC. New York closes and opens at 17:00 local time, which is 21:00 or 22:00 UTC
    /// with the season; we take the union of both, so the hour at either edge may be there or not and neither is a defect.
    /// Holidays are not in it: a bar missing at Christmas is reported as a gap.
    Fx,
    /// Never closed.
    Always,
}

const DAY_SECONDS: i64 = 86_400;
const WEEK_SECONDS: i64 = 7 * DAY_SECONDS;

/// Unix time began on a Thursday; these are seconds after Thursday 00:00 UTC.
const FX_CLOSE_SECONDS: i64 = DAY_SECONDS + 21 * 3_600;
const FX_OPEN_SECONDS: i64 = 3 * DAY_SECONDS + 22 * 3_600;

impl Calendar {
    /// Whether a bar that opens at this Unix time is expected to exist. Weekly bars always are: each spans open hours, whatever
    /// weekday its vendor begins it on.
    pub fn expects_bar(self, open_time: i64, timeframe: Timeframe) -> bool {
        match self {
            Calendar::Always => true,
            Calendar::Fx => {
                let second_of_week = open_time.rem_euclid(WEEK_SECONDS);
                timeframe == Timeframe::W1
                    || !(FX_CLOSE_SECONDS..FX_OPEN_SECONDS).contains(&second_of_week)
            }
        }
    }

    /// Whether the market trades at this Unix time, as far as this calendar knows. The hour at either edge of the FX weekend, which is
    /// open in one season only, counts as closed.
    pub fn is_open_at(self, unix: i64) -> bool {
        match self {
            Calendar::Always => true,
            Calendar::Fx => {
                !(FX_CLOSE_SECONDS..FX_OPEN_SECONDS).contains(&unix.rem_euclid(WEEK_SECONDS))
            }
        }
    }

    /// When the next bar is due: the earliest closing time after `unix` of a bar that [`Calendar::expects_bar`], bars opening at whole
    /// multiples of `timeframe` since the epoch. The bar that is forming at `unix` counts; one that closes exactly then does not.
    ///
    /// A bar of the seasonal hour at the weekend's edge may exist and is never due: waiting for it would be wrong for half of the year.
    pub fn next_bar_close_after(self, unix: i64, timeframe: Timeframe) -> i64 {
        let step = timeframe.seconds();
        let mut open = unix.div_euclid(step).saturating_mul(step);
        // One jump over the weekend is enough: what opens after it is expected, and the next weekend is days away.
        if !self.expects_bar(open, timeframe) {
            let week = open.div_euclid(WEEK_SECONDS).saturating_mul(WEEK_SECONDS);
            let reopening = week.saturating_add(FX_OPEN_SECONDS);
            // Rounded up: the first bar that opens at or after the reopening.
            open = reopening
                .saturating_add(step - 1)
                .div_euclid(step)
                .saturating_mul(step);
        }
        open.saturating_add(step)
    }

    /// A Unix time from which on `bars` closed bars, and a quarter more for holes such as holidays, are to be expected up to `now`.
    pub fn lookback_start(self, now: i64, bars: usize, timeframe: Timeframe) -> i64 {
        let step = timeframe.seconds();
        let mut open = now.div_euclid(step).saturating_mul(step);
        let mut wanted = bars.saturating_add(bars / 4);
        while wanted > 0 {
            let Some(earlier) = open.checked_sub(step) else {
                return open;
            };
            open = earlier;
            if self.expects_bar(open, timeframe) {
                wanted -= 1;
            }
        }
        open
    }

    /// How many expected bars are missing between the bar that opens at `previous` and the one that opens at `next`, if bars open
    /// every `timeframe` after `previous`. 0 if `next` is the very next one.
    pub fn missing_bars(self, previous: i64, next: i64, timeframe: Timeframe) -> u64 {
        let step = timeframe.seconds();
        // Opens strictly between the two: previous + step, previous + 2 step, ... < next.
        let between = (next.saturating_sub(previous) - 1).max(0) / step;
        if between == 0 {
            return 0; // the usual case: the next bar
        }
        // Whole weeks repeat, so that a gap of decades costs no more than a week's bars.
        let per_week = WEEK_SECONDS / step;
        let expected_in = |count: i64| {
            (1..=count)
                .filter(|k| self.expects_bar(previous + k * step, timeframe))
                .count() as u64
        };
        let weeks = (between / per_week) as u64;
        let of_whole_weeks = if weeks > 0 {
            weeks * expected_in(per_week)
        } else {
            0
        };
        of_whole_weeks + expected_in(between % per_week)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unix(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_second()
    }

    #[test]
    fn the_fx_weekend_is_no_gap_and_everything_else_is() {
        // (calendar, previous open, next open, timeframe, missing bars)
        let table = [
            // Winter, summer, and the two weekends on which New York changes its clock.
            (
                Calendar::Fx,
                "2017-01-06T21:00:00Z",
                "2017-01-08T22:00:00Z",
                Timeframe::H1,
                0,
            ),
            (
                Calendar::Fx,
                "2017-06-30T20:00:00Z",
                "2017-07-02T21:00:00Z",
                Timeframe::H1,
                0,
            ),
            (
                Calendar::Fx,
                "2017-03-10T21:00:00Z",
                "2017-03-12T21:00:00Z",
                Timeframe::H1,
                0,
            ),
            (
                Calendar::Fx,
                "2017-11-03T20:00:00Z",
                "2017-11-05T22:00:00Z",
                Timeframe::H1,
                0,
            ),
            // Consecutive bars.
            (
                Calendar::Fx,
                "2017-01-04T10:00:00Z",
                "2017-01-04T11:00:00Z",
                Timeframe::H1,
                0,
            ),
            // A hole in the week, at the weekend's edges, and over Christmas.
            (
                Calendar::Fx,
                "2017-01-04T10:00:00Z",
                "2017-01-04T12:00:00Z",
                Timeframe::H1,
                1,
            ),
            (
                Calendar::Fx,
                "2017-01-06T19:00:00Z",
                "2017-01-08T22:00:00Z",
                Timeframe::H1,
                1,
            ),
            (
                Calendar::Fx,
                "2017-12-22T21:00:00Z",
                "2017-12-24T23:00:00Z",
                Timeframe::H1,
                1,
            ),
            (
                Calendar::Fx,
                "2017-12-25T07:00:00Z",
                "2017-12-25T22:00:00Z",
                Timeframe::H1,
                14,
            ),
            // Two weeks away: one week of 119 open hours is missing, and the hours of the other up to the bar.
            (
                Calendar::Fx,
                "2017-01-04T10:00:00Z",
                "2017-01-18T10:00:00Z",
                Timeframe::H1,
                2 * 119 - 1,
            ),
            // Daily bars miss Saturday and Sunday; weekly ones miss nothing.
            (
                Calendar::Fx,
                "2017-01-06T00:00:00Z",
                "2017-01-09T00:00:00Z",
                Timeframe::D1,
                0,
            ),
            (
                Calendar::Fx,
                "2017-01-05T00:00:00Z",
                "2017-01-09T00:00:00Z",
                Timeframe::D1,
                1,
            ),
            (
                Calendar::Fx,
                "2017-01-01T00:00:00Z",
                "2017-01-08T00:00:00Z",
                Timeframe::W1,
                0,
            ),
            (
                Calendar::Fx,
                "2017-01-01T00:00:00Z",
                "2017-01-15T00:00:00Z",
                Timeframe::W1,
                1,
            ),
            // A market that never closes has no weekend.
            (
                Calendar::Always,
                "2017-01-06T21:00:00Z",
                "2017-01-08T22:00:00Z",
                Timeframe::H1,
                48,
            ),
            (
                Calendar::Always,
                "2017-01-06T21:00:00Z",
                "2017-01-06T22:00:00Z",
                Timeframe::H1,
                0,
            ),
        ];
        for (calendar, previous, next, timeframe, missing) in table {
            assert_eq!(
                calendar.missing_bars(unix(previous), unix(next), timeframe),
                missing,
                "{calendar:?} {previous} {next} {timeframe}"
            );
        }
    }

    #[test]
    fn the_next_bar_is_due_when_it_closes_and_none_is_due_over_the_fx_weekend() {
        // (calendar, now, timeframe, due)
        let table = [
            (
                Calendar::Fx,
                "2017-01-04T10:00:00Z",
                Timeframe::H1,
                "2017-01-04T11:00:00Z",
            ),
            (
                Calendar::Fx,
                "2017-01-04T10:59:59Z",
                Timeframe::H1,
                "2017-01-04T11:00:00Z",
            ),
            (
                Calendar::Fx,
                "2017-01-06T20:59:59Z",
                Timeframe::H1,
                "2017-01-06T21:00:00Z",
            ),
            (
                Calendar::Fx,
                "2017-01-06T21:00:00Z",
                Timeframe::H1,
                "2017-01-08T23:00:00Z",
            ),
            (
                Calendar::Fx,
                "2017-01-08T21:59:59Z",
                Timeframe::M1,
                "2017-01-08T22:01:00Z",
            ),
            (
                Calendar::Fx,
                "2017-01-08T22:00:00Z",
                Timeframe::M5,
                "2017-01-08T22:05:00Z",
            ),
            (
                Calendar::Fx,
                "2017-01-07T12:00:00Z",
                Timeframe::H4,
                "2017-01-09T04:00:00Z",
            ),
            (
                Calendar::Fx,
                "2017-01-07T12:00:00Z",
                Timeframe::D1,
                "2017-01-10T00:00:00Z",
            ),
            (
                Calendar::Always,
                "2017-01-07T12:00:30Z",
                Timeframe::M1,
                "2017-01-07T12:01:00Z",
            ),
        ];
        for (calendar, now, timeframe, due) in table {
            assert_eq!(
                calendar.next_bar_close_after(unix(now), timeframe),
                unix(due),
                "{calendar:?} {now} {timeframe}"
            );
        }
    }

    #[test]
    fn the_market_is_open_from_sunday_22_to_friday_21() {
        for (time, open) in [
            ("2017-01-06T20:59:59Z", true),
            ("2017-01-06T21:00:00Z", false),
            ("2017-01-08T21:59:59Z", false),
            ("2017-01-08T22:00:00Z", true),
        ] {
            assert_eq!(Calendar::Fx.is_open_at(unix(time)), open, "{time}");
            assert!(Calendar::Always.is_open_at(unix(time)));
        }
    }

    proptest! {
        /// The definition, spelled out naively: walk bar by bar until one is expected.
        #[test]
        fn the_due_time_is_that_of_the_first_expected_bar(
            now in -WEEK_SECONDS..600_000_000_i64,
            timeframe in proptest::sample::select(Timeframe::ALL.to_vec()),
            calendar in proptest::sample::select(vec![Calendar::Fx, Calendar::Always]),
        ) {
            let step = timeframe.seconds();
            let mut open = now.div_euclid(step) * step;
            while !calendar.expects_bar(open, timeframe) {
                open += step;
            }
            let due = calendar.next_bar_close_after(now, timeframe);
            prop_assert_eq!(due, open + step);
            prop_assert!(due > now);
            // Nothing between a closed bar and the next due one is missing.
            prop_assert_eq!(calendar.missing_bars(due - step, calendar.next_bar_close_after(due, timeframe) - step, timeframe), 0);
        }
    }

    #[test]
    fn a_gap_of_a_century_is_counted_like_its_weeks_one_by_one() {
        let start = unix("1970-01-05T00:00:00Z");
        let week = Calendar::Fx.missing_bars(start, start + WEEK_SECONDS + 60, Timeframe::M1);
        let century =
            Calendar::Fx.missing_bars(start, start + 5_200 * WEEK_SECONDS + 60, Timeframe::M1);
        assert_eq!(century, 5_200 * week);
    }
}
