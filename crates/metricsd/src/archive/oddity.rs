//! Records that do not fit what came before them: what a damaged stretch of journal leaves behind, or a mistake of ours.
//!
//! Invariant: none of them stops anything; each says what was done instead. Pure.

use thiserror::Error;

use super::model::{IdentityKey, KeyId};

/// Most oddities that are kept for a reader. A lost definition of a busy series is met by every record that names it.
pub const ODDITIES_KEPT: usize = 1000;

/// A record, or a part of one, that did not fit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Oddity {
    /// A number is given to a second series. The first one keeps it.
    #[error("series number {} is given to a second series; the first one keeps it", .key.0)]
    KeyTaken {
        /// The number.
        key: KeyId,
    },
    /// A series is given a second number. Nothing is counted under it.
    #[error("series number {} is a second one for series {}; it is not used", .key.0, .known.0)]
    SeriesTwice {
        /// The second number.
        key: KeyId,
        /// The first one.
        known: KeyId,
    },
    /// A number far beyond all others, or keys of more than 4 GiB. The series is not known.
    #[error("series number {} is out of reach; the series is not archived", .key.0)]
    KeyOutOfReach {
        /// The number.
        key: KeyId,
    },
    /// An entry of a series whose definition was lost. It is not counted here; a file that still holds it counts in full.
    #[error("series number {} has no name: its definition was lost; the entry is not counted", .key.0)]
    UnknownKey {
        /// The number.
        key: KeyId,
    },
    /// A shard that should be known is not. Nothing is done.
    #[error("{identity:?}: {step} of a shard that is not known; nothing is done")]
    UnknownShard {
        /// Which file.
        identity: IdentityKey,
        /// The record's name.
        step: &'static str,
    },
    /// The unlink of a shard that was not absorbed. What was last known of it is in the totals now.
    #[error(
        "{identity:?}: removed without having been absorbed; what was last known of it is counted"
    )]
    RemovedUnabsorbed {
        /// Which file.
        identity: IdentityKey,
    },
    /// A missing shard is there again and nobody said so. It counts with what it holds beyond what was last known.
    #[error(
        "{identity:?}: was missing and is there again; it counts with what it holds beyond what was known"
    )]
    ReturnedUnsaid {
        /// Which file.
        identity: IdentityKey,
    },
    /// A shard that is not missing is said to be there again. Its shortfalls are taken over.
    #[error("{identity:?}: is said to be there again, but was not missing")]
    NotMissing {
        /// Which file.
        identity: IdentityKey,
    },
    /// A start timestamp for a series that has one. The first one stands.
    #[error("series {} has a start timestamp; a second one is not taken", .key.0)]
    StartFrozen {
        /// The series.
        key: KeyId,
    },
    /// A gauge is discarded that is not of a `live*` mode. It stays.
    #[error("series {} is not a live gauge; its value is not discarded", .key.0)]
    NotALiveGauge {
        /// The series.
        key: KeyId,
    },
    /// A gauge of the mode `all` whose writer is not known cannot be shown without its label. It is dropped.
    #[error("{identity:?}: the writer of gauge {} is not known, so it has no pid label; it is dropped", .key.0)]
    NoWriter {
        /// Which file.
        identity: IdentityKey,
        /// The series.
        key: KeyId,
    },
}
