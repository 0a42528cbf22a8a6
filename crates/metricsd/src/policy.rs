//! Which series may be served: reserved names, names that no text can carry, labels the policy forbids, limits.
//!
//! Invariant: a verdict depends on the key and the policy alone, so a series is refused in every scrape or in none; only the
//! two limits on counts depend on what else there is, and the merge decides those in canonical order. Must not touch: I/O,
//! the clock, logging.

use std::collections::BTreeSet;

use metricsd_exporter::{check_labels, is_legal_metric_name};
use thiserror::Error;

/// Prefixes of the daemon's own families. A shard's series of such a name would collide with them.
const RESERVED_PREFIXES: [&str; 2] = ["metricsd_", "process_"];

/// Labels that the trading policy refuses: each would make one series per order, run or instrument.
pub const TRADING_LABELS: [&str; 10] = [
    "symbol",
    "instrument",
    "pair",
    "ticker",
    "isin",
    "order_id",
    "client_order_id",
    "run_id",
    "account",
    "uuid",
];

/// Bounds on what one exposition may hold, against a client that leaks label values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesLimits {
    /// Series of all families together. The label set that passes it is still served whole.
    pub series: usize,
    /// Series of one family.
    pub series_per_family: usize,
    /// Bytes of one label value.
    pub label_value_bytes: usize,
}

impl Default for SeriesLimits {
    fn default() -> SeriesLimits {
        SeriesLimits {
            series: 1_000_000,
            series_per_family: 100_000,
            label_value_bytes: 1024,
        }
    }
}

/// What is refused. The default refuses no label, and has the default limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Label names that no series may have.
    pub forbidden_labels: BTreeSet<String>,
    /// Bounds on counts and lengths.
    pub limits: SeriesLimits,
}

/// Why no entry with a certain key is ever served.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The policy forbids a label.
    #[error("label {label:?} is forbidden by the policy")]
    ForbiddenLabel {
        /// Its name.
        label: String,
    },
    /// A label value is too long.
    #[error(
        "the value of label {label:?} has {len_bytes} bytes; at most {limit_bytes} are accepted"
    )]
    LabelTooLong {
        /// The label's name.
        label: String,
        /// Length of the value.
        len_bytes: usize,
        /// The limit in force.
        limit_bytes: usize,
    },
    /// The name belongs to the daemon itself.
    #[error("the name {name:?} is reserved for the daemon's own metrics")]
    ReservedName {
        /// The family's or sample's name.
        name: String,
    },
    /// A name that the text format cannot carry.
    #[error("{detail}")]
    BadName {
        /// Which name, and what is wrong with it.
        detail: String,
    },
}

/// Names under which Prometheus stores what it finds out about a scrape itself. A sample of such a name would be stored in the same
/// series.
const SCRAPERS_NAMES: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// Whether a name belongs to the daemon's own families, or to the scraper.
pub(crate) fn is_reserved(name: &str) -> bool {
    SCRAPERS_NAMES.contains(&name)
        || RESERVED_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// The values of the label `reason` of `metricsd_series_refused_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusalReason {
    /// A forbidden label, or a label value that cannot be accepted: too long, or an `le` that is no number.
    Label,
    /// A limit on the number of series.
    Limit,
    /// A name of the daemon's own.
    ReservedName,
    /// A name that cannot be exposed, or only under that of another family.
    BadName,
}

impl RefusalReason {
    /// Every reason, in the order of [`RefusalReason::index`].
    pub const ALL: [RefusalReason; 4] = [
        RefusalReason::Label,
        RefusalReason::Limit,
        RefusalReason::ReservedName,
        RefusalReason::BadName,
    ];

    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalReason::Label => "label",
            RefusalReason::Limit => "limit",
            RefusalReason::ReservedName => "reserved_name",
            RefusalReason::BadName => "bad_name",
        }
    }

    /// What it means for an entry whose key has no refusal of its own.
    pub fn explanation(self) -> &'static str {
        match self {
            RefusalReason::Label => "the bucket bound in the label le is not a number",
            RefusalReason::Limit => "a limit on the number of series is reached",
            RefusalReason::ReservedName => "the name is reserved for the daemon's own metrics",
            RefusalReason::BadName => {
                "another family becomes the same name when illegal characters are replaced"
            }
        }
    }

    /// Its place in [`RefusalReason::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

