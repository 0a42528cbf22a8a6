//! The metrics tell the story of the ledgers, up to what a SIGKILL between an event and its count can lose.
//!
//! Invariant: what can be lost is bounded by kills that happened, and never makes a metric greater than the ledger.

use super::Check;
use crate::evidence::Evidence;
use crate::evidence::audit::Audit;
use crate::evidence::diary::Death;

/// Executed orders. The outcome is written down, counted, and then the step is told; the verdict of a status is written down, the step is told,
/// and then it is counted. So a kill behind `Reconciled` loses one, and one at any moment may.
pub(super) fn executions_are_counted(evidence: &Evidence) -> Check {
    let mut check = Check::new("executed signals are counted");
    let orders = evidence.intents.orders();
    let mut counts = Vec::new();
    let mut lost = 0;
    for (side, label) in [("buy", "BUY"), ("sell", "SELL")] {
        let taken = orders
            .iter()
            .filter(|order| order.side == side && order.was_taken)
            .count() as u64;
        let family = "sentinel_trading_signals_executed_total";
        let counted = evidence.page.sum(family, &[("action", label)]) as u64;
        check.need(counted <= taken, || {
            format!("{label}: {counted} counted, {taken} taken")
        });
        check.need(taken > 0, || format!("{label}: nothing was executed"));
        lost += taken.saturating_sub(counted);
        counts.push(format!("{label} {counted} of {taken}"));
    }
    let surely = evidence.diary.executions_cut;
    let perhaps = in_cycle(evidence);
    check.need((surely..=surely + perhaps).contains(&lost), || {
        format!(
            "{lost} are not counted, and kills explain {surely} to {}",
            surely + perhaps
        )
    });
    check.counted(format!(
        "{}; {lost} lost to kills, which explain {surely} to {}",
        counts.join(", "),
        surely + perhaps
    ))
}

/// Results by kind: as many as outcomes in the log, up to what kills behind the outcome lose.
pub(super) fn results_are_counted(evidence: &Evidence) -> Check {
    let mut check = Check::new("results of orders are counted");
    let family = "sentinel_order_results_total";
    let outcomes = evidence.intents.outcomes();
    let mut lost = 0;
    for (label, count) in &outcomes {
        let of = |label: &str| evidence.page.sum(family, &[("result", label)]);
        let counted = match label.as_str() {
            "unknown" => of("timeout") + of("malformed_reply"),
            label => of(label),
        } as u64;
        check.need(counted <= *count, || {
            format!("{label}: {counted} counted, {count} in the log")
        });
        lost += count.saturating_sub(counted);
    }
    let counted = evidence.page.sum(family, &[]) as u64;
    let total: u64 = outcomes.values().sum();
    check.need(counted + lost == total, || {
        format!("{counted} counted and {lost} lost of {total} in the log")
    });
    let perhaps = in_cycle(evidence);
    check.need(lost <= perhaps, || {
        format!("{lost} are not counted, and kills explain {perhaps} at most")
    });
    let shown: Vec<_> = outcomes
        .iter()
        .map(|(label, count)| format!("{label} {count}"))
        .collect();
    check.counted(format!("{counted} of {total}: {}", shown.join(", ")))
}

/// Decisions by action, and refusals by reason: as many as in the audit. A decision is counted when its order is done, so a kill behind any step of
/// the order that follows its line loses one.
pub(super) fn decisions_are_counted(evidence: &Evidence, audit: &Audit) -> Check {
    let mut check = Check::new("decisions and refusals are counted");
    let suppressed = |reason: &str| {
        let family = "sentinel_signals_suppressed_total";
        evidence.page.sum(family, &[("reason", reason)]) as u64
    };
    let mut lost_refusals = 0;
    for (reason, count) in &audit.refusals {
        let counted = suppressed(reason);
        check.need(counted <= *count, || {
            format!("{reason}: {counted} counted, {count} refusals")
        });
        lost_refusals += count.saturating_sub(counted);
    }
    let perhaps = in_cycle(evidence);
    check.need(lost_refusals <= perhaps, || {
        format!("{lost_refusals} refusals are not counted")
    });
    let signals = audit.decisions - audit.without_signal;
    let counted = evidence.page.sum("sentinel_trading_signals_total", &[]) as u64;
    check.need(counted <= signals, || {
        format!("{counted} signals counted, {signals} decided")
    });
    let lost = signals.saturating_sub(counted);
    let behind_the_line = [
        "Audited",
        "AboutToSend",
        "Answered",
        "OutcomeRecorded",
        "AuditClosed",
    ];
    let deaths = behind_the_line.map(|step| {
        let deaths = evidence.diary.deaths.get(&Death::At(step.to_owned()));
        deaths.copied().unwrap_or(0)
    });
    let surely: u64 = deaths.iter().sum();
    check.need((surely..=surely + perhaps).contains(&lost), || {
        format!(
            "{lost} signals are not counted, and kills explain {surely} to {}",
            surely + perhaps
        )
    });
    for (action, count) in &audit.actions {
        let family = "sentinel_trading_signals_total";
        let counted = evidence.page.sum(family, &[("action", action)]) as u64;
        check.need(counted <= *count, || {
            format!("{action}: {counted} counted, {count} decided")
        });
    }
    check.counted(format!(
        "{counted} of {signals} signals, {lost} lost to kills, which explain {surely} to {}; refusals {:?}",
        surely + perhaps,
        audit.refusals
    ))
}

/// Cycles: each that was answered, and of those that were cut at any moment some.
pub(super) fn cycles_are_counted(evidence: &Evidence) -> Check {
    let mut check = Check::new("cycles are counted");
    let counted = evidence.page.sum("sentinel_trading_cycles_total", &[]) as u64;
    let answered = evidence.diary.cycles_answered;
    let perhaps = in_cycle(evidence);
    check.need((answered..=answered + perhaps).contains(&counted), || {
        format!("{counted} counted, {answered} answered")
    });
    check.counted(format!(
        "{counted}, {answered} answered, {} cut",
        evidence.diary.cycles_cut
    ))
}

/// Kills at a moment that nobody chose: each may have come between an event and its count.
fn in_cycle(evidence: &Evidence) -> u64 {
    let deaths = &evidence.diary.deaths;
    deaths.get(&Death::InCycle).copied().unwrap_or(0)
}
