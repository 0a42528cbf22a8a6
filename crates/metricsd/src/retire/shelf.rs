//! What retirement asks of the shard directory, and which call proves what.
//!
//! Invariant: a name is only changed or taken away after it was seen to lead to the very file that is meant; what a name was
//! made to say is durable after a successful [`Shelf::sync`] and not before.

use std::io;

use metricsd_shard::Liveness;
use thiserror::Error;

/// A directory of shards whose names can be changed. The real one is [`ShardShelf`](super::ShardShelf); tests have one that
/// loses power.
pub trait Shelf {
    /// An open shard. It stays the same file when it is renamed or deleted.
    type File;

    /// Gives `file` the name `to` in place of `from`; never takes a name that something else has.
    ///
    /// # Errors
    /// The system's; nothing has changed then.
    fn rename(&mut self, file: &Self::File, from: &str, to: &str) -> io::Result<Named>;

    /// Deletes the name if it leads to `file`.
    ///
    /// # Errors
    /// The system's; nothing has changed then.
    fn unlink(&mut self, file: &Self::File, name: &str) -> io::Result<Named>;

    /// Makes all names durable.
    ///
    /// # Errors
    /// The device failed: whether the changes since the last success will survive a power cut is not known, and a later
    /// success does not tell.
    fn sync(&mut self) -> io::Result<()>;

    /// Whether no sync has failed so far. Once one has, what later ones say proves nothing: a name whose change was lost then
    /// may be back after a power cut.
    fn is_sound(&self) -> bool;

    /// How many names the file has, in whatever directory; 0 = deleted.
    ///
    /// # Errors
    /// The system's.
    fn link_count(&mut self, file: &Self::File) -> io::Result<u64>;

    /// Asks the kernel who writes each of the files; one answer for each, in order. One that is missing counts as unknown.
    fn ask(&mut self, files: &[&Self::File]) -> Vec<Liveness>;

    /// Reads the bytes in use, from the first one on, in place of what `buffer` held.
    ///
    /// # Errors
    /// The system's.
    fn read(&mut self, file: &Self::File, buffer: &mut Vec<u8>) -> io::Result<()>;
}

/// What a name turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// The file that was meant: done.
    Done,
    /// Another file. Nothing was done to it.
    Other,
    /// Nothing has this name.
    Nothing,
}

/// What was being done to a shard or to the directory when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShelfOperation {
    /// Looking at a file.
    Look,
    /// Renaming.
    Rename,
    /// Making names durable.
    SyncDirectory,
    /// Reading.
    Read,
    /// Deleting.
    Unlink,
}

impl ShelfOperation {
    /// The word for messages and for the label `op` of the metric of errors.
    pub const fn as_str(self) -> &'static str {
        match self {
            ShelfOperation::Look => "look",
            ShelfOperation::Rename => "rename",
            ShelfOperation::SyncDirectory => "sync_directory",
            ShelfOperation::Read => "read",
            ShelfOperation::Unlink => "unlink",
        }
    }
}

/// The shard directory failed.
#[derive(Debug, Error)]
#[error("{file_name}: cannot {} while retiring it; it is served on and tried again", .operation.as_str())]
pub struct ShelfError {
    /// The shard; `.` for the directory itself.
    pub file_name: String,
    /// What was being done.
    pub operation: ShelfOperation,
    /// The system's error.
    pub source: io::Error,
}
