//! The first thing after a start: what the journal knows and what is there are brought together.
//!
//! Invariant: after it and the sync that follows, every total is what it was when everything was last noted, plus what was
//! counted since and is there; where that may be less than what was shown, the series' start moves. A daemon that is killed in
//! between does it again, with the same result.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Books, Sighting};
use crate::archive::{AppendError, IdentityKey, KeyId, Phase, Record, START_STEP_SECONDS, Storage};

/// How long it is remembered that a file went missing. One that comes back later counts in full, a second time.
pub const TOMBSTONE_SECONDS: f64 = 7.0 * 24.0 * 3600.0;

/// What was found, for the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Shards that hold less than had been noted, after a power cut. What is missing stays counted.
    pub rebased: usize,
    /// Missing shards that are there again.
    pub returned: usize,
    /// Shards that are gone although nobody here removed them. What was last noted of them stays counted.
    pub missing: usize,
    /// Absorbed shards that are gone: most likely deleted by the last daemon, and remembered all the same.
    pub entombed: usize,
    /// Shards that were missing for so long that they are forgotten.
    pub forgotten: usize,
    /// Values of `live*` gauges that went with missing shards.
    pub discarded: usize,
    /// Series whose writer went back while no daemon ran.
    pub resets: usize,
    /// Series whose start moved, because they may show less than before the power cut.
    pub declared: usize,
}

impl<S: Storage> Books<S> {
    /// Brings together what is known and what is there. `present` are all shards that exist, under whatever name, listed after
    /// the directory was synced: what is absent then stays away; those that nobody knows may be left out unless power was lost.
    /// `lost_power`: files may have gone back to what was synced. To be called once, before anything is shown; it counts after the
    /// next sync, before which nothing may be shown.
    ///
    /// # Errors
    /// Too much waits because storage fails. The same call may be made again.
    pub fn reconcile(
        &mut self,
        present: &[Sighting<'_>],
        lost_power: bool,
        now_unix_seconds: f64,
    ) -> Result<Reconciled, AppendError> {
        let mut found = Reconciled::default();
        let by_identity: HashMap<&IdentityKey, &Sighting<'_>> = present
            .iter()
            .map(|sighting| (sighting.identity, sighting))
            .collect();
        // First, because what is known of shards that are forgotten below must still be there.
        if lost_power && self.follows_a_crash {
            found.declared = self.declare_resets(present, now_unix_seconds)?;
        }
        let known: Vec<IdentityKey> = {
            let state = self.archive.state();
            state
                .shards()
                .map(|(identity, _)| identity.clone())
                .collect()
        };
        for identity in &known {
            match by_identity.get(identity) {
                Some(sighting) => self.meet(sighting, lost_power, now_unix_seconds, &mut found)?,
                None => self.miss_known(identity, now_unix_seconds, &mut found)?,
            }
        }
        if let Some(boot_id) = &self.unannounced {
            // Last, so that whoever finds this finds all of the above.
            self.archive.announce(boot_id, now_unix_seconds)?;
            self.unannounced = None;
        }
        Ok(found)
    }

    /// A known shard is there.
    fn meet(
        &mut self,
        sighting: &Sighting<'_>,
        lost_power: bool,
        now_unix_seconds: f64,
        found: &mut Reconciled,
    ) -> Result<(), AppendError> {
        let identity = sighting.identity;
        if self.phase(identity) == Some(Phase::Missing) {
            found.returned += 1;
            return self.returned(sighting);
        }
        let held = self.hold_known(sighting);
        let shortfalls = self.view(identity, |view| view.shortfalls(&held));
        if shortfalls.is_empty() {
            return Ok(());
        }
        if lost_power {
            self.archive.append(Record::Rebased {
                identity: identity.clone(),
                shortfalls: shortfalls.clone(),
            })?;
            self.amend(identity, |draft| draft.rebase(&shortfalls));
            found.rebased += 1;
            return Ok(());
        }
        // Noted at once, so that the next power cut is not blamed for it.
        found.resets += self.see(sighting, None, now_unix_seconds)?.resets;
        Ok(())
    }

    /// A known shard is not there.
    fn miss_known(
        &mut self,
        identity: &IdentityKey,
        now_unix_seconds: f64,
        found: &mut Reconciled,
    ) -> Result<(), AppendError> {
        let phase = self.phase(identity);
        let ended_at = {
            let state = self.archive.state();
            let known = state.shard(identity);
            known.and_then(|known| known.ended_at_unix_seconds())
        };
        match phase {
            Some(Phase::Seen) => {
                found.discarded += self.miss(identity, now_unix_seconds)?;
                found.missing += 1;
            }
            Some(Phase::Absorbed) => {
                // Deleted by us, it seems. But a directory that is not mounted at the moment looks the same, and a file that comes
                // back with it must not count again.
                let ended_at = ended_at.unwrap_or(now_unix_seconds);
                self.entomb(identity, ended_at)?;
                found.entombed += 1;
            }
            Some(Phase::Missing) => {
                let is_old = |at: f64| now_unix_seconds - at >= TOMBSTONE_SECONDS;
                if ended_at.is_some_and(is_old) {
                    self.unlinked(identity)?;
                    found.forgotten += 1;
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Moves the start of series that may have been shown higher than they can be shown now: a shard that was not absorbed for
    /// good held some of them. Says how many these are.
    fn declare_resets(
        &mut self,
        present: &[Sighting<'_>],
        now_unix_seconds: f64,
    ) -> Result<usize, AppendError> {
        let mut keys: BTreeSet<KeyId> = BTreeSet::new();
        for sighting in present {
            let held = self.hold_known(sighting);
            let phase = self.phase(sighting.identity);
            if phase != Some(Phase::Missing) {
                keys.extend(held.counts.into_keys());
            }
        }
        {
            let state = self.archive.state();
            let shown = state
                .shards()
                .filter(|(_, known)| known.phase() != Phase::Missing);
            let counts = shown.flat_map(|(_, known)| known.last_known());
            keys.extend(counts.map(|(key, _)| key));
        }
        let declared = keys.len();
        let mut by_start: BTreeMap<u64, Vec<KeyId>> = BTreeMap::new();
        for key in keys {
            let old = self.numbers.start_of(&self.archive, key);
            let start = old.map_or(now_unix_seconds, |old| {
                now_unix_seconds.max(old + START_STEP_SECONDS)
            });
            by_start.entry(start.to_bits()).or_default().push(key);
        }
        for (start, keys) in by_start {
            self.archive.append(Record::ResetDeclared {
                keys: keys.clone(),
                unix_seconds: f64::from_bits(start),
            })?;
            self.numbers.have_started(keys);
        }
        Ok(declared)
    }
}
