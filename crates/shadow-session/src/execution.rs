//! How an order becomes a fill on paper. Invariant: a pure function of the order, the price it meets and the configured costs; what is
//! assumed is written down in [`Execution::assumptions`] and printed with every summary.

use rust_decimal::Decimal;

use crate::ledger::{Fill, Side};
use crate::money::amount;

const ONE_BASIS_POINT: Decimal = Decimal::from_parts(1, 0, 0, false, 4);

/// Costs of a fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execution {
    fee_rate: Decimal,
    slippage_bps: Decimal,
    buy_factor: Decimal,
    sell_factor: Decimal,
}

impl Execution {
    /// `fee_rate` as a ratio of notional, `slippage_bps` in hundredths of a percent, below 10,000.
    pub fn new(fee_rate: Decimal, slippage_bps: Decimal) -> Execution {
        let slippage = slippage_bps * ONE_BASIS_POINT;
        Execution {
            fee_rate,
            slippage_bps,
            buy_factor: Decimal::ONE + slippage,
            sell_factor: Decimal::ONE - slippage,
        }
    }

    /// The fill of `quantity` (positive) that meets `price`; `None` if its amounts are out of range.
    pub fn fill(&self, side: Side, quantity: Decimal, price: Decimal) -> Option<Fill> {
        let factor = match side {
            Side::Buy => self.buy_factor,
            Side::Sell => self.sell_factor,
        };
        let price = amount(price.checked_mul(factor))?;
        let fee = amount(amount(quantity.checked_mul(price))?.checked_mul(self.fee_rate))?;
        Some(Fill {
            side,
            quantity,
            price,
            fee,
        })
    }

    /// What a paper fill takes for granted, one sentence each.
    pub fn assumptions(&self) -> Vec<String> {
        vec![
            "decided at the close of a bar, filled at the open of the next one".to_owned(),
            format!("slippage {} basis points against the order, whatever its size", self.slippage_bps.normalize()),
            format!("fee {} of notional on every fill (taker)", self.fee_rate.normalize()),
            "filled whole and at once: no spread beyond the slippage, no queue, no partial fill, no outage".to_owned(),
            "cash may go below zero, and a short position is lent, both at no cost".to_owned(),
            "an order of the last bar stays pending: there is no next open to fill it".to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slippage_is_always_against_the_order_and_the_fee_is_of_the_slipped_notional() {
        let execution = Execution::new("0.0026".parse().unwrap(), "5".parse().unwrap());
        let table = [
            (Side::Buy, "950.5", "1.05", "1.050525", "2.596162432500"),
            (Side::Sell, "950.5", "1.05", "1.049475", "2.593567567500"),
        ];
        for (side, quantity, price, filled, fee) in table {
            let fill = execution
                .fill(side, quantity.parse().unwrap(), price.parse().unwrap())
                .unwrap();
            assert_eq!(
                (fill.price, fill.fee),
                (filled.parse().unwrap(), fee.parse().unwrap()),
                "{side:?}"
            );
        }
    }

    #[test]
    fn a_fill_price_finer_than_ten_decimals_is_rounded_half_to_even() {
        let execution = Execution::new(Decimal::ZERO, "5".parse().unwrap());
        let fill = execution
            .fill(Side::Buy, Decimal::ONE, "0.0000000100".parse().unwrap())
            .unwrap();
        assert_eq!(fill.price, "0.0000000100".parse().unwrap());
        let fill = execution
            .fill(Side::Buy, Decimal::ONE, "0.0000003".parse().unwrap())
            .unwrap();
        assert_eq!(fill.price, "0.0000003002".parse().unwrap());
    }

    #[test]
    fn a_fill_beyond_exact_arithmetic_is_none() {
        let execution = Execution::new(Decimal::ZERO, Decimal::ZERO);
        assert_eq!(
            execution.fill(
                Side::Buy,
                Decimal::from(10_000_000),
                Decimal::from(899_999_999)
            ),
            None
        );
        assert_eq!(
            execution.fill(Side::Buy, Decimal::MAX, Decimal::from(2)),
            None
        );
    }
}
