//! Descriptors that a writer keeps.
//!
//! Invariant: none of them is 0, 1 or 2. A program that was started with one of those closed would print into a shard.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Lowest number of a descriptor that is kept.
const LOWEST: i32 = 3;

/// The same file under a number that nobody takes for a standard stream.
pub(super) fn keep(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    if descriptor.as_raw_fd() >= LOWEST {
        return Ok(descriptor);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&descriptor, LOWEST)?)
}
