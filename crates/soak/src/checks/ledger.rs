//! The sentinel's ledgers and the gateway's book tell the same story.

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use sentinel::audit::replay::replay;

use super::Check;
use crate::evidence::Evidence;
use crate::evidence::audit::Audit;
use crate::evidence::intents::Ending;

/// No order is without a known outcome in the end.
pub(super) fn nothing_is_left_unknown(evidence: &Evidence) -> Check {
    let mut check = Check::new("every unknown outcome was reconciled");
    let orders = evidence.intents.orders();
    for order in &orders {
        check.need(
            !matches!(order.ending, Ending::Unknown | Ending::Placed),
            || {
                format!(
                    "{} of bar {} ends as {:?}",
                    order.id, order.bar, order.ending
                )
            },
        );
    }
    let said = evidence.last_said.clone().unwrap_or_default();
    check.need(said.is_reconciled && said.open + said.placed == 0, || {
        format!("the sentinel said last: {said:?}")
    });
    let reconciled = orders.iter().filter(|order| order.was_reconciled).count();
    check.need(reconciled > 0, || "nothing had to be reconciled".to_owned());
    check.counted(format!(
        "{} orders, {reconciled} of them found out about later, {} questions for a status",
        orders.len(),
        evidence.seen.requests.get("STATUS").copied().unwrap_or(0)
    ))
}

/// An order that the log calls executed is in the book with that volume, and no other one is.
pub(super) fn log_and_book_agree(evidence: &Evidence) -> Check {
    let mut check = Check::new("intent log and gateway's book agree");
    let orders = evidence.intents.orders();
    for order in &orders {
        let fill = evidence.book.fills.iter().find(|fill| fill.id == order.id);
        match (order.ending, fill) {
            (Ending::Executed, Some(fill)) => {
                let volume = order.volume.as_deref().and_then(|text| text.parse().ok());
                check.need(volume == Some(fill.volume), || {
                    format!(
                        "{}: {volume:?} lots in the log, {} in the book",
                        order.id, fill.volume
                    )
                });
                let is_same = order.key == fill.key && order.side.to_uppercase() == fill.side;
                check.need(is_same, || {
                    format!("{} is another order in the book", order.id)
                });
            }
            (Ending::Executed, None) => {
                check
                    .findings
                    .push(format!("{} is executed in the log only", order.id));
            }
            (ending, Some(_)) => check.findings.push(format!(
                "{} is executed in the book, and {ending:?} in the log",
                order.id
            )),
            (_, None) => {}
        }
    }
    for fill in &evidence.book.fills {
        check.need(orders.iter().any(|order| order.id == fill.id), || {
            format!("{} is in the book and not in the log", fill.id)
        });
    }
    let executed = orders
        .iter()
        .filter(|order| order.ending == Ending::Executed)
        .count();
    check.counted(format!(
        "{} orders, {executed} executed; {} executions in the book",
        orders.len(),
        evidence.book.fills.len()
    ))
}

/// No record is missing, and none was changed.
pub(super) fn log_is_whole(evidence: &Evidence) -> Check {
    let mut check = Check::new("the intent log only grew");
    check
        .findings
        .extend(evidence.intents.findings.iter().cloned());
    let missing = evidence.intents.missing();
    check.need(missing == 0, || format!("{missing} records are missing"));
    check.need(!evidence.intents.is_empty(), || {
        "there is no log".to_owned()
    });
    check.counted(format!(
        "{} records, {} files",
        evidence.intents.len(),
        evidence.intents.count("snapshot")
    ))
}

/// An order that left has its decision in the audit, and so has every execution.
pub(super) fn audit_and_book_agree(evidence: &Evidence, audit: &Audit) -> Check {
    let mut check = Check::new("audit and gateway's book agree");
    let permitted: BTreeSet<&str> = audit.permitted.iter().map(|one| one.id.as_str()).collect();
    let orders = evidence.intents.orders();
    let executed = evidence
        .book
        .fills
        .iter()
        .map(|fill| ("executed", &fill.id));
    let sent = evidence.seen.orders.iter().map(|order| ("sent", &order.id));
    for (what, id) in executed.chain(sent) {
        check.need(permitted.contains(id.as_str()), || {
            format!("{id} was {what} and its decision is not in the audit")
        });
    }
    for one in &audit.permitted {
        let order = orders.iter().find(|order| order.id == one.id);
        check.need(order.is_some_and(|order| order.bar == one.bar), || {
            format!("{} of bar {} is in the audit only", one.id, one.bar)
        });
    }
    let bars: BTreeSet<i64> = audit.permitted.iter().map(|one| one.bar).collect();
    check.need(bars.len() == audit.permitted.len(), || {
        "a bar has two permitted decisions".to_owned()
    });
    check.counted(format!(
        "{} decisions, {} of them orders; {} files",
        audit.decisions,
        audit.permitted.len(),
        audit.files.len()
    ))
}

/// What the audit recorded leads to the same decisions again, and no line of it is missing or damaged.
pub(super) fn decisions_are_reproduced(evidence: &Evidence, audit: &Audit) -> Check {
    let mut check = Check::new("every decision is reproduced from the audit");
    let report = match replay(&evidence.audit) {
        Ok(report) => report,
        Err(error) => {
            check.findings.push(error.to_string());
            return check;
        }
    };
    for finding in &report.findings {
        check.findings.push(format!("{finding:?}"));
    }
    check.need(report.is_good(), || "the replay is not good".to_owned());
    check.need(report.decisions > 0, || "there are no decisions".to_owned());
    // Two readers of the same lines.
    let is_same = report.decisions == audit.decisions
        && report.permitted == audit.permitted.len() as u64
        && report.files == audit.files.len() as u64;
    check.need(is_same, || {
        format!(
            "the replay read {} decisions of {} files",
            report.decisions, report.files
        )
    });
    check.counted(format!(
        "{} of {} decisions, {} lines",
        report.reproduced, report.decisions, report.lines
    ))
}

/// What the sentinel believes to hold is what the gateway holds, and what the executions add up to.
pub(super) fn positions_agree(evidence: &Evidence) -> Check {
    let mut check = Check::new("position, executions and the sentinel's own count agree");
    let said = evidence.last_said.clone().unwrap_or_default().position;
    let own = said
        .as_deref()
        .and_then(|text| text.parse::<Decimal>().ok());
    let signed = evidence
        .book
        .fills
        .iter()
        .map(|fill| match fill.side.as_str() {
            "BUY" => fill.volume,
            _ => -fill.volume,
        });
    let sum: Decimal = signed.sum();
    check.need(own == Some(evidence.book.position), || {
        format!(
            "the sentinel's {own:?}, the gateway's {}",
            evidence.book.position
        )
    });
    check.need(sum == evidence.book.position, || {
        format!("the executions add up to {sum}")
    });
    check.counted(format!("{sum} lots"))
}
