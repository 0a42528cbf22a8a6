//! The prices of the simulated broker.
//!
//! Invariant: a price that is given out is above zero and can be written on the wire. Must not touch: anything but the file with prices.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use rust_decimal::Decimal;
use serde::Deserialize;

use super::book::Refused;
use crate::gateway::protocol::{Amount, Code, Text};

/// Where prices come from.
#[derive(Debug, Clone)]
pub enum Quotes {
    /// The same bid and ask for every symbol.
    Fixed {
        /// What a sale brings.
        bid: Amount,
        /// What a purchase costs.
        ask: Amount,
    },
    /// A JSON file with `{"SYMBOL": {"bid": "1.1", "ask": "1.2"}}`, read anew each time.
    File(PathBuf),
}

impl Quotes {
    /// A middle price and what lies between bid and ask; none if one of the two would not be a price.
    pub fn around(mid: Amount, spread: Amount) -> Option<Quotes> {
        // With no more digits than it takes; a division leaves as many as it likes.
        let (units, digits) = (spread.value().mantissa(), spread.value().scale());
        let half = match units % 2 {
            0 => Decimal::try_from_i128_with_scale(units / 2, digits),
            _ => Decimal::try_from_i128_with_scale(units * 5, digits + 1),
        };
        let half = half.ok()?;
        let is_price = |amount: &Amount| amount.is_positive();
        Some(Quotes::Fixed {
            bid: Amount::new(mid.value() - half).filter(is_price)?,
            ask: Amount::new(mid.value() + half).filter(is_price)?,
        })
    }
}

/// A line of the file. Prices are texts, as on the wire: a number would be a float for most who read it.
#[derive(Deserialize)]
struct Line {
    bid: String,
    ask: String,
}

/// Bid and ask of a symbol now.
///
/// # Errors
/// The file has no price for it, or cannot be read.
pub(super) fn quote(quotes: &Quotes, symbol: &Text) -> Result<(Amount, Amount), Refused> {
    let path = match quotes {
        Quotes::Fixed { bid, ask } => return Ok((*bid, *ask)),
        Quotes::File(path) => path,
    };
    let unreadable = || Refused::new(Code::Other, "the file with prices cannot be read");
    let text = fs::read_to_string(path).map_err(|_| unreadable())?;
    let lines: BTreeMap<String, Line> = serde_json::from_str(&text).map_err(|_| unreadable())?;
    let Some(line) = lines.get(symbol.as_str()) else {
        let message = "no price for this symbol";
        return Err(Refused::new(Code::MarketClosed, message));
    };
    let price = |text: &str| Amount::parse(text).filter(|price| price.is_positive());
    price(&line.bid)
        .zip(price(&line.ask))
        .ok_or_else(unreadable)
}
