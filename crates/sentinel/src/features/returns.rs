//! What the price did over a few bars, as a ratio and as a difference. Invariant: only closes, and none older than ten bars.

use super::{NEWEST, Window};

/// The return over `n` bars: `close / close.shift(n) - 1`.
pub(super) fn over(window: &Window, n: usize) -> f64 {
    at(window, NEWEST, n)
}

/// The return over `n` bars that ends in bar `index`.
pub(super) fn at(window: &Window, index: usize, n: usize) -> f64 {
    window[index].close / window[index - n].close - 1.0
}

/// How far the price went in five bars, in quote currency: `close.diff(5)`.
pub(super) fn momentum_5(window: &Window) -> f64 {
    difference(window, NEWEST)
}

/// How much more than in the five bars before those: `close.diff(5).diff(5)`.
pub(super) fn acceleration_5(window: &Window) -> f64 {
    difference(window, NEWEST) - difference(window, NEWEST - 5)
}

fn difference(window: &Window, index: usize) -> f64 {
    window[index].close - window[index - 5].close
}
