//! Gauges of processes whose shards are gone for good, kept by their mode.
//!
//! Invariant: what a scrape may show of the ended is what is here and nothing else; a value of a `live*` gauge can be
//! discarded by itself, one of `all` expires by itself, the other modes fold. Of equals the first one stays, as in Python.
//! Pure.

use std::collections::BTreeMap;

use super::exact::Exact;
use super::model::{Fold, IdentityKey, KeyId, SeriesKind};

/// A value that is kept by itself.
#[derive(Debug, Clone)]
pub struct EndedValue {
    /// Whose it is.
    pub identity: IdentityKey,
    /// The writer, as the label `pid` shows it.
    pub writer: Box<str>,
    /// The value.
    pub value: f64,
    /// When it was set, unix seconds; 0 where the writer stores none.
    pub timestamp: f64,
    /// When the process counts as ended, unix seconds.
    pub ended_at_unix_seconds: f64,
}

impl PartialEq for EndedValue {
    fn eq(&self, other: &EndedValue) -> bool {
        let bits =
            |it: &EndedValue| [it.value, it.timestamp, it.ended_at_unix_seconds].map(f64::to_bits);
        (&self.identity, &self.writer) == (&other.identity, &other.writer)
            && bits(self) == bits(other)
    }
}

/// What is left of ended processes in one series.
#[derive(Debug, Clone)]
pub enum Ended {
    /// The smallest value.
    Min(f64),
    /// The greatest value.
    Max(f64),
    /// The sum.
    Sum(Exact),
    /// The value that was set last.
    MostRecent {
        /// The value.
        value: f64,
        /// When it was set, unix seconds.
        timestamp: f64,
    },
    /// Each process's own.
    Each(Vec<EndedValue>),
}

impl PartialEq for Ended {
    fn eq(&self, other: &Ended) -> bool {
        let same = |left: &f64, right: &f64| left.to_bits() == right.to_bits();
        match (self, other) {
            (Ended::Min(left), Ended::Min(right)) | (Ended::Max(left), Ended::Max(right)) => {
                same(left, right)
            }
            (Ended::Sum(left), Ended::Sum(right)) => left == right,
            (
                Ended::MostRecent { value, timestamp },
                Ended::MostRecent {
                    value: other_value,
                    timestamp: other_timestamp,
                },
            ) => same(value, other_value) && same(timestamp, other_timestamp),
            (Ended::Each(left), Ended::Each(right)) => left == right,
            _ => false,
        }
    }
}

/// The gauges of the ended, by series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EndedGauges {
    pub(super) by_key: BTreeMap<KeyId, Ended>,
}

impl EndedGauges {
    /// What is left in one series.
    pub fn get(&self, key: KeyId) -> Option<&Ended> {
        self.by_key.get(&key)
    }

    /// All of them, by number of the series.
    pub fn iter(&self) -> impl Iterator<Item = (KeyId, &Ended)> {
        self.by_key.iter().map(|(key, ended)| (*key, ended))
    }

    /// Adds what one process left.
    pub(super) fn fold(&mut self, key: KeyId, kind: SeriesKind, added: EndedValue) {
        // A most recent gauge without a timestamp was never set, and Python shows none.
        if kind.is_most_recent() && added.timestamp == 0.0 {
            return;
        }
        let value = added.value;
        let known = match kind.fold() {
            Fold::Total => return,
            Fold::Min => self.by_key.entry(key).or_insert(Ended::Min(value)),
            Fold::Max => self.by_key.entry(key).or_insert(Ended::Max(value)),
            Fold::Sum => self
                .by_key
                .entry(key)
                .or_insert(Ended::Sum(Exact::default())),
            Fold::MostRecent => self.by_key.entry(key).or_insert(Ended::MostRecent {
                value,
                timestamp: added.timestamp,
            }),
            Fold::Each => self.by_key.entry(key).or_insert(Ended::Each(Vec::new())),
        };
        known.take(kind, added);
    }

    /// Forgets one process's value of a series. `false` if there is none.
    pub(super) fn discard(&mut self, key: KeyId, identity: &IdentityKey) -> bool {
        let Some(Ended::Each(values)) = self.by_key.get_mut(&key) else {
            return false;
        };
        let before = values.len();
        values.retain(|value| value.identity != *identity);
        let is_changed = values.len() != before;
        if values.is_empty() {
            self.by_key.remove(&key);
        }
        is_changed
    }

    /// Forgets what ended at `until` or before, in the series that `expires` says yes to.
    pub(super) fn expire(&mut self, until_unix_seconds: f64, expires: impl Fn(KeyId) -> bool) {
        self.by_key.retain(|key, ended| match ended {
            Ended::Each(values) if expires(*key) => {
                values.retain(|value| value.ended_at_unix_seconds > until_unix_seconds);
                !values.is_empty()
            }
            _ => true,
        });
    }
}

impl Ended {
    fn take(&mut self, kind: SeriesKind, added: EndedValue) {
        match self {
            Ended::Min(least) if added.value < *least => *least = added.value,
            Ended::Max(most) if added.value > *most => *most = added.value,
            Ended::Min(_) | Ended::Max(_) => {}
            Ended::Sum(sum) => sum.add(added.value),
            Ended::MostRecent { value, timestamp } => {
                if added.timestamp > *timestamp {
                    (*value, *timestamp) = (added.value, added.timestamp);
                }
            }
            Ended::Each(values) => {
                // One sample for each `pid` label: who ends later has the name.
                values.retain(|value| {
                    let has_same_name = kind.is_per_process() && value.writer == added.writer;
                    !has_same_name && value.identity != added.identity
                });
                values.push(added);
            }
        }
    }
}
