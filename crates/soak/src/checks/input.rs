//! Orders come from true and fresh bars and from whole answers of the model, by what the soak itself served.

use super::Check;
use crate::evidence::Evidence;
use crate::remotes::INTERVAL;
use crate::verdict::Verdict;

/// For each order on the wire the model was asked with features of the true bars up to the newest, answered without a fault, and said that side.
pub(super) fn none_from_bad_input(evidence: &Evidence) -> Check {
    let mut check = Check::new("no order from stale, short or malformed input");
    let orders = evidence.intents.orders();
    for sent in &evidence.seen.orders {
        let Some(order) = orders.iter().find(|order| order.id == sent.id) else {
            check
                .findings
                .push(format!("{} was sent and is not in the intent log", sent.id));
            continue;
        };
        let close_ms = (order.bar + INTERVAL) * 1_000;
        let due_ms = close_ms + INTERVAL * 1_000;
        check.need((close_ms..=due_ms).contains(&sent.sent_at), || {
            format!(
                "{} is of bar {} and was sent at {} ms",
                sent.id, order.bar, sent.sent_at
            )
        });
        let is_founded = evidence.asked.iter().any(|asked| {
            asked.bar == Some(order.bar) && !asked.is_spoiled && asked.at_ms <= sent.sent_at
        });
        check.need(is_founded, || {
            format!(
                "{} is of bar {}, of which the model was never asked well",
                sent.id, order.bar
            )
        });
        let side = Verdict::of(evidence.seed, order.bar).side();
        check.need(side == Some(sent.side.as_str()), || {
            format!("{} is a {} and the model said {side:?}", sent.id, sent.side)
        });
    }
    let met = |kinds: &[&str]| -> u64 {
        let met = evidence.diary.met.iter();
        let of_kind = met.filter(|(name, _)| kinds.iter().any(|kind| name.starts_with(kind)));
        of_kind.map(|(_, count)| count).sum()
    };
    let (fetches, predictions) = (met(&["fetch", "start with"]), met(&["predict"]));
    let untrue = evidence
        .asked
        .iter()
        .filter(|asked| asked.bar.is_none())
        .count();
    check.need(fetches > 0 && predictions > 0, || {
        "nothing bad was served".to_owned()
    });
    check.counted(format!(
        "{} orders; {fetches} bad fetches, {predictions} bad predictions, {untrue} questions that were not of the newest true bars",
        evidence.seen.orders.len()
    ))
}
