//! The relative strength index. Invariant: 0 to 100 where it is finite, and 50 where the price stood still.

use super::{BAR_COUNT, Window};

/// The share of the gains in all movement of the 14 newest changes, in per cent, by simple means. With `change = close.diff()`,
/// `gain = change.clip(lower=0).rolling(14).mean()` and `loss = (-change).clip(lower=0).rolling(14).mean()` it is
/// `100 - 100 / (1 + gain / loss)`; 100 when there is no loss, 50 when there is neither.
pub(super) fn rsi_14(window: &Window) -> f64 {
    let (mut gain, mut loss) = (0.0, 0.0);
    for index in BAR_COUNT - 14..BAR_COUNT {
        let change = window[index].close - window[index - 1].close;
        if change > 0.0 {
            gain += change;
        } else {
            loss -= change;
        }
    }
    if gain == 0.0 && loss == 0.0 {
        return 50.0;
    }
    // The same number as above: the 14 of both means cancels out, and no loss needs no case of its own.
    100.0 * (gain / (gain + loss))
}
