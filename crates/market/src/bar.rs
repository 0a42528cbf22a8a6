//! A closed bar in binary floats: what indicators of models and other statistics are computed from.
//! [`crate::Candle`] is the one for money. Invariant: everything in it is finite, prices are positive and consistent, the volume is not negative.

use crate::sequence::Defect;

/// A closed bar. Prices are in quote currency per unit of base.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar {
    /// Unix seconds of the opening, UTC.
    pub open_time: i64,
    /// First price.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Last price.
    pub close: f64,
    /// Traded amount in the vendor's unit.
    pub volume: f64,
}

impl Bar {
    /// Open, high, low, close.
    pub(crate) fn prices(&self) -> [f64; 4] {
        [self.open, self.high, self.low, self.close]
    }

    /// Checks that it is one: finite, positive, low <= open, close <= high, volume not negative.
    ///
    /// # Errors
    /// [`Defect::NonFinite`] or [`Defect::OhlcViolation`].
    pub fn check(self) -> Result<Bar, Defect> {
        let numbers = [self.open, self.high, self.low, self.close, self.volume];
        if !numbers.into_iter().all(f64::is_finite) {
            return Err(Defect::NonFinite);
        }
        let is_consistent = self.low > 0.0
            && self.low <= self.open.min(self.close)
            && self.high >= self.open.max(self.close)
            && self.volume >= 0.0;
        if is_consistent {
            Ok(self)
        } else {
            Err(Defect::OhlcViolation)
        }
    }
}
