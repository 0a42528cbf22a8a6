//! What a shard holds, as retirement read it, and whether the archive holds exactly that.
//!
//! Invariant: a shard of which anything could not be read has no content here. Must not touch files.

use std::collections::BTreeMap;

use metricsd_shard::{Damage, HEADER_LEN_BYTES, parse_from, read_value};

use super::outcome::Candidate;
use crate::archive::{Exact, IdentityKey, KeyId, Known, Phase, SeriesKind, State};
use crate::books::{SightedEntry, Sighting};

/// All entries of a shard, in file order.
#[derive(Debug)]
pub(super) struct Content<'a> {
    entries: Vec<SightedEntry<'a>>,
    /// Of the bytes in use.
    pub(super) checksum: u32,
}

impl<'a> Content<'a> {
    /// Takes the bytes of a shard apart.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Content<'a>, Damage> {
        let parsed = parse_from(bytes, HEADER_LEN_BYTES);
        // A writer that died before it began has left nothing, which is all there is to know.
        if let Some(damage) = parsed.damage
            && damage != Damage::Empty
        {
            return Err(damage);
        }
        let entry = |entry: &metricsd_shard::Entry<'a>| {
            let (value, timestamp) = read_value(bytes, entry.value_offset);
            SightedEntry {
                key: entry.key,
                value,
                timestamp,
            }
        };
        Ok(Content {
            entries: parsed.entries.iter().map(entry).collect(),
            checksum: crc32fast::hash(&bytes[..parsed.end.min(bytes.len())]),
        })
    }

    /// The content as books take it.
    pub(super) fn sighting<'b, F>(&'b self, candidate: &'b Candidate<F>) -> Sighting<'b> {
        Sighting {
            identity: &candidate.identity,
            origin: &candidate.origin,
            birth_unix_seconds: candidate.birth_unix_seconds,
            entries: &self.entries,
        }
    }

    /// Whether the shard is absorbed with exactly this: it can be deleted and no total changes.
    pub(super) fn is_absorbed(
        &self,
        state: &State,
        identity: &IdentityKey,
        kind: SeriesKind,
    ) -> bool {
        let Some(known) = state.shard(identity) else {
            return false;
        };
        if known.phase() != Phase::Absorbed {
            return false;
        }
        let numbered: Option<Vec<(KeyId, &SightedEntry<'_>)>> = self
            .entries
            .iter()
            .map(|entry| Some((state.keys().find(kind, entry.key)?, entry)))
            .collect();
        let Some(numbered) = numbered else {
            return false;
        };
        if kind.is_gauge() {
            holds_gauges(known, &numbered)
        } else {
            holds_counts(known, &numbered)
        }
    }
}

/// Of an entry that occurs more than once the last one holds. A value that is discarded for good stays so, whatever it was.
fn holds_gauges(known: &Known, entries: &[(KeyId, &SightedEntry<'_>)]) -> bool {
    let bits = |value: f64, timestamp: f64| (value.to_bits(), timestamp.to_bits());
    let held: BTreeMap<KeyId, _> = known
        .gauges()
        .map(|(key, value, timestamp)| (key, bits(value, timestamp)))
        .collect();
    let last: BTreeMap<KeyId, _> = entries
        .iter()
        .map(|(key, entry)| (*key, bits(entry.value, entry.timestamp)))
        .collect();
    last.iter()
        .all(|(key, bits)| known.is_discarded(*key) || held.get(key) == Some(bits))
}

/// What the file adds to each series beyond the archive is nothing, of series that it no longer names as well.
fn holds_counts(known: &Known, entries: &[(KeyId, &SightedEntry<'_>)]) -> bool {
    let mut holdings: BTreeMap<KeyId, Exact> = BTreeMap::new();
    for (key, entry) in entries {
        holdings.entry(*key).or_default().add(entry.value);
    }
    let all_known_settled = known.last_known().all(|(key, _)| {
        let held = holdings.remove(&key).unwrap_or_default();
        known.contribution(key, &held).is_zero()
    });
    all_known_settled && holdings.is_empty()
}
