//! Why there are no features. Invariant: bars that are not what [`market::Bar`] promises, or not in order, never reach a formula.

use market::{Bar, Defect};

use super::BAR_COUNT;

/// Why there are no features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FeatureError {
    /// Fewer closed bars than one set of features takes.
    #[error("bars: {found} closed ones found; accepted: {BAR_COUNT} or more")]
    TooFew {
        /// How many there are.
        found: usize,
    },
    /// A bar does not open after the one before it.
    #[error(
        "bars: one that opens at {open_time} (unix seconds) follows one that opens at {before}; accepted: rising opening times"
    )]
    OutOfOrder {
        /// When the first bar at fault opens, Unix seconds.
        open_time: i64,
        /// When the bar before it opens, Unix seconds.
        before: i64,
    },
    /// A bar whose numbers are not finite or contradict each other.
    #[error(
        "bar that opens at {open_time} (unix seconds): {}; accepted: finite, positive, low <= open and close <= high, volume not negative",
        .defect.as_str()
    )]
    Defective {
        /// When the bar opens, Unix seconds.
        open_time: i64,
        /// What is wrong with it.
        defect: Defect,
    },
    /// A feature of proper bars that is beyond the range of the numbers.
    #[error("feature {name}: not finite; accepted: bars whose features are finite numbers")]
    NotFinite {
        /// Its name, one of [`super::NAMES`].
        name: &'static str,
    },
}

/// Refuses what is no bar.
pub(super) fn check(bar: Bar) -> Result<(), FeatureError> {
    let open_time = bar.open_time;
    match bar.check() {
        Ok(_) => Ok(()),
        Err(defect) => Err(FeatureError::Defective { open_time, defect }),
    }
}

/// Refuses a bar that does not open after the one before it.
pub(super) fn check_order(bar: &Bar, next: &Bar) -> Result<(), FeatureError> {
    if bar.open_time < next.open_time {
        Ok(())
    } else {
        Err(FeatureError::OutOfOrder {
            open_time: next.open_time,
            before: bar.open_time,
        })
    }
}
