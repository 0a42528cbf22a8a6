//! A part of a shard, mapped for writing, for as long as the process lives.
//!
//! Invariant: a segment's memory is readable and writable from the moment it is mapped to the end of the process. It is never
//! unmapped; when it must not reach the file any more (in a fork's child, after a deletion) or cannot (somebody cut the file short)
//! private memory takes its place, so that a pointer into it stays valid. Must not know what a series is.
//!
//! Two segments of one file overlap by a page. Each cell is reached through one of them only, for ever, so that a page that is lost
//! in both, and is then private memory twice, still has one place for each value.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::cell::Cell;
use super::guard::handler::{Watched, watch};
use crate::loom::{AtomicU64, Ordering};

/// Bytes of a word; everything in a shard is aligned to it.
const WORD_LEN_BYTES: usize = size_of::<AtomicU64>();

const _: () = assert!(
    cfg!(target_endian = "little"),
    "values are stored as native words, and the format is little-endian"
);

/// Consecutive bytes of a shard, mapped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    /// The bytes. Whoever else has the file mapped is another process; inside this one they are reached as atomics only.
    words: &'static [AtomicU64],
    /// Where they stand in the file.
    file_offset_bytes: usize,
    /// How many of them are still the file.
    watched: &'static Watched,
}

impl Segment {
    /// Maps `len_bytes` of `file` from `file_offset_bytes` on, shared and writable, and faults the pages in. The file has blocks
    /// for all of it: writing a page that the disk has no room for would be SIGBUS.
    ///
    /// # Errors
    /// The system's answer; also when a page could not be made writable, which would have been SIGBUS at its first use.
    pub(crate) fn map(
        file: BorrowedFd<'_>,
        file_offset_bytes: usize,
        len_bytes: usize,
    ) -> io::Result<Segment> {
        let offset = libc::off_t::try_from(file_offset_bytes).map_err(io::Error::other)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory; a wrong descriptor, offset or
        // length is an error that is checked below.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                offset,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        if let Err(error) = populate(base, len_bytes) {
            // SAFETY: exactly the mapping made above, which nobody has a pointer into yet.
            unsafe { libc::munmap(base, len_bytes) };
            return Err(error);
        }
        // SAFETY: `base` is page-aligned and `len_bytes` long, and stays mapped for ever (module invariant); any bits are a valid
        // AtomicU64; this process reaches the memory through atomics only.
        let words = unsafe {
            std::slice::from_raw_parts(base.cast::<AtomicU64>(), len_bytes / WORD_LEN_BYTES)
        };
        Ok(Segment {
            words,
            file_offset_bytes,
            watched: watch(base.expose_provenance(), len_bytes),
        })
    }

    /// Whether a part of it is private memory because the file was found to have nothing for it.
    pub(crate) fn is_cut(&self) -> bool {
        self.watched.is_cut()
    }

    /// When that was first found, in nanoseconds of the wall clock since 1970.
    pub(crate) fn cut_at_unix_nanoseconds(&self) -> Option<u64> {
        self.watched.lost_at_unix_nanoseconds()
    }

    /// Where in the file a cell of this segment stands, and whether it still is the file's: if not, its value was zero when that
    /// was found, and what it holds by now is in no file. None: the cell is not of this segment.
    pub(crate) fn place_of(&self, cell: &Cell) -> Option<(usize, bool)> {
        let start = self.words.as_ptr().addr();
        let offset = ptr::from_ref(cell).addr().checked_sub(start)?;
        let is_held = (offset as u64) < self.watched.watch().held_len_bytes();
        (offset < size_of_val(self.words)).then_some((self.file_offset_bytes + offset, is_held))
    }

    /// The cell at this offset of the file, if all its 16 bytes are inside the segment and it is aligned.
    pub(crate) fn cell(&self, file_offset_bytes: usize) -> Option<&'static Cell> {
        let offset = file_offset_bytes.checked_sub(self.file_offset_bytes)?;
        if offset % WORD_LEN_BYTES != 0 {
            return None;
        }
        let index = offset / WORD_LEN_BYTES;
        let pair = self.words.get(index..index.checked_add(2)?)?;
        // SAFETY: `pair` is two words that live for ever, aligned to 8; a cell is `repr(C)` of two such words (asserted where it
        // is defined), both atomic, so sharing them is sound.
        Some(unsafe { &*pair.as_ptr().cast::<Cell>() })
    }

    /// Publishes how many bytes of the file are in use. On the file's first segment only, where the header is.
    pub(crate) fn publish_used(&self, used_len_bytes: u32) {
        debug_assert_eq!(
            self.file_offset_bytes, 0,
            "the header is in the first segment"
        );
        if let Some(header) = self.words.first() {
            // The header is the length in four bytes and four zero bytes: one word. Release: pairs with the reader's read of the
            // length before it reads entries, in whatever process; the entry's bytes are there before the length says so.
            header.store(u64::from(used_len_bytes), Ordering::Release);
        }
    }

    /// Puts a private copy in the place of the file: every store until then is in the file and in the copy, every one from then on
    /// in the copy only. For a file that was deleted, which somebody may still read.
    ///
    /// # Errors
    /// The system's answer; the segment may still be the file.
    pub(crate) fn make_private(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        let offset = libc::off_t::try_from(self.file_offset_bytes).map_err(io::Error::other)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        self.watched.watch().with_held(|held_len_bytes| {
            // What is private already, because the file was cut short, has values that are nowhere else.
            let held_len_bytes = held_len_bytes as usize;
            if held_len_bytes == 0 {
                return Ok(());
            }
            // No reserve: the copy of a large shard is small if few of its pages are written again.
            let flags = libc::MAP_NORESERVE;
            self.replace(held_len_bytes, access, flags, file.as_raw_fd(), offset)?;
            // Best effort: a page that is not copied now is copied at the next store into it.
            let _ = populate(self.words.as_ptr().cast_mut().cast(), held_len_bytes);
            Ok(())
        })
    }

    /// Puts private zeros in the place of the file: in a fork's child, because two processes that add to one cell lose counts, and
    /// for a file that was deleted long ago, to give its memory back. Nobody reaches the segment by then.
    pub(crate) fn let_go(&self) {
        let (access, anonymous) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_ANONYMOUS);
        let len_bytes = size_of_val(self.words);
        let replaced = self
            .replace(len_bytes, access, anonymous, -1, 0)
            .or_else(|_| {
                // What needs no memory at all cannot fail for want of it. A call that is still in there after all would be SIGSEGV,
                // where the alternative is that it changes another process's counts.
                let nothing = anonymous | libc::MAP_NORESERVE;
                self.replace(len_bytes, libc::PROT_NONE, nothing, -1, 0)
            });
        debug_assert!(replaced.is_ok(), "{replaced:?}");
    }

    /// Puts a private mapping in the place of the first bytes of this one.
    fn replace(
        &self,
        len_bytes: usize,
        access: libc::c_int,
        flags: libc::c_int,
        file: libc::c_int,
        offset: libc::off_t,
    ) -> io::Result<()> {
        debug_assert!(len_bytes <= size_of_val(self.words));
        // SAFETY: whole pages of our own mapping, replaced in one step by a mapping that is as long: readable and writable,
        // so every reference into it stays valid, or (`PROT_NONE`) nobody has a reference that he uses. Any bits are valid words.
        // A thread that is in there at this moment faults and then finds the new page. A failure is found before the old mapping
        // is touched, but for a kernel without memory for its own list of mappings.
        let base = unsafe {
            libc::mmap(
                self.words.as_ptr().cast_mut().cast(),
                len_bytes,
                access,
                flags | libc::MAP_PRIVATE | libc::MAP_FIXED,
                file,
                offset,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// Makes every page present and writable now, so that no first use of one can fault.
fn populate(base: *mut libc::c_void, len_bytes: usize) -> io::Result<()> {
    // SAFETY: a range that we have just mapped; populating changes no content.
    let status = unsafe { libc::madvise(base, len_bytes, libc::MADV_POPULATE_WRITE) };
    if status == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // A kernel before 5.14 does not know the call: the pages fault in at first use, and their blocks are reserved.
        Some(libc::EINVAL) => Ok(()),
        // A page that cannot be had now would have been SIGBUS, or the end of the process, later.
        _ => Err(error),
    }
}
