//! Does anybody still have a shard open for writing? The kernel is asked by a lease; PIDs decide nothing.
//!
//! Invariant: only a lease that was granted on a file system where that proves something means idle; whatever else happens
//! is busy or unknown.

mod self_test;

use std::fmt;
use std::os::fd::BorrowedFd;

use rustix::fs::fstatfs;
use rustix::io::{Errno, retry_on_intr};

use crate::map::lease::{self, LeaseAnswer};

pub use self::self_test::{SelfTestFailure, self_test};

/// What the kernel says about the writers of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// Some process of this kernel has it open or mapped for writing, in whatever PID namespace.
    Busy,
    /// Nobody has.
    Idle,
    /// It could not be asked.
    Unknown(UnknownReason),
}

/// Why the kernel could not be asked. Displays as a phrase for a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnknownReason {
    /// The file is another user's and this process has no CAP_LEASE.
    NotOwner,
    /// A file system where a granted lease proves nothing.
    FileSystem(FileSystem),
    /// The kernel refused with this error number.
    Refused(i32),
    /// Nobody asked: the file could not be opened, or whoever asks did not come to it in time.
    NotAsked,
}

impl fmt::Display for UnknownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnknownReason::NotOwner => {
                f.write_str("the file belongs to another user and this process has no CAP_LEASE")
            }
            UnknownReason::FileSystem(kind) => {
                write!(
                    f,
                    "the file system is {kind}; leases tell of writers on ext4, xfs, btrfs and tmpfs"
                )
            }
            UnknownReason::NotAsked => f.write_str("the kernel was not asked"),
            UnknownReason::Refused(number) => write!(
                f,
                "the kernel refused the lease: {}",
                Errno::from_raw_os_error(*number)
            ),
        }
    }
}

/// A file system, as far as leases are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileSystem {
    /// ext2, ext3, ext4: one magic number.
    Ext4,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
    /// tmpfs.
    Tmpfs,
    /// overlayfs: a writer that has only a mapping is not seen there.
    Overlay,
    /// NFS: a writer of another machine is not seen.
    Nfs,
    /// FUSE: a server in user space answers.
    Fuse,
    /// Any other, by its magic number.
    Other(u64),
    /// The system would not say.
    Unreadable,
}

impl FileSystem {
    /// Whether a granted lease proves that nobody writes.
    pub const fn supports_leases(self) -> bool {
        matches!(
            self,
            FileSystem::Ext4 | FileSystem::Xfs | FileSystem::Btrfs | FileSystem::Tmpfs
        )
    }

    /// Whether a map of an open file shows what reading it shows. overlayfs reads from the upper file as soon as a writer has made one, and
    /// maps the lower one as long as the descriptor is open; elsewhere pages may be copies that nobody brings up to date.
    pub(crate) const fn maps_what_is_read(self) -> bool {
        matches!(
            self,
            FileSystem::Ext4 | FileSystem::Xfs | FileSystem::Btrfs | FileSystem::Tmpfs
        )
    }

    /// The file system that an open file or directory is on.
    pub(crate) fn of(file: BorrowedFd<'_>) -> FileSystem {
        // The field's type differs between targets; a magic number has 32 bits.
        #[allow(clippy::unnecessary_cast, reason = "i64, u32 or u64, by target")]
        retry_on_intr(|| fstatfs(file)).map_or(FileSystem::Unreadable, |answer| {
            from_magic(answer.f_type as u64 & 0xffff_ffff)
        })
    }
}

/// The magic numbers of `statfs(2)`.
const fn from_magic(magic: u64) -> FileSystem {
    match magic {
        0xef53 => FileSystem::Ext4,
        0x5846_5342 => FileSystem::Xfs,
        0x9123_683e => FileSystem::Btrfs,
        0x0102_1994 => FileSystem::Tmpfs,
        0x794c_7630 => FileSystem::Overlay,
        0x6969 => FileSystem::Nfs,
        0x6573_5546 => FileSystem::Fuse,
        other => FileSystem::Other(other),
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "xfs",
            FileSystem::Btrfs => "btrfs",
            FileSystem::Tmpfs => "tmpfs",
            FileSystem::Overlay => "overlayfs",
            FileSystem::Nfs => "nfs",
            FileSystem::Fuse => "fuse",
            FileSystem::Other(magic) => return write!(f, "unknown (magic {magic:#x})"),
            FileSystem::Unreadable => "unreadable",
        })
    }
}

/// Whether liveness can be known of the files in a directory: the name of its file system, as `Ok` where it can.
///
/// # Errors
/// The file system where it cannot.
pub fn file_system_supports_leases(dir: BorrowedFd<'_>) -> Result<FileSystem, FileSystem> {
    let kind = FileSystem::of(dir);
    if kind.supports_leases() {
        Ok(kind)
    } else {
        Err(kind)
    }
}

/// Asks about one file, open read-only.
pub(crate) fn probe(file: BorrowedFd<'_>, file_system: FileSystem) -> Liveness {
    // Not even tried elsewhere: a lease that is granted there must not be taken for an answer.
    if !file_system.supports_leases() {
        return Liveness::Unknown(UnknownReason::FileSystem(file_system));
    }
    match lease::take_and_drop_read_lease(file) {
        LeaseAnswer::Granted => Liveness::Idle,
        LeaseAnswer::Refused(number) if number == Errno::AGAIN.raw_os_error() => Liveness::Busy,
        LeaseAnswer::Refused(number) if number == Errno::ACCESS.raw_os_error() => {
            Liveness::Unknown(UnknownReason::NotOwner)
        }
        LeaseAnswer::Refused(number) | LeaseAnswer::Stuck(number) => {
            Liveness::Unknown(UnknownReason::Refused(number))
        }
    }
}
