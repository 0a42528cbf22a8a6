//! The books: what is written down of every shard, and when. The only code that appends records to the archive.
//!
//! A [`Sighting`] is a shard as it was read just now. The caller says what happened to it (seen, absorbed, unlinked, gone, back),
//! the books turn that into records. They count, and are durable, after the next successful [`Books::sync`].
//!
//! Invariant: for every series that adds up, what is exposed (the archive, and for each shard in the caller's index what
//! [`Known::contribution`](crate::archive::Known::contribution) says) is what was ever counted, exactly. It falls only where a
//! writer itself went back, where a power cut or a wipe without a daemon took what was never noted, and after a power cut the
//! series' start timestamp says so. Must not touch: shards, the clock (time is an argument), logging (findings are returned).
//!
//! What the caller must keep to:
//! - [`Books::reconcile`] comes first, and nothing is shown before the sync after it;
//! - a shard is noted, and that is synced, before it is shown for the first time: of one that was never noted nothing is left
//!   after a power cut, not even that it was shown;
//! - [`Books::unlinked`], and a shard's absence in [`Books::reconcile`], mean that the directory was synced after it was gone;
//! - before [`Books::close`] everything that was shown is noted.

mod draft;
mod gauges;
mod identity;
mod kinds;
mod numbers;
mod reconcile;
mod reset;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock};

pub use identity::identity_key;
pub use reconcile::{Reconciled, TOMBSTONE_SECONDS};
pub use reset::ResetError;

use crate::archive::{
    AppendError, Archive, IdentityKey, Oddity, OpenError, OpenReport, Origin, Settings, Space,
    State, Storage, StorageError,
};
use draft::Draft;
use numbers::Numbers;

/// A shard as it was read just now.
#[derive(Debug, Clone, Copy)]
pub struct Sighting<'a> {
    /// Which file.
    pub identity: &'a IdentityKey,
    /// Its name and writer, and the kind of all its series.
    pub origin: &'a Origin,
    /// When it, or its process, came to be: the start of series that nobody has written before.
    pub birth_unix_seconds: Option<f64>,
    /// All its entries, in file order.
    pub entries: &'a [SightedEntry<'a>],
}

/// One entry of a shard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SightedEntry<'a> {
    /// The key's bytes.
    pub key: &'a [u8],
    /// The value.
    pub value: f64,
    /// Unix seconds; 0 where the writer stores none.
    pub timestamp: f64,
}

/// What was noted of a shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Noted {
    /// Series that the file holds less of than was last noted: its writer went back. Files are followed, so a total falls.
    pub resets: usize,
}

/// The books, open for writing. One at a time for a state directory.
#[derive(Debug)]
pub struct Books<S: Storage> {
    archive: Archive<S>,
    numbers: Numbers,
    /// What records that are not durable yet will make of shards.
    drafts: HashMap<IdentityKey, Draft>,
    /// Gauges that ended until then are as good as expired; the record is not durable yet.
    expired_until: Option<f64>,
    /// The boot, as long as the journal still has to be told of this start.
    unannounced: Option<Box<str>>,
    /// The last run ended without a word, so it may have shown more than it noted.
    follows_a_crash: bool,
}

