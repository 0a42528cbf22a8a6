//! What was read, as addends: for every shard and for the archive, which entry adds how much to which key.
//!
//! Invariant: `A + the sum over shards of f - a + b`, term by term as `docs/durability.md` has it; what the archive holds comes before
//! every shard. Nothing of the daemon's collection or merge is used. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use metricsd_shard::FileKind;

use super::reading::{Reading, ShardContent};
use crate::archive::{Ended, Exact, IdentityKey, KeyId, Known, Phase, SeriesKind, State};

/// Entries that belong together: of one file, or of one part of the archive.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) kind: FileKind,
    /// What per-process gauges show as the label `pid`.
    pub(super) writer: String,
    pub(super) addends: Vec<Addend>,
    /// It is a file, or may be one that a daemon holds open.
    pub(super) is_file: bool,
}

/// One entry.
#[derive(Debug)]
pub(super) struct Addend {
    pub(super) key: Vec<u8>,
    pub(super) amount: Amount,
    pub(super) doubt: Option<Doubt>,
}

/// How much it is.
#[derive(Debug, Clone)]
pub(super) enum Amount {
    /// Adds up. Set if some cell of it is below zero, so that the sum may fall while it is counted.
    Sum { sum: Exact, has_negative: bool },
    /// A gauge and when it was set.
    Value { value: f64, timestamp: f64 },
}

/// Why files alone do not tell what is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The shard has no name any more; a daemon that holds it open may know more than the archive.
    HeldOpen,
    /// A gauge that was discarded, and counts again if its process lives.
    Discarded,
}

/// All sources, in the order that decides conflicts.
pub(super) fn sources(reading: &Reading) -> Vec<Source> {
    let mut sources = Vec::new();
    let state = reading.archive.as_ref().map(|(state, _)| state);
    if let Some(state) = state {
        let present: HashSet<&IdentityKey> =
            reading.shards.iter().map(|shard| &shard.identity).collect();
        archived_totals(state, &mut sources);
        archived_gauges(state, &mut sources);
        let absent = state
            .shards()
            .filter(|(identity, _)| !present.contains(identity));
        for (_, known) in absent {
            sources.extend(of_absent(state, known));
        }
    }
    let of_shard = |shard| match state {
        Some(state) => of_shard(shard, state),
        None => of_shard(shard, &State::default()),
    };
    sources.extend(reading.shards.iter().map(of_shard));
    sources
}

/// Every key that the archive has heard of, in the order in which it did.
pub(super) fn known_keys(reading: &Reading) -> Vec<(FileKind, Vec<u8>)> {
    let state = reading.archive.as_ref().map(|(state, _)| state);
    let known = |state: &State| {
        let numbers = (0..).map(KeyId).take(state.keys().len());
        let known = numbers.filter_map(|number| key_of(state, number));
        known.map(|(kind, key)| (kind.into(), key)).collect()
    };
    state.map(known).unwrap_or_default()
}

/// Whether the values of a kind are added up one by one.
fn adds_up(kind: FileKind) -> bool {
    !matches!(kind, FileKind::Gauge(_))
}

fn key_of(state: &State, series: KeyId) -> Option<(SeriesKind, Vec<u8>)> {
    state.keys().get(series)
}

/// `A` of every series that the archive has heard of.
fn archived_totals(state: &State, sources: &mut Vec<Source>) {
    let mut by_kind: BTreeMap<SeriesKind, Vec<Addend>> = BTreeMap::new();
    for (number, total) in (0..).zip(state.totals()) {
        let Some((kind, key)) = key_of(state, KeyId(number)).filter(|(kind, _)| !kind.is_gauge())
        else {
            continue;
        };
        let amount = Amount::Sum {
            sum: total.clone(),
            has_negative: false,
        };
        by_kind.entry(kind).or_default().push(Addend {
            key,
            amount,
            doubt: None,
        });
    }
    sources.extend(by_kind.into_iter().map(|(kind, addends)| Source {
        kind: kind.into(),
        writer: String::new(),
        addends,
        is_file: false,
    }));
}

