//! Whether gateway, metrics and audit say the same of the orders of a run.
//!
//! Invariant: what is missing or is not understood is a disagreement, never nothing. Lots are counted in whole hundred-millionths, which is
//! as small as an amount of the gateway gets, so that sums are exact. Must not touch: processes, files.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::scrape::Scrape;

/// Hundred-millionths of one.
const SCALE_DIGITS: usize = 8;

/// The orders of a book in which each was filled whole.
#[derive(Debug)]
pub(super) struct Orders {
    buys: u64,
    sells: u64,
    /// What the fills come to, hundred-millionths of a lot; below zero when sold.
    filled: i64,
    /// What the book has open.
    open: i64,
    lines: Vec<String>,
}

impl Orders {
    pub(super) fn count(&self) -> u64 {
        self.buys + self.sells
    }

    /// One for each order, each position and the account.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.clone()
    }
}

/// What `sentinel replay --json` counted.
#[derive(Debug)]
pub(super) struct Audited {
    pub(super) decisions: u64,
    pub(super) reproduced: u64,
    permitted: u64,
}

impl Audited {
    pub(super) fn read(report: &Value) -> Result<Audited> {
        let number = |name: &str| {
            let found = report[name].as_u64();
            found.with_context(|| format!("the replay has no number `{name}`: {report}"))
        };
        Ok(Audited {
            decisions: number("decisions")?,
            reproduced: number("reproduced")?,
            permitted: number("permitted")?,
        })
    }
}

/// Decided bars, as docs/metrics.md has it.
pub(super) fn decisions(page: &Scrape) -> f64 {
    let signals = page.total("sentinel_trading_signals_total");
    let suppressed = |reason| {
        let series = format!("sentinel_signals_suppressed_total{{reason=\"{reason}\"}}");
        page.samples.get(&series).copied().unwrap_or(0.0)
    };
    signals.unwrap_or(0.0) + suppressed("below_threshold") + suppressed("stale_data")
}

/// Reads a book of `sentinel paper-gateway --book`.
pub(super) fn orders(book: &Value) -> Result<Orders> {
    let list = |name: &str| {
        let found = book[name].as_array();
        found.with_context(|| format!("the book has no list `{name}`"))
    };
    let mut orders = Orders {
        buys: 0,
        sells: 0,
        filled: 0,
        open: 0,
        lines: Vec::new(),
    };
    for order in list("orders")? {
        let (kind, fill) = (&order["type"], &order["payload"]);
        ensure!(kind == "FILLED", "an order was not filled: {order}");
        let volume = signed(fill)?;
        orders.filled += volume;
        match volume {
            0.. => orders.buys += 1,
            _ => orders.sells += 1,
        }
        orders.lines.push(format!(
            "FILLED {} {} {} at {}, order {}",
            word(fill, "side")?,
            word(fill, "volume")?,
            word(fill, "symbol")?,
            word(fill, "price")?,
            word(fill, "order_id")?
        ));
    }
    for position in list("positions")? {
        orders.open += signed(position)?;
        orders.lines.push(format!(
            "position {} {} {} at {}, profit {}",
            word(position, "side")?,
            word(position, "volume")?,
            word(position, "symbol")?,
            word(position, "open_price")?,
            word(position, "profit")?
        ));
    }
    let account = &book["account"];
    orders.lines.push(format!(
        "account {} ({}), equity {} {}",
        word(account, "account")?,
        word(account, "mode")?,
        word(account, "equity")?,
        word(account, "currency")?
    ));
    Ok(orders)
}

fn word<'a>(object: &'a Value, name: &str) -> Result<&'a str> {
    let found = object[name].as_str();
    found.with_context(|| format!("the book has no text `{name}` in {object}"))
}

/// Volume with its sign.
fn signed(object: &Value) -> Result<i64> {
    let volume = amount(word(object, "volume")?)?;
    match word(object, "side")? {
        "BUY" => Ok(volume),
        "SELL" => Ok(-volume),
        other => bail!("the book has a side `{other}`"),
    }
}

/// A decimal number above zero in hundred-millionths.
fn amount(text: &str) -> Result<i64> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{digits:0<SCALE_DIGITS$}");
    format!("{whole}{digits}")
        .parse()
        .ok()
        .filter(|_| digits.len() == SCALE_DIGITS)
        .with_context(|| format!("`{text}` is no amount"))
}

