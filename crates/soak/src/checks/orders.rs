//! Orders happen once and in time, by the gateway's book and by what was on the wire.

use std::collections::BTreeMap;

use super::Check;
use crate::evidence::Evidence;
use crate::remotes::INTERVAL;

/// No two executions for a bar: by key, by the minute in which they happened, and by the bar that the intent log names.
pub(super) fn once_for_a_bar(evidence: &Evidence) -> Check {
    let mut check = Check::new("no duplicate order for a bar");
    let fills = &evidence.book.fills;
    let (mut keys, mut minutes, mut bars) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let orders = evidence.intents.orders();
    for fill in fills {
        let minute = fill.executed_at.div_euclid(INTERVAL * 1_000);
        let bar = orders
            .iter()
            .find(|order| order.id == fill.id)
            .map(|order| order.bar);
        if let Some(other) = keys.insert(fill.key.clone(), &fill.id) {
            check
                .findings
                .push(format!("{other} and {} have the key {}", fill.id, fill.key));
        }
        // Of any moment there is one newest bar.
        if let Some(other) = minutes.insert(minute, &fill.id) {
            check.findings.push(format!(
                "{other} and {} were executed in one minute",
                fill.id
            ));
        }
        if let Some(other) = bar.and_then(|bar| bars.insert(bar, &fill.id)) {
            check
                .findings
                .push(format!("{other} and {} are of one bar", fill.id));
        }
    }
    for (id, of) in &evidence.book.repeated {
        check
            .findings
            .push(format!("{id} came with the key of {of}"));
    }
    check.need(!fills.is_empty(), || "nothing was executed".to_owned());
    check.counted(format!(
        "{} executions, {} keys, {} bars",
        fills.len(),
        keys.len(),
        bars.len()
    ))
}

/// An order leaves the sentinel once, and no other one for its bar.
pub(super) fn sent_once(evidence: &Evidence) -> Check {
    let mut check = Check::new("no order is sent again, nor another in its place");
    let (mut ids, mut keys) = (BTreeMap::new(), BTreeMap::new());
    for order in &evidence.seen.orders {
        *ids.entry(&order.id).or_insert(0) += 1;
        *keys.entry(&order.key).or_insert(0) += 1;
    }
    for (what, counts) in [("id", &ids), ("key", &keys)] {
        for (name, count) in counts.iter().filter(|(_, count)| **count > 1) {
            check
                .findings
                .push(format!("the {what} {name} left {count} times"));
        }
    }
    check.need(!ids.is_empty(), || "nothing was sent".to_owned());
    check.counted(format!("{} orders on the wire", evidence.seen.orders.len()))
}

/// From an order's leaving until what became of it is on disk, no other order leaves.
pub(super) fn none_while_one_is_unknown(evidence: &Evidence) -> Check {
    let mut check = Check::new("no order is sent while the outcome of another is not known");
    let orders = evidence.intents.orders();
    let mut waits = 0;
    for sent in &evidence.seen.orders {
        let order = orders.iter().find(|order| order.id == sent.id);
        let until = order.and_then(|order| order.closed_at).unwrap_or(i64::MAX);
        waits += u64::from(order.is_some_and(|order| order.was_reconciled));
        let others = evidence
            .seen
            .orders
            .iter()
            .filter(|other| other.id != sent.id && (sent.at_ms..until).contains(&other.at_ms));
        for other in others {
            check.findings.push(format!(
                "{} left while nobody knew what became of {}",
                other.id, sent.id
            ));
        }
    }
    check.need(waits > 0, || "no outcome was unknown".to_owned());
    check.counted(format!("{waits} orders had to be asked for"))
}

/// Nothing is executed later than it may be, and nothing on a bar that is not the newest any more.
pub(super) fn none_late(evidence: &Evidence) -> Check {
    let mut check = Check::new("no order is executed late");
    let orders = evidence.intents.orders();
    let mut least_left = i64::MAX;
    for fill in &evidence.book.fills {
        let sent = evidence
            .seen
            .orders
            .iter()
            .find(|order| order.id == fill.id);
        let Some(sent) = sent else {
            check
                .findings
                .push(format!("{} was executed and never sent", fill.id));
            continue;
        };
        let left = sent.valid_until - fill.executed_at;
        least_left = least_left.min(left);
        check.need(left >= 0, || {
            format!("{} was executed {} ms late", fill.id, -left)
        });
        if let Some(order) = orders.iter().find(|order| order.id == fill.id) {
            let next_bar_due = (order.bar + 2 * INTERVAL) * 1_000;
            check.need(fill.executed_at <= next_bar_due, || {
                format!("{} was executed when the next bar was due", fill.id)
            });
            check.need(order.valid_until == sent.valid_until, || {
                format!(
                    "{} was sent with another validity than was written down",
                    fill.id
                )
            });
        }
    }
    let codes = evidence.book.orders.values();
    let refused_late = codes
        .filter(|(_, code)| code.as_deref() == Some("late"))
        .count();
    check.need(refused_late > 0, || {
        "no order came late, so nothing was shown".to_owned()
    });
    check.counted(format!(
        "{} executions, the latest {least_left} ms before its end; {refused_late} came late and were refused",
        evidence.book.fills.len()
    ))
}
