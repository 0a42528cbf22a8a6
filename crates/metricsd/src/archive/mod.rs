//! The archive: totals of ended processes, kept through `kill -9`, power cuts, a full disk and damage, counted exactly once.
//!
//! A [`State`] says what is known, [`Record`]s change it, an append-only journal makes them durable in groups, a checkpoint
//! now and then makes the journal short. `docs/archive-format.md` describes the files.
//!
//! Invariant: after a stop at any operation, power cuts included, opening gives the state after some number of the records in
//! the order in which they were appended, at least up to the last successful [`Archive::sync`]. What scrapes see is never
//! ahead of what is durable. Must not touch: shards, the clock (time is an argument), logging (findings are returned).

mod apply;
mod checkpoint;
mod codec;
mod disk;
mod exact;
mod format;
mod frame;
mod gauges;
mod journal;
mod judge;
mod keys;
mod known;
mod ledger;
mod model;
mod oddity;
mod record;
mod record_codec;
mod recover;
mod replay;
mod report;
mod reserve;
mod sorted;
mod state;
mod storage;
mod tend;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod view;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use thiserror::Error;

pub use disk::Disk;
pub use exact::{Exact, SWALLOWS_ONE_FROM, swallows_increments};
pub(crate) use format::RESERVE_NAME;
pub use format::{FORMAT_VERSION, VERSIONS_UNDERSTOOD};
pub use gauges::{Ended, EndedGauges, EndedValue};
pub use judge::FileStretch;
pub use keys::KeyTable;
pub(crate) use keys::Seed;
pub use known::{Known, Phase};
pub use ledger::{Absorption, Cause, Earlier, Ledger, TotalsReset};
pub use model::{
    Fold, IDENTITY_LEN_MAX_BYTES, IdentityError, IdentityKey, KeyId, SeriesKey, SeriesKind,
};
pub use oddity::{ODDITIES_KEPT, Oddity};
pub use record::{Entry, Origin, Record, Shortfall};
pub use report::{DamagedFile, Loss, OpenError, OpenReport};
pub use reserve::Space;
pub use state::{Run, START_STEP_SECONDS, State};
pub use storage::{Operation, Storage, StorageError};
pub use view::{FileView, FrameContent, FrameView, begins_as_archive, is_archive_file};

use journal::Journal;
use recover::recover;
use tend::Tending;

/// Records whose room is kept for the next ones.
const PENDING_KEPT: usize = 1024;

/// How much room the archive takes and how often it makes itself short.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Room that is reserved for a segment of the journal when it is begun.
    pub segment_len_bytes: u64,
    /// Room that is kept for the time when the disk is full.
    pub reserve_len_bytes: u64,
    /// A checkpoint is made when so much journal was written since the last one, or as much as that one was long, whichever is
    /// more: what a start has to read stays within twice of what it must.
    pub checkpoint_after_len_bytes: u64,
    /// A checkpoint is made after so many seconds if anything was recorded.
    pub checkpoint_after_seconds: f64,
    /// Records that may wait in memory while storage fails. Beyond it none is taken, so that a broken disk cannot take the
    /// memory as well.
    pub backlog_len_max_bytes: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            segment_len_bytes: 4 << 20,
            reserve_len_bytes: 64 << 20,
            checkpoint_after_len_bytes: 16 << 20,
            checkpoint_after_seconds: 3600.0,
            backlog_len_max_bytes: 64 << 20,
        }
    }
}

/// A record that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AppendError {
    /// It has more bytes than a frame.
    #[error("a record of more than {limit_bytes} bytes; a shard has at most half as much")]
    TooLarge {
        /// The most that is accepted.
        limit_bytes: usize,
    },
    /// A series whose key is not UTF-8. A key is JSON; any other bytes could look like a frame.
    #[error("a series whose key is not UTF-8; keys are JSON")]
    KeyNotText,
    /// The table of series is full: it has room for 4 GiB of keys, and for 2^32 of them.
    #[error("{key_count} series are known and there is no room for more")]
    TooManySeries {
        /// How many are known.
        key_count: usize,
    },
    /// Too much waits in memory because storage fails.
    #[error("{waiting_bytes} bytes of records wait for storage that fails; no more are taken")]
    Backlog {
        /// How much waits.
        waiting_bytes: usize,
    },
}

