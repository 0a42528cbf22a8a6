//! Whether leases tell the truth in a directory: asked of the kernel there, about a writer of each kind and about nobody.
//!
//! Invariant: the directory is as before, whatever happens, kill -9 included: the file that is tested with never has a name. Must
//! not touch any other file.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, retry_on_intr};
use thiserror::Error;

use super::FileSystem;
use crate::map::lease::{self, LeaseAnswer};
use crate::map::temporary::TemporaryMap;

/// How long a file that nobody writes any more may count as busy: a child that another thread is just starting has copies of all
/// descriptors until it becomes another program.
const PATIENCE: Duration = Duration::from_millis(250);

/// Why liveness cannot be known in a directory. Displays as one sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum SelfTestFailure {
    /// Leases are not known to tell of every writer there.
    #[error(
        "the file system is {0}; leases are known to tell of every writer on ext4, xfs, btrfs and tmpfs"
    )]
    FileSystem(FileSystem),
    /// This process may not make files there, or nobody may.
    #[error("the directory is not writable for this process ({})", Errno::from_raw_os_error(*.0))]
    NotWritable(i32),
    /// No room for one more empty file.
    #[error("the file system has no room for one more file ({})", Errno::from_raw_os_error(*.0))]
    NoSpace(i32),
    /// The kernel gives no lease on a file of this process's own: they are switched off, or forbidden to it.
    #[error("the kernel refuses leases ({})", Errno::from_raw_os_error(*.0))]
    LeaseRefused(i32),
    /// A lease was granted although there was a descriptor open for writing.
    #[error("a writer with an open file goes unnoticed there")]
    WriterUnseen,
    /// A lease was granted although there was a writable mapping. So it is on overlayfs.
    #[error("a writer that has only a mapping goes unnoticed there")]
    MappingUnseen,
    /// No lease was granted although there was no writer left.
    #[error("a file that nobody writes any more counts as open for writing there")]
    AlwaysBusy,
    /// The system refused something else that the test needs.
    #[error("the system refused what the test needs ({})", Errno::from_raw_os_error(*.0))]
    System(i32),
}

impl SelfTestFailure {
    /// Every word of [`SelfTestFailure::word`].
    pub const WORDS: [&'static str; 8] = [
        "file_system",
        "not_writable",
        "no_space",
        "lease_refused",
        "writer_unseen",
        "mapping_unseen",
        "always_busy",
        "system",
    ];

    /// The word for a metric.
    pub const fn word(self) -> &'static str {
        match self {
            SelfTestFailure::FileSystem(_) => "file_system",
            SelfTestFailure::NotWritable(_) => "not_writable",
            SelfTestFailure::NoSpace(_) => "no_space",
            SelfTestFailure::LeaseRefused(_) => "lease_refused",
            SelfTestFailure::WriterUnseen => "writer_unseen",
            SelfTestFailure::MappingUnseen => "mapping_unseen",
            SelfTestFailure::AlwaysBusy => "always_busy",
            SelfTestFailure::System(_) => "system",
        }
    }

    /// Whether the same test may pass later, in the same directory under the same kernel.
    pub const fn may_pass(self) -> bool {
        match self {
            SelfTestFailure::FileSystem(_)
            | SelfTestFailure::WriterUnseen
            | SelfTestFailure::MappingUnseen => false,
            SelfTestFailure::NotWritable(_)
            | SelfTestFailure::NoSpace(_)
            | SelfTestFailure::LeaseRefused(_)
            | SelfTestFailure::AlwaysBusy
            | SelfTestFailure::System(_) => true,
        }
    }
}

/// Tests in the directory itself whether a lease is refused while somebody has a file open or mapped for writing, and granted when
/// nobody has. Only on a file system where that is known to be so for every writer; elsewhere nothing is tried.
///
/// Takes leases on a file of its own only. The process must have called [`ignore_sigio`](crate::ignore_sigio).
///
/// # Errors
/// Whatever keeps a granted lease from being a proof.
pub fn self_test(directory: BorrowedFd<'_>) -> Result<(), SelfTestFailure> {
    let file_system = FileSystem::of(directory);
    if !file_system.supports_leases() {
        return Err(SelfTestFailure::FileSystem(file_system));
    }
    ask_about_writers(directory)
}

/// The test itself, on any file system.
fn ask_about_writers(directory: BorrowedFd<'_>) -> Result<(), SelfTestFailure> {
    let (writer, reader) = open_unnamed(directory)?;
    expect_busy(&reader, SelfTestFailure::WriterUnseen)?;
    let mapping = TemporaryMap::of(writer.as_fd()).map_err(|error| {
        SelfTestFailure::System(error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()))
    })?;
    drop(writer);
    expect_busy(&reader, SelfTestFailure::MappingUnseen)?;
    drop(mapping);
    expect_idle(&reader)
}

/// A new file without a name, open for writing and, a second time, for reading.
fn open_unnamed(directory: BorrowedFd<'_>) -> Result<(OwnedFd, OwnedFd), SelfTestFailure> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let owner_only = Mode::RUSR | Mode::WUSR;
    let make = || openat(directory, c".", flags, owner_only);
    let writer = retry_on_intr(make).map_err(cannot_make)?;
    // A lease on a descriptor that is open for writing would be refused because of that descriptor.
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let reader = retry_on_intr(|| openat(CWD, path.as_str(), flags, Mode::empty()))
        .map_err(|errno| SelfTestFailure::System(errno.raw_os_error()))?;
    Ok((writer, reader))
}

fn cannot_make(errno: Errno) -> SelfTestFailure {
    let number = errno.raw_os_error();
    match errno {
        Errno::ACCESS | Errno::PERM | Errno::ROFS => SelfTestFailure::NotWritable(number),
        Errno::NOSPC | Errno::DQUOT => SelfTestFailure::NoSpace(number),
        _ => SelfTestFailure::System(number),
    }
}

fn expect_busy(reader: &OwnedFd, otherwise: SelfTestFailure) -> Result<(), SelfTestFailure> {
    match lease::take_and_drop_read_lease(reader.as_fd()) {
        LeaseAnswer::Refused(number) if number == Errno::AGAIN.raw_os_error() => Ok(()),
        LeaseAnswer::Granted => Err(otherwise),
        LeaseAnswer::Refused(number) | LeaseAnswer::Stuck(number) => {
            Err(SelfTestFailure::LeaseRefused(number))
        }
    }
}

fn expect_idle(reader: &OwnedFd) -> Result<(), SelfTestFailure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match lease::take_and_drop_read_lease(reader.as_fd()) {
            LeaseAnswer::Granted => return Ok(()),
            LeaseAnswer::Refused(number) if number == Errno::AGAIN.raw_os_error() => {
                if Instant::now() > deadline {
                    return Err(SelfTestFailure::AlwaysBusy);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            LeaseAnswer::Refused(number) | LeaseAnswer::Stuck(number) => {
                return Err(SelfTestFailure::LeaseRefused(number));
            }
        }
    }
}

#[cfg(test)]
mod tests;
