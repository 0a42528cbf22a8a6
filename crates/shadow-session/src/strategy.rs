//! Strategies: closed candles in, the wanted direction out. Invariant: the answer depends on closes alone, oldest first; a strategy
//! knows nothing of cash, positions, limits or orders, and reads no clock.

use std::cmp::Ordering;
use std::fmt;

use market::{Candle, Sma};

/// The strategies there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrategyId {
    /// Crossings of a fast and a slow simple moving average.
    MaCrossover,
}

impl StrategyId {
    /// All of them.
    pub const ALL: [StrategyId; 1] = [StrategyId::MaCrossover];

    /// The spelling in configurations, metrics and run ids.
    pub const fn as_str(self) -> &'static str {
        match self {
            StrategyId::MaCrossover => "ma_crossover",
        }
    }
}

/// A direction to be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Hold a positive position.
    Long,
    /// Hold a negative position.
    Short,
    /// Hold nothing.
    Flat,
}

impl Signal {
    /// The spelling in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Signal::Long => "long",
            Signal::Short => "short",
            Signal::Flat => "flat",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Parameters of `ma_crossover`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaCrossoverParameters {
    /// Bars of the fast average; at least 2, below `slow_window`.
    pub fast_window: usize,
    /// Bars of the slow average.
    pub slow_window: usize,
    /// Whether a cross down means short; otherwise it means flat.
    pub allow_short: bool,
}

/// Long after a cross up, flat or short after a cross down.
#[derive(Debug, Clone)]
pub struct MaCrossover {
    fast: Sma,
    slow: Sma,
    on_cross_down: Signal,
    /// Where the fast average was against the slow one at the last bar; `None` until both windows are full.
    previous: Option<Ordering>,
}

impl MaCrossover {
    /// With no bars seen.
    pub fn new(parameters: &MaCrossoverParameters) -> MaCrossover {
        MaCrossover {
            fast: Sma::new(parameters.fast_window),
            slow: Sma::new(parameters.slow_window),
            on_cross_down: if parameters.allow_short {
                Signal::Short
            } else {
                Signal::Flat
            },
            previous: None,
        }
    }

    /// Take one closed candle in. An answer is given only at the bar of a cross: a state that was there before the first cross is
    /// unknown, and an order for a cross long ago would buy at a price that has nothing to do with it.
    pub fn on_close(&mut self, candle: &Candle) -> Option<Signal> {
        self.fast.push(candle.close_units());
        self.slow.push(candle.close_units());
        let now = self.fast.compare(&self.slow)?;
        let before = self.previous.replace(now)?;
        match (before, now) {
            // Above after being at or below: a touch that turns back up counts again, as does one that turns back down.
            (Ordering::Less | Ordering::Equal, Ordering::Greater) => Some(Signal::Long),
            (Ordering::Greater | Ordering::Equal, Ordering::Less) => Some(self.on_cross_down),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rust_decimal::Decimal;

    /// Signals of windows 2 and 3 over these closes, as `bar:signal`.
    fn signals(closes: &[i64], allow_short: bool) -> Vec<String> {
        let parameters = MaCrossoverParameters {
            fast_window: 2,
            slow_window: 3,
            allow_short,
        };
        let mut strategy = MaCrossover::new(&parameters);
        closes
            .iter()
            .enumerate()
            .filter_map(|(bar, close)| {
                let candle =
                    Candle::new(bar as i64, [Decimal::from(*close); 4], Decimal::ONE).unwrap();
                strategy
                    .on_close(&candle)
                    .map(|signal| format!("{bar}:{signal}"))
            })
            .collect()
    }

    #[test]
    fn a_signal_is_given_at_the_bar_of_a_cross_and_at_no_other() {
        let table: [(&str, &[i64], bool, &[&str]); 9] = [
            (
                "a rise from equal averages",
                &[5, 5, 5, 6, 7],
                false,
                &["3:long"],
            ),
            (
                "and the fall after it",
                &[5, 5, 5, 6, 7, 4, 3],
                false,
                &["3:long", "5:flat"],
            ),
            (
                "short where allowed",
                &[5, 5, 5, 6, 7, 4, 3],
                true,
                &["3:long", "5:short"],
            ),
            (
                "a fall from equal averages",
                &[5, 5, 5, 4],
                false,
                &["3:flat"],
            ),
            (
                "above from the first full window is no cross",
                &[1, 2, 3, 4, 5],
                false,
                &[],
            ),
            (
                "below from the first full window is no cross",
                &[5, 4, 3, 2, 1],
                false,
                &[],
            ),
            (
                "above, touching, above again is a cross up again",
                &[5, 5, 5, 8, 8, 8, 9],
                false,
                &["3:long", "6:long"],
            ),
            (
                "a touch alone is no cross down",
                &[5, 5, 5, 8, 8, 8, 8],
                false,
                &["3:long"],
            ),
            (
                "no signal before the slow window is full",
                &[1, 9],
                false,
                &[],
            ),
        ];
        for (name, closes, allow_short, expected) in table {
            assert_eq!(signals(closes, allow_short), expected, "{name}");
        }
    }
}
