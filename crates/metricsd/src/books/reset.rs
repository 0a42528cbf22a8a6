//! Starting from zero, because somebody asked for it: the one step after which totals are lower by intent.
//!
//! Invariant: it happens with one record or not at all. What is appended before that one moves amounts into the archive and changes
//! no total, so that a stop at any operation leaves all totals as they were or all of them at zero; and the state of before is
//! in a file of its own by then. Must not touch: shards, the clock.

use thiserror::Error;

use super::{Books, Sighting};
use crate::archive::{AppendError, Exact, IdentityKey, Record, Storage, StorageError};

/// Records that wait are synced when they have grown to this: long before no more are taken.
const WAITING_MAX_BYTES: usize = 16 << 20;

/// Totals were not reset.
#[derive(Debug, Error)]
pub enum ResetError {
    /// A shard cannot be noted.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The state directory cannot be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl<S: Storage> Books<S> {
    /// Sets every total to zero. `present` are all shards that exist, as [`Books::reconcile`] has them, which comes first; what they
    /// hold now does not count any more, and what their writers add to it does. Gauges go with the shards that `has_ended` says
    /// yes to. `dropped` is for the ledger. Gives the name of the file that keeps the state of before.
    ///
    /// # Errors
    /// A shard that cannot be noted, or storage that fails: then no total has changed, unless the last sync failed, after which the
    /// next start tells.
    pub fn reset_totals(
        &mut self,
        present: &[Sighting<'_>],
        has_ended: impl Fn(&IdentityKey) -> bool,
        dropped: Vec<(Box<str>, Exact)>,
        now_unix_seconds: f64,
    ) -> Result<String, ResetError> {
        for sighting in present {
            if sighting.origin.kind.is_gauge() && !has_ended(sighting.identity) {
                let all: Vec<usize> = (0..sighting.entries.len()).collect();
                self.note(sighting, &all, now_unix_seconds)?;
            } else {
                self.absorb(sighting, now_unix_seconds)?;
            }
            if self.archive.waiting_len_bytes() > WAITING_MAX_BYTES {
                self.sync()?;
            }
        }
        // With it the starts of new series, which must be there to be moved.
        self.sync()?;
        let kept = self.archive.keep_aside()?;
        self.archive.append(Record::TotalsReset {
            at_unix_seconds: now_unix_seconds,
            dropped,
        })?;
        self.sync()?;
        Ok(kept)
    }
}
