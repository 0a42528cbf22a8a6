//! When the newest bar opened, UTC. Invariant: any `i64` is a time; nothing here can overflow.

use market::Bar;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// The hour of the day of the bar's opening, 0 to 23: `pd.to_datetime(open_time, unit="s", utc=True).dt.hour`.
pub(super) fn hour(bar: &Bar) -> f64 {
    (bar.open_time.rem_euclid(DAY) / HOUR) as f64
}

/// The day of the week of the bar's opening, Monday 0 to Sunday 6: `.dt.dayofweek`.
pub(super) fn weekday(bar: &Bar) -> f64 {
    // The first day of Unix time was a Thursday.
    (bar.open_time.div_euclid(DAY) + 3).rem_euclid(7) as f64
}
