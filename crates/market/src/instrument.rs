//! What can be traded: symbols and their order sizes. Invariant: an instrument that is not in the table does not exist, so a
//! mistyped symbol is an error at start and never a session over something else.

use std::fmt;

use rust_decimal::Decimal;

use crate::calendar::Calendar;

/// The name of an instrument as people write it, normalised: trimmed and in capitals, for example `EUR/USD`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Symbol(String);

impl Symbol {
    /// Normalise any spelling; that it names something is checked by [`Instrument::of`].
    pub fn new(text: &str) -> Symbol {
        Symbol(text.trim().to_uppercase())
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A quote currency of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Currency {
    /// Euro.
    Eur,
    /// US dollar.
    Usd,
}

impl Currency {
    /// ISO 4217 code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Currency::Eur => "EUR",
            Currency::Usd => "USD",
        }
    }
}

/// One row of the table of instruments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instrument {
    /// `BASE/QUOTE`.
    pub symbol: &'static str,
    /// Prices, fees, cash and PnL are in it.
    pub quote: Currency,
    /// Order quantities are whole multiples of it, in units of base.
    pub quantity_step: Decimal,
    /// Smallest order, in units of base.
    pub quantity_min: Decimal,
    /// When its bars are to be expected.
    pub calendar: Calendar,
}

/// A symbol that is not in the table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("symbol `{found}` is unknown; accepted: {}", Instrument::accepted())]
pub struct UnknownSymbol {
    /// What was given.
    pub found: Symbol,
}

/// `mantissa` x 10^-`decimals`.
const fn decimal(mantissa: u32, decimals: u32) -> Decimal {
    Decimal::from_parts(mantissa, 0, 0, false, decimals)
}

/// A crypto pair: quantities of eight decimals, open at all hours.
const fn crypto(symbol: &'static str, quote: Currency, quantity_min: Decimal) -> Instrument {
    Instrument {
        symbol,
        quote,
        quantity_step: decimal(1, 8),
        quantity_min,
        calendar: Calendar::Always,
    }
}

/// EUR/USD is traded in cents of a euro, from one euro. The minimum sizes of the crypto pairs are ours, of the order of those that
/// Kraken publishes: a paper session needs a floor, not the venue's number of the day.
const INSTRUMENTS: [Instrument; 15] = [
    Instrument {
        symbol: "EUR/USD",
        quote: Currency::Usd,
        quantity_step: decimal(1, 2),
        quantity_min: decimal(1, 0),
        calendar: Calendar::Fx,
    },
    crypto("BTC/EUR", Currency::Eur, decimal(1, 4)),
    crypto("BTC/USD", Currency::Usd, decimal(1, 4)),
    crypto("ETH/EUR", Currency::Eur, decimal(2, 3)),
    crypto("ETH/USD", Currency::Usd, decimal(2, 3)),
    crypto("XRP/EUR", Currency::Eur, decimal(2, 0)),
    crypto("XRP/USD", Currency::Usd, decimal(2, 0)),
    crypto("LTC/EUR", Currency::Eur, decimal(5, 2)),
    crypto("LTC/USD", Currency::Usd, decimal(5, 2)),
    crypto("ADA/EUR", Currency::Eur, decimal(5, 0)),
    crypto("ADA/USD", Currency::Usd, decimal(5, 0)),
    crypto("DOT/EUR", Currency::Eur, decimal(1, 0)),
    crypto("DOT/USD", Currency::Usd, decimal(1, 0)),
    crypto("SOL/EUR", Currency::Eur, decimal(2, 2)),
    crypto("SOL/USD", Currency::Usd, decimal(2, 2)),
];

impl Instrument {
    /// Look a symbol up.
    ///
    /// # Errors
    /// The symbol is not in the table; the message lists those that are.
    pub fn of(symbol: &Symbol) -> Result<Instrument, UnknownSymbol> {
        INSTRUMENTS
            .into_iter()
            .find(|instrument| instrument.symbol == symbol.as_str())
            .ok_or_else(|| UnknownSymbol {
                found: symbol.clone(),
            })
    }

    /// The largest whole multiple of the quantity step that is not above `quantity` (which is not negative).
    pub fn round_down(&self, quantity: Decimal) -> Option<Decimal> {
        quantity
            .checked_div(self.quantity_step)?
            .floor()
            .checked_mul(self.quantity_step)
    }

    /// The accepted symbols, for messages: `EUR/USD ...`.
    pub fn accepted() -> String {
        INSTRUMENTS.map(|instrument| instrument.symbol).join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_is_found_in_any_case_and_an_unknown_one_lists_the_table() {
        assert_eq!(
            Instrument::of(&Symbol::new(" eur/usd ")).unwrap().quote,
            Currency::Usd
        );
        let error = Instrument::of(&Symbol::new("EURUSD"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("symbol `EURUSD` is unknown; accepted: EUR/USD BTC/EUR BTC/USD"),
            "{error}"
        );
    }

    #[test]
    fn every_symbol_names_its_own_quote_currency_and_a_minimum_that_is_a_whole_number_of_steps() {
        for instrument in INSTRUMENTS {
            assert!(
                instrument
                    .symbol
                    .ends_with(&format!("/{}", instrument.quote.as_str())),
                "{}",
                instrument.symbol
            );
            assert_eq!(
                instrument.round_down(instrument.quantity_min),
                Some(instrument.quantity_min)
            );
        }
    }

    #[test]
    fn quantities_are_rounded_down_to_the_step_and_never_up() {
        let eurusd = Instrument::of(&Symbol::new("EUR/USD")).unwrap();
        for (quantity, rounded) in [
            ("950.099999", "950.09"),
            ("950.10", "950.10"),
            ("0.009", "0.00"),
            ("0", "0"),
        ] {
            assert_eq!(
                eurusd.round_down(quantity.parse().unwrap()),
                Some(rounded.parse().unwrap()),
                "{quantity}"
            );
        }
    }
}