/// The archive, open for writing. One at a time for a directory: who opens it holds the directory's lock.
#[derive(Debug)]
pub struct Archive<S: Storage> {
    storage: S,
    settings: Settings,
    journal: Journal<S::File>,
    state: Arc<RwLock<State>>,
    /// Records that are not in the state yet, because they are not durable.
    pending: Vec<Record>,
    oddities: Vec<Oddity>,
    tending: Tending,
}

impl<S: Storage> Archive<S> {
    /// Opens what is there, or begins anew, and records the start. A disk that cannot be written to does not refuse: the
    /// report says so, and records wait in memory.
    ///
    /// # Errors
    /// A newer format; a directory that cannot be listed.
    pub fn open(
        storage: S,
        settings: Settings,
        boot_id: &str,
        now_unix_seconds: f64,
    ) -> Result<(Archive<S>, OpenReport), OpenError> {
        let (mut archive, mut report) =
            Archive::open_unannounced(storage, settings, boot_id, now_unix_seconds)?;
        // The first record after opening: it is short, and nothing waits.
        let _ = archive.announce(boot_id, now_unix_seconds);
        report.write_failure = archive.sync().err();
        Ok((archive, report))
    }

    /// As [`Archive::open`], but does not record the start: [`Archive::announce`] does. As long as that is not durable, every
    /// later opening sees the same last run as this one, so that what a change of the boot calls for cannot be skipped by
    /// being killed before it is done.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn open_unannounced(
        storage: S,
        settings: Settings,
        boot_id: &str,
        now_unix_seconds: f64,
    ) -> Result<(Archive<S>, OpenReport), OpenError> {
        let recovered = recover(&storage)?;
        let mut report = recovered.report;
        report.is_same_boot = report
            .previous
            .as_ref()
            .is_some_and(|run| *run.boot_id == *boot_id);
        let mut journal = Journal::new(
            settings.segment_len_bytes,
            settings.reserve_len_bytes,
            recovered.durable_through,
            recovered.next_segment,
            recovered.segments,
        );
        for payload in &recovered.unproven {
            journal.append(|out| out.extend_from_slice(payload));
        }
        let tending = Tending::new(
            recovered.checkpoints,
            recovered.journal_len_bytes,
            &report,
            now_unix_seconds,
        );
        let mut archive = Archive {
            storage,
            settings,
            journal,
            state: Arc::new(RwLock::new(recovered.state)),
            pending: Vec::new(),
            oddities: Vec::new(),
            tending,
        };
        archive.clear_up();
        Ok((archive, report))
    }

    /// Records the start of this run.
    ///
    /// # Errors
    /// Too much waits already.
    pub fn announce(&mut self, boot_id: &str, now_unix_seconds: f64) -> Result<(), AppendError> {
        self.append(Record::Started {
            boot_id: boot_id.into(),
            at_unix_seconds: now_unix_seconds,
        })
    }

    /// Takes a record, in memory. It counts, and is durable, after the next successful [`Archive::sync`].
    ///
    /// # Errors
    /// The record is too large or its key is no text, or too much waits already; nothing has changed.
    pub fn append(&mut self, record: Record) -> Result<(), AppendError> {
        let waiting_bytes = self.journal.unsynced_len_bytes();
        if waiting_bytes > self.settings.backlog_len_max_bytes {
            return Err(AppendError::Backlog { waiting_bytes });
        }
        if let Record::KeyDefined { key, series } = &record {
            if std::str::from_utf8(&series.raw).is_err() {
                return Err(AppendError::KeyNotText);
            }
            let state = self.state();
            // What waits is no more than the backlog may be, and counts as if it all were keys.
            let key_bytes = state.keys.byte_count() + waiting_bytes + series.raw.len();
            if u32::try_from(key_bytes).is_err() || key.0 == u32::MAX {
                let key_count = state.keys.len();
                return Err(AppendError::TooManySeries { key_count });
            }
        }
        if !self
            .journal
            .append(|out| record_codec::encode(&record, out))
        {
            return Err(AppendError::TooLarge {
                limit_bytes: frame::RECORD_LEN_MAX_BYTES,
            });
        }
        self.pending.push(record);
        Ok(())
    }

    /// Makes all records durable, with one sync, then lets them count, in order.
    ///
    /// # Errors
    /// Storage fails. The records wait in memory and do not count; the next call tries again, in a new file.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        self.sync_then(|_| ())
    }

    /// As [`Archive::sync`]; `step` runs before anybody else can see the new state. What must change together with it, as
    /// the index of shards when one is absorbed, changes there.
    ///
    /// # Errors
    /// As [`Archive::sync`]; `step` did not run.
    pub fn sync_then<R>(&mut self, step: impl FnOnce(&State) -> R) -> Result<R, StorageError> {
        let len_bytes = self.journal.unsynced_len_bytes() as u64;
        self.journal.sync(&self.storage)?;
        self.tending.journal_len_bytes += len_bytes;
        let mut state = write(&self.state);
        for record in self.pending.drain(..) {
            state.apply(&record, &mut self.oddities);
        }
        self.pending.shrink_to(PENDING_KEPT);
        self.oddities.truncate(ODDITIES_KEPT);
        Ok(step(&state))
    }

    /// Ends the journal, so that the next start knows that nothing is missing.
    ///
    /// # Errors
    /// Storage fails: the next start takes this one for a crash, and loses nothing by it.
    pub fn close(mut self, now_unix_seconds: f64) -> Result<(), StorageError> {
        let _ = self.append(Record::CleanStop {
            at_unix_seconds: now_unix_seconds,
        });
        self.sync()?;
        self.journal.seal(&self.storage)
    }

    /// What is known, as of the last successful sync.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        read(&self.state)
    }

    /// The same for other threads. It changes only while [`Archive::sync`] lets records count, not while that waits for the
    /// disk, so a scrape that holds it for reading waits for no sync.
    pub fn shared_state(&self) -> Arc<RwLock<State>> {
        Arc::clone(&self.state)
    }

    /// Number of the last durable record.
    pub fn durable_sequence(&self) -> u64 {
        self.journal.durable_through()
    }

    /// How much journal there is behind the last checkpoint.
    pub fn journal_len_bytes(&self) -> u64 {
        self.tending.journal_len_bytes
    }

    /// How many bytes of records wait in memory.
    pub fn waiting_len_bytes(&self) -> usize {
        self.journal.unsynced_len_bytes()
    }

    /// What the journal can count on when the disk is full.
    pub fn space(&self) -> Space {
        self.journal.space()
    }

    /// Records that did not fit since the last call; the first [`ODDITIES_KEPT`] of them.
    pub fn take_oddities(&mut self) -> Vec<Oddity> {
        std::mem::take(&mut self.oddities)
    }
}

/// Reads the state without touching anything, beside a running daemon as well. The report's last sequence tells whether the
/// journal moved between two calls.
///
/// # Errors
/// A newer format; a directory that cannot be listed or does not hold still.
pub fn load<S: Storage>(storage: &S) -> Result<(State, OpenReport), OpenError> {
    let recovered = recover(storage)?;
    Ok((recovered.state, recovered.report))
}

/// A reader that panicked has changed nothing; a writer's records are in the journal and come again with the next start.
fn read(state: &RwLock<State>) -> RwLockReadGuard<'_, State> {
    state.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(state: &RwLock<State>) -> RwLockWriteGuard<'_, State> {
    state.write().unwrap_or_else(PoisonError::into_inner)
}
