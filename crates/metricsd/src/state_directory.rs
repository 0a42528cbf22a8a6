//! The state directory: opened once, locked by the daemon, never the shard directory itself.
//!
//! Invariant: the lock is on the inode, not on the path. Must not touch what is in it; [`StateDirectory::create`] makes the
//! directory itself, at start only.

mod choice;
mod durability;

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use thiserror::Error;

use crate::archive::Disk;
use crate::directory::ShardDirectory;
use crate::lock_holder::{LockHolder, find_holder};

pub use choice::{STATE_DIRECTORY_VARIABLE, StateChoice, StateChoiceError, StateSource};
pub use durability::{Durability, NotDurableReason, boot_id, is_same_boot};

/// For the owner and those who may read along: labels may name accounts.
const DIRECTORY_MODE: u32 = 0o750;

const DIRECTORY_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// The state directory, open.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    fd: OwnedFd,
    device: u64,
    inode: u64,
}

/// The state directory cannot be used. The exit code is 1.
#[derive(Debug, Error)]
pub enum StateDirectoryError {
    /// It does not exist and cannot be made.
    #[error("{}: cannot create the state directory; name another one with --state-dir", .path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It does not exist.
    #[error("{}: the state directory does not exist; start `metricsd serve`, or name another one with --state-dir", .path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// Something else has its name.
    #[error("{}: not a directory; name the state directory with --state-dir", .path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be opened or looked at.
    #[error("{}: cannot read the state directory", .path.display())]
    Read {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is the shard directory.
    #[error("{}: the shard directory itself, in which the state would be lost with the shards; name another directory with --state-dir", .path.display())]
    IsShardDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// Another directory is there now.
    #[error("{}: another directory than the one that the state is in", .path.display())]
    Replaced {
        /// The directory.
        path: PathBuf,
    },
    /// Another daemon keeps its state there.
    #[error("{}: already in use by {holder}; stop it first or name another state directory with --state-dir", .path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Who it is, as far as the system tells.
        holder: LockHolder,
    },
}

impl StateDirectory {
    /// Makes the directory and its parents if they are missing (mode 0750), and opens it. Its name is durable then as far as
    /// the system lets us make it so.
    ///
    /// # Errors
    /// It cannot be made or opened, or is the shard directory.
    pub fn create(
        path: &Path,
        shards: &ShardDirectory,
    ) -> Result<StateDirectory, StateDirectoryError> {
        let existed = path.ancestors().find(|ancestor| ancestor.exists());
        let made = DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(path);
        // A file in its place is for `open` to name; only what is missing is made.
        if let Err(source) = made
            && !path.exists()
        {
            return Err(match source.kind() {
                io::ErrorKind::NotADirectory => StateDirectoryError::NotADirectory {
                    path: path.to_owned(),
                },
                _ => StateDirectoryError::Create {
                    path: path.to_owned(),
                    source,
                },
            });
        }
        let directory = StateDirectory::open(path, shards)?;
        sync_names(path, existed.unwrap_or(path));
        Ok(directory)
    }

    /// Opens an existing directory, for readers as well.
    ///
    /// # Errors
    /// It is missing, no directory, cannot be opened, or is the shard directory.
    pub fn open(
        path: &Path,
        shards: &ShardDirectory,
    ) -> Result<StateDirectory, StateDirectoryError> {
        let failed = |errno| failed(path, errno);
        let fd = retry_on_intr(|| rustix::fs::open(path, DIRECTORY_FLAGS, Mode::empty()))
            .map_err(failed)?;
        let (device, inode) = place(fd.as_fd()).map_err(failed)?;
        let directory = StateDirectory {
            path: path.to_owned(),
            fd,
            device,
            inode,
        };
        directory.check_apart_from(shards)?;
        Ok(directory)
    }

    /// Whether it is another directory than that of the shards; to be asked again when that one was replaced.
    ///
    /// # Errors
    /// They are one directory.
    pub fn check_apart_from(&self, shards: &ShardDirectory) -> Result<(), StateDirectoryError> {
        let shards = place(shards.as_fd()).map_err(|errno| failed(&self.path, errno))?;
        if shards == (self.device, self.inode) {
            return Err(StateDirectoryError::IsShardDirectory {
                path: self.path.clone(),
            });
        }
        Ok(())
    }

