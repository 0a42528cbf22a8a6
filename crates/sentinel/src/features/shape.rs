//! Where the newest bar closed within its own range. Invariant: one bar only; the prices are positive, so nothing divides by zero.

use market::Bar;

/// `high / low`, 1 or more.
pub(super) fn high_low_ratio(bar: &Bar) -> f64 {
    bar.high / bar.low
}

/// `close / high`, 1 or less.
pub(super) fn close_high_ratio(bar: &Bar) -> f64 {
    bar.close / bar.high
}

/// `close / low`, 1 or more.
pub(super) fn close_low_ratio(bar: &Bar) -> f64 {
    bar.close / bar.low
}