/// That everybody says the same, and that there is something to say.
///
/// # Errors
/// Who says otherwise.
pub(super) fn agree(orders: &Orders, page: &Scrape, audited: &Audited, volume: &str) -> Result<()> {
    let of = |name: &str, label: &str| {
        let series = format!("{name}{{{label}}}");
        page.samples.get(&series).copied().unwrap_or(0.0)
    };
    let executed = |action| {
        of(
            "sentinel_trading_signals_executed_total",
            &format!("action=\"{action}\""),
        )
    };
    ensure!(
        orders.buys > 0 && orders.sells > 0,
        "no order was filled on one of the sides: {orders:?}"
    );
    let (buys, sells) = (executed("BUY"), executed("SELL"));
    ensure!(
        (buys, sells) == (orders.buys as f64, orders.sells as f64),
        "the sentinel counts {buys} BUY and {sells} SELL, the gateway's book has {} and {}",
        orders.buys,
        orders.sells
    );
    let results = page.total("sentinel_order_results_total").unwrap_or(0.0);
    let filled = of("sentinel_order_results_total", "result=\"filled\"");
    let count = orders.count() as f64;
    ensure!(
        filled == count && results == count,
        "the sentinel counts {filled} filled of {results} orders, the gateway's book has {count}"
    );
    let expected = (buys - sells) as i64 * amount(volume)?;
    ensure!(
        orders.open == expected && orders.filled == expected,
        "the sentinel's orders come to {expected} hundred-millionths of a lot, the gateway's to {}, and its position is {}",
        orders.filled,
        orders.open
    );
    let decided = decisions(page);
    ensure!(
        audited.reproduced == audited.decisions && audited.decisions as f64 == decided,
        "the sentinel counts {decided} decisions, and {} of {} in the audit were reproduced",
        audited.reproduced,
        audited.decisions
    );
    ensure!(
        audited.permitted == orders.count(),
        "the audit has {} orders, the gateway's book {}",
        audited.permitted,
        orders.count()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn book() -> Value {
        let fill = |side: &str| {
            json!({"id": "o", "type": "FILLED", "payload": {"order_id": "o", "side": side, "volume": "0.01",
                "symbol": "EURUSD", "price": "1.1"}})
        };
        json!({
            "orders": [fill("BUY"), fill("BUY"), fill("SELL")],
            "positions": [{"side": "BUY", "volume": "0.01", "symbol": "EURUSD", "open_price": "1.1", "profit": "0.00"}],
            "account": {"account": "1", "mode": "demo", "equity": "10000.00", "currency": "USD"},
        })
    }

    const PAGE: &str = "\
sentinel_trading_signals_total{action=\"BUY\"} 2
sentinel_trading_signals_total{action=\"SELL\"} 1
sentinel_signals_suppressed_total{reason=\"below_threshold\"} 1
sentinel_trading_signals_executed_total{action=\"BUY\"} 2
sentinel_trading_signals_executed_total{action=\"SELL\"} 1
sentinel_order_results_total{result=\"filled\"} 3
";

    fn judge(book: &Value, page: &str, report: &Value) -> Result<(), String> {
        let judged = (|| {
            let page = Scrape::parse(page)?;
            agree(&orders(book)?, &page, &Audited::read(report)?, "0.01")
        })();
        judged.map_err(|error| error.to_string())
    }

    #[test]
    fn whoever_says_otherwise_of_an_order_is_named() {
        let report = json!({"decisions": 4, "reproduced": 4, "permitted": 3});
        assert_eq!(judge(&book(), PAGE, &report), Ok(()));
        let changed = |change: &dyn Fn(&mut Value)| {
            let mut book = book();
            change(&mut book);
            judge(&book, PAGE, &report).unwrap_err()
        };
        let said = changed(&|book| {
            book["orders"].as_array_mut().unwrap().pop();
        });
        assert!(said.contains("no order was filled on one"), "{said}");
        let said = changed(&|book| {
            book["orders"].as_array_mut().unwrap().remove(0);
        });
        assert!(said.contains("counts 2 BUY and 1 SELL"), "{said}");
        let said = changed(&|book| book["orders"][1]["type"] = "REJECTED".into());
        assert!(said.contains("not filled"), "{said}");
        let said = changed(&|book| book["orders"][1]["payload"]["volume"] = "0.02".into());
        assert!(said.contains("the gateway's to 2000000"), "{said}");
        let said = changed(&|book| book["positions"][0]["volume"] = "0.02".into());
        assert!(said.contains("its position is 2000000"), "{said}");
        let said = changed(&|book| book["positions"] = Value::Null);
        assert!(said.contains("no list `positions`"), "{said}");
    }

    #[test]
    fn a_count_or_a_replay_that_is_off_by_one_is_told() {
        let good = json!({"decisions": 4, "reproduced": 4, "permitted": 3});
        let page = format!("{PAGE}sentinel_order_results_total{{result=\"timeout\"}} 1\n");
        let said = judge(&book(), &page, &good).unwrap_err();
        assert!(said.contains("3 filled of 4 orders"), "{said}");
        for (name, value, words) in [
            ("decisions", 5, "4 of 5 in the audit"),
            ("reproduced", 3, "3 of 4 in the audit"),
            ("permitted", 2, "the audit has 2 orders"),
        ] {
            let mut report = good.clone();
            report[name] = value.into();
            let said = judge(&book(), PAGE, &report).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
        let page = PAGE.replace("below_threshold", "halted");
        let said = judge(&book(), &page, &good).unwrap_err();
        assert!(said.contains("counts 3 decisions"), "{said}");
    }
}
