//! Opens one file for reading. The directory is hostile input: regular files only, no link followed, no open that blocks,
//! sizes bounded; what is not known of a file is read with pread alone.
//!
//! Must not write, delete, or open anything for writing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::{Errno, pread, retry_on_intr};
use thiserror::Error;

use crate::extent::{Extent, Next};
use crate::identity::Identity;
use crate::layout::HEADER_LEN_BYTES;
use crate::liveness::{self, FileSystem, Liveness};
#[cfg(not(loom))]
use crate::map::read_only::ShardMap;

/// Longest file that is opened: the used length is an i32 and files double, so no writer makes a longer one.
pub const FILE_LEN_MAX_BYTES: u64 = 1 << 31;

/// Most bytes of a file that are read. Bounds a scrape's memory when a client leaks label values; about 500,000 series. The
/// entries within it are served and the rest is reported as too large, so that no total falls when a file passes the limit.
pub const READ_LEN_MAX_BYTES: usize = 64 << 20;

/// How much is read at a time where only the header says that it is in use, and kept behind the last entry where entries end
/// before that. Steps grow with the file.
const STEP_LEN_BYTES: usize = 64 << 10;

/// No link is followed; a FIFO does not wait for a writer; a terminal does not become ours; nothing is inherited.
const OPEN_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// A shard that is open for reading. An unlinked one stays readable.
#[derive(Debug)]
pub struct ShardFile {
    name: Box<str>,
    fd: OwnedFd,
    identity: Identity,
    file_system: FileSystem,
    /// How much was in use at the last read.
    known_len_bytes: AtomicUsize,
}

/// What `fstat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// Length.
    pub len_bytes: u64,
    /// Last change that the file system knows of; a store into a mapping is not one.
    pub modified: SystemTime,
    /// Last change of content or inode; unlike `modified` nobody can set it, except by the system's clock.
    pub changed: SystemTime,
    /// Names that the file still has; 0 = deleted.
    pub link_count: u64,
    /// User ID of the owner.
    pub owner_uid: u32,
}

/// A file that cannot be opened as a shard.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Gone since the directory was listed. Nothing to report.
    #[error("{}: gone", .path.display())]
    Vanished {
        /// File name.
        path: PathBuf,
    },
    /// Permission denied.
    #[error("{}: permission denied; let this user read it", .path.display())]
    Permission {
        /// File name.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A directory, link, FIFO, socket or device.
    #[error("{}: not a regular file but a {found}", .path.display())]
    NotRegular {
        /// File name.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Longer than any writer makes one.
    #[error("{}: {len_bytes} bytes long; at most {FILE_LEN_MAX_BYTES} are accepted", .path.display())]
    TooLarge {
        /// File name.
        path: PathBuf,
        /// Its length.
        len_bytes: u64,
    },
    /// Anything else the system says.
    #[error("{}: cannot open", .path.display())]
    Io {
        /// File name.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl OpenError {
    /// The word for the metric of unreadable shards; none when the file is simply gone.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            OpenError::Vanished { .. } => None,
            OpenError::Permission { .. } | OpenError::Io { .. } => Some("permission"),
            OpenError::NotRegular { .. } => Some("not_regular"),
            OpenError::TooLarge { .. } => Some("too_large"),
        }
    }
}

/// An open shard that cannot be read.
#[derive(Debug, Error)]
#[error("{}: cannot read", .path.display())]
pub struct ReadError {
    /// File name.
    pub path: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

impl ReadError {
    /// The word for the metric of unreadable shards.
    pub fn reason(&self) -> &'static str {
        "permission"
    }
}

impl ShardFile {
    /// Opens `file_name` (no directory in it) in `dir`. Never blocks, whatever stands under the name.
    ///
    /// # Errors
    /// Anything that is not a regular file of a length that a shard can have.
    pub fn open_at(dir: BorrowedFd<'_>, file_name: &str) -> Result<ShardFile, OpenError> {
        let refuse = |errno| open_error(file_name, errno);
        if file_name.contains('/') {
            return Err(refuse(Errno::INVAL));
        }
        // Looked at before it is opened, because to open a device can do something.
        let look = || statat(dir, file_name, AtFlags::SYMLINK_NOFOLLOW);
        check_regular(file_name, &retry_on_intr(look).map_err(refuse)?)?;
        let open = || openat(dir, file_name, OPEN_FLAGS, Mode::empty());
        let fd = retry_on_intr(open).map_err(refuse)?;
        // And again, because it may have been replaced in between.
        let stat = retry_on_intr(|| fstat(&fd)).map_err(refuse)?;
        check_regular(file_name, &stat)?;

        let len_bytes = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if len_bytes > FILE_LEN_MAX_BYTES {
            return Err(OpenError::TooLarge {
                path: file_name.into(),
                len_bytes,
            });
        }
        let identity = Identity::of(fd.as_fd(), stat.st_ino, stat.st_dev, file_name);
        let file_system = FileSystem::of(fd.as_fd());
        Ok(ShardFile {
            name: file_name.into(),
            fd,
            identity,
            file_system,
            known_len_bytes: AtomicUsize::new(HEADER_LEN_BYTES),
        })
    }

    /// Which file it is, whatever its name.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Length, time of change, links, owner.
    ///
    /// # Errors
    /// The system's.
    pub fn stat(&self) -> io::Result<FileStat> {
        let stat = retry_on_intr(|| fstat(&self.fd))?;
        Ok(FileStat {
            len_bytes: u64::try_from(stat.st_size).unwrap_or(0),
            modified: system_time(stat.st_mtime, stat.st_mtime_nsec),
            changed: system_time(stat.st_ctime, stat.st_ctime_nsec),
            link_count: stat.st_nlink,
            owner_uid: stat.st_uid,
        })
    }

