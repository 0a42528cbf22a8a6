//! The kill switch, and that everything that was to go wrong did.

use super::Check;
use crate::child::STEPS;
use crate::evidence::Evidence;
use crate::evidence::diary::Death;

/// Nothing leaves while the switch is on, trading says so, and goes on after a person has reset it.
pub(super) fn kill_switch_holds(evidence: &Evidence) -> Check {
    let mut check = Check::new("nothing is sent while the kill switch is on");
    let windows = &evidence.diary.kill_windows;
    for order in &evidence.seen.orders {
        let window = windows
            .iter()
            .find(|window| (window.from..window.to).contains(&order.at_ms));
        check.need(window.is_none(), || {
            format!("{} left at {} ms", order.id, order.at_ms)
        });
    }
    let kills = evidence.seen.requests.get("KILL").copied().unwrap_or(0);
    check.need(!windows.is_empty(), || "the switch was never on".to_owned());
    check
        .findings
        .extend(evidence.diary.surprises.iter().cloned());
    check.need(evidence.diary.halted_seen == windows.len() as u64, || {
        format!("trading was halted {} times", evidence.diary.halted_seen)
    });
    check.need(kills >= windows.len() as u64, || {
        format!("the gateway was told {kills} times")
    });
    let goes_on = |to: i64| evidence.seen.orders.iter().any(|order| order.at_ms >= to);
    let after = windows.iter().filter(|window| goes_on(window.to)).count();
    check.need(after == windows.len(), || {
        "trading did not go on after a reset".to_owned()
    });
    check.need(!evidence.book.is_killed, || {
        "the gateway's switch is on".to_owned()
    });
    check.counted(format!(
        "{} times on, {kills} messages to the gateway",
        windows.len()
    ))
}

/// The sentinel was killed behind each step of an order at least once.
pub(super) fn was_killed_between_all_steps(evidence: &Evidence) -> Check {
    let mut check = Check::new("the sentinel was killed between any two steps of an order");
    let deaths = &evidence.diary.deaths;
    let mut counts = Vec::new();
    for step in STEPS {
        let count = deaths
            .get(&Death::At(step.to_owned()))
            .copied()
            .unwrap_or(0);
        check.need(count > 0, || format!("never behind {step}"));
        counts.push(format!("{step} {count}"));
    }
    let random = deaths.get(&Death::InCycle).copied().unwrap_or(0);
    check.counted(format!("{}, anywhere {random}", counts.join(", ")))
}

/// What the names of troubles begin with, by remote and by what was done to it.
const MATRIX: [(&str, &[&str]); 12] = [
    ("feed killed", &["feed away"]),
    ("feed frozen", &["fetch hang"]),
    ("feed slowed", &["fetch slow"]),
    (
        "feed corrupted",
        &["fetch garbage", "fetch truncated", "fetch rows"],
    ),
    ("model server killed", &["hub away"]),
    ("model server frozen", &["predict hang"]),
    ("model server slowed", &["predict slow"]),
    (
        "model server corrupted",
        &[
            "predict garbage",
            "predict truncated",
            "predict two numbers",
        ],
    ),
    (
        "gateway killed",
        &["gateway away", "wire Order Kill", "wire OrderReply Kill"],
    ),
    ("gateway frozen", &["wire Order Freeze"]),
    (
        "gateway slowed",
        &["wire Order Late", "wire Order Trickle", "wire Order Delay"],
    ),
    (
        "gateway corrupted",
        &[
            "wire Order Flip",
            "wire OrderReply Flip",
            "wire OrderReply Forge",
        ],
    ),
];

/// Each remote failed in each way, and something met it.
pub(super) fn every_remote_failed_in_every_way(evidence: &Evidence) -> Check {
    let mut check = Check::new("every remote was killed, frozen, slowed and corrupted");
    let mut counts = Vec::new();
    for (what, beginnings) in MATRIX {
        let is_one = |name: &str| beginnings.iter().any(|one| name.starts_with(one));
        let met = evidence.diary.met.iter().filter(|(name, _)| is_one(name));
        let count: u64 = met.map(|(_, count)| count).sum();
        check.need(count > 0, || format!("never: {what}"));
        counts.push(format!("{what} {count}"));
    }
    check.counted(counts.join(", "))
}
