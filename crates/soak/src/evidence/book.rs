//! The gateway's own book. Invariant: taken from the peer's journal by the peer's own program, never from what it answered to the sentinel.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use rust_decimal::Decimal;
use serde_json::Value;

/// An execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    /// The order's id.
    pub id: String,
    /// Its idempotency key.
    pub key: String,
    /// `BUY` or `SELL`.
    pub side: String,
    /// Lots.
    pub volume: Decimal,
    /// Unix milliseconds by the gateway's clock.
    pub executed_at: i64,
}

/// The book.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    /// Executions, oldest first.
    pub fills: Vec<Fill>,
    /// The verdict of each order by its id: `FILLED`, `PARTIAL`, `PLACED`, `REJECTED`, and the code of the last.
    pub orders: BTreeMap<String, (String, Option<String>)>,
    /// Orders that repeated the key of another, and which.
    pub repeated: BTreeMap<String, String>,
    /// Ids that were declared unknown.
    pub revoked: BTreeSet<String>,
    /// Net lots of EURUSD.
    pub position: Decimal,
    /// Whether the kill switch is on.
    pub is_killed: bool,
}

impl Book {
    /// From the JSON of `peer.py --book`.
    ///
    /// # Errors
    /// It is not of that form.
    pub fn parse(book: &Value) -> Result<Book> {
        let list = |name: &str| {
            let list = book[name].as_array();
            list.with_context(|| format!("the book has no {name}"))
        };
        let fills = list("fills")?.iter().map(fill).collect::<Result<_>>()?;
        let mut orders = BTreeMap::new();
        for order in list("orders")? {
            let code = order["payload"]["code"].as_str().map(str::to_owned);
            orders.insert(text(order, "id")?, (text(order, "type")?, code));
        }
        let mut position = Decimal::ZERO;
        for held in list("positions")? {
            let volume: Decimal = text(held, "volume")?.parse().context("a volume")?;
            position += if held["side"] == "BUY" {
                volume
            } else {
                -volume
            };
        }
        let repeated = book["repeated"].as_object();
        let repeated = repeated.into_iter().flatten();
        Ok(Book {
            fills,
            orders,
            repeated: repeated
                .map(|(id, of)| (id.clone(), of.as_str().unwrap_or_default().to_owned()))
                .collect(),
            revoked: list("revoked")?
                .iter()
                .filter_map(|id| id.as_str().map(str::to_owned))
                .collect(),
            position,
            is_killed: !book["killed_at"].is_null(),
        })
    }

    /// Whether the order was executed.
    pub fn has_executed(&self, id: &str) -> bool {
        self.fills.iter().any(|fill| fill.id == id)
    }
}

fn text(value: &Value, name: &str) -> Result<String> {
    let text = value[name].as_str();
    Ok(text
        .with_context(|| format!("the book: no {name} in {value}"))?
        .to_owned())
}

fn fill(fill: &Value) -> Result<Fill> {
    Ok(Fill {
        id: text(fill, "order_id")?,
        key: text(fill, "idempotency_key")?,
        side: text(fill, "side")?,
        volume: text(fill, "volume")?.parse().context("a volume")?,
        executed_at: fill["executed_at"].as_i64().context("no executed_at")?,
    })
}
