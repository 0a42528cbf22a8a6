//! A step as a line of the run log. Invariant: decimals are strings and nothing is rounded, so the line is enough to book the step again.

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Serialize;

use crate::replay::Step;
use crate::report::{FillReport, OrderReport};
use crate::session::Session;

/// One line.
#[derive(Debug, Serialize)]
pub struct Event<'a> {
    step: u64,
    open_time: String,
    open: Decimal,
    high: Decimal,
    low: Decimal,
    close: Decimal,
    volume: Decimal,
    /// Expected bars that are missing before this one.
    missing_bars: u64,
    /// Defects of the bars that were dropped since the step before.
    dropped: &'a [&'static str],
    fills: Vec<FillEvent>,
    signal: &'static str,
    signal_changed: bool,
    orders: Vec<OrderEvent>,
    position: Decimal,
    cash: Decimal,
    cost_basis: Decimal,
    equity: Option<Decimal>,
    realised_pnl: Decimal,
    unrealised_pnl: Option<Decimal>,
    fees: Decimal,
}

#[derive(Debug, Serialize)]
struct FillEvent {
    decision: &'static str,
    side: &'static str,
    quantity: Decimal,
    /// `filled`, or `rejected` when it could not be booked; then without price and fee.
    result: &'static str,
    price: Option<Decimal>,
    fee: Option<Decimal>,
}

#[derive(Debug, Serialize)]
struct OrderEvent {
    decision: &'static str,
    side: &'static str,
    quantity: Decimal,
    retry: bool,
    result: &'static str,
    /// The strictest answer of the risk check; absent if the order was too small to be checked.
    risk: Option<&'static str>,
    breached: Vec<&'static str>,
}

impl<'a> Event<'a> {
    /// Of a step that was just made by `session`.
    pub fn of(step: &Step<'_>, session: &Session, dropped: &'a [&'static str]) -> Event<'a> {
        let (candle, ledger) = (step.candle, session.ledger());
        Event {
            step: session.totals().steps,
            // A file may hold any second that fits its column; one beyond the calendar is spelled as its number.
            open_time: Timestamp::from_second(candle.open_time)
                .map_or_else(|_| candle.open_time.to_string(), |time| time.to_string()),
            open: candle.open,
            high: candle.high,
            low: candle.low,
            close: candle.close,
            volume: candle.volume,
            missing_bars: step.missing_bars,
            dropped,
            fills: step.report.fills.iter().map(FillEvent::of).collect(),
            signal: step.report.signal.as_str(),
            signal_changed: step.report.signal_changed,
            orders: step.report.orders.iter().map(OrderEvent::of).collect(),
            position: ledger.position(),
            cash: ledger.cash(),
            cost_basis: ledger.cost_basis(),
            equity: step.report.mark.map(|mark| mark.equity),
            realised_pnl: ledger.realised(),
            unrealised_pnl: step.report.mark.map(|mark| mark.unrealised),
            fees: ledger.fees(),
        }
    }
}

impl FillEvent {
    fn of(report: &FillReport) -> FillEvent {
        let fill = report.fill.ok();
        FillEvent {
            decision: report.order.decision.as_str(),
            side: report.order.side.as_str(),
            quantity: report.order.quantity,
            result: if fill.is_some() { "filled" } else { "rejected" },
            price: fill.map(|fill| fill.price),
            fee: fill.map(|fill| fill.fee),
        }
    }
}

impl OrderEvent {
    fn of(report: &OrderReport) -> OrderEvent {
        OrderEvent {
            decision: report.order.decision.as_str(),
            side: report.order.side.as_str(),
            quantity: report.order.quantity,
            retry: report.retry,
            result: report.result.as_str(),
            risk: report
                .verdict
                .as_ref()
                .map(|verdict| verdict.outcome.as_str()),
            breached: report
                .verdict
                .iter()
                .flat_map(|verdict| verdict.breached.iter().map(|limit| limit.as_str()))
                .collect(),
        }
    }
}
