//! Made-up candles: a geometric random walk with jumps and clustered volume, for trials without data.
//!
//! Invariant: a pure function of seed, calendar and timeframe, and the same on every machine: only +, -, x, / and square root of
//! floats are used, which IEEE 754 fixes to the last bit; `exp` and `ln` differ between C libraries.

use rust_decimal::Decimal;

use crate::calendar::Calendar;
use crate::candle::Candle;
use crate::timeframe::Timeframe;

/// How many bars a synthetic feed has.
pub const SYNTHETIC_BAR_COUNT: usize = 10_000;

/// The feed ends here (2025-01-01 00:00 UTC), so that no bar of it is ever in the future.
const END_UNIX_SECONDS: i64 = 1_735_689_600;

const START_PRICE: f64 = 100.0;
/// The walk is reflected here, far from where rounding to [`PRICE_DECIMALS`] would matter.
const PRICE_MIN: f64 = 1.0;
const PRICE_CEILING: f64 = 1_000_000.0;
const PRICE_DECIMALS: u32 = 5;
const UNITS_PER_PRICE: f64 = 100_000.0;
/// Standard deviation of an hour's return in quiet times, as a ratio.
const HOURLY_VOLATILITY: f64 = 0.001;
/// A jump comes once in that many bars and is up to 2 %.
const JUMP_ONE_IN: u64 = 400;
const JUMP_MAX: f64 = 0.02;
/// How much of a bar's activity is left in the next: what makes volume and volatility cluster.
const ACTIVITY_PERSISTENCE: f64 = 0.95;
const VOLUME_MEAN: f64 = 1_000.0;
const STEPS_PER_BAR: usize = 8;

/// All bars, oldest first; those that the calendar does not expect are left out.
pub(super) fn generate(seed: u64, calendar: Calendar, timeframe: Timeframe) -> Vec<Candle> {
    let mut walk = Walk {
        random: SplitMix(seed),
        price: START_PRICE,
        activity: 1.0,
    };
    let volatility = HOURLY_VOLATILITY * (timeframe.seconds() as f64 / 3_600.0).sqrt();
    open_times(calendar, timeframe)
        .into_iter()
        .map(|open_time| walk.bar(open_time, volatility))
        .collect()
}

fn open_times(calendar: Calendar, timeframe: Timeframe) -> Vec<i64> {
    let mut times: Vec<i64> = (1..)
        .map(|bar| END_UNIX_SECONDS - bar * timeframe.seconds())
        .filter(|open_time| calendar.expects_bar(*open_time, timeframe))
        .take(SYNTHETIC_BAR_COUNT)
        .collect();
    times.reverse();
    times
}

struct Walk {
    random: SplitMix,
    price: f64,
    activity: f64,
}

impl Walk {
    fn bar(&mut self, open_time: i64, volatility: f64) -> Candle {
        let shock = self.random.normal().abs();
        self.activity = ACTIVITY_PERSISTENCE * self.activity
            + (1.0 - ACTIVITY_PERSISTENCE) * (0.5 + shock * shock);
        if self.random.next().is_multiple_of(JUMP_ONE_IN) {
            let jump = JUMP_MAX * (2.0 * self.random.uniform() - 1.0);
            self.move_by(jump);
            self.activity += 2.0;
        }
        let open = self.price;
        let (mut high, mut low) = (open, open);
        let step_volatility = volatility * self.activity.sqrt() / (STEPS_PER_BAR as f64).sqrt();
        for _ in 0..STEPS_PER_BAR {
            let change = step_volatility * self.random.normal();
            self.move_by(change);
            high = high.max(self.price);
            low = low.min(self.price);
        }
        let volume = VOLUME_MEAN * self.activity * (0.5 + self.random.uniform());
        Candle::new(
            open_time,
            [open, high, low, self.price].map(price),
            Decimal::new(volume as i64, 0),
        )
        .expect(
            "rounding keeps the order of prices, and the walk stays inside the range of a candle",
        )
    }

    fn move_by(&mut self, change: f64) {
        // A step is far below 100 %, so the factor is positive; the clamp is for walks of decades.
        self.price = (self.price * (1.0 + change).max(0.5)).clamp(PRICE_MIN, PRICE_CEILING);
    }
}

fn price(value: f64) -> Decimal {
    Decimal::new((value * UNITS_PER_PRICE).round() as i64, PRICE_DECIMALS)
}

/// SplitMix64 of Steele, Lea and Flood: small, seedable, and the same everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In 0..1, with 53 random bits.
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal, mean 0, deviation 1: the sum of twelve uniforms less six, which needs no logarithm.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Row;
    use crate::sequence::{Admission, Sequence};

    #[test]
    fn the_same_seed_gives_the_same_bars_and_another_seed_others() {
        let bars = |seed| generate(seed, Calendar::Fx, Timeframe::H1);
        assert_eq!(bars(7), bars(7));
        assert_ne!(bars(7), bars(8));
        // Pinned, so that a change of the generator or of a machine's arithmetic does not go unseen.
        let last = bars(7).pop().unwrap();
        assert_eq!(last.open_time, END_UNIX_SECONDS - 3_600);
        assert_eq!(last.close.to_string(), "99.63655");
    }

    #[test]
    fn synthetic_bars_have_no_defect_in_any_timeframe_and_calendar() {
        for calendar in [Calendar::Fx, Calendar::Always] {
            for timeframe in Timeframe::ALL {
                let mut sequence = Sequence::new(timeframe, calendar);
                let rows: Vec<Row> = generate(1, calendar, timeframe)
                    .into_iter()
                    .map(Row::Candle)
                    .collect();
                assert_eq!(rows.len(), SYNTHETIC_BAR_COUNT);
                for row in &rows {
                    assert!(
                        matches!(
                            sequence.admit(row, END_UNIX_SECONDS),
                            Admission::Accepted(_, 0)
                        ),
                        "{calendar:?} {timeframe} {row:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn volume_clusters_and_prices_jump() {
        let bars = generate(3, Calendar::Always, Timeframe::H1);
        let volumes: Vec<f64> = bars
            .iter()
            .map(|bar| bar.volume.mantissa() as f64)
            .collect();
        let mean = volumes.iter().sum::<f64>() / volumes.len() as f64;
        let covariance = |lag: usize| {
            volumes
                .windows(lag + 1)
                .map(|pair| (pair[0] - mean) * (pair[lag] - mean))
                .sum::<f64>()
        };
        assert!(
            covariance(1) > 0.2 * covariance(0),
            "a bar's volume says something about the next one's"
        );
        let jumps = bars
            .windows(2)
            .filter(|pair| pair[1].open != pair[0].close)
            .count();
        assert!(
            (10..60).contains(&jumps),
            "{jumps} jumps between bars; one in 400 was wanted"
        );
    }
}
