//! The paper ledger: cash, position, cost, realised profit and loss, in exact decimals.
//!
//! Invariant: equity = start + realised + unrealised, to the last digit, after every fill and at every price; a fill that cannot be
//! booked exactly is refused and changes nothing.

use rust_decimal::Decimal;

use crate::money::amount;

/// Buy or sell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The position grows.
    Buy,
    /// The position falls.
    Sell,
}

impl Side {
    /// The spelling in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Side::Buy => "buy",
            Side::Sell => "sell",
        }
    }

    /// `magnitude` with the sign of this side.
    pub fn signed(self, magnitude: Decimal) -> Decimal {
        match self {
            Side::Buy => magnitude,
            Side::Sell => -magnitude,
        }
    }
}

/// What an order got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Buy or sell.
    pub side: Side,
    /// Units of base, positive.
    pub quantity: Decimal,
    /// Quote currency per unit of base, slippage included.
    pub price: Decimal,
    /// Quote currency, not negative.
    pub fee: Decimal,
}

/// An amount grew beyond what can be computed with exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an amount is out of the range of exact arithmetic")]
pub struct OutOfRange;

/// The books of one session in one instrument. Amounts are in quote currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ledger {
    start: Decimal,
    cash: Decimal,
    position: Decimal,
    cost_basis: Decimal,
    realised: Decimal,
    fees: Decimal,
}

/// The ledger's worth at a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// |position| x price.
    pub exposure: Decimal,
    /// Cash + position x price.
    pub equity: Decimal,
    /// What closing at this price would realise, before fee and slippage.
    pub unrealised: Decimal,
}

impl Ledger {
    /// Cash and nothing else.
    pub fn new(start: Decimal) -> Ledger {
        let zero = Decimal::ZERO;
        Ledger {
            start,
            cash: start,
            position: zero,
            cost_basis: zero,
            realised: zero,
            fees: zero,
        }
    }

    /// Cash at the beginning.
    pub fn start(&self) -> Decimal {
        self.start
    }

    /// May be negative: see the fill assumptions in the summary.
    pub fn cash(&self) -> Decimal {
        self.cash
    }

    /// Units of base; negative when short.
    pub fn position(&self) -> Decimal {
        self.position
    }

    /// What the position cost, without fees; negative when short.
    pub fn cost_basis(&self) -> Decimal {
        self.cost_basis
    }

    /// Profit and loss of what was closed, less all fees, those of open positions included.
    pub fn realised(&self) -> Decimal {
        self.realised
    }

    /// All fees so far.
    pub fn fees(&self) -> Decimal {
        self.fees
    }

    /// Worth at `price`; `None` if that cannot be computed exactly.
    #[inline]
    pub fn mark(&self, price: Decimal) -> Option<Mark> {
        if self.position.is_zero() {
            let zero = Decimal::ZERO;
            return Some(Mark {
                exposure: zero,
                equity: self.cash,
                unrealised: zero,
            });
        }
        let value = amount(self.position.checked_mul(price))?;
        Some(Mark {
            exposure: value.abs(),
            equity: amount(Some(self.cash + value))?,
            unrealised: value - self.cost_basis,
        })
    }

    /// Book a fill. One that goes through zero closes the position and opens the other side with what is left.
    ///
    /// # Errors
    /// An amount would be out of range; nothing is booked.
    pub fn apply(&mut self, fill: &Fill) -> Result<(), OutOfRange> {
        *self = self.after(fill).ok_or(OutOfRange)?;
        Ok(())
    }