    /// Takes the one lock that there is on this directory; it is held until this value and every [`StateDirectory::disk`]
    /// are dropped.
    ///
    /// # Errors
    /// Another process holds it. A file system without locks is not an error: nobody can hold one there.
    pub fn lock(&self) -> Result<(), StateDirectoryError> {
        match retry_on_intr(|| {
            rustix::fs::flock(&self.fd, FlockOperation::NonBlockingLockExclusive)
        }) {
            Ok(()) => Ok(()),
            Err(Errno::WOULDBLOCK) => Err(StateDirectoryError::Locked {
                path: self.path.clone(),
                holder: find_holder(self.device, self.inode),
            }),
            Err(errno) => {
                tracing::warn!(
                    directory = %self.path.display(),
                    error = %io::Error::from(errno),
                    "the file system has no locks; a second daemon on this state directory would go unnoticed"
                );
                Ok(())
            }
        }
    }

    /// Whether the path still leads to this directory. Where it does not, the state goes on being written to the directory
    /// that is open, but the next start will not find it.
    ///
    /// # Errors
    /// It is gone, another one, or cannot be looked at.
    pub fn check_in_place(&self) -> Result<(), StateDirectoryError> {
        match retry_on_intr(|| rustix::fs::stat(&self.path)) {
            Ok(stat) if (stat.st_dev, stat.st_ino) == (self.device, self.inode) => Ok(()),
            Ok(_) => Err(StateDirectoryError::Replaced {
                path: self.path.clone(),
            }),
            Err(errno) => Err(failed(&self.path, errno)),
        }
    }

    /// Whether what is synced in it stays.
    pub fn durability(&self, shards: &ShardDirectory) -> Durability {
        if self.is_inside(shards) {
            return Durability::NotDurable {
                reason: NotDurableReason::InsideShardDirectory,
            };
        }
        durability::of_file_system(self.fd.as_fd())
    }

    /// Whether one of its parents is the shard directory, whatever the paths are called. The descriptor is gone up from, so
    /// that a directory that was moved is judged by where it is.
    fn is_inside(&self, shards: &ShardDirectory) -> bool {
        let Ok(shards) = place(shards.as_fd()) else {
            return false;
        };
        let mut here = (self.device, self.inode);
        // Parents need not be readable.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut parent = rustix::fs::openat(&self.fd, "..", flags, Mode::empty());
        while let Ok(fd) = parent {
            match place(fd.as_fd()) {
                Ok(above) if above == shards => return true,
                // The root is its own parent.
                Ok(above) if above == here => return false,
                Ok(above) => here = above,
                Err(_) => return false,
            }
            parent = rustix::fs::openat(&fd, "..", flags, Mode::empty());
        }
        false
    }

    /// How large its file system is.
    ///
    /// # Errors
    /// The system's.
    pub fn file_system_size_bytes(&self) -> io::Result<u64> {
        let size = retry_on_intr(|| rustix::fs::fstatvfs(&self.fd))?;
        Ok(size.f_blocks.saturating_mul(size.f_frsize))
    }

    /// The directory as the archive's storage: the one that is open, whatever its path leads to by now.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn disk(&self) -> io::Result<Disk> {
        Ok(Disk::from_fd(self.fd.try_clone()?))
    }

    /// Its path, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for StateDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn place(fd: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    let stat = retry_on_intr(|| rustix::fs::fstat(fd))?;
    Ok((stat.st_dev, stat.st_ino))
}

fn failed(path: &Path, errno: Errno) -> StateDirectoryError {
    let path = path.to_owned();
    match errno {
        Errno::NOENT => StateDirectoryError::Missing { path },
        Errno::NOTDIR => StateDirectoryError::NotADirectory { path },
        errno => StateDirectoryError::Read {
            path,
            source: errno.into(),
        },
    }
}

/// Makes the names on the way from `existed`, which was there before, down to `path` durable: a file that is synced is lost
/// with the directory that it is in.
fn sync_names(path: &Path, existed: &Path) {
    for parent in path.ancestors().skip(1) {
        let synced =
            retry_on_intr(|| rustix::fs::openat(CWD, parent, DIRECTORY_FLAGS, Mode::empty()))
                .and_then(|fd| rustix::fs::fsync(&fd));
        match synced {
            // Some file systems have nothing to sync in a directory and say so.
            Ok(()) | Err(Errno::INVAL) => {}
            // A parent of the system's, such as one that may be passed but not read, was there long before us.
            Err(Errno::ACCESS | Errno::ROFS) if existed == path => {}
            Err(errno) => tracing::warn!(
                directory = %parent.display(),
                error = %io::Error::from(errno),
                "cannot sync the directory that the state directory is in; a power cut soon after the first start may lose the state"
            ),
        }
        if existed.starts_with(parent) {
            break;
        }
    }
}
