//! What opening the archive found: nothing that is lost is lost in silence.
//!
//! Invariant: an archive that opens with less than was once durable says what is missing. Pure.

use thiserror::Error;

use super::format::VERSIONS_UNDERSTOOD;
use super::judge::FileStretch;
use super::oddity::Oddity;
use super::state::Run;
use super::storage::StorageError;

/// Why an archive cannot be opened. Damage is no reason.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A newer program wrote it.
    #[error(
        "{name}: written in format version {found}; this program understands {VERSIONS_UNDERSTOOD}: run the newer metricsd, or name another --state-dir"
    )]
    NewerVersion {
        /// The file.
        name: String,
        /// Its version.
        found: u16,
    },
    /// The directory cannot be listed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Files vanished while they were read, again and again: a daemon is at work. Only for readers beside it.
    #[error(".: files vanished while they were read; the daemon was faster each time, try again")]
    Moving,
}

/// Something that was durable once and is gone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Loss {
    /// Records of the journal.
    #[error("records {first} to {last} are lost")]
    Records {
        /// Number of the first one.
        first: u64,
        /// Number of the last one.
        last: u64,
    },
    /// A record that is whole but says nothing that this version understands.
    #[error("record {sequence} cannot be read: {error}")]
    Undecodable {
        /// Its number.
        sequence: u64,
        /// Why.
        error: String,
    },
    /// A segment of the journal that cannot be read; how many records it held is not known.
    #[error("{name}: cannot be read; the records in it that no other file holds are lost")]
    Unreadable {
        /// The file.
        name: String,
    },
    /// A checkpoint and everything before it that no older one holds: only its whole blocks were taken.
    #[error("{name}: {defect}; no older checkpoint is whole, its undamaged blocks were taken")]
    Salvaged {
        /// The file.
        name: String,
        /// What is wrong with it.
        defect: String,
    },
}

/// A damaged file. Whether anything is lost by it, the losses say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedFile {
    /// The file.
    pub name: String,
    /// What is wrong with it.
    pub defect: String,
}

/// What opening found.
#[derive(Debug, Default)]
pub struct OpenReport {
    /// The daemon's last run; `None` if this is the first one.
    pub previous: Option<Run>,
    /// Series that began anew by a reset since that run began.
    pub reset_series_count: u64,
    /// Whether the last run was in this boot: if so, the kernel still has every byte that was stored in shards.
    pub is_same_boot: bool,
    /// Number of the last record in the checkpoint that was taken; `None` if there was none.
    pub checkpoint_sequence: Option<u64>,
    /// Number of the last record.
    pub last_sequence: u64,
    /// How many records of the journal were read after the checkpoint.
    pub replayed_count: usize,
    /// Ends of segments that were never reported durable and were cut off.
    pub cuts: Vec<FileStretch>,
    /// Other bytes of segments that are no frames, where no record is missing: remains of writes that a stop tore or that
    /// failed and were made again elsewhere, or damage that cost nothing.
    pub scars: Vec<FileStretch>,
    /// Damaged files. They are set aside once a checkpoint makes them superfluous.
    pub damaged: Vec<DamagedFile>,
    /// What is lost.
    pub losses: Vec<Loss>,
    /// Set if totals began anew although something proves that there were earlier ones.
    pub earlier_totals_lost: bool,
    /// Records that did not fit; the first [`ODDITIES_KEPT`](super::ODDITIES_KEPT) of them.
    pub oddities: Vec<Oddity>,
    /// Damaged files that were set aside, now or earlier.
    pub set_aside: Vec<String>,
    /// Why this start is not in the journal yet, if it is not. The next sync tries again.
    pub write_failure: Option<StorageError>,
}

impl OpenReport {
    /// Whether the daemon's last run ended without a word.
    pub fn is_unclean(&self) -> bool {
        self.previous
            .as_ref()
            .is_some_and(|run| run.stopped_at_unix_seconds.is_none())
    }

    /// Whether shards may hold less than the journal says was in them: the machine was off since, and live shards are not
    /// synced by their writers. In the same boot a lower value is one that a writer reset.
    pub fn may_have_lost_power(&self) -> bool {
        self.previous.is_some() && !self.is_same_boot
    }
}
