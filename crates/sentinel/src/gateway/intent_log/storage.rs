//! What the intent log asks of a directory, and that directory on a real file system.
//!
//! Invariant: nothing is durable by itself: bytes are after [`Storage::sync_file`], names after [`Storage::sync_dir`]. A sync that
//! failed is not tried again on the same descriptor, which would say that all is well. One process at a time: [`Disk`] holds a lock.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// One directory of append-only files. The real one is [`Disk`]; tests have one that loses power.
pub trait Storage {
    /// An open file.
    type File;

    /// The names in the directory, in any order.
    ///
    /// # Errors
    /// The directory cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// A whole file.
    ///
    /// # Errors
    /// It is not there, has more than `len_max_bytes`, or cannot be read.
    fn read(&self, name: &str, len_max_bytes: u64) -> io::Result<Vec<u8>>;

    /// Makes an empty file and opens it for appending.
    ///
    /// # Errors
    /// The name exists, or there is no space.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Writes at the end.
    ///
    /// # Errors
    /// No space, or the device failed; any part of the bytes may be in the file then.
    fn append(&self, file: &mut Self::File, bytes: &[u8]) -> io::Result<()>;

    /// Makes a file's bytes durable.
    ///
    /// # Errors
    /// The device failed, and nothing is known about the bytes since the last success.
    fn sync_file(&self, file: &mut Self::File) -> io::Result<()>;

    /// Makes the bytes of a file durable that this process may not have written.
    ///
    /// # Errors
    /// It is not there, or the device failed.
    fn sync_name(&self, name: &str) -> io::Result<()>;

    /// Makes all names durable.
    ///
    /// # Errors
    /// The device failed.
    fn sync_dir(&self) -> io::Result<()>;

    /// Takes a name away.
    ///
    /// # Errors
    /// It is not there, or the device failed.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// A directory of one process.
#[derive(Debug)]
pub struct Disk {
    directory: PathBuf,
    /// Locked as long as this is there; the kernel lets go of it when the process ends, however it ends.
    lock: File,
}

impl Drop for Disk {
    fn drop(&mut self) {
        // To close the file would not do: a child that was forked a moment ago, and is no other program yet, holds the same lock.
        let _ = self.lock.unlock();
    }
}

const LOCK_NAME: &str = "lock";
/// Orders and equity are nobody else's business.
const FILE_MODE: u32 = 0o600;

impl Disk {
    /// Opens an existing directory and locks it; `None` if another process has it.
    ///
    /// # Errors
    /// It is not there or may not be written.
    pub fn open(directory: &Path) -> io::Result<Option<Disk>> {
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(directory.join(LOCK_NAME))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Disk {
                directory: directory.to_owned(),
                lock,
            })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Storage for Disk {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            // A name that is no text is none of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn read(&self, name: &str, len_max_bytes: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.directory.join(name))?
            .take(len_max_bytes.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > len_max_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        File::options()
            .append(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(self.directory.join(name))
    }

    fn append(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync_file(&self, file: &mut File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_name(&self, name: &str) -> io::Result<()> {
        File::open(self.directory.join(name))?.sync_data()
    }

    fn sync_dir(&self) -> io::Result<()> {
        // A descriptor of its own each time: one that reported a failure once says nothing afterwards.
        File::open(&self.directory)?.sync_all()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.directory.join(name))
    }
}
