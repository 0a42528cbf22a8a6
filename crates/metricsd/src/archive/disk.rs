//! The state directory on a real file system.
//!
//! Invariant: everything goes through one directory descriptor, so a directory that is moved or replaced by name is not
//! followed; links are never followed and nothing is inherited by children. Calls that a signal interrupts are made again,
//! except for syncs that failed.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FallocateFlags, FileType, Mode, OFlags, fallocate, fdatasync, fstat, fsync,
    openat, renameat, unlinkat,
};
use rustix::io::{Errno, retry_on_intr, write};

use super::storage::Storage;

/// For files that hold what only the daemon and its operator should read: labels may name accounts.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP);
const FILE_FLAGS: OFlags = OFlags::NOFOLLOW
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);
const DIRECTORY_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
/// Memory that is reserved before a byte is read. A file's length alone is no reason to reserve more.
const READ_RESERVE_MAX_BYTES: u64 = 256 << 20;

/// A directory, by descriptor.
#[derive(Debug)]
pub struct Disk {
    directory: OwnedFd,
}

impl Disk {
    /// Opens an existing directory.
    ///
    /// # Errors
    /// It is not there, is no directory, or may not be read.
    pub fn open(path: &Path) -> io::Result<Disk> {
        let directory = retry_on_intr(|| openat(CWD, path, DIRECTORY_FLAGS, Mode::empty()))?;
        Ok(Disk { directory })
    }

    /// Uses a directory that is open already.
    pub fn from_fd(directory: OwnedFd) -> Disk {
        Disk { directory }
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let fd = retry_on_intr(|| openat(&self.directory, name, flags | FILE_FLAGS, FILE_MODE))?;
        let stat = retry_on_intr(|| fstat(&fd))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        Ok(fd)
    }
}

impl Storage for Disk {
    type File = OwnedFd;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            // Names that are not text are none of ours.
            if let Ok(name) = entry?.file_name().to_str()
                && !matches!(name, "." | "..")
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn read(&self, name: &str, len_max_bytes: u64) -> io::Result<Vec<u8>> {
        let fd = self.open_file(name, OFlags::RDONLY)?;
        let len = u64::try_from(retry_on_intr(|| fstat(&fd))?.st_size).unwrap_or(0);
        if len > len_max_bytes {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let mut bytes = Vec::new();
        let reserved = usize::try_from(len.min(READ_RESERVE_MAX_BYTES)).unwrap_or(0);
        bytes
            .try_reserve(reserved)
            .map_err(|_| io::ErrorKind::OutOfMemory)?;
        File::from(fd).take(len_max_bytes).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn create(&self, name: &str) -> io::Result<OwnedFd> {
        self.open_file(
            name,
            OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL,
        )
    }

    fn open_append(&self, name: &str) -> io::Result<OwnedFd> {
        self.open_file(name, OFlags::WRONLY | OFlags::APPEND)
    }

    fn preallocate(&self, file: &OwnedFd, len_bytes: u64) -> io::Result<()> {
        Ok(retry_on_intr(|| {
            fallocate(file, FallocateFlags::KEEP_SIZE, 0, len_bytes)
        })?)
    }

    fn append(&self, file: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match retry_on_intr(|| write(file, rest))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => rest = &rest[count..],
            }
        }
        Ok(())
    }

    fn sync_file(&self, file: &OwnedFd) -> io::Result<()> {
        // A length that changed goes with the data; times are nobody's business here.
        Ok(fdatasync(file)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let at = self.directory.as_fd();
        Ok(retry_on_intr(|| renameat(at, from, at, to))?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(retry_on_intr(|| {
            unlinkat(&self.directory, name, AtFlags::empty())
        })?)
    }

    fn sync_dir(&self) -> io::Result<()> {
        // A descriptor of its own each time: one that reported a failure once says nothing afterwards.
        let fd = retry_on_intr(|| openat(&self.directory, ".", DIRECTORY_FLAGS, Mode::empty()))?;
        match fsync(&fd) {
            // Some file systems have nothing to sync in a directory and say so.
            Err(Errno::INVAL) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
