//! The window of bars from line to line: written once in a file, and then only what is new.
//!
//! Invariant: a window that is rebuilt is believed by its hash alone. Must not touch: storage.

use market::Bar;

use crate::features::BAR_COUNT;

/// How many bars at the end of `next` are new after `previous`: the others are the end of it, bit for bit. All, when that is not so.
pub(super) fn new_bars(previous: &[Bar], next: &[Bar]) -> usize {
    let whole = next.len();
    if previous.len() != whole {
        return whole;
    }
    let is_shift = |new: &usize| {
        let (old, kept) = (&previous[*new..], &next[..whole - new]);
        old.iter().zip(kept).all(|(a, b)| is_same(a, b))
    };
    (0..whole).find(is_shift).unwrap_or(whole)
}

/// Bit for bit: zero and minus zero are two.
fn is_same(a: &Bar, b: &Bar) -> bool {
    let bits = |b: &Bar| [b.open, b.high, b.low, b.close, b.volume].map(f64::to_bits);
    a.open_time == b.open_time && bits(a) == bits(b)
}

/// The window after `previous`, with these bars at its end; as many of the oldest go. Shorter than a window where the one before is not
/// known.
pub(super) fn shift(previous: &[Bar], new: impl ExactSizeIterator<Item = Bar>) -> Vec<Bar> {
    let kept = BAR_COUNT.saturating_sub(new.len());
    let from = previous.len().saturating_sub(kept);
    previous[from..].iter().copied().chain(new).collect()
}
