//! A mapping for a moment: what a writer looks like that has closed its descriptor.
//!
//! Invariant: nothing is read or written through it, so that no fault can happen; it is unmapped when it is dropped.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Bytes that are mapped; the kernel rounds up to a page.
const LEN_BYTES: usize = 1;

/// A file, mapped shared and writable.
#[derive(Debug)]
pub(crate) struct TemporaryMap {
    base: *mut libc::c_void,
}

impl TemporaryMap {
    /// Maps the beginning of a file that is open for writing, however short it is.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn of(file: BorrowedFd<'_>) -> io::Result<TemporaryMap> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory; a wrong descriptor is an error
        // that is checked below. Nobody gets the pointer, so it does not matter that there is no file behind the page.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                LEN_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(TemporaryMap { base })
        }
    }
}

impl Drop for TemporaryMap {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `of` made, which nobody has a pointer into. It cannot fail for such a one.
        unsafe { libc::munmap(self.base, LEN_BYTES) };
    }
}
