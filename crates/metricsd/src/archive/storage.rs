//! What the archive asks of a directory, and which call makes what survive a power cut.
//!
//! Invariant: nothing here is durable by itself. A file's bytes are durable after a successful [`Storage::sync_file`], its
//! name (created, renamed, removed) after a successful [`Storage::sync_dir`], each without the other. After a failed sync of
//! a file its unsynced bytes may be lost although a later sync of the same descriptor succeeds: whoever sees it fail writes
//! them again, elsewhere.

use std::fmt;
use std::io;

use thiserror::Error;

/// One directory without subdirectories. The real one is [`Disk`](super::Disk); tests have one that loses power.
pub trait Storage {
    /// An open file. It stays the same file when it is renamed or removed.
    type File: fmt::Debug;

    /// The names in the directory, in any order.
    ///
    /// # Errors
    /// The directory cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// The whole content of a file, as other processes see it, synced or not.
    ///
    /// # Errors
    /// It is not there, is no regular file, has more than `len_max_bytes`, or cannot be read.
    fn read(&self, name: &str, len_max_bytes: u64) -> io::Result<Vec<u8>>;

    /// Makes an empty file and opens it for appending.
    ///
    /// # Errors
    /// The name exists; no space or no inode is left.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens an existing file for appending.
    ///
    /// # Errors
    /// It is not there, or is no regular file.
    fn open_append(&self, name: &str) -> io::Result<Self::File>;

    /// Reserves room for the first `len_bytes` of a file, so that appending up to there does not fail for want of space. The
    /// file's length stays as it is.
    ///
    /// # Errors
    /// No space is left; the file system cannot do it.
    fn preallocate(&self, file: &Self::File, len_bytes: u64) -> io::Result<()>;

    /// Writes at the end of a file.
    ///
    /// # Errors
    /// No space is left, or the device failed: any part of the bytes may be in the file then.
    fn append(&self, file: &Self::File, bytes: &[u8]) -> io::Result<()>;

    /// Makes a file's bytes and length durable.
    ///
    /// # Errors
    /// The device failed: nothing is known about the bytes since the last success, and never will be on this descriptor.
    fn sync_file(&self, file: &Self::File) -> io::Result<()>;

    /// Gives a file another name, in place of a file that has it.
    ///
    /// # Errors
    /// It is not there, or the device failed.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Takes a file's name away.
    ///
    /// # Errors
    /// It is not there, or the device failed.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all names durable.
    ///
    /// # Errors
    /// The device failed.
    fn sync_dir(&self) -> io::Result<()>;
}

/// What was being done when storage failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Listing the directory.
    List,
    /// Reading a file.
    Read,
    /// Making a file.
    Create,
    /// Reserving room.
    Preallocate,
    /// Appending.
    Append,
    /// Making a file's bytes durable.
    SyncFile,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
    /// Making names durable.
    SyncDir,
}

impl Operation {
    /// The word for messages and for the label `op` of the metric of storage errors.
    pub const fn as_str(self) -> &'static str {
        match self {
            Operation::List => "list",
            Operation::Read => "read",
            Operation::Create => "create",
            Operation::Preallocate => "preallocate",
            Operation::Append => "append",
            Operation::SyncFile => "sync",
            Operation::Rename => "rename",
            Operation::Remove => "remove",
            Operation::SyncDir => "sync_directory",
        }
    }
}

/// Storage failed.
#[derive(Debug, Error)]
#[error("{name}: cannot {}", .operation.as_str())]
pub struct StorageError {
    /// The file in the state directory; `.` for the directory itself.
    pub name: String,
    /// What was being done.
    pub operation: Operation,
    /// The system's error.
    pub source: io::Error,
}

impl StorageError {
    /// Whether it is for want of space or of inodes (or a quota): waiting may help, another file will not.
    pub fn is_full(&self) -> bool {
        is_full(&self.source)
    }
}

/// Whether an error is one of want of space.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Whether a file that cannot be read for this reason is damaged, so that it is gone on without it. Anything else (no
/// permission, no descriptors, no memory) goes away by itself or by an operator, and going on would throw away what is there.
pub(super) fn is_damage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let device = [
        Errno::IO,
        Errno::BADMSG,
        Errno::NODATA,
        Errno::LOOP,
        Errno::ISDIR,
    ]
    .iter();
    let mut codes = device
        .map(|errno| errno.raw_os_error())
        .chain([/* EUCLEAN */ 117]);
    match error.raw_os_error() {
        Some(found) => codes.any(|code| code == found),
        None => error.kind() != io::ErrorKind::OutOfMemory,
    }
}

/// Adds what was being done to a system's error.
pub(super) fn failed(operation: Operation, name: &str) -> impl FnOnce(io::Error) -> StorageError {
    let name = name.to_owned();
    move |source| StorageError {
        name,
        operation,
        source,
    }
}
