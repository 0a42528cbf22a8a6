//! Means of the price, and the distance of two of them. Invariant: an exponential mean starts at the oldest bar of the window, never
//! earlier, so its value depends on these bars alone.

use super::{BAR_COUNT, Window};

/// The three numbers of the indicator "moving average convergence divergence" that a reader needs; the histogram is their difference.
pub(super) struct Macd {
    /// `ema_12 - ema_26`.
    pub(super) line: f64,
    /// The exponential mean of that, span 9.
    pub(super) signal: f64,
}

/// The mean of the `n` newest closes: `close.rolling(n).mean()`.
pub(super) fn sma(window: &Window, n: usize) -> f64 {
    window[BAR_COUNT - n..]
        .iter()
        .map(|bar| bar.close)
        .sum::<f64>()
        / n as f64
}

/// The exponential mean of the closes: `close.ewm(span=span, adjust=False).mean()`.
pub(super) fn ema(window: &Window, span: u32) -> f64 {
    let mut mean = Ema::new(span, window[0].close);
    for bar in &window[1..] {
        mean.push(bar.close);
    }
    mean.value
}

/// `macd = ewm(12) - ewm(26)` and `macd.ewm(span=9, adjust=False).mean()`, which starts at the oldest bar too, with 0.
pub(super) fn macd(window: &Window) -> Macd {
    let oldest = window[0].close;
    let (mut fast, mut slow) = (Ema::new(12, oldest), Ema::new(26, oldest));
    let mut signal = Ema::new(9, fast.value - slow.value);
    for bar in &window[1..] {
        fast.push(bar.close);
        slow.push(bar.close);
        signal.push(fast.value - slow.value);
    }
    Macd {
        line: fast.value - slow.value,
        signal: signal.value,
    }
}

/// An exponential mean, unadjusted: the first value is taken whole.
struct Ema {
    weight: f64,
    value: f64,
}

impl Ema {
    fn new(span: u32, first: f64) -> Ema {
        Ema {
            weight: 2.0 / (f64::from(span) + 1.0),
            value: first,
        }
    }

    /// In this form a price that stands still leaves the mean exactly where it is.
    fn push(&mut self, next: f64) {
        self.value += self.weight * (next - self.value);
    }
}
