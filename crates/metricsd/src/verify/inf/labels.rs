//! Labels and values: names exactly as promised, values of the closed sets, no label that grows without bound, one state in force, and
//! numbers that can be what their names say.
//!
//! Invariant: what is promised stands in [`contract`](super::contract) alone. Pure but for the page that is asked for.

use metricsd_exporter::Kind;

use super::contract::{FAMILIES, Promised, Values, promised};
use super::reading::{Samples, label_of, number};
use super::{Inspection, ids};
use crate::verify::evidence::Finding;
use crate::verify::page::named;
use crate::verify::record::{Book, Retry};

/// Longest text of a label.
const TEXT_LEN_MAX_BYTES: usize = 64;

/// Labels that have a new value with each order, run, user or address.
const FORBIDDEN: [&str; 20] = [
    "symbol",
    "instrument",
    "order_id",
    "client_order_id",
    "intent_id",
    "ticket",
    "position_id",
    "run_id",
    "session_id",
    "request_id",
    "trace_id",
    "account",
    "user",
    "ip",
    "url",
    "path",
    "query",
    "token",
    "pid",
    "error",
];

/// Families of which one state is in force, and the labels that tell one from another.
const STATES: [(&str, &[&str]); 2] = [
    ("sentinel_trading_state", &[]),
    ("sentinel_circuit_breaker_state", &["endpoint"]),
];

/// Unix times of before 2001 and of after 2286 are none, but milliseconds or a time since the start.
const UNIX_SECONDS: std::ops::Range<f64> = 1e9..1e10;

impl Inspection<'_> {
    pub(super) fn label_names(&self, book: &mut Book<'_>) {
        let check = (ids::LABEL_NAMES, "Every series has the promised labels");
        self.judge(book, check, &[], Retry::NEVER, |page| {
            let faults = of_series(page, |promised, labels| {
                let mut wanted: Vec<&str> = promised.labels.iter().map(|(name, _)| *name).collect();
                wanted.sort_unstable();
                let found: Vec<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
                (found != wanted).then(|| {
                    format!(
                        "{} has the labels {found:?}, expected {wanted:?}",
                        promised.name
                    )
                })
            });
            verdict(
                &faults,
                "labels as docs/metrics.md has them",
                "ask the sentinel itself, without anything in between that adds labels",
            )
        });
    }

    pub(super) fn label_values(&self, book: &mut Book<'_>) {
        let check = (
            ids::LABEL_VALUES,
            "Label values are of the promised closed sets",
        );
        self.judge(book, check, &[], Retry::NEVER, |page| {
            let faults = of_series(page, |promised, labels| {
                labels.iter().find_map(|(name, value)| {
                    let (_, values) = promised.labels.iter().find(|(known, _)| known == name)?;
                    let is_fine = match values {
                        Values::OneOf(values) => values.contains(&value.as_str()),
                        Values::Text => (1..=TEXT_LEN_MAX_BYTES).contains(&value.len()),
                    };
                    (!is_fine).then(|| format!("{} has {name}={value:?}", promised.name))
                })
            });
            verdict(
                &faults,
                "every value is of its set",
                "verify with the metricsd of the sentinel's version; dashboards and alerts know these values only",
            )
        });
    }

    pub(super) fn no_forbidden_labels(&self, book: &mut Book<'_>) {
        let check = (
            ids::NO_FORBIDDEN_LABELS,
            "No series has a label that grows without bound or names a person",
        );
        self.judge(book, check, &[], Retry::NEVER, |page| {
            let mut faults = Vec::new();
            let mut count = 0;
            for (name, family) in page.families() {
                for series in &family.series {
                    count += 1;
                    let found = series.labels.iter().find(|(label, _)| {
                        FORBIDDEN.contains(&label.to_ascii_lowercase().as_str())
                    });
                    faults.extend(found.map(|(label, _)| format!("{name} has the label {label}")));
                }
            }
            faults.dedup();
            verdict(
                &faults,
                &format!("{count} series"),
                "take the label off: orders, runs and accounts belong into logs and the audit",
            )
        });
    }

    pub(super) fn values_sane(&self, book: &mut Book<'_>) {
        let check = (
            ids::VALUES_SANE,
            "Shares are from 0 to 1, times are Unix seconds, and everything is a number",
        );
        self.judge(book, check, &[], Retry::NEVER, |page| {
            let mut faults = Vec::new();
            for promised in FAMILIES.iter().filter(|it| it.kind == Kind::Gauge) {
                for series in page.series(promised.name) {
                    let value = number(&series.value).unwrap_or(f64::NAN);
                    if let Some(wanted) = fault(promised.name, value) {
                        let (name, labels) = (promised.name, &series.labels);
                        faults.push(format!("{name} {labels:?} is {value}, expected {wanted}"));
                    }
                }
            }
            verdict(
                &faults,
                "every gauge can be what its name says",
                "report this as a defect of the sentinel, with the page",
            )
        });
    }

    pub(super) fn states_exclusive(&self, book: &mut Book<'_>) {
        let check = (ids::STATES_EXCLUSIVE, "Of each set of states one is at 1");
        let names = STATES.map(|(name, _)| name);
        // Several series are not set at once.
        self.judge(book, check, &names, super::AGREEMENT, |page| {
            let faults: Vec<String> = STATES
                .iter()
                .flat_map(|(name, by)| states_faults(page, name, by))
                .collect();
            verdict(
                &faults,
                "trading state and circuit breakers",
                "ask one sentinel, without anything in between that puts pages together",
            )
        });
    }
}

/// What is wrong with the series of known families, by one look at each.
fn of_series(
    page: &Samples,
    look: impl Fn(&Promised, &[(String, String)]) -> Option<String>,
) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, family) in page.families() {
        let Some(promised) = promised(name) else {
            continue;
        };
        let found = family.series.iter();
        faults.extend(found.filter_map(|series| look(promised, &series.labels)));
    }
    faults.dedup();
    faults
}

fn verdict(faults: &[String], fine: &str, next: &str) -> Finding {
    if faults.is_empty() {
        Finding::pass(fine)
    } else {
        Finding::fail(named(faults), next)
    }
}

/// What a gauge of this name should be, if it is not.
fn fault(name: &str, value: f64) -> Option<&'static str> {
    let is_share = name.ends_with("_ratio") || name.ends_with("_confidence");
    let is_state = name.ends_with("_info") || name.ends_with("_state");
    if is_share {
        (!(0.0..=1.0).contains(&value)).then_some("0 to 1")
    } else if name.contains("_timestamp_") {
        (!UNIX_SECONDS.contains(&value)).then_some("a time in Unix seconds")
    } else if is_state {
        (value != 0.0 && value != 1.0).then_some("0 or 1")
    } else {
        (!value.is_finite()).then_some("a number")
    }
}

fn states_faults(page: &Samples, name: &str, by: &[&str]) -> Vec<String> {
    let mut groups: Vec<(Vec<&str>, f64)> = Vec::new();
    for series in page.series(name) {
        let group: Vec<&str> = by
            .iter()
            .map(|label| label_of(series, label).unwrap_or_default())
            .collect();
        let value = number(&series.value).unwrap_or(f64::NAN);
        match groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, sum)) => *sum += value,
            None => groups.push((group, value)),
        }
    }
    if groups.is_empty() {
        return vec![format!("{name} has no sample")];
    }
    groups
        .into_iter()
        .filter(|(_, sum)| *sum != 1.0)
        .map(|(group, sum)| format!("{name} {group:?} has {sum} states in force"))
        .collect()
}
