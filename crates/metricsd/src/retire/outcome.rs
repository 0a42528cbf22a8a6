//! What goes into retirement and what comes out of it.
//!
//! Invariant: every candidate that went in comes out exactly once: lingering, put off, or forgotten. Pure.

use metricsd_shard::Damage;
use thiserror::Error;

use super::shelf::ShelfError;
use crate::archive::{AppendError, IdentityKey, Origin, StorageError};

/// A shard that nobody writes any more, as far as was known when it was chosen.
#[derive(Debug, Clone)]
pub struct Candidate<F> {
    /// Which file it is.
    pub identity: IdentityKey,
    /// It, open for reading.
    pub file: F,
    /// What it is called now; a retiring name if an earlier round came so far. Retirement changes it.
    pub file_name: String,
    /// Who wrote it and what its series are, for the archive.
    pub origin: Origin,
    /// When the file was made, unix seconds, where that is known: what its series count from.
    pub birth_unix_seconds: Option<f64>,
    /// When its process ended, unix seconds, as far as was seen: how long its gauges are kept counts from then.
    pub ended_at_unix_seconds: f64,
    /// The archive had it before, and it was taken in again for a late writer: that its name is gone says nothing.
    pub is_adopted: bool,
}

/// A shard that is served on.
#[derive(Debug)]
pub struct PutOff<F> {
    /// It; its name may be another one than before.
    pub candidate: Candidate<F>,
    /// Why.
    pub why: Why,
}

/// Why a shard is not retired now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Somebody writes it.
    Busy,
    /// Whether somebody writes it is not known.
    Unknown,
    /// Something is wrong with what is in it. What can be read of it is served on; to delete it would lose the rest.
    Damaged(Damage),
    /// It changed since it was read, and nobody writes it now.
    Changed,
    /// Its name leads elsewhere and it still exists: the next listing finds it.
    Renamed,
    /// It has more names than one. Whoever made the others wants it kept, and under one of them it would count again.
    Linked,
    /// Somebody deleted a `live*` gauge before it was absorbed, which means: its values do not count any more.
    Discarded,
    /// The directory or the journal failed; the troubles say how.
    Failed,
}

impl Why {
    /// The word for a metric and for the log.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Why::Busy => "busy",
            Why::Unknown => "unknown",
            Why::Damaged(_) => "damaged",
            Why::Changed => "changed",
            Why::Renamed => "renamed",
            Why::Linked => "linked",
            Why::Discarded => "discarded",
            Why::Failed => "failed",
        }
    }
}

/// Something failed. Nothing is lost by it, and nothing counts twice.
#[derive(Debug, Error)]
pub enum Trouble {
    /// The shard directory.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// The journal does not take what a shard holds.
    #[error("{file_name}: not taken into the archive: {source}; it is served on and tried again")]
    Append {
        /// The shard.
        file_name: String,
        /// Why.
        source: AppendError,
    },
    /// The state directory.
    #[error("the archive cannot be written; retirement waits: {0}")]
    State(#[from] StorageError),
}

impl Trouble {
    /// What was being done, for the label `op` of the metric of errors.
    pub fn operation(&self) -> &'static str {
        match self {
            Trouble::Shelf(error) => error.operation.as_str(),
            Trouble::Append { .. } => "journal_append",
            Trouble::State(_) => "journal_sync",
        }
    }
}

/// A shard that is deleted and in the archive. Its descriptor is kept for a while, for a writer that came in the last moment.
#[derive(Debug)]
pub struct Lingering<F> {
    pub(super) candidate: Candidate<F>,
    pub(super) since_unix_seconds: f64,
    /// How many of the questions were asked.
    pub(super) asked_count: usize,
    pub(super) is_unlink_durable: bool,
}

impl<F> Lingering<F> {
    /// It.
    pub fn candidate(&self) -> &Candidate<F> {
        &self.candidate
    }
}

/// What became of a group.
#[derive(Debug)]
pub struct GroupOutcome<F> {
    /// Deleted, or found deleted, and in the archive: to be taken out of the index, where they count with zero. To be given to
    /// [`linger`](super::linger()).
    pub lingering: Vec<Lingering<F>>,
    /// Served on, with what they hold beyond what is in the archive.
    pub put_off: Vec<PutOff<F>>,
    /// What failed.
    pub troubles: Vec<Trouble>,
}

/// What became of the deleted.
#[derive(Debug)]
pub struct LingerOutcome<F> {
    /// To be asked about again.
    pub lingering: Vec<Lingering<F>>,
    /// Somebody came, or may have: to be put into the index again, where they count with what they hold beyond what is in the
    /// archive. Once idle they are candidates again.
    pub handed_back: Vec<PutOff<F>>,
    /// The archive does not tell them apart any more.
    pub forgotten: Vec<IdentityKey>,
    /// Not asked about any more, but known to the archive until the next start, because their deletion may not be durable.
    pub kept: Vec<IdentityKey>,
    /// How many held more than was absorbed, and were absorbed again.
    pub absorbed_again_count: usize,
    /// What failed.
    pub troubles: Vec<Trouble>,
}
