//! Why something was not recorded.
//!
//! Invariant: on any of these nothing is durable, and no order may be sent on account of the call. Must not touch: storage.

use std::io;

use thiserror::Error;

use super::frame;
use crate::features::BAR_COUNT;
use crate::gateway::guards::SettingsError;
use crate::gateway::intent_log::error::Operation;

/// Not recorded.
#[derive(Debug, Error)]
pub enum AuditError {
    /// Another process writes here.
    #[error("{directory}: the audit belongs to another running process, one process may have it")]
    Locked {
        /// The directory.
        directory: String,
    },
    /// Storage failed. The next call begins a file of its own.
    #[error("{name}: cannot {operation} the audit: {source}")]
    Storage {
        /// The file or the directory.
        name: String,
        /// What was being done.
        operation: Operation,
        /// The system's error.
        source: io::Error,
    },
    /// JSON has no such number, and no decision is made of one.
    #[error("not recorded: {what} is {found}, a finite number is accepted")]
    NotFinite {
        /// Which number.
        what: &'static str,
        /// What it is.
        found: f64,
    },
    /// Not the bars that features are made of.
    #[error("not recorded: a window of {found} bars, {BAR_COUNT} are accepted")]
    Window {
        /// How many there are.
        found: usize,
    },
    /// Without both, the verdict cannot be found again.
    #[error(
        "not recorded: a verdict of the guards without what they looked at, request and situation are needed"
    )]
    Unfounded,
    /// The guards would not take these settings.
    #[error("not recorded: {0}")]
    Settings(#[from] SettingsError),
    /// The line is too long.
    #[error(
        "not recorded: the line is longer than {} bytes",
        frame::LINE_LEN_MAX_BYTES
    )]
    TooLong,
}

impl AuditError {
    /// Whether it is for want of space.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self, AuditError::Storage { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge))
    }
}

/// Adds what was being done to a system's error.
pub(super) fn failed(operation: Operation, name: &str) -> impl FnOnce(io::Error) -> AuditError {
    let name = name.to_owned();
    move |source| AuditError::Storage {
        name,
        operation,
        source,
    }
}
