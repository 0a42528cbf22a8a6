//! The golden set: what a seed gave when somebody looked at it and found it right.
//!
//! Invariant: what the seed alone decides has to be equal; what also depends on how fast the machine is lies in a range that the file states.
//! A file is only written when it is asked for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::checks::Check;
use crate::evidence::Evidence;
use crate::evidence::diary::Death;
use crate::run::{BEGIN, Settings};
use crate::schedule::Counts;
use crate::verdict::Verdict;

/// A number may be off by so many percent of it and by two more: what a machine of another speed, or a busy one, changes.
const TOLERANCE_PERCENT: u64 = 15;

/// Families of the sentinel that are compared, each series by itself. Those of times and states are not: they are what the machine makes them.
const FAMILIES: [&str; 16] = [
    "sentinel_trading_cycles_total",
    "sentinel_trading_cycles_failed_total",
    "sentinel_cycles_skipped_total",
    "sentinel_data_fetch_failed_total",
    "sentinel_market_data_defects_total",
    "sentinel_prediction_requests_total",
    "sentinel_prediction_failures_total",
    "sentinel_prediction_confidence_ratio_count",
    "sentinel_trading_signals_total",
    "sentinel_signals_suppressed_total",
    "sentinel_trading_signals_executed_total",
    "sentinel_order_results_total",
    "sentinel_zmq_send_failures_total",
    "sentinel_order_roundtrip_seconds_count",
    "sentinel_api_calls_total",
    "sentinel_api_errors_total",
];

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// The seed.
    pub seed: u64,
    /// Bars.
    pub bars: u64,
    /// By the seed alone: troubles by name, what the model says by verdict.
    pub equal: BTreeMap<String, u64>,
    /// From and to: metrics, verdicts of the gateway, ends of the sentinel.
    pub between: BTreeMap<String, (u64, u64)>,
}

/// Where the file of a seed and a length is.
pub fn path(settings: &Settings) -> PathBuf {
    let name = format!("seed-{}-{}-minutes.json", settings.seed, settings.bars);
    xtask::workspace::root()
        .join("crates/soak/golden")
        .join(name)
}

/// Compares with the file; none if there is none for this seed and length.
///
/// # Errors
/// There is one, and it cannot be read.
pub fn check(settings: &Settings, evidence: &Evidence) -> Result<Option<Check>> {
    let path = path(settings);
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let golden: Golden =
        serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
    Ok(Some(compare(
        &golden,
        &equal(settings, evidence),
        &measured(evidence),
    )))
}

/// Writes the file anew.
///
/// # Errors
/// It cannot be written.
pub fn write(settings: &Settings, evidence: &Evidence) -> Result<PathBuf> {
    let range = |value: u64| {
        let off = 2 + value * TOLERANCE_PERCENT / 100;
        (value.saturating_sub(off), value + off)
    };
    let golden = Golden {
        seed: settings.seed,
        bars: settings.bars as u64,
        equal: equal(settings, evidence).0,
        between: measured(evidence)
            .0
            .into_iter()
            .map(|(name, value)| (name, range(value)))
            .collect(),
    };
    let path = path(settings);
    write_to(&path, &golden)?;
    Ok(path)
}

fn write_to(path: &Path, golden: &Golden) -> Result<()> {
    let text = serde_json::to_string_pretty(golden)? + "\n";
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn compare(golden: &Golden, equal: &Counts, measured: &Counts) -> Check {
    let mut check = Check::new("the golden set of this seed is met");
    let (wanted, found) = (&golden.equal, &equal.0);
    for name in wanted
        .keys()
        .chain(found.keys().filter(|name| !wanted.contains_key(*name)))
    {
        let (wanted, found) = (wanted.get(name), found.get(name));
        check.need(wanted == found, || {
            format!("{name}: {found:?}, and it was {wanted:?}")
        });
    }
    for (name, (from, to)) in &golden.between {
        let found = measured.0.get(name).copied().unwrap_or(0);
        check.need((*from..=*to).contains(&found), || {
            format!("{name}: {found}, and it was {from} to {to}")
        });
    }
    for (name, found) in &measured.0 {
        let is_known = golden.between.contains_key(name);
        check.need(is_known || *found <= 2, || {
            format!("{name}: {found}, and it was not there")
        });
    }
    check.counted(format!(
        "{} numbers equal, {} within their range",
        golden.equal.len(),
        golden.between.len()
    ))
}

/// What the seed alone decides.
fn equal(settings: &Settings, evidence: &Evidence) -> Counts {
    let mut counts = BTreeMap::new();
    for (name, count) in &evidence.planned.0 {
        counts.insert(format!("planned: {name}"), *count);
    }
    for bar in 0..settings.bars {
        let open = BEGIN + (bar as i64) * crate::remotes::INTERVAL;
        let name = format!("model: {:?}", Verdict::of(settings.seed, open));
        *counts.entry(name).or_default() += 1;
    }
    counts.insert(
        "kill switch thrown".to_owned(),
        evidence.diary.kill_windows.len() as u64,
    );
    Counts(counts)
}

/// What also depends on the machine.
fn measured(evidence: &Evidence) -> Counts {
    let mut counts = BTreeMap::new();
    for (series, value) in &evidence.page.0 {
        let family = series.split('{').next().unwrap_or_default();
        if FAMILIES.contains(&family) && *value > 0.0 {
            // Counts are whole.
            counts.insert(series.clone(), *value as u64);
        }
    }
    let mut add = |name: String, count: u64| *counts.entry(name).or_default() += count;
    for (kind, code) in evidence.book.orders.values() {
        let code = code
            .as_deref()
            .map_or(String::new(), |code| format!(" {code}"));
        add(format!("book: {kind}{code}"), 1);
    }
    for (death, count) in &evidence.diary.deaths {
        let name = match death {
            Death::Quit => "ends of the sentinel: by itself".to_owned(),
            Death::At(step) => format!("ends of the sentinel: behind {step}"),
            Death::InCycle | Death::AtRest => "ends of the sentinel: anywhere".to_owned(),
        };
        add(name, *count);
    }
    add(
        "orders on the wire".to_owned(),
        evidence.seen.orders.len() as u64,
    );
    add(
        "starts of the gateway".to_owned(),
        evidence.diary.gateway_starts,
    );
    Counts(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_and_what_was_not_there_is_found() {
        let counts = |pairs: &[(&str, u64)]| {
            Counts(
                pairs
                    .iter()
                    .map(|(name, count)| ((*name).to_owned(), *count))
                    .collect(),
            )
        };
        let golden = Golden {
            seed: 1,
            bars: 2,
            equal: counts(&[("a", 1)]).0,
            between: BTreeMap::from([("b".to_owned(), (3, 5))]),
        };
        let judge = |equal: &[(&str, u64)], measured: &[(&str, u64)]| {
            compare(&golden, &counts(equal), &counts(measured))
                .findings
                .len()
        };
        assert_eq!(judge(&[("a", 1)], &[("b", 5)]), 0);
        assert_eq!(judge(&[("a", 2)], &[("b", 2)]), 2);
        assert_eq!(judge(&[], &[]), 2);
        assert_eq!(judge(&[("a", 1), ("c", 1)], &[("b", 3), ("d", 3)]), 2);
    }
}
