//! How much was traded, in the vendor's unit, and against what is usual. Invariant: a feed without volumes gives 0 and 1, not `nan`.

use super::{BAR_COUNT, NEWEST, Window};

/// The mean of the 20 newest volumes: `volume.rolling(20).mean()`.
pub(super) fn sma_20(window: &Window) -> f64 {
    window[BAR_COUNT - 20..]
        .iter()
        .map(|bar| bar.volume)
        .sum::<f64>()
        / 20.0
}

/// `volume / volume.rolling(20).mean()`; 1 when that mean is 0.
pub(super) fn ratio(window: &Window) -> f64 {
    let mean = sma_20(window);
    if mean == 0.0 {
        1.0
    } else {
        window[NEWEST].volume / mean
    }
}