impl Refusal {
    /// Under which reason it is counted.
    pub fn reason(&self) -> RefusalReason {
        match self {
            Refusal::ForbiddenLabel { .. } | Refusal::LabelTooLong { .. } => RefusalReason::Label,
            Refusal::ReservedName { .. } => RefusalReason::ReservedName,
            Refusal::BadName { .. } => RefusalReason::BadName,
        }
    }
}

impl Policy {
    /// The policy for trading processes: no label that names an instrument, order, run or account.
    pub fn trading() -> Policy {
        Policy {
            forbidden_labels: TRADING_LABELS.map(str::to_owned).into(),
            limits: SeriesLimits::default(),
        }
    }

    /// Judges one series by its names and labels as they would be exposed.
    ///
    /// # Errors
    /// The first reason to refuse it: names before labels.
    pub fn judge(
        &self,
        family: &str,
        sample: &str,
        labels: &[(String, String)],
    ) -> Result<(), Refusal> {
        self.judge_pairs(family, sample, labels)
    }

    /// As [`Policy::judge`], for labels that are owned or borrowed.
    pub(crate) fn judge_pairs<S: AsRef<str>>(
        &self,
        family: &str,
        sample: &str,
        labels: &[(S, S)],
    ) -> Result<(), Refusal> {
        for name in [family, sample] {
            if !is_legal_metric_name(name) {
                return Err(Refusal::BadName {
                    detail: format!("the name {name:?} is not a legal metric name"),
                });
            }
            if is_reserved(name) {
                return Err(Refusal::ReservedName {
                    name: name.to_owned(),
                });
            }
        }
        check_labels(labels).map_err(|bad| Refusal::BadName {
            detail: bad.to_string(),
        })?;
        for (label, value) in labels {
            let (label, value) = (label.as_ref(), value.as_ref());
            if self.forbidden_labels.contains(label) {
                return Err(Refusal::ForbiddenLabel {
                    label: label.to_owned(),
                });
            }
            if value.len() > self.limits.label_value_bytes {
                return Err(Refusal::LabelTooLong {
                    label: label.to_owned(),
                    len_bytes: value.len(),
                    limit_bytes: self.limits.label_value_bytes,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(policy: &Policy, family: &str, label: &str, value: &str) -> Option<RefusalReason> {
        let labels = [(label.to_owned(), value.to_owned())];
        policy
            .judge(family, family, &labels)
            .err()
            .map(|refusal| refusal.reason())
    }

    #[test]
    fn each_reason_has_a_series_that_is_refused_for_it() {
        let trading = Policy::trading();
        assert_eq!(verdict(&trading, "a", "strategy_id", "x"), None);
        assert_eq!(
            verdict(&trading, "a", "symbol", "x"),
            Some(RefusalReason::Label)
        );
        assert_eq!(
            verdict(&Policy::default(), "a", "symbol", "x"),
            None,
            "the open policy forbids no label"
        );
        assert_eq!(verdict(&trading, "a", "b", &"x".repeat(1024)), None);
        assert_eq!(
            verdict(&trading, "a", "b", &"x".repeat(1025)),
            Some(RefusalReason::Label)
        );
        assert_eq!(
            verdict(&trading, "metricsd_shards", "b", "x"),
            Some(RefusalReason::ReservedName)
        );
        assert_eq!(
            verdict(&trading, "process_open_fds", "b", "x"),
            Some(RefusalReason::ReservedName)
        );
        assert_eq!(verdict(&trading, "processes", "b", "x"), None);
        assert_eq!(
            verdict(&trading, "", "b", "x"),
            Some(RefusalReason::BadName)
        );
        assert_eq!(
            verdict(&trading, "a", "__name__", "x"),
            Some(RefusalReason::BadName)
        );
    }

    #[test]
    fn a_sample_cannot_smuggle_a_reserved_name_past_its_family() {
        let refusal = Policy::default()
            .judge("a", "metricsd_up", &[])
            .unwrap_err();
        assert_eq!(refusal.reason(), RefusalReason::ReservedName);
    }
}
