//! The journal's file: appended to and synced, replaced as a whole, repaired when it is opened.
//!
//! Invariant: after a failed append the file ends where it ended before, or nothing more is appended until it does; a file takes the place
//! of another one only when it is on disk as a whole. One process at a time: a lock on a file beside it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::record::{self, Record};

/// The journal.
const FILE: &str = "queue.journal";
/// Its successor, while it is written.
const NEXT: &str = "queue.journal.next";
/// What a damaged journal is kept as, for people.
const DAMAGED: &str = "queue.journal.damaged";
/// Held while the program runs.
const LOCK: &str = "lock";

/// Why a queue cannot be opened: exit status 1.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system says no.
    #[error("{}: cannot {doing}", .path.display())]
    Io {
        /// What was looked at.
        path: PathBuf,
        /// What was to be done with it.
        doing: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// Another bridge has it.
    #[error("{}: another alertbridge uses this directory; stop it, or give this one a directory of its own (--queue.path)", .path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// Written by a later version.
    #[error("{}: has format {found}, this version reads 1; start the version that wrote it", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    directory: PathBuf,
    file: File,
    /// Where the last whole record ends.
    len: u64,
    /// Whether there may be bytes behind it.
    is_torn: bool,
    lock: File,
}

/// What was found when it was opened.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) records: Vec<Record>,
    /// Bytes that were no records, in the middle of others; a copy of the file is kept.
    pub(super) damaged_bytes: usize,
}

impl Drop for Journal {
    fn drop(&mut self) {
        // To close the file would not do: a child that was forked a moment ago, and is no other program yet, holds the same lock.
        let _ = self.lock.unlock();
    }
}

impl Journal {
    /// Opens the journal of a directory, which is made if it is not there, and cuts off what a crash left behind the last whole record.
    pub(super) fn open(directory: &Path) -> Result<(Journal, Found), OpenError> {
        let failed = |path: &Path, doing| {
            let path = path.to_owned();
            move |source| OpenError::Io {
                path,
                doing,
                source,
            }
        };
        let mut builder = std::fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o750)
            .create(directory)
            .map_err(failed(directory, "make the directory of the queue"))?;
        let mut options = OpenOptions::new();
        options.create(true).append(true).read(true).mode(0o640);
        let lock_path = directory.join(LOCK);
        let lock = options
            .open(&lock_path)
            .map_err(failed(&lock_path, "open the lock of the queue"))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let path = directory.to_owned();
                return Err(OpenError::Locked { path });
            }
            Err(errno) => {
                return Err(failed(&lock_path, "take the lock of the queue")(
                    errno.into(),
                ));
            }
        }
        let path = directory.join(FILE);
        let file = options
            .open(&path)
            .map_err(failed(&path, "open the queue"))?;
        let bytes = std::fs::read(&path).map_err(failed(&path, "read the queue"))?;
        let contents = record::decode(&bytes);
        if let Some(Record::Begin { format, .. }) = contents.records.first()
            && *format != FORMAT
        {
            let found = *format;
            return Err(OpenError::Format { path, found });
        }
        if contents.damaged_bytes > 0 || (contents.end == 0 && bytes.len() > TORN_FIRST_MAX) {
            let kept = directory.join(DAMAGED);
            std::fs::copy(&path, &kept)
                .map_err(failed(&kept, "keep a copy of the damaged queue"))?;
        }
        let mut journal = Journal {
            directory: directory.to_owned(),
            file,
            len: contents.end as u64,
            is_torn: contents.end < bytes.len(),
            lock,
        };
        journal
            .repair()
            .map_err(failed(&path, "repair the queue"))?;
        if contents.records.is_empty() {
            let begin = Record::Begin {
                format: FORMAT,
                next_id: 0,
            };
            journal
                .append(&begin, true)
                .map_err(failed(&path, "write the queue"))?;
            sync_directory(directory)
                .map_err(failed(directory, "sync the directory of the queue"))?;
        }
        let found = Found {
            records: contents.records,
            damaged_bytes: contents.damaged_bytes,
        };
        Ok((journal, found))
    }

    /// Adds a record; with `is_durable` it is on disk before this returns.
    pub(super) fn append(&mut self, record: &Record, is_durable: bool) -> io::Result<()> {
        self.repair()?;
        let bytes = record.encoded();
        let written = self.file.write_all(&bytes).and_then(|()| match is_durable {
            true => self.file.sync_data(),
            false => Ok(()),
        });
        match written {
            Ok(()) => {
                self.len += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // What was written of it must not come back after a restart: it has been refused.
                self.is_torn = true;
                let _ = self.repair();
                Err(error)
            }
        }
    }

    /// Whether the disk takes that many bytes more; none of them stays.
    pub(super) fn probe(&mut self, len: u64) -> io::Result<()> {
        self.repair()?;
        self.is_torn = true;
        // Zeros are no record: a crash in between leaves what looks like a write that was cut short.
        let written = io::copy(&mut io::repeat(0).take(len), &mut self.file);
        let written = written.and_then(|_| self.file.sync_data());
        let repaired = self.repair();
        written.and(repaired)
    }

    /// Puts these records in the place of all there are.
    pub(super) fn replace(&mut self, records: &[Record]) -> io::Result<()> {
        let path = self.directory.join(NEXT);
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true).mode(0o640);
        let mut next = options.open(&path)?;
        let mut len = 0;
        let written = records.iter().try_for_each(|record| {
            let bytes = record.encoded();
            len += bytes.len() as u64;
            next.write_all(&bytes)
        });
        let written = written.and_then(|()| next.sync_data());
        if let Err(error) = written {
            // The space is needed for appends.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        // Opened before it takes the place of the other, so that nothing can fail in between.
        let file = OpenOptions::new().append(true).open(&path)?;
        std::fs::rename(&path, self.directory.join(FILE))?;
        self.file = file;
        self.len = len;
        self.is_torn = false;
        sync_directory(&self.directory)
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Cuts off what is behind the last whole record.
    fn repair(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.len)?;
            self.file.sync_data()?;
            self.is_torn = false;
        }
        Ok(())
    }
}

/// Of the files that this version writes.
pub(super) const FORMAT: u32 = 1;

/// A first record that was cut short has fewer bytes than this; a longer file without any record is a damaged one.
const TORN_FIRST_MAX: usize = 64;

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
