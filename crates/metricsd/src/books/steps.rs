//! What happens to one shard while the daemon runs: seen, gone, back, absorbed, unlinked.
//!
//! Invariant: a record is appended only where it changes something, and the drafts follow every record that was taken. If one is
//! not taken, what was appended before it is true by itself, and the same call may be made again.

use std::collections::HashSet;

use super::draft::{Draft, Held, View};
use super::{Books, Noted, SightedEntry, Sighting, TOMBSTONE_SECONDS};
use crate::archive::{AppendError, Entry, IdentityKey, KeyId, Known, Phase, Record, Storage};

/// Entries in one high-water record. An entry has at most 22 bytes, so a record of them stays far below what a frame may have.
const ENTRIES_PER_RECORD: usize = 50_000;

impl<S: Storage> Books<S> {
    /// Writes down what changed in a shard: new series with their start, what the changed series hold. `changed` are positions
    /// in the sighting's entries; of a shard that was not noted before all of them are meant. A missing shard is back by this.
    ///
    /// # Errors
    /// Too much waits because storage fails; a key that is no text; no room for more series. What changed must be noted again.
    pub fn note(
        &mut self,
        sighting: &Sighting<'_>,
        changed: &[usize],
        now_unix_seconds: f64,
    ) -> Result<Noted, AppendError> {
        let phase = self.phase(sighting.identity);
        if phase == Some(Phase::Missing) {
            self.returned(sighting)?;
        }
        let is_first = self.view(sighting.identity, |view| view.origin().is_none());
        let everything = is_first || changed.len() >= sighting.entries.len();
        let changed = (!everything).then_some(changed);
        self.see(sighting, changed, now_unix_seconds)
    }

    /// Counts all that a shard holds among the ended ones: from the next sync on it counts, as long as it is in the caller's
    /// index, with what it holds beyond that.
    ///
    /// # Errors
    /// A shard whose entries do not fit into one record, and as [`Books::note`]. It must not be removed then.
    pub fn absorb(
        &mut self,
        sighting: &Sighting<'_>,
        now_unix_seconds: f64,
    ) -> Result<Noted, AppendError> {
        let (identity, origin) = (sighting.identity, sighting.origin);
        if self.phase(identity) == Some(Phase::Missing) {
            self.returned(sighting)?;
        }
        let held = self.hold(sighting, sighting.entries.iter())?;
        let (resets, known) = self.view(identity, |view| {
            let known: Vec<KeyId> = view.counts().map(|(key, _)| key).collect();
            (held.count_resets(view), known)
        });
        self.archive.append(Record::Absorbed {
            identity: identity.clone(),
            origin: origin.clone(),
            at_unix_seconds: now_unix_seconds,
            entries: held.entries.clone(),
        })?;
        self.amend(identity, |draft| draft.absorb(origin, &held, known));
        self.start(sighting, &held, now_unix_seconds);
        Ok(Noted { resets })
    }

    /// An absorbed shard's unlink is durable: the directory was synced after it. Its identity is forgotten.
    ///
    /// # Errors
    /// Too much waits because storage fails.
    pub fn unlinked(&mut self, identity: &IdentityKey) -> Result<(), AppendError> {
        if self.phase(identity).is_none() {
            return Ok(());
        }
        self.archive.append(Record::UnlinkDurable {
            identity: identity.clone(),
        })?;
        self.drafts.insert(identity.clone(), Draft::forgotten());
        Ok(())
    }

    /// A shard is gone that nobody here removed, and cannot be read any more: what was read of it last stays counted. Values of
    /// `live*` gauges go with it, as Python's `mark_process_dead` means it.
    ///
    /// # Errors
    /// As [`Books::note`].
    pub fn missing(
        &mut self,
        last: &Sighting<'_>,
        now_unix_seconds: f64,
    ) -> Result<Noted, AppendError> {
        let phase = self.phase(last.identity);
        if phase == Some(Phase::Missing) {
            return Ok(Noted::default());
        }
        let noted = self.see(last, None, now_unix_seconds)?;
        self.miss(last.identity, now_unix_seconds)?;
        Ok(noted)
    }

    /// A missing shard is there again: it counts with what it holds beyond what was last known of it.
    ///
    /// # Errors
    /// Too much waits because storage fails.
    pub fn returned(&mut self, sighting: &Sighting<'_>) -> Result<(), AppendError> {
        let identity = sighting.identity;
        if self.phase(identity) != Some(Phase::Missing) {
            return Ok(());
        }
        let held = self.hold_known(sighting);
        let shortfalls = self.view(identity, |view| view.shortfalls(&held));
        self.archive.append(Record::Returned {
            identity: identity.clone(),
            shortfalls: shortfalls.clone(),
        })?;
        self.amend(identity, |draft| draft.find_again(&shortfalls));
        Ok(())
    }

