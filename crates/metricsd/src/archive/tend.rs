//! What keeps the archive small and ready: checkpoints, the removal of what they make superfluous, the reserve.
//!
//! Invariant: nothing is removed before what replaces it is durable, and the older of two checkpoints stays together with the
//! journal after it, so that damage to the newer one costs nothing. A failure here leaves everything as it was.

use super::checkpoint;
use super::format::{CHECKPOINT_ASIDE_NAME, backup_name, checkpoint_name, set_aside_name};
use super::recover::CheckpointFile;
use super::report::OpenReport;
use super::storage::{Storage, StorageError};
use super::{Archive, read};

/// Whole checkpoints that are kept.
const CHECKPOINTS_KEPT: usize = 2;
/// Damaged files that are kept for whoever wants to know more; the oldest goes first.
const SET_ASIDE_KEPT: usize = 8;
/// Segments that may lie about before a checkpoint is made to be rid of them: each start begins one, with room reserved.
const SEGMENTS_MAX: usize = 16;
/// After a failure, seconds until the next try.
const RETRY_AFTER_SECONDS: f64 = 10.0;

/// What there is to tend.
#[derive(Debug)]
pub(super) struct Tending {
    /// Oldest first.
    checkpoints: Vec<CheckpointFile>,
    set_aside: Vec<String>,
    /// Journal since the last checkpoint, without frames; what was found at the start is a part of it, so that a daemon that
    /// is killed again and again comes to a checkpoint too.
    pub(super) journal_len_bytes: u64,
    /// Damage was found: what is left of it is only in memory and in files that are no longer whole.
    is_urgent: bool,
    last_checkpoint_at: f64,
    last_failure_at: Option<f64>,
}

impl Tending {
    pub(super) fn new(
        checkpoints: Vec<CheckpointFile>,
        journal_len_bytes: u64,
        report: &OpenReport,
        now_unix_seconds: f64,
    ) -> Tending {
        Tending {
            checkpoints,
            set_aside: report.set_aside.clone(),
            journal_len_bytes,
            is_urgent: !report.damaged.is_empty(),
            last_checkpoint_at: now_unix_seconds,
            last_failure_at: None,
        }
    }
}

impl<S: Storage> Archive<S> {
    /// Makes the reserve again if it is gone, and a checkpoint if it is time for one. Cheap otherwise; to be called now and
    /// then. Says whether a checkpoint was made.
    ///
    /// # Errors
    /// Storage fails. Nothing is lost; it is tried again after some seconds.
    pub fn maybe_checkpoint(&mut self, now_unix_seconds: f64) -> Result<bool, StorageError> {
        let tending = &self.tending;
        let elapsed = now_unix_seconds - tending.last_checkpoint_at;
        // A clock that was set back counts as time that went by: it must not put off a try for ever.
        let waits = tending
            .last_failure_at
            .is_some_and(|at| (0.0..RETRY_AFTER_SECONDS).contains(&(now_unix_seconds - at)));
        if waits {
            return Ok(false);
        }
        let last_len = tending.checkpoints.last().map_or(0, |file| file.len_bytes);
        let is_long =
            tending.journal_len_bytes >= self.settings.checkpoint_after_len_bytes.max(last_len);
        let is_scattered = self.journal.closed_count() > SEGMENTS_MAX;
        let is_old = !(0.0..self.settings.checkpoint_after_seconds).contains(&elapsed);
        let has_news = tending.journal_len_bytes > 0;
        let is_due = tending.is_urgent || is_long || has_news && (is_scattered || is_old);

        let reserved = self.journal.make_reserve(&self.storage);
        let made = if is_due {
            self.checkpoint(now_unix_seconds)
        } else {
            Ok(())
        };
        let result = reserved.and(made);
        self.tending.last_failure_at = result.is_err().then_some(now_unix_seconds);
        result.map(|()| is_due)
    }

    /// Makes a checkpoint of everything that is durable, and removes what it makes superfluous.
    ///
    /// # Errors
    /// Storage fails. The last checkpoint and the journal after it are as they were.
    pub fn checkpoint(&mut self, now_unix_seconds: f64) -> Result<(), StorageError> {
        // A checkpoint must hold exactly the records that its name says.
        self.sync()?;
        let sequence = self.journal.durable_through();
        let is_there = self
            .tending
            .checkpoints
            .last()
            .is_some_and(|file| file.sequence == sequence && !file.is_damaged);
        if !is_there {
            let name = checkpoint_name(sequence);
            self.set_aside_damaged(|file| file.name == name);
            let len_bytes = checkpoint::write(&self.storage, &read(&self.state), sequence)?;
            let file = CheckpointFile {
                name,
                sequence,
                len_bytes,
                is_damaged: false,
            };
            self.tending.checkpoints.push(file);
        }
        self.journal.retire_active();
        self.tending.journal_len_bytes = 0;
        self.tending.last_checkpoint_at = now_unix_seconds;
        self.tending.is_urgent = false;
        self.prune();
        Ok(())
    }

    /// Keeps everything that is durable in a file of its own, which nothing here ever reads or removes: a checkpoint under
    /// another name. Gives the name.
    ///
    /// # Errors
    /// Storage fails.
    pub fn keep_aside(&mut self) -> Result<String, StorageError> {
        self.sync()?;
        let sequence = self.journal.durable_through();
        let name = backup_name(sequence);
        checkpoint::write_as(&self.storage, &read(&self.state), sequence, &name)?;
        Ok(name)
    }

    /// Removes what a stop left half done, and looks for the reserve. Nothing here must succeed.
    pub(super) fn clear_up(&mut self) {
        let _ = self.storage.remove(CHECKPOINT_ASIDE_NAME);
        let _ = self.journal.make_reserve(&self.storage);
    }

    /// Removes checkpoints beyond the newest two whole ones, and the journal before the older of these.
    fn prune(&mut self) {
        self.set_aside_damaged(|_| true);
        let superfluous = self
            .tending
            .checkpoints
            .len()
            .saturating_sub(CHECKPOINTS_KEPT);
        let (old, kept) = self.tending.checkpoints.split_at(superfluous);
        // One that cannot be removed now is met again at the next start.
        old.iter()
            .for_each(|file| drop(self.storage.remove(&file.name)));
        self.tending.checkpoints = kept.to_vec();
        if self.tending.checkpoints.len() < CHECKPOINTS_KEPT {
            // The journal from its beginning is what the only checkpoint can be made from again.
            return;
        }
        let needed_after = self.tending.checkpoints[0].sequence;
        for segment in self.journal.take_superfluous(needed_after) {
            if segment.is_damaged {
                self.set_aside(&segment.name);
            } else if self.storage.remove(&segment.name).is_err() {
                self.journal.keep(segment);
            }
        }
    }

    fn set_aside_damaged(&mut self, which: impl Fn(&CheckpointFile) -> bool) {
        let all = std::mem::take(&mut self.tending.checkpoints);
        let (damaged, kept) = all
            .into_iter()
            .partition(|file| file.is_damaged && which(file));
        self.tending.checkpoints = kept;
        let damaged: Vec<CheckpointFile> = damaged;
        damaged.iter().for_each(|file| self.set_aside(&file.name));
    }

    fn set_aside(&mut self, name: &str) {
        let kept = set_aside_name(name);
        if self.storage.rename(name, &kept).is_err() {
            return;
        }
        self.tending.set_aside.push(kept);
        while self.tending.set_aside.len() > SET_ASIDE_KEPT {
            let oldest = self.tending.set_aside.remove(0);
            let _ = self.storage.remove(&oldest);
        }
    }
}
