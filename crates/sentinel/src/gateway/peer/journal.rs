//! The file of the peer's journal: append-only, one record to a line, the same that the peer in `ops/gateway` writes and reads.
//!
//! Invariant: a record that [`Journal::append`] returned from is on the disk, and nothing that was written is ever changed. A last line
//! without its end was answered to nobody and is cut off; any other damage is a reason not to start. One process at a time has the file.
//! Must not touch: what the records mean.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::known::Known;
use super::record::Record;

/// Where records go. The real one is [`JournalFile`]; tests have one that ends after any of them.
pub trait Journal {
    /// Makes a record durable.
    ///
    /// # Errors
    /// When it may not be durable. Nothing may be answered then, now or later, until the journal was read anew.
    fn append(&mut self, record: &Record) -> Result<(), JournalError>;
}

/// Why there is no journal to go on with.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it.
    #[error("{}: the journal belongs to another running gateway, one may have it", .0.display())]
    Locked(PathBuf),
    /// A line that is no record, or that cannot follow the ones before it.
    #[error(
        "{}: line {line} of the journal is damaged ({reason}), a gateway that has forgotten what it executed does not start",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Not a file that can be appended to.
    #[error("{}: not a regular file, the journal has to be one", .0.display())]
    NotAFile(PathBuf),
    /// The system says no.
    #[error("{}: cannot {operation} the journal", .path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// An earlier record may not be durable.
    #[error("{}: the journal failed before, it is read anew at the next start", .0.display())]
    Broken(PathBuf),
}

/// Orders and the account are nobody else's business.
const FILE_MODE: u32 = 0o600;

/// The open journal of a running peer.
#[derive(Debug)]
pub struct JournalFile {
    path: PathBuf,
    /// Locked as long as it is open; the kernel lets go of it when the process ends, however it ends.
    file: File,
    /// After a failed write or sync nobody knows what is on the disk.
    is_broken: bool,
}

impl JournalFile {
    /// Opens or makes the journal, locks it, and gives what it says.
    ///
    /// # Errors
    /// When it is locked, damaged, or cannot be read and written.
    pub fn open(path: &Path) -> Result<(JournalFile, Known), JournalError> {
        let failed = |operation| failed(path, operation);
        check_is_file(path)?;
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .mode(FILE_MODE)
            .open(path)
            .map_err(failed("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed("read"))?;
        let (known, whole) = read_bytes(path, &bytes)?;
        if whole < bytes.len() {
            file.set_len(whole as u64).map_err(failed("mend"))?;
        }
        file.sync_all().map_err(failed("sync"))?;
        sync_name(path).map_err(failed("sync the directory of"))?;
        let journal = JournalFile {
            path: path.to_owned(),
            file,
            is_broken: false,
        };
        Ok((journal, known))
    }

    /// What a journal says, also beside the process that writes it. Changes nothing.
    ///
    /// # Errors
    /// When it is damaged or cannot be read.
    pub fn read(path: &Path) -> Result<Known, JournalError> {
        check_is_file(path)?;
        let bytes = fs::read(path).map_err(failed(path, "read"))?;
        read_bytes(path, &bytes).map(|(known, _)| known)
    }
}

impl Drop for JournalFile {
    fn drop(&mut self) {
        // To close the file would not do: a child that was forked a moment ago, and is no other program yet, holds the same lock.
        let _ = self.file.unlock();
    }
}

impl Journal for JournalFile {
    fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        if self.is_broken {
            return Err(JournalError::Broken(self.path.clone()));
        }
        self.is_broken = true;
        self.file
            .write_all(&record.line())
            .map_err(failed(&self.path, "write"))?;
        self.file.sync_data().map_err(failed(&self.path, "sync"))?;
        self.is_broken = false;
        Ok(())
    }
}

/// What the bytes of a journal say, and how many of them are whole lines.
fn read_bytes(path: &Path, bytes: &[u8]) -> Result<(Known, usize), JournalError> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n');
    let whole = whole.map_or(0, |last| last + 1);
    let mut known = Known::default();
    for (index, line) in bytes[..whole]
        .split_inclusive(|byte| *byte == b'\n')
        .enumerate()
    {
        let damaged = |reason: String| JournalError::Damaged {
            path: path.to_owned(),
            line: index + 1,
            reason,
        };
        let record = Record::parse(&line[..line.len() - 1]);
        let record = record.map_err(|error| damaged(error.to_string()))?;
        known.apply(record).map_err(|why| damaged(why.to_owned()))?;
    }
    Ok((known, whole))
}

/// What is no file may keep whoever opens it waiting for ever.
fn check_is_file(path: &Path) -> Result<(), JournalError> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(JournalError::NotAFile(path.to_owned())),
        _ => Ok(()),
    }
}

/// The name of a new file has to be on the disk as well.
fn sync_name(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

fn failed(path: &Path, operation: &'static str) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::System {
        path,
        operation,
        source,
    }
}