    /// What is known of a shard, with what waits. The state is held for reading meanwhile.
    pub(super) fn view<R>(&self, identity: &IdentityKey, look: impl FnOnce(View<'_>) -> R) -> R {
        let state = self.archive.state();
        look(View::new(state.shard(identity), self.drafts.get(identity)))
    }

    /// How far a shard has come, with what waits; `None` if it is not known.
    pub(super) fn phase(&self, identity: &IdentityKey) -> Option<Phase> {
        self.view(identity, |view| view.phase())
    }

    /// Follows a record that was taken.
    pub(super) fn amend(&mut self, identity: &IdentityKey, change: impl FnOnce(&mut Draft)) {
        let mut draft = match self.drafts.remove(identity) {
            Some(draft) => draft,
            None => self.view(identity, |view| view.draft()),
        };
        change(&mut draft);
        self.drafts.insert(identity.clone(), draft);
    }

    /// High-water records of what is new among the changed entries, all if none are given.
    pub(super) fn see(
        &mut self,
        sighting: &Sighting<'_>,
        changed: Option<&[usize]>,
        now_unix_seconds: f64,
    ) -> Result<Noted, AppendError> {
        let mut held = match changed {
            None => self.hold(sighting, sighting.entries.iter())?,
            Some(changed) => {
                let changed = changed.iter().filter_map(|at| sighting.entries.get(*at));
                let keys: HashSet<&[u8]> = changed.map(|entry| entry.key).collect();
                if keys.is_empty() {
                    return Ok(Noted::default());
                }
                // A key that stands in the file several times is named as often.
                let named = sighting
                    .entries
                    .iter()
                    .filter(|entry| keys.contains(entry.key));
                self.hold(sighting, named)?
            }
        };
        self.start(sighting, &held, now_unix_seconds);
        let (resets, is_known, origin) = self.view(sighting.identity, |view| {
            let resets = held.count_resets(view);
            held.keep_news(view);
            let has_changed = view.origin() != Some(sighting.origin);
            (
                resets,
                view.origin().is_some(),
                has_changed.then_some(sighting.origin),
            )
        });
        if held.entries.is_empty() && is_known {
            return Ok(Noted { resets });
        }
        if held.entries.len() > ENTRIES_PER_RECORD {
            // Lanes of a key stay in their order, of which for gauges the last one holds.
            held.entries.sort_by_key(|entry| entry.key);
        }
        let mut origin = origin.cloned();
        for entries in chunks(&held.entries) {
            self.archive.append(Record::HighWater {
                identity: sighting.identity.clone(),
                origin: origin.clone(),
                entries: entries.to_vec(),
            })?;
            let given = origin.take();
            self.amend(sighting.identity, |draft| {
                draft.see(given.as_ref(), entries, &held);
            });
        }
        Ok(Noted { resets })
    }

    /// The shard is gone, and everything that will ever be known of it is.
    pub(super) fn miss(
        &mut self,
        identity: &IdentityKey,
        now_unix_seconds: f64,
    ) -> Result<usize, AppendError> {
        let keys = self.view(identity, |view| {
            let is_live = view
                .origin()
                .is_some_and(|origin| origin.kind.is_live_gauge());
            is_live.then(|| view.gauge_keys().collect::<Vec<_>>())
        });
        let keys = keys.unwrap_or_default();
        let discarded = keys.len();
        self.append_discard(identity, keys)?;
        self.entomb(identity, now_unix_seconds)?;
        Ok(discarded)
    }

    /// What is known of the shard goes to the archive, and it is remembered, should it come back.
    pub(super) fn entomb(
        &mut self,
        identity: &IdentityKey,
        ended_at_unix_seconds: f64,
    ) -> Result<(), AppendError> {
        self.archive.append(Record::Missing {
            identity: identity.clone(),
            at_unix_seconds: ended_at_unix_seconds,
        })?;
        self.amend(identity, Draft::miss);
        Ok(())
    }

    /// Forgets shards that have been missing for too long to be waited for. Says how many.
    ///
    /// # Errors
    /// Too much waits because storage fails.
    pub fn forget_old(&mut self, now_unix_seconds: f64) -> Result<usize, AppendError> {
        let old: Vec<IdentityKey> = {
            let state = self.archive.state();
            let is_old = |known: &Known| {
                let ended_at = known.ended_at_unix_seconds();
                known.phase() == Phase::Missing
                    && ended_at.is_some_and(|at| now_unix_seconds - at >= TOMBSTONE_SECONDS)
            };
            let shards = state.shards().filter(|(_, known)| is_old(known));
            shards.map(|(identity, _)| identity.clone()).collect()
        };
        for identity in &old {
            self.unlinked(identity)?;
        }
        Ok(old.len())
    }

    /// What entries of a shard hold; new series get their numbers.
    fn hold<'e>(
        &mut self,
        sighting: &Sighting<'e>,
        entries: impl Iterator<Item = &'e SightedEntry<'e>> + Clone,
    ) -> Result<Held, AppendError> {
        let kind = sighting.origin.kind;
        let keys = entries.clone().map(|entry| entry.key);
        let keys = self.numbers.resolve(&mut self.archive, kind, keys)?;
        Ok(Held::of(kind, keys.into_iter().map(Some).zip(entries)))
    }

    /// What a shard holds of series that have a number.
    pub(super) fn hold_known(&self, sighting: &Sighting<'_>) -> Held {
        let kind = sighting.origin.kind;
        let keys = sighting.entries.iter().map(|entry| entry.key);
        let keys = self.numbers.find(&self.archive, kind, keys);
        Held::of(kind, keys.into_iter().zip(sighting.entries))
    }

    fn start(&mut self, sighting: &Sighting<'_>, held: &Held, now_unix_seconds: f64) {
        let keys = held.counts.keys().copied();
        let birth = sighting.birth_unix_seconds;
        self.numbers
            .gather_starts(&self.archive, keys, birth, now_unix_seconds);
    }
}

/// Entries in pieces that no key stands in two of; one piece if there are few, or none.
fn chunks(entries: &[Entry]) -> Vec<&[Entry]> {
    let mut chunks = Vec::new();
    let mut rest = entries;
    while rest.len() > ENTRIES_PER_RECORD {
        let key = rest[ENTRIES_PER_RECORD].key;
        // At least one, also if a single key fills more than a piece.
        let end = match rest.partition_point(|entry| entry.key < key) {
            0 => rest.partition_point(|entry| entry.key <= key),
            end => end,
        };
        let (chunk, after) = rest.split_at(end);
        chunks.push(chunk);
        rest = after;
    }
    if !rest.is_empty() || chunks.is_empty() {
        chunks.push(rest);
    }
    chunks
}
