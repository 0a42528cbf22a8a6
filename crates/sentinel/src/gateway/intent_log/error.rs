//! Why something was not recorded.
//!
//! Invariant: on any of these nothing may be sent. Must not touch: storage.

use std::fmt;
use std::io;

use thiserror::Error;

use super::format::FORMAT;
use super::frame;
use super::state::Contradiction;

/// What was being done when storage failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Opening and locking the directory.
    Lock,
    /// Listing the directory.
    List,
    /// Reading a file.
    Read,
    /// Making a file.
    Create,
    /// Appending a record.
    Append,
    /// Making records durable.
    SyncFile,
    /// Making names durable.
    SyncDir,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Lock => "lock",
            Operation::List => "list",
            Operation::Read => "read",
            Operation::Create => "create",
            Operation::Append => "append to",
            Operation::SyncFile | Operation::SyncDir => "sync",
        })
    }
}

/// Nothing may be sent on account of this call.
#[derive(Debug, Error)]
pub enum LogError {
    /// Another process has the log.
    #[error(
        "{directory}: the intent log belongs to another running process, one process may have it"
    )]
    Locked {
        /// The directory.
        directory: String,
    },
    /// Storage failed. The log is not written to again before it is reopened.
    #[error("{name}: cannot {operation} the intent log: {source}")]
    Storage {
        /// The file; `.` for the directory.
        name: String,
        /// What was being done.
        operation: Operation,
        /// The system's error.
        source: io::Error,
    },
    /// A later program wrote it. Nothing was changed.
    #[error("{name}: the intent log has format {found}, this program reads up to {FORMAT}")]
    Newer {
        /// The file.
        name: String,
        /// Its format.
        found: u32,
    },
    /// Storage failed before.
    #[error("the intent log failed earlier, it has to be reopened before anything is recorded")]
    Broken,
    /// The record cannot follow what is known. Nothing was written.
    #[error("not recorded: {0}")]
    Contradiction(#[from] Contradiction),
    /// The record is too long. Nothing was written.
    #[error(
        "not recorded: the record is longer than {} bytes",
        frame::LINE_LEN_MAX_BYTES
    )]
    TooLong,
    /// What was checked is not what is known now. Nothing was written.
    #[error("not recorded: the permit is older than the last record, it has to be asked for again")]
    PermitOutdated,
}

impl LogError {
    /// Whether it is for want of space.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, LogError::Storage { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

/// Adds what was being done to a system's error.
pub(super) fn failed(operation: Operation, name: &str) -> impl FnOnce(io::Error) -> LogError {
    let name = name.to_owned();
    move |source| LogError::Storage {
        name,
        operation,
        source,
    }
}
