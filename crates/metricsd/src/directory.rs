//! The shard directory: opened once, locked by the daemon, listed when it may have changed.
//!
//! Invariant: the lock is on the inode, not on the path, and whoever lists asks first whether the path still is that inode.
//! Must not create, delete or rename anything in it; [`ShardDirectory::create`] makes the directory itself, at start only.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

use crate::lock_holder::{LockHolder, find_holder};

/// A directory of shards, open for reading.
#[derive(Debug)]
pub struct ShardDirectory {
    path: PathBuf,
    fd: OwnedFd,
    device: u64,
    inode: u64,
}

/// The directory cannot be used.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// It does not exist and cannot be made.
    #[error("{}: cannot create the shard directory", .path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It does not exist.
    #[error("{}: the shard directory does not exist; start a writer or `metricsd serve`, or name another one with --multiproc-dir", .path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// Something else has its name.
    #[error("{}: not a directory; name the shard directory with --multiproc-dir", .path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be opened or listed.
    #[error("{}: cannot read the shard directory", .path.display())]
    Read {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another daemon serves it.
    #[error("{}: already served by {holder}; stop it first or name another directory with --multiproc-dir", .path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Who it is, as far as the system tells.
        holder: LockHolder,
    },
}

/// Where the path of a directory that is open leads to by now.
#[derive(Debug)]
pub enum Whereabouts {
    /// To the directory that is open.
    Current,
    /// To something else.
    Replaced,
    /// Nowhere.
    Gone(DirectoryError),
    /// The system does not tell: a parent cannot be searched, or its file system does not answer. The directory may be there.
    Unknown(DirectoryError),
}

/// One name in the directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedName {
    /// The file name.
    pub name: OsString,
    /// The inode number that the listing shows for it.
    pub inode: u64,
}

/// When a directory changed last, as its file system tells: modification and change time, seconds and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryTimes {
    /// Last entry made, removed or renamed.
    pub modified: (i64, i64),
    /// Last change of the inode, entries included.
    pub changed: (i64, i64),
}

impl DirectoryTimes {
    /// Whether both lie so far in the past that a later change would have left another time. `granularity` says how coarse the
    /// file system's clock may be; a time without a part of a second may be one of those that are kept in seconds.
    pub fn are_older_than(&self, granularity: Duration, now: SystemTime) -> bool {
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |now| now.as_nanos() as i128);
        [self.modified, self.changed]
            .into_iter()
            .all(|(seconds, nanoseconds)| {
                let time = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
                let coarse = if nanoseconds == 0 {
                    WHOLE_SECOND
                } else {
                    Duration::ZERO
                };
                (now - time).unsigned_abs() > (granularity + coarse).as_nanos()
            })
    }
}

/// How coarse the times of some file systems are: ext3 has no parts of a second, nor has ext4 with inodes of 128 bytes.
pub(crate) const WHOLE_SECOND: Duration = Duration::from_secs(1);

impl ShardDirectory {
    /// Makes the directory and its parents if they are missing, and opens it.
    ///
    /// # Errors
    /// It cannot be made, opened or listed.
    pub fn create(path: &Path) -> Result<ShardDirectory, DirectoryError> {
        // A file in its place is for `open` to name; only what is missing is made.
        if let Err(source) = fs::create_dir_all(path)
            && !path.exists()
        {
            return Err(match source.kind() {
                io::ErrorKind::NotADirectory => DirectoryError::NotADirectory {
                    path: path.to_owned(),
                },
                _ => DirectoryError::Create {
                    path: path.to_owned(),
                    source,
                },
            });
        }
        ShardDirectory::open(path)
    }

    /// Opens an existing directory.
    ///
    /// # Errors
    /// It is missing, no directory, or cannot be opened or listed.
    pub fn open(path: &Path) -> Result<ShardDirectory, DirectoryError> {
        let read = |source: Errno| DirectoryError::Read {
            path: path.to_owned(),
            source: source.into(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => DirectoryError::Missing {
                path: path.to_owned(),
            },
            Errno::NOTDIR => DirectoryError::NotADirectory {
                path: path.to_owned(),
            },
            errno => read(errno),
        })?;
        let stat = rustix::fs::fstat(&fd).map_err(read)?;
        let directory = ShardDirectory {
            path: path.to_owned(),
            fd,
            device: stat.st_dev,
            inode: stat.st_ino,
        };
        directory.list()?;
        Ok(directory)
    }

    /// Takes the one lock that there is on this directory; it is held until the value is dropped.
    ///
    /// # Errors
    /// Another process holds it. A file system without locks is not an error: nobody can hold one there.
    pub fn lock(&self) -> Result<(), DirectoryError> {
        match rustix::fs::flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(()),
            Err(Errno::WOULDBLOCK) => Err(DirectoryError::Locked {
                path: self.path.clone(),
                holder: find_holder(self.device, self.inode),
            }),
            Err(errno) => {
                tracing::warn!(
                    directory = %self.path.display(),
                    error = %io::Error::from(errno),
                    "the file system has no locks; a second daemon on this directory would go unnoticed"
                );
                Ok(())
            }
        }
    }

    /// Where the path leads to now.
    pub fn whereabouts(&self) -> Whereabouts {
        match rustix::fs::stat(&self.path) {
            Ok(stat) if (stat.st_dev, stat.st_ino) == (self.device, self.inode) => {
                Whereabouts::Current
            }
            Ok(_) => Whereabouts::Replaced,
            Err(Errno::NOENT) => Whereabouts::Gone(DirectoryError::Missing {
                path: self.path.clone(),
            }),
            Err(Errno::NOTDIR) => Whereabouts::Gone(DirectoryError::NotADirectory {
                path: self.path.clone(),
            }),
            Err(errno) => Whereabouts::Unknown(self.read_error(errno)),
        }
    }

    /// When it changed last.
    ///
    /// # Errors
    /// The system's.
    pub fn times(&self) -> Result<DirectoryTimes, DirectoryError> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|errno| self.read_error(errno))?;
        Ok(DirectoryTimes {
            modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime, stat.st_ctime_nsec as i64),
        })
    }

    /// Every name in it but `.` and `..`, sorted.
    ///
    /// # Errors
    /// The system's.
    pub fn list(&self) -> Result<Vec<ListedName>, DirectoryError> {
        let entries = Dir::read_from(&self.fd).map_err(|errno| self.read_error(errno))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|errno| self.read_error(errno))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(ListedName {
                    name: OsString::from_vec(name.to_vec()),
                    inode: entry.ino(),
                });
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Makes its names durable.
    ///
    /// # Errors
    /// The device failed.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// Its path, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read_error(&self, errno: Errno) -> DirectoryError {
        DirectoryError::Read {
            path: self.path.clone(),
            source: errno.into(),
        }
    }
}

impl AsFd for ShardDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_whole_seconds_prove_nothing_before_the_second_is_over() {
        let granularity = Duration::from_millis(100);
        let at = |milliseconds| SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds);
        let (coarse, fine) = ((10, 0), (10, 1));
        let both = |modified, changed| DirectoryTimes { modified, changed };
        for times in [both(coarse, coarse), both(fine, coarse), both(coarse, fine)] {
            assert!(!times.are_older_than(granularity, at(10_950)));
            assert!(times.are_older_than(granularity, at(11_200)));
        }
        let times = both(fine, fine);
        assert!(!times.are_older_than(granularity, at(10_100)));
        assert!(times.are_older_than(granularity, at(10_950)));
    }
}
