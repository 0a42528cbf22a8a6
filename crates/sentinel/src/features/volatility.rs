//! How far the price moves about. Invariant: a price that stands still gives exactly 0.

use super::{BAR_COUNT, Window, returns};

/// The sample deviation of the `n` newest returns over one bar: `return_1.rolling(n).std(ddof=1)`. `n` is 2 or more.
pub(super) fn of_returns(window: &Window, n: usize) -> f64 {
    let newest = || (BAR_COUNT - n..BAR_COUNT).map(|index| returns::at(window, index, 1));
    // Two passes: the shorter formula with a sum of squares loses most digits when the returns are nearly alike.
    let mean = newest().sum::<f64>() / n as f64;
    let squares: f64 = newest().map(|value| (value - mean) * (value - mean)).sum();
    (squares / (n as f64 - 1.0)).sqrt()
}

/// The mean of the true range of the 14 newest bars, in quote currency: `true_range.rolling(14).mean()`, where the true range is the greatest of
/// `high - low`, `(high - close.shift(1)).abs()` and `(low - close.shift(1)).abs()`.
pub(super) fn atr_14(window: &Window) -> f64 {
    let sum: f64 = (BAR_COUNT - 14..BAR_COUNT)
        .map(|index| {
            let (bar, before) = (&window[index], window[index - 1].close);
            (bar.high - bar.low)
                .max((bar.high - before).abs())
                .max((bar.low - before).abs())
        })
        .sum();
    sum / 14.0
}
