//! What the journal says: one record for each fact that must survive.
//!
//! Invariant: a record is complete in itself, so that the loss of another one costs what that one said and no more. Pure.

use super::exact::Exact;
use super::model::{IdentityKey, KeyId, SeriesKey, SeriesKind};

/// One entry as a shard held it. A key that stands in a file more than once (lanes of threads) is named as often, in file
/// order, by every record that names it at all: counts add up, of a gauge the last one holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entry {
    /// The series.
    pub key: KeyId,
    /// The value.
    pub value: f64,
    /// Unix seconds; 0 where the writer stores none.
    pub timestamp: f64,
}

/// What is known of a shard besides its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its name when it was read.
    pub file_name: Box<str>,
    /// Who wrote it, as gauges show it in the label `pid`.
    pub writer: Box<str>,
    /// The program that wrote it.
    pub program: Box<str>,
    /// Kind of all its series.
    pub kind: SeriesKind,
}

/// How much less than what had been made durable a file holds, for one series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortfall {
    /// The series.
    pub key: KeyId,
    /// What the file holds now: the base of the next comparison.
    pub file: Exact,
    /// What is missing, greater than zero: `h - f`.
    pub missing: Exact,
}

/// A fact. Values of counters, histogram cells and summaries are what a file held, never differences.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A series got its number. Numbers are given in order from 0.
    KeyDefined {
        /// The number.
        key: KeyId,
        /// The series.
        series: SeriesKey,
    },
    /// Everything a file holds is in the totals from now on; as long as it exists it counts with what it holds beyond that.
    Absorbed {
        /// Which file.
        identity: IdentityKey,
        /// What it was called, who wrote it.
        origin: Origin,
        /// When, unix seconds. For gauges: when the process counts as ended.
        at_unix_seconds: f64,
        /// All entries of the file.
        entries: Vec<Entry>,
    },
    /// An absorbed file's unlink is durable (or a missing one will never come back): its identity may be forgotten. Values of
    /// gauges are folded now, by their mode.
    UnlinkDurable {
        /// Which file.
        identity: IdentityKey,
    },
    /// What a file holds, so that a power cut or a wipe does not take more than what came after.
    HighWater {
        /// Which file.
        identity: IdentityKey,
        /// Given with the first record of an identity and whenever it changed.
        origin: Option<Origin>,
        /// The entries that changed since the last such record.
        entries: Vec<Entry>,
    },
    /// After a power cut the file holds less than had been made durable.
    Rebased {
        /// Which file.
        identity: IdentityKey,
        /// The series that it holds less of.
        shortfalls: Vec<Shortfall>,
    },
    /// A known file is gone although nobody here removed it: what was last known of it is in the totals from now on.
    Missing {
        /// Which file.
        identity: IdentityKey,
        /// When it was found missing, unix seconds. For gauges: when the process counts as ended.
        at_unix_seconds: f64,
    },
    /// A missing file is there again: it counts with what it holds beyond what was last known.
    Returned {
        /// Which file.
        identity: IdentityKey,
        /// The series that it holds less of than was last known.
        shortfalls: Vec<Shortfall>,
    },
    /// A live process has set these `live*` gauges: what this ended one had set is no longer shown, for good.
    GaugeDiscarded {
        /// Of which file.
        identity: IdentityKey,
        /// Which series of it.
        keys: Vec<KeyId>,
    },
    /// Gauges of the modes `all` and `liveall` of processes that ended at this time or before are no longer shown.
    GaugeExpired {
        /// Unix seconds.
        ended_until_unix_seconds: f64,
    },
    /// Since when these series count. The first one given to a series stands, until a reset is declared.
    StartTimestamp {
        /// Which series.
        keys: Vec<KeyId>,
        /// Unix seconds.
        unix_seconds: f64,
    },
    /// These series may show less than before, and say so by a later start.
    ResetDeclared {
        /// Which series.
        keys: Vec<KeyId>,
        /// Their new start, unix seconds.
        unix_seconds: f64,
    },
    /// All totals begin at zero from now on: what was absorbed is dropped, and so is what is last known to be in shards that
    /// exist; they count with what they hold beyond it. Gauges of the ended are dropped, and every start moves to this time.
    TotalsReset {
        /// Unix seconds.
        at_unix_seconds: f64,
        /// What is dropped, by names of samples, for the ledger.
        dropped: Vec<(Box<str>, Exact)>,
    },
    /// The daemon started.
    Started {
        /// The boot, as the kernel names it.
        boot_id: Box<str>,
        /// When, unix seconds.
        at_unix_seconds: f64,
    },
    /// The daemon stopped of its own will and everything it knew is in the journal.
    CleanStop {
        /// When, unix seconds.
        at_unix_seconds: f64,
    },
}