    fn after(&self, fill: &Fill) -> Option<Ledger> {
        let quantity = fill.side.signed(fill.quantity);
        let notional = amount(quantity.checked_mul(fill.price))?;
        let fee = amount(Some(fill.fee))?;
        let opposite = self.position.is_sign_negative() != quantity.is_sign_negative();
        let closing = if opposite {
            self.position.abs().min(fill.quantity)
        } else {
            Decimal::ZERO
        };
        let (released, closing_notional) = self.release(fill, closing)?;
        Some(Ledger {
            start: self.start,
            cash: amount(Some(self.cash - notional - fee))?,
            position: amount(self.position.checked_add(quantity))?,
            cost_basis: amount(Some(
                self.cost_basis - released + (notional - closing_notional),
            ))?,
            // Fees are lost when they are paid, so that equity needs no third term.
            realised: amount(Some(self.realised - (closing_notional + released) - fee))?,
            fees: amount(Some(self.fees + fee))?,
        })
    }

    /// What closing `closing` units (positive) takes out of the cost, and its signed notional. Any rounding of a partial release
    /// moves profit between realised and unrealised and never into or out of their sum.
    fn release(&self, fill: &Fill, closing: Decimal) -> Option<(Decimal, Decimal)> {
        if closing.is_zero() {
            return Some((Decimal::ZERO, Decimal::ZERO));
        }
        let held = self.position.abs();
        let released = if closing == held {
            self.cost_basis
        } else {
            amount(self.cost_basis.checked_mul(closing)?.checked_div(held))?
        };
        Some((
            released,
            amount(fill.side.signed(closing).checked_mul(fill.price))?,
        ))
    }
}

/// The highest equity so far and the deepest fall from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawdown {
    peak: Decimal,
    /// Lowest equity since the peak.
    trough: Decimal,
    deepest: (Decimal, Decimal),
}

impl Drawdown {
    /// At the start there is no fall.
    pub fn new(start: Decimal) -> Drawdown {
        Drawdown {
            peak: start,
            trough: start,
            deepest: (start, start),
        }
    }

    /// Take the next equity in.
    #[inline]
    pub fn observe(&mut self, equity: Decimal) {
        if equity > self.peak {
            (self.peak, self.trough) = (equity, equity);
        } else if equity < self.trough {
            self.trough = equity;
            self.deepen();
        }
    }

    fn deepen(&mut self) {
        let (peak, trough) = self.deepest;
        // 1 - trough/peak, compared without dividing: both peaks are at least the start, which is positive. A product out of range
        // (equities beyond 10^14) leaves the deepest fall as it was.
        if let (Some(now), Some(deepest)) =
            (self.trough.checked_mul(peak), trough.checked_mul(self.peak))
            && now < deepest
        {
            self.deepest = (self.peak, self.trough);
        }
    }

    /// Highest equity so far.
    pub fn peak(&self) -> Decimal {
        self.peak
    }

