//! One closed bar. Invariant: prices are positive, consistent and inside the range in which money arithmetic on them is exact;
//! a value of this type needs no second look.

use rust_decimal::Decimal;

/// Most decimals a price may have. With quantities of at most eight decimals a product then has at most eighteen, which leaves
/// ten digits before the point: exact for every equity a paper session has.
pub const PRICE_DECIMALS_MAX: u32 = 10;

/// Prices are below this, so that a price in units of 10^-10 fits an `i64`.
pub const PRICE_MAX: Decimal = Decimal::from_parts(900_000_000, 0, 0, false, 0);

/// A closed bar. Prices are in quote currency per unit of base; `open_time` is Unix seconds, UTC, of the bar's opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candle {
    /// Unix seconds of the opening.
    pub open_time: i64,
    /// First price.
    pub open: Decimal,
    /// Highest price.
    pub high: Decimal,
    /// Lowest price.
    pub low: Decimal,
    /// Last price.
    pub close: Decimal,
    /// Traded amount in the vendor's unit; not negative.
    pub volume: Decimal,
    close_units: i64,
}

/// Why four prices and a volume are no candle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CandleError {
    /// A price is not positive, the volume is negative, or low <= open, close <= high does not hold. A defect of the data.
    #[error("prices contradict each other")]
    OhlcViolation,
    /// A price is too large or too fine to be computed with exactly. A defect of the file.
    #[error("price {column} is out of range")]
    OutOfRange {
        /// Which of open, high, low, close, from 0.
        column: usize,
    },
}

impl Candle {
    /// Check and build.
    ///
    /// # Errors
    /// See [`CandleError`].
    pub fn new(
        open_time: i64,
        [open, high, low, close]: [Decimal; 4],
        volume: Decimal,
    ) -> Result<Candle, CandleError> {
        // Zeros at the end say nothing and are no reason to refuse a price.
        let [open, high, low, close] = [open, high, low, close].map(|price| {
            if price.scale() > PRICE_DECIMALS_MAX {
                price.normalize()
            } else {
                price
            }
        });
        let in_range =
            |price: Decimal| price.scale() <= PRICE_DECIMALS_MAX && price.abs() < PRICE_MAX;
        if let Some(column) = [open, high, low, close]
            .into_iter()
            .position(|price| !in_range(price))
        {
            return Err(CandleError::OutOfRange { column });
        }
        let consistent = low > Decimal::ZERO
            && low <= open.min(close)
            && high >= open.max(close)
            && volume >= Decimal::ZERO;
        if !consistent {
            return Err(CandleError::OhlcViolation);
        }
        let scale_up = 10_i128.pow(PRICE_DECIMALS_MAX - close.scale());
        let close_units = i64::try_from(close.mantissa() * scale_up)
            .expect("a price below PRICE_MAX fits in units of 10^-10");
        Ok(Candle {
            open_time,
            open,
            high,
            low,
            close,
            volume,
            close_units,
        })
    }

    /// The closing price in units of 10^-10 quote currency, exact: what indicators sum, since integer sums neither drift nor round.
    #[inline]
    pub fn close_units(&self) -> i64 {
        self.close_units
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candle(prices: [&str; 4], volume: &str) -> Result<Candle, CandleError> {
        Candle::new(
            0,
            prices.map(|price| price.parse().unwrap()),
            volume.parse().unwrap(),
        )
    }

    #[test]
    fn a_candle_is_consistent_positive_and_in_range_or_it_is_none() {
        use CandleError::{OhlcViolation, OutOfRange};
        let table = [
            (["1.1", "1.2", "1.0", "1.15"], "5", Ok(11_500_000_000)),
            (["1", "1", "1", "1"], "0", Ok(10_000_000_000)),
            (
                [
                    "899999999.9999999999",
                    "899999999.9999999999",
                    "1",
                    "899999999.9999999999",
                ],
                "0",
                Ok(8_999_999_999_999_999_999),
            ),
            (["1.1", "1.05", "1.0", "1.04"], "5", Err(OhlcViolation)),
            (["1.1", "1.2", "1.11", "1.15"], "5", Err(OhlcViolation)),
            (["1.1", "1.2", "1.0", "1.21"], "5", Err(OhlcViolation)),
            (["1.1", "1.2", "1.0", "0.9"], "5", Err(OhlcViolation)),
            (["1.1", "1.0", "1.2", "1.1"], "5", Err(OhlcViolation)),
            (["0", "0", "0", "0"], "5", Err(OhlcViolation)),
            (["1", "1", "-1", "1"], "5", Err(OhlcViolation)),
            (["1", "1", "1", "1"], "-0.1", Err(OhlcViolation)),
            (
                ["1", "900000000", "1", "1"],
                "5",
                Err(OutOfRange { column: 1 }),
            ),
            (
                ["1", "1", "0.00000000001", "1"],
                "5",
                Err(OutOfRange { column: 2 }),
            ),
        ];
        for (prices, volume, expected) in table {
            assert_eq!(
                candle(prices, volume).map(|candle| candle.close_units()),
                expected,
                "{prices:?} {volume}"
            );
        }
    }
}