    /// Reads the header and the bytes in use into `buffer`, at most [`READ_LEN_MAX_BYTES`] and no further than entries lead:
    /// what [`parse_from`](crate::parse_from) takes. The old content is replaced and the memory used again. A file shorter
    /// than it says is no error here: the parser reports it.
    ///
    /// One system call as long as the file has not grown, two if it has grown by less than 64 KiB.
    ///
    /// # Errors
    /// The system's.
    pub fn read_used(&self, buffer: &mut Vec<u8>) -> Result<(), ReadError> {
        self.try_read_used(buffer).map_err(|errno| ReadError {
            path: self.name.as_ref().into(),
            source: errno.into(),
        })
    }

    fn try_read_used(&self, buffer: &mut Vec<u8>) -> rustix::io::Result<()> {
        // Entries are complete before the used length says so. What an earlier header said is in use may therefore be read
        // together with the header; what only this header says must be read after it.
        let known_len_bytes = self.known_len_bytes.load(Ordering::Relaxed);
        buffer.resize(known_len_bytes, 0);
        if fill_from(&self.fd, buffer, 0)? < HEADER_LEN_BYTES {
            return Ok(());
        }
        let used = i32::from_le_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
        self.read_on(buffer, usize::try_from(used).unwrap_or(0))?;
        // Of two concurrent readers the later store wins; both say what a header said.
        self.known_len_bytes
            .store(buffer.len().max(HEADER_LEN_BYTES), Ordering::Relaxed);
        Ok(())
    }

    /// Reads what is in use behind `buffer`, in steps: neither header nor size is believed, because a sparse file of one block
    /// can claim 64 MiB in both, and a thousand of them would make every scrape read 64 GB of nothing. Nor is the count of
    /// its blocks: some file systems compress, or count late. Entries alone show that there is more, and they have to be stored.
    ///
    /// The walk begins at the first entry each time, so that a file that was written anew is not judged by its old content.
    fn read_on(&self, buffer: &mut Vec<u8>, used_len_bytes: usize) -> rustix::io::Result<()> {
        let wanted_len_bytes = used_len_bytes.min(READ_LEN_MAX_BYTES);
        let mut extent = Extent::new();
        while buffer.len() < wanted_len_bytes {
            if extent.walk(buffer, used_len_bytes) == Next::Nothing {
                buffer.truncate(extent.end + STEP_LEN_BYTES);
                break;
            }
            let start = buffer.len();
            let step = extent.end.max(STEP_LEN_BYTES);
            let step_end = wanted_len_bytes.min(start + step);
            buffer.resize(step_end, 0);
            if fill_from(&self.fd, buffer, start)? < step_end {
                break;
            }
        }
        Ok(())
    }

    /// Maps the first `len_bytes` of the file for reading, for as long as the map lives. They were read and parsed before: a length is
    /// not believed here either.
    ///
    /// # Errors
    /// The system's; or the file is on a file system where a map need not show what reading shows (any but ext4, XFS, btrfs and tmpfs).
    #[cfg(not(loom))]
    pub fn map(&self, len_bytes: usize) -> io::Result<ShardMap> {
        if !self.file_system.maps_what_is_read() {
            return Err(Errno::OPNOTSUPP.into());
        }
        ShardMap::new(self.fd.as_fd(), len_bytes)
    }

    /// Asks the kernel whether anybody has it open for writing. Only the daemon's `serve` may call it, after
    /// [`ignore_sigio`](crate::ignore_sigio): a writer's `open` waits while the lease is held, which is two system calls.
    pub fn probe(&self) -> Liveness {
        liveness::probe(self.fd.as_fd(), self.file_system)
    }
}

/// Fills `buffer` from `start` on with the file's bytes of the same place, cuts it where the file ends, and returns its
/// length then.
fn fill_from(fd: &OwnedFd, buffer: &mut Vec<u8>, start: usize) -> rustix::io::Result<usize> {
    let mut filled = start;
    while filled < buffer.len() {
        let read = retry_on_intr(|| pread(fd, &mut buffer[filled..], filled as u64))?;
        if read == 0 {
            break;
        }
        filled += read;
    }
    buffer.truncate(filled);
    Ok(filled)
}

fn open_error(file_name: &str, errno: Errno) -> OpenError {
    let path = file_name.into();
    match errno {
        Errno::NOENT => OpenError::Vanished { path },
        Errno::ACCESS | Errno::PERM => OpenError::Permission {
            path,
            source: errno.into(),
        },
        // It was a regular file when it was looked at.
        Errno::LOOP => OpenError::NotRegular {
            path,
            found: "symbolic link",
        },
        Errno::NXIO => OpenError::NotRegular {
            path,
            found: "socket or device",
        },
        _ => OpenError::Io {
            path,
            source: errno.into(),
        },
    }
}

fn check_regular(file_name: &str, stat: &Stat) -> Result<(), OpenError> {
    let found = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "directory",
        FileType::Symlink => "symbolic link",
        FileType::Fifo => "FIFO",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "character device",
        FileType::BlockDevice => "block device",
        _ => "file of an unknown kind",
    };
    Err(OpenError::NotRegular {
        path: file_name.into(),
        found,
    })
}

/// A time from the file system; one that `SystemTime` cannot hold becomes the epoch.
fn system_time(unix_seconds: i64, nanoseconds: u64) -> SystemTime {
    let magnitude = Duration::from_secs(unix_seconds.unsigned_abs());
    let whole = if unix_seconds < 0 {
        UNIX_EPOCH.checked_sub(magnitude)
    } else {
        UNIX_EPOCH.checked_add(magnitude)
    };
    whole
        .and_then(|time| time.checked_add(Duration::from_nanos(nanoseconds)))
        .unwrap_or(UNIX_EPOCH)
}