    /// The deepest fall so far as a ratio of the peak it fell from; 0.1 = 10 %, above 1 when equity went below zero.
    pub fn deepest(&self) -> Decimal {
        let (peak, trough) = self.deepest;
        // Division of two amounts, the divisor at least the start: it cannot fail for a positive start.
        (peak - trough).checked_div(peak).unwrap_or(Decimal::ONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn fill(side: Side, quantity: &str, price: &str, fee: &str) -> Fill {
        Fill {
            side,
            quantity: decimal(quantity),
            price: decimal(price),
            fee: decimal(fee),
        }
    }

    #[test]
    fn fills_are_booked_as_by_hand() {
        use Side::{Buy, Sell};
        // (fills, cash, position, cost, realised, fees)
        let table: [(&str, &[Fill], [&str; 5]); 7] = [
            (
                "a buy",
                &[fill(Buy, "100", "1.5", "0.3")],
                ["9849.7", "100", "150", "-0.3", "0.3"],
            ),
            (
                "bought twice, sold half",
                &[
                    fill(Buy, "100", "1", "0"),
                    fill(Buy, "100", "2", "0"),
                    fill(Sell, "100", "2", "1"),
                ],
                ["9899", "100", "150", "49", "1"],
            ),
            (
                "a round trip at a loss",
                &[fill(Buy, "10", "100", "2"), fill(Sell, "10", "90", "1.8")],
                ["9896.2", "0", "0", "-103.8", "3.8"],
            ),
            (
                "a short",
                &[fill(Sell, "10", "100", "2")],
                ["10998", "-10", "-1000", "-2", "2"],
            ),
            (
                "a short closed at a profit",
                &[fill(Sell, "10", "100", "2"), fill(Buy, "10", "90", "1.8")],
                ["10096.2", "0", "0", "96.2", "3.8"],
            ),
            (
                "through zero",
                &[fill(Buy, "10", "100", "0"), fill(Sell, "15", "110", "1")],
                ["10649", "-5", "-550", "99", "1"],
            ),
            (
                "a third sold of what cost a tenth of a cent",
                &[
                    fill(Buy, "3", "0.0001", "0"),
                    fill(Sell, "1", "0.0001", "0"),
                ],
                ["9999.9998", "2", "0.0002", "0", "0"],
            ),
        ];
        for (name, fills, expected) in table {
            let mut ledger = Ledger::new(decimal("10000"));
            for fill in fills {
                ledger.apply(fill).unwrap();
            }
            let booked = [
                ledger.cash,
                ledger.position,
                ledger.cost_basis,
                ledger.realised,
                ledger.fees,
            ];
            assert_eq!(booked, expected.map(decimal), "{name}");
        }
    }

    #[test]
    fn a_fill_that_cannot_be_booked_exactly_is_refused_and_changes_nothing() {
        let mut ledger = Ledger::new(decimal("10000"));
        let before = ledger;
        for huge in [
            fill(Side::Buy, "10000000", "900000000", "0"),
            fill(Side::Sell, "79228162514264337593543950335", "2", "0"),
        ] {
            assert_eq!(ledger.apply(&huge), Err(OutOfRange));
            assert_eq!(ledger, before);
        }
        ledger.apply(&fill(Side::Buy, "1000000", "1", "0")).unwrap();
        assert_eq!(
            ledger.mark(decimal("899999999")).map(|mark| mark.equity),
            Some(decimal("899999998010000"))
        );
        ledger
            .apply(&fill(Side::Buy, "100000000", "1", "0"))
            .unwrap();
        assert_eq!(ledger.mark(decimal("899999999")), None);
    }

    #[test]
    fn the_deepest_fall_is_measured_from_the_peak_before_it() {
        let table: [(&[&str], &str, &str); 6] = [
            (&[], "100", "0"),
            (&["110", "120"], "120", "0"),
            (&["90", "95"], "100", "0.1"),
            (&["200", "150", "300", "240"], "300", "0.25"),
            (&["50", "200", "120"], "200", "0.5"),
            (&["-10"], "100", "1.1"),
        ];
        for (equities, peak, deepest) in table {
            let mut drawdown = Drawdown::new(decimal("100"));
            for equity in equities {
                drawdown.observe(decimal(equity));
            }
            assert_eq!(
                (drawdown.peak(), drawdown.deepest()),
                (decimal(peak), decimal(deepest)),
                "{equities:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn equity_is_start_plus_realised_plus_unrealised_to_the_last_digit(
            trades in prop::collection::vec((any::<bool>(), 1_i64..10_i64.pow(12), 1_i64..10_i64.pow(15), 0_i64..10_i64.pow(12), 1_i64..10_i64.pow(15)), 1..60),
        ) {
            let mut ledger = Ledger::new(decimal("10000"));
            for (buy, quantity, price, fee, mark) in trades {
                let fill = Fill {
                    side: if buy { Side::Buy } else { Side::Sell },
                    quantity: Decimal::new(quantity, 8),
                    price: Decimal::new(price, 10),
                    fee: Decimal::new(fee, 10),
                };
                ledger.apply(&fill).unwrap();
                let mark = ledger.mark(Decimal::new(mark, 10)).unwrap();
                prop_assert_eq!(mark.equity, ledger.start + ledger.realised + mark.unrealised);
                if ledger.position.is_zero() {
                    prop_assert_eq!(ledger.cost_basis, Decimal::ZERO);
                    prop_assert_eq!(ledger.cash, ledger.start + ledger.realised);
                }
            }
        }
    }
}