impl<S: Storage> Books<S> {
    /// Opens the books, or begins new ones. A start in another boot than the last one is recorded by [`Books::reconcile`]: a
    /// daemon that is killed before that finds the power cut again.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn open(
        storage: S,
        settings: Settings,
        boot_id: &str,
        now_unix_seconds: f64,
    ) -> Result<(Books<S>, OpenReport), OpenError> {
        let (mut archive, mut report) =
            Archive::open_unannounced(storage, settings, boot_id, now_unix_seconds)?;
        let waits =
            report.may_have_lost_power() || archive.announce(boot_id, now_unix_seconds).is_err();
        report.write_failure = archive.sync().err();
        let numbers = Numbers::new(archive.state().next_key());
        let books = Books {
            archive,
            numbers,
            drafts: HashMap::new(),
            expired_until: None,
            unannounced: waits.then(|| boot_id.into()),
            follows_a_crash: report.is_unclean(),
        };
        Ok((books, report))
    }

    /// What counts, for readers. It changes only at the end of a successful sync.
    pub fn shared_state(&self) -> Arc<RwLock<State>> {
        self.archive.shared_state()
    }

    /// Makes everything so far durable and lets it count.
    ///
    /// # Errors
    /// Storage fails: nothing counts that did not before, everything waits in memory, and the next call tries again.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        self.sync_then(|_| ())
    }

    /// As [`Books::sync`]; `step` runs before anybody else can see the new state. What must change together with it, as the
    /// index of shards when one is absorbed, changes there.
    ///
    /// # Errors
    /// As [`Books::sync`]; `step` did not run.
    pub fn sync_then<R>(&mut self, step: impl FnOnce(&State) -> R) -> Result<R, StorageError> {
        // Only too much that waits can stand in the way of starts. They stay gathered and go with the next sync.
        let _ = self.append_starts();
        let result = self.archive.sync_then(step)?;
        self.forget_drafts();
        Ok(result)
    }

    /// Makes the journal short if it is time for it, and the reserve again if it is gone. Cheap otherwise; to be called now and
    /// then. Says whether a checkpoint was made.
    ///
    /// # Errors
    /// Storage fails. Nothing is lost; it is tried again later.
    pub fn tend(&mut self, now_unix_seconds: f64) -> Result<bool, StorageError> {
        // A checkpoint syncs the archive, which must not happen without the books' knowledge.
        self.sync()?;
        self.archive.maybe_checkpoint(now_unix_seconds)
    }

    /// Makes the journal short now.
    ///
    /// # Errors
    /// As [`Books::tend`].
    pub fn checkpoint(&mut self, now_unix_seconds: f64) -> Result<(), StorageError> {
        self.sync()?;
        self.archive.checkpoint(now_unix_seconds)
    }

    /// Ends the books, so that the next start knows that nothing is missing.
    ///
    /// # Errors
    /// Storage fails: the next start takes this one for a crash, and loses nothing by it.
    pub fn close(mut self, now_unix_seconds: f64) -> Result<(), StorageError> {
        self.sync()?;
        match self.unannounced {
            // Never reconciled: for the next start the run before this one is still the last.
            Some(_) => Ok(()),
            None => self.archive.close(now_unix_seconds),
        }
    }

    /// Number of the last durable record.
    pub fn durable_sequence(&self) -> u64 {
        self.archive.durable_sequence()
    }

    /// How much journal there is behind the last checkpoint.
    pub fn journal_len_bytes(&self) -> u64 {
        self.archive.journal_len_bytes()
    }

    /// How many bytes of records wait in memory.
    pub fn waiting_len_bytes(&self) -> usize {
        self.archive.waiting_len_bytes()
    }

    /// What the journal can count on when the disk is full.
    pub fn space(&self) -> Space {
        self.archive.space()
    }

    /// Records that did not fit since the last call.
    pub fn take_oddities(&mut self) -> Vec<Oddity> {
        self.archive.take_oddities()
    }

    /// Records the starts that were gathered, those that are equal together.
    fn append_starts(&mut self) -> Result<(), AppendError> {
        let mut by_start: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for (key, start) in self.numbers.gathered_starts() {
            by_start.entry(f64::to_bits(start)).or_default().push(key);
        }
        for (start, keys) in by_start {
            self.numbers
                .append_start(&mut self.archive, f64::from_bits(start), keys)?;
        }
        Ok(())
    }

    /// Everything that waited is in the state now.
    fn forget_drafts(&mut self) {
        self.drafts.clear();
        self.expired_until = None;
        self.numbers.forget_drafts();
    }
}