/// Gauges of ended processes whose shards are forgotten.
fn archived_gauges(state: &State, sources: &mut Vec<Source>) {
    for (series, ended) in state.ended_gauges().iter() {
        let Some((kind, key)) = key_of(state, series) else {
            continue;
        };
        let mut push = |writer: &str, amount| {
            sources.push(Source {
                kind: kind.into(),
                writer: writer.to_owned(),
                addends: vec![Addend {
                    key: key.clone(),
                    amount,
                    doubt: None,
                }],
                is_file: false,
            });
        };
        let value = |value, timestamp| Amount::Value { value, timestamp };
        match ended {
            Ended::Min(least) => push("", value(*least, 0.0)),
            Ended::Max(most) => push("", value(*most, 0.0)),
            Ended::Sum(sum) => push(
                "",
                Amount::Sum {
                    sum: sum.clone(),
                    has_negative: true,
                },
            ),
            Ended::MostRecent {
                value: last,
                timestamp,
            } => push("", value(*last, *timestamp)),
            Ended::Each(each) => each
                .iter()
                .for_each(|one| push(&one.writer, value(one.value, one.timestamp))),
        }
    }
}

/// A shard that the archive knows and that has no name here: one that is only seen counts with what was last known of it.
fn of_absent(state: &State, known: &Known) -> Option<Source> {
    let origin = known.origin()?;
    let is_seen = known.phase() == Phase::Seen;
    let doubt = is_seen.then_some(Doubt::HeldOpen);
    let kind = FileKind::from(origin.kind);
    let mut addends = Vec::new();
    if adds_up(kind) {
        for (series, seen) in known.last_known().filter(|_| is_seen) {
            if let Some((_, key)) = key_of(state, series) {
                let sum = known.contribution(series, seen);
                let amount = Amount::Sum {
                    sum,
                    has_negative: false,
                };
                addends.push(Addend { key, amount, doubt });
            }
        }
    } else {
        for (series, value, timestamp) in known.gauges() {
            if let Some((_, key)) = key_of(state, series) {
                let amount = Amount::Value { value, timestamp };
                addends.push(Addend { key, amount, doubt });
            }
        }
    }
    Some(Source {
        kind,
        writer: origin.writer.to_string(),
        addends,
        is_file: is_seen,
    })
}

fn of_shard(shard: &ShardContent, state: &State) -> Source {
    let known = state.shard(&shard.identity);
    let kind = shard.name.kind;
    let series_kind = SeriesKind::from(kind);
    let mut addends = Vec::new();
    if adds_up(kind) {
        // Keys in the order of their first entry, each with all that the file holds of it.
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        let mut held: Vec<(&[u8], Exact, bool)> = Vec::new();
        for entry in &shard.entries {
            let place = *places.entry(&entry.key).or_insert_with(|| {
                held.push((&entry.key, Exact::default(), false));
                held.len() - 1
            });
            held[place].1.add(entry.value);
            held[place].2 |= entry.value < 0.0;
        }
        for (key, file, has_negative) in &held {
            let series = state.keys().find(series_kind, key);
            let sum = match known.zip(series) {
                Some((known, series)) => known.contribution(series, file),
                None => file.clone(),
            };
            addends.push((key.to_vec(), sum, *has_negative));
        }
        // What the archive knows of this file and the file does not name.
        for (series, _) in known.iter().flat_map(|known| known.last_known()) {
            let Some((_, key)) = key_of(state, series) else {
                continue;
            };
            if !places.contains_key(key.as_slice()) {
                let sum = known.map(|known| known.contribution(series, &Exact::default()));
                addends.push((key, sum.unwrap_or_default(), false));
            }
        }
        let addends = addends.into_iter().map(|(key, sum, has_negative)| Addend {
            key,
            amount: Amount::Sum { sum, has_negative },
            doubt: None,
        });
        return Source {
            kind,
            writer: shard.name.id.clone(),
            addends: addends.collect(),
            is_file: true,
        };
    }
    let addends = shard.entries.iter().map(|entry| {
        let series = state.keys().find(series_kind, &entry.key);
        // Of any mode: a reset discards all gauges of those that have ended.
        let is_discarded = known
            .zip(series)
            .is_some_and(|(known, series)| known.is_discarded(series));
        Addend {
            key: entry.key.clone(),
            amount: Amount::Value {
                value: entry.value,
                timestamp: entry.timestamp,
            },
            doubt: is_discarded.then_some(Doubt::Discarded),
        }
    });
    Source {
        kind,
        writer: shard.name.id.clone(),
        addends: addends.collect(),
        is_file: true,
    }
}
