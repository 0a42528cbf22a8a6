//! Whether it does its work, by the metrics: predictions come, no circuit breaker is open, trading is active, and a dry run sends nothing.
//!
//! Invariant: the numbers are asked, not what `/health` makes of them; where both can tell, both have to.

use super::health::prediction_trouble;
use super::reading::{Health, Samples, label_of, number};
use super::{Inspection, ids};
use crate::verify::evidence::Finding;
use crate::verify::page::named;
use crate::verify::record::Book;

/// What only orders move.
const OF_ORDERS: [&str; 6] = [
    "sentinel_trading_signals_executed_total",
    "sentinel_order_results_total",
    "sentinel_order_roundtrip_seconds",
    "sentinel_order_slippage_basis_points",
    "sentinel_zmq_send_latency_seconds",
    "sentinel_zmq_send_failures_total",
];

const BREAKER: &str = "sentinel_circuit_breaker_state";
const TRADING: &str = "sentinel_trading_state";

impl Inspection<'_> {
    pub(super) fn mode_consistent(&self, book: &mut Book<'_>) {
        let title = "It is what it says, a dry run or live, and a dry run has sent nothing";
        book.step_with(ids::MODE_CONSISTENT, title, super::AGREEMENT, |probe| {
            let health = match self.health(probe) {
                Ok((health, _)) => health,
                Err(finding) => return finding,
            };
            let page = match self.samples(&OF_ORDERS, probe) {
                Ok(page) => page,
                Err(finding) => return finding,
            };
            if let Some(wanted) = self.args.mode
                && wanted.as_str() != health.mode
            {
                return Finding::fail(
                    format!("it is {}, expected {}", health.mode, wanted.as_str()),
                    "start it with --live or without, as it is meant; --mode names what is expected",
                );
            }
            let faults = mode_faults(&health, &page);
            if faults.is_empty() {
                let orders = page.sum("sentinel_order_results_total");
                Finding::pass(format!("{}, {orders} results of orders", health.mode))
            } else {
                Finding::fail(
                    named(&faults),
                    "find out what sends orders; docs/trading-safety.md says how to stop it",
                )
            }
        });
    }

    pub(super) fn predictions_work(&self, book: &mut Book<'_>) {
        let check = (
            ids::PREDICTIONS_WORK,
            "The newest features have a usable prediction",
        );
        // A prediction that is on its way is not late yet.
        let names = ["sentinel_prediction_", "sentinel_stage_"];
        let retry = match self.retry.count {
            0 => super::AGREEMENT,
            _ => self.retry,
        };
        self.judge(book, check, &names, retry, |page| {
            match prediction_trouble(page) {
                Some(trouble) => Finding::fail(
                    trouble,
                    "see whether the model server answers as docs/model-contract.md has it; sentinel_api_errors_total says how it fails",
                ),
                None => Finding::pass(format!(
                    "{} of {} predictions since the start were usable, the newest one too",
                    page.sum("sentinel_prediction_requests_total")
                        - page.sum("sentinel_prediction_failures_total"),
                    page.sum("sentinel_prediction_requests_total"),
                )),
            }
        });
    }

    pub(super) fn breakers_closed(&self, book: &mut Book<'_>) {
        let check = (ids::BREAKERS_CLOSED, "Every circuit breaker is closed");
        self.judge(book, check, &[BREAKER], self.retry, |page| {
            let in_force: Vec<(&str, &str)> = page
                .series(BREAKER)
                .iter()
                .filter(|series| number(&series.value) == Some(1.0))
                .map(|series| {
                    let of = |label| label_of(series, label).unwrap_or_default();
                    (of("endpoint"), of("state"))
                })
                .collect();
            let other: Vec<String> = in_force
                .iter()
                .filter(|(_, state)| *state != "closed")
                .map(|(endpoint, state)| format!("the one in front of {endpoint} is {state}"))
                .collect();
            if in_force.is_empty() {
                Finding::fail(
                    format!("{BREAKER} has no state in force"),
                    "see the check states_exclusive",
                )
            } else if other.is_empty() {
                Finding::pass(format!("{} breakers", in_force.len()))
            } else {
                Finding::fail(
                    named(&other),
                    "repair what is behind it; it is tried again by itself, after an hour at the latest",
                )
            }
        });
    }

    pub(super) fn trading_active(&self, book: &mut Book<'_>) {
        let title = "Trading is active, by the metrics and by /health";
        book.step_with(ids::TRADING_ACTIVE, title, self.retry, |probe| {
            let page = match self.samples(&[TRADING], probe) {
                Ok(page) => page,
                Err(finding) => return finding,
            };
            let health = match self.health(probe) {
                Ok((health, _)) => health,
                Err(finding) => return finding,
            };
            let by_metrics: Vec<&str> = page
                .series(TRADING)
                .iter()
                .filter(|series| number(&series.value) == Some(1.0))
                .filter_map(|series| label_of(series, "state"))
                .collect();
            let reason = health
                .trading_state_reason
                .as_deref()
                .unwrap_or("no reason given");
            let text = format!(
                "{by_metrics:?} by the metrics, {} by /health",
                health.trading_state
            );
            if by_metrics == ["active"] && health.trading_state == "active" {
                Finding::pass(text)
            } else {
                Finding::fail(
                    format!("{text} ({reason})"),
                    "docs/trading-safety.md says what to do after each halt",
                )
            }
        });
    }
}

fn mode_faults(health: &Health, page: &Samples) -> Vec<String> {
    let is_live = match health.mode.as_str() {
        "live" => true,
        "dry_run" => false,
        other => return vec![format!("its mode is {other:?}, expected dry_run or live")],
    };
    if is_live {
        let without = health.gateway.is_none();
        return without
            .then(|| "it is live, and /health has no gateway".to_owned())
            .into_iter()
            .collect();
    }
    let mut faults: Vec<String> = OF_ORDERS
        .iter()
        .map(|name| (name, page.sum(name)))
        .filter(|(_, sum)| *sum != 0.0)
        .map(|(name, sum)| format!("a dry run, and {name} is {sum}"))
        .collect();
    let heartbeat = "sentinel_gateway_last_heartbeat_timestamp_seconds";
    if health.gateway.is_some() || !page.series(heartbeat).is_empty() {
        faults.push("a dry run, and it has a gateway".to_owned());
    }
    let held = page.sum("sentinel_risk_limit_utilization_ratio")
        + page.sum("sentinel_account_drawdown_ratio");
    if held != 0.0 {
        faults.push("a dry run, and it holds something".to_owned());
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_orders_move_is_of_the_contract() {
        for name in OF_ORDERS.iter().chain([&BREAKER, &TRADING]) {
            assert!(super::super::contract::promised(name).is_some(), "{name}");
        }
    }
}
