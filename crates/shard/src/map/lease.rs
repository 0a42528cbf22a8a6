//! The libc calls beside the mappings that no safe binding offers: leases, ignored signals, the generation of an inode.
//!
//! Invariant: a lease is held for two adjacent system calls and not longer, because a writer's `open` waits for it. Must not
//! interpret the answers.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What came of asking for a read lease. Errors are error numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseAnswer {
    /// Granted, and given back.
    Granted,
    /// Not granted.
    Refused(i32),
    /// Granted, and giving it back failed; closing the descriptor will.
    Stuck(i32),
}

/// Takes a read lease on a file that is open read-only, and drops it at once.
pub(crate) fn take_and_drop_read_lease(file: BorrowedFd<'_>) -> LeaseAnswer {
    let descriptor = file.as_raw_fd();
    // SAFETY: `descriptor` is open for the length of the borrow; F_SETLEASE takes an int and touches no memory of ours.
    let taken = unsafe { libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_RDLCK) };
    if taken == -1 {
        return LeaseAnswer::Refused(last_error_number());
    }
    // SAFETY: as above.
    let dropped = unsafe { libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_UNLCK) };
    if dropped == -1 {
        LeaseAnswer::Stuck(last_error_number())
    } else {
        LeaseAnswer::Granted
    }
}

/// The generation of an inode: a number that is new each time an inode number is used again. None where the file system has
/// no such thing (tmpfs, which does not use inode numbers again soon).
pub(crate) fn generation(file: BorrowedFd<'_>) -> Option<u32> {
    // The request is declared with a long, file systems write an int: the buffer has room for either.
    let mut answer: [u32; 2] = [0; 2];
    // SAFETY: the descriptor is open for the length of the borrow; FS_IOC_GETVERSION writes at most one long (8 bytes) at
    // the pointer, which is valid for 8 bytes and used by nobody else during the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_GETVERSION, answer.as_mut_ptr()) };
    (result == 0).then_some(answer[0])
}

/// `_IOR('v', 1, long)` of `linux/fs.h`.
const FS_IOC_GETVERSION: libc::Ioctl = libc::_IOR::<libc::c_long>(b'v' as u32, 1);

/// Ignores SIGIO for the whole process.
///
/// A writer that opens a file during a probe makes the kernel send SIGIO, whose default action ends the process: whoever
/// probes calls this first thing in `main`.
///
/// # Errors
/// The system's; there is none in practice.
pub fn ignore_sigio() -> io::Result<()> {
    ignore(libc::SIGIO)
}

/// Ignores SIGXFSZ for the whole process, so that a write beyond the limit of a file's size (`RLIMIT_FSIZE`) is an error like that
/// of a full disk.
///
/// The default action ends the process, and with it everything that it would have done about the error.
///
/// # Errors
/// The system's; there is none in practice.
pub fn ignore_sigxfsz() -> io::Result<()> {
    ignore(libc::SIGXFSZ)
}

fn ignore(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: SIG_IGN installs no handler, so nothing of ours can run in a signal's context.
    let previous = unsafe { libc::signal(signal, libc::SIG_IGN) };
    if previous == libc::SIG_ERR {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn last_error_number() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_signals_are_ignored_by_the_kernels_own_account() {
        ignore_sigio().unwrap();
        ignore_sigxfsz().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigIgn:"))
            .unwrap();
        let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
        for signal in [libc::SIGIO, libc::SIGXFSZ] {
            assert_ne!(mask & (1 << (signal - 1)), 0, "{signal}");
        }
    }
}
