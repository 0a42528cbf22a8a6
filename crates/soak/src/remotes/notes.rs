//! What the model was asked. Invariant: whether an input is made of true bars is found out by features of the true bars, computed here. Must not
//! touch: sockets.

use std::sync::{Mutex, MutexGuard, PoisonError};

use market::Bar;
use sentinel::features;

use super::{INTERVAL, newest_closed};

/// What the model was asked, and whether its answer was left as it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Asked {
    /// Unix milliseconds.
    pub at_ms: i64,
    /// The newest closed bar, if the input was made of true bars up to it.
    pub bar: Option<i64>,
    /// Whether a fault was on order for the answer.
    pub is_spoiled: bool,
}

/// The notes.
#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    asked: Vec<Asked>,
    is_spoiled: bool,
    /// Openings of true bars that a response once left out in the middle, or had in another place than theirs.
    gaps: Vec<i64>,
}

impl Notes {
    /// Whether answers are spoiled from now on.
    pub(super) fn set_spoiled(&self, is_spoiled: bool) {
        self.noted().is_spoiled = is_spoiled;
    }

    /// A response has no use of this bar.
    pub(super) fn left_out(&self, bar: i64) {
        self.noted().gaps.push(bar);
    }

    /// What was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.noted().asked.clone()
    }

    /// Notes a question. The bar that its features are of, if they are those of true bars, of which at most one that the feed left out is missing.
    pub(super) fn take(
        &self,
        numbers: &[f64],
        at_ms: i64,
        truth: &dyn Fn(i64, i64) -> Vec<Bar>,
    ) -> Option<i64> {
        let newest = newest_closed(at_ms);
        let count = i64::try_from(features::BAR_COUNT).unwrap_or(i64::MAX);
        // One more than a window, should one be missing.
        let bars = truth(newest - count * INTERVAL, newest);
        let is_of = |bars: &[Bar]| {
            features::build(bars).is_ok_and(|features| features.values().as_slice() == numbers)
        };
        let mut noted = self.noted();
        let is_without = |missing: &i64| {
            let mut bars = bars.clone();
            bars.retain(|bar| bar.open_time != *missing);
            is_of(&bars)
        };
        let is_true = is_of(&bars) || noted.gaps.iter().any(is_without);
        let bar = is_true.then_some(newest);
        let is_spoiled = noted.is_spoiled;
        noted.asked.push(Asked {
            at_ms,
            bar,
            is_spoiled,
        });
        bar
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(from: i64, to: i64) -> Vec<Bar> {
        let bar = |open_time: i64| {
            let price = 1.1 + (open_time % 7_000) as f64 * 1e-6;
            Bar {
                open_time,
                open: price,
                high: price + 0.001,
                low: price - 0.001,
                close: price + 0.0002,
                volume: 10.0,
            }
        };
        (from..=to).step_by(60).map(bar).collect()
    }

    #[test]
    fn features_of_other_bars_than_the_true_ones_up_to_the_newest_are_no_true_input() {
        let now = 1_800_000_000;
        let newest = newest_closed(now * 1_000);
        let notes = Notes::default();
        let take = |of: &[Bar]| {
            let features = features::build(of).unwrap();
            notes.take(features.values(), now * 1_000, &bars)
        };
        let whole = bars(newest - 250 * 60, newest);
        assert_eq!(take(&whole), Some(newest));
        assert_eq!(take(&whole[..whole.len() - 1]), None, "stale");
        let mut changed = whole.clone();
        changed.last_mut().unwrap().close += 1e-7;
        assert_eq!(take(&changed), None, "malformed");
        let mut gap = whole.clone();
        let missing = gap.remove(gap.len() - 10).open_time;
        assert_eq!(take(&gap), None, "a gap that nobody made");
        notes.left_out(missing);
        assert_eq!(take(&gap), Some(newest));
        let found: Vec<_> = notes
            .asked()
            .iter()
            .map(|asked| asked.bar.is_some())
            .collect();
        assert_eq!(found, [true, false, false, false, true]);
    }
}
