//! One process's writer: series whose values live in shards that outlast the process.
//!
//! Invariant: nothing here fails, panics, or blocks a call for which there is a cell. What cannot be written is kept in memory and
//! moves into a shard, exactly, as soon as that works. Touches its own files only, never another process's.
//!
//! - [`series`]: the hot path.
//! - [`gauge`]: the same for an entry that is held without a look-up.
//! - [`lanes`]: which cells a thread has for itself.
//! - [`slots`]: what leads from a series to everything else.
//! - [`touch`]: everything else a call can lead to, under one process-wide lock.
//! - [`state`]: a writer's items, the entries of each, and who stores into them.
//! - [`keys`]: the keys of the items.
//! - [`groups`]: which items and entries came into being together.
//! - [`entry`]: one entry, and where its value is.
//! - [`shards`]: directory, files and sidecar of a writer; what is wrong with them.
//! - [`mod@file`]: one shard.
//! - [`remains`]: what is left of one that somebody else cut short.
//! - [`recovery`]: the background thread.
//! - [`log`]: who tells the log.
//! - [`fork`]: what a forked child must not share.

mod descriptor;
mod entry;
mod file;
mod fork;
mod gauge;
mod groups;
mod keys;
mod lanes;
mod log;
mod recovery;
mod remains;
mod series;
mod shards;
mod slots;
mod state;
mod touch;
mod trouble;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::key::Key;
use crate::name::{FileKind, WriterId};

pub use gauge::SharedEntry;
pub use series::Series;

/// What a process says of itself in its sidecar.
#[derive(Debug, Clone, Default)]
pub struct ProcessInfo {
    /// Program name, such as `shadow-session`.
    pub program: String,
    /// Its version.
    pub version: String,
    /// What it runs as, in the program's own words.
    pub mode: String,
    /// For the daemon's table of sessions; names are label names.
    pub labels: BTreeMap<String, String>,
}

/// When the entries of a series come into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// At once, with the value 0: counters, histograms, summaries.
    AtZero,
    /// With the first value that is stored: gauges, for which a zero would be a claim.
    OnFirstTouch,
}

/// One key with its present value.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Type and gauge mode.
    pub kind: FileKind,
    /// What it is a value of.
    pub key: Arc<Key>,
    /// The value.
    pub value: f64,
    /// Unix seconds of the last set in the mostrecent modes; else 0.
    pub timestamp: f64,
}

/// Where a writer's values go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriterStatus {
    /// Into the shards of `id` in `dir`.
    Healthy {
        /// Absolute path of the directory.
        dir: PathBuf,
        /// The ID in the names of new shards. It changes when shards were deleted or the directory was replaced, and in a
        /// forked child.
        id: WriterId,
    },
    /// Into memory, all of them or some; they move into shards as soon as that works.
    Degraded {
        /// Since when.
        since: SystemTime,
        /// Path first, then what the system said.
        reason: String,
    },
    /// Into memory, on purpose: [`Writer::in_memory`].
    InMemory,
}

/// One process's writer. It lives until the process ends, its files and mappings with it; copies are the same writer.
///
/// **Fork.** A forked child goes on with the same handles and writes its own shards, from zero, from its first touch on; what the
/// parent had counted stays the parent's. This rests on `pthread_atfork`: a child made by raw `clone` or `fork` system calls
/// shares the parent's cells, and counts are lost; that is unsupported. A writer in memory is copied by a fork with its values,
/// as all memory is.
///
/// **Threads.** Up to sixteen at a time have entries of their own of what adds up; a thread's first addition to one takes a lock, and later ones
/// are a load, an addition and a store. When a thread ends, the next one goes on with its entries. All further threads share one entry more.
///
/// **Signals.** No call may be made from a signal handler.
///
/// **Truncation.** A shard is mapped, and a store into a part that somebody else cut off is SIGBUS. A handler, installed before the
/// first shard is mapped, puts private memory in the place of what is gone, and the process goes on in a new shard within a
/// second. Lost is what had been stored in the part that was cut off, and of the entry at which the file now ends also what came
/// until then; everything stored into the missing part since is carried over. A gauge whose value is gone has none until it is set
/// again. Every other SIGBUS goes to the handler that was there before; a handler that is installed later and does not call
/// the one it replaces, or a thread that blocks SIGBUS, is without this guard. Deleting shards is harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writer {
    index: usize,
}

impl Writer {
    /// A writer of shards in `dir`, which is created if it is missing.
    ///
    /// Never fails: while anything does not work (no directory, no permission, no space), values are kept in memory, `status`
    /// says so, and a background thread tries again once a second.
    pub fn open(dir: &Path, info: ProcessInfo) -> Writer {
        // A later change of the working directory must not move the shards. It fails for an empty path and a lost working
        // directory only, and opening what is left then says what is wrong.
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
        Writer {
            index: touch::add_writer(Some((dir, info))),
        }
    }

    /// A writer without files: the same cells, in memory.
    pub fn in_memory() -> Writer {
        Writer {
            index: touch::add_writer(None),
        }
    }

    /// The entries of these keys, in their order. A key that this writer has in this kind already keeps its value, so there is
    /// one entry for each.
    pub fn series(&self, kind: FileKind, keys: Vec<Key>, create: Create) -> Series {
        touch::series(self.index, kind, keys, create)
    }

    /// A series of many keys, each of which stands by itself: counters. They are at zero from now on, as with [`Create::AtZero`], but come into
    /// being one after the other, and no other call waits for all of them. If they are new, and nobody else makes a series meanwhile, handles of all of
    /// them take no more memory than that of one.
    pub fn series_of_each(&self, kind: FileKind, keys: Vec<Key>) -> Series {
        touch::series_of_each(self.index, kind, keys)
    }

    /// All keys that have a value, summed up over their threads, in the order in which their series were made.
    pub fn snapshot(&self) -> Vec<Snapshot> {
        touch::snapshot(self.index)
    }

    /// Has the seconds that this writer is degraded added to the first entry of `series`, at least once a second while it is. Of
    /// two calls the later one stands.
    pub fn count_degraded_seconds_in(&self, series: &Series) {
        touch::count_degraded_seconds_in(self.index, series);
    }

    /// Where values go at the moment.
    pub fn status(&self) -> WriterStatus {
        touch::status(self.index)
    }
}
