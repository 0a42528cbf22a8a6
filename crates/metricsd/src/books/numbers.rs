//! Numbers and starts of series, those that are not durable yet among them.
//!
//! Invariant: a series gets one number, however many records wait, and one start: the earliest birth among the shards that
//! brought it before the first sync. Pure but for the records it appends.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::archive::{AppendError, Archive, KeyId, Record, SeriesKey, SeriesKind, Storage};

/// What waits to become durable of numbers and starts.
#[derive(Debug)]
pub(super) struct Numbers {
    /// The number that the next new series gets.
    next: KeyId,
    /// Series whose definition waits.
    defined: HashMap<SeriesKind, HashMap<Box<[u8]>, KeyId>>,
    /// Starts that are not recorded, so that an earlier one may still come.
    gathered: BTreeMap<KeyId, f64>,
    /// Series whose start is recorded and waits.
    started: HashSet<KeyId>,
}

impl Numbers {
    pub(super) fn new(next: KeyId) -> Numbers {
        Numbers {
            next,
            defined: HashMap::new(),
            gathered: BTreeMap::new(),
            started: HashSet::new(),
        }
    }

    /// The number of each key, as far as it has one.
    pub(super) fn find<'k, S: Storage>(
        &self,
        archive: &Archive<S>,
        kind: SeriesKind,
        keys: impl Iterator<Item = &'k [u8]>,
    ) -> Vec<Option<KeyId>> {
        let state = archive.state();
        let waiting = self.defined.get(&kind);
        keys.map(|raw| {
            let known = state.keys().find(kind, raw);
            known.or_else(|| waiting?.get(raw).copied())
        })
        .collect()
    }

    /// The number of each key; a series without one gets one.
    pub(super) fn resolve<'k, S: Storage>(
        &mut self,
        archive: &mut Archive<S>,
        kind: SeriesKind,
        keys: impl Iterator<Item = &'k [u8]> + Clone,
    ) -> Result<Vec<KeyId>, AppendError> {
        let found = self.find(archive, kind, keys.clone());
        found
            .into_iter()
            .zip(keys)
            .map(|(found, raw)| match found {
                Some(key) => Ok(key),
                None => self.define(archive, kind, raw),
            })
            .collect()
    }

    fn define<S: Storage>(
        &mut self,
        archive: &mut Archive<S>,
        kind: SeriesKind,
        raw: &[u8],
    ) -> Result<KeyId, AppendError> {
        let waiting = self.defined.entry(kind).or_default();
        // Lanes of one key stand side by side, and only the first one defines it.
        if let Some(key) = waiting.get(raw) {
            return Ok(*key);
        }
        let key = self.next;
        let series = SeriesKey {
            kind,
            raw: raw.into(),
        };
        archive.append(Record::KeyDefined { key, series })?;
        waiting.insert(raw.into(), key);
        self.next = KeyId(key.0 + 1);
        Ok(key)
    }

    /// A shard that was born at `birth` brings these series.
    pub(super) fn gather_starts<S: Storage>(
        &mut self,
        archive: &Archive<S>,
        keys: impl Iterator<Item = KeyId>,
        birth_unix_seconds: Option<f64>,
        now_unix_seconds: f64,
    ) {
        // A birth that cannot be is none; one in the future comes from a clock that was set back since.
        let birth = birth_unix_seconds.filter(|birth| birth.is_finite() && *birth > 0.0);
        let start = birth.unwrap_or(now_unix_seconds).min(now_unix_seconds);
        let state = archive.state();
        for key in keys {
            if state.start_unix_seconds(key).is_none() && !self.started.contains(&key) {
                let earliest = self.gathered.entry(key).or_insert(start);
                *earliest = earliest.min(start);
            }
        }
    }

    pub(super) fn gathered_starts(&self) -> impl Iterator<Item = (KeyId, f64)> + '_ {
        self.gathered.iter().map(|(key, start)| (*key, *start))
    }

    /// The start of a series as far as it is known, recorded or not.
    pub(super) fn start_of<S: Storage>(&self, archive: &Archive<S>, key: KeyId) -> Option<f64> {
        let durable = archive.state().start_unix_seconds(key);
        durable.or_else(|| self.gathered.get(&key).copied())
    }

    /// Records the start of these series, which is among those that were gathered.
    pub(super) fn append_start<S: Storage>(
        &mut self,
        archive: &mut Archive<S>,
        unix_seconds: f64,
        keys: Vec<KeyId>,
    ) -> Result<(), AppendError> {
        let record = Record::StartTimestamp {
            keys: keys.clone(),
            unix_seconds,
        };
        archive.append(record)?;
        self.have_started(keys);
        Ok(())
    }

    /// The start of these series is recorded.
    pub(super) fn have_started(&mut self, keys: Vec<KeyId>) {
        for key in keys {
            self.gathered.remove(&key);
            self.started.insert(key);
        }
    }

    /// What waited is durable. Starts that could not be recorded stay.
    pub(super) fn forget_drafts(&mut self) {
        self.defined.clear();
        self.started = HashSet::new();
    }
}
