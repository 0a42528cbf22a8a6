//! A part of a shard, mapped for reading, for as long as somebody wants to read it again and again.
//!
//! Invariant: no word is handed out of a page that the file no longer has. Somebody may cut the file short at any time; the page that is
//! missing then is private zeros before the load that met it returns, and what was loaded is thrown away. The memory is reached
//! through `&mut` only, so the thread that reads is the one that faults. Nothing here writes, and the kernel does not take a map of
//! a descriptor without write access for a writer (leases, write counts).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::fence;

use super::guard::handler::{Watched, give_back, watch_for_now};
use crate::layout::{HEADER_LEN_BYTES, TIMESTAMP_LEN_BYTES, VALUE_LEN_BYTES};
use crate::loom::{AtomicU64, Ordering};

/// The first bytes of a shard, mapped read-only.
#[derive(Debug)]
pub struct ShardMap {
    /// Readable until this is dropped; nobody has a reference into it that outlives a call.
    words: NonNull<AtomicU64>,
    word_count: usize,
    watched: &'static Watched,
}

// SAFETY: it owns its mapping, which any thread may read and unmap; the record in the table is shared and made of atomics.
unsafe impl Send for ShardMap {}
// SAFETY: there is no way into the mapping through a shared reference.
unsafe impl Sync for ShardMap {}

/// The file has not all of what was mapped any more, or not what a writer leaves there: it has to be read, and to be judged, anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

impl ShardMap {
    pub(crate) fn new(file: BorrowedFd<'_>, len_bytes: usize) -> io::Result<ShardMap> {
        let len_bytes = ShardMap::len_bytes_for(len_bytes);
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory; a wrong descriptor or length is an
        // error that is checked below.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len_bytes,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        let words = NonNull::new(base.cast::<AtomicU64>())
            .filter(|_| base != libc::MAP_FAILED)
            .ok_or_else(io::Error::last_os_error)?;
        let map = ShardMap {
            words,
            word_count: len_bytes / size_of::<AtomicU64>(),
            watched: watch_for_now(base.expose_provenance(), len_bytes),
        };
        // All pages in one call instead of a fault for each. Best effort: an older kernel does not know it, and what a cut has taken
        // already is met by the first load.
        // SAFETY: the range that was just mapped; populating changes no content.
        unsafe { libc::madvise(base, len_bytes, libc::MADV_POPULATE_READ) };
        Ok(map)
    }

    /// How many bytes a map of the first `len_bytes` of a file takes: whole pages.
    pub fn len_bytes_for(len_bytes: usize) -> usize {
        len_bytes
            .max(HEADER_LEN_BYTES)
            .next_multiple_of(rustix::param::page_size())
    }

    /// How many bytes are mapped.
    pub fn len_bytes(&self) -> usize {
        self.word_count * size_of::<AtomicU64>()
    }

    /// The used length that the header says now; 0 also if the file has no header any more.
    pub fn used_len_bytes(&mut self) -> usize {
        // Acquire: pairs with the Release with which a writer publishes the length, so that the entries within it are there.
        let header = self
            .words()
            .first()
            .map_or(0, |word| word.load(Ordering::Acquire));
        usize::try_from(header as u32 as i32).unwrap_or(0)
    }

    /// Whether everything but values and timestamps is what `expected` has there: the little-endian words of a file from its first byte on, whose values
    /// stand at `offsets_bytes`. The header is not looked at. Each word is loaded once, so what was compared was in the file.
    pub fn has_keys(&mut self, offsets_bytes: &[u32], expected: &[u64]) -> bool {
        let words = self.words();
        let mut from = HEADER_LEN_BYTES / VALUE_LEN_BYTES;
        offsets_bytes.iter().all(|&offset| {
            let value = offset as usize / VALUE_LEN_BYTES;
            let pairs = words.get(from..value).zip(expected.get(from..value));
            from = value + (VALUE_LEN_BYTES + TIMESTAMP_LEN_BYTES) / VALUE_LEN_BYTES;
            pairs.is_some_and(|(found, expected)| {
                // Relaxed: whoever read the length before knows that these words are there. No branch but for an entry.
                let differing = found.iter().zip(expected);
                let differing = differing.fold(0, |bits, (found, expected)| {
                    bits | (u64::from_le(found.load(Ordering::Relaxed)) ^ expected)
                });
                differing == 0
            })
        })
    }

    /// Loads the doubles at `offsets_bytes` into the same places of `doubles`, each as a whole. They ascend, are aligned as in any entry,
    /// and the last one is that of the last value.
    ///
    /// # Errors
    /// A page, or the end of the last key, is not the file's any more. What `doubles` holds then means nothing.
    pub fn load(&mut self, offsets_bytes: &[u32], doubles: &mut [f64]) -> Result<(), Lost> {
        debug_assert_eq!(offsets_bytes.len(), doubles.len());
        let words = self.words();
        for (double, &offset) in doubles.iter_mut().zip(offsets_bytes) {
            let word = words.get(offset as usize / VALUE_LEN_BYTES).ok_or(Lost)?;
            // Relaxed: a value is a whole word, and nobody infers other memory from it.
            *double = f64::from_bits(word.load(Ordering::Relaxed));
        }
        let has_end = offsets_bytes
            .last()
            .is_none_or(|&offset| self.has_blank_before(offset as usize));
        if has_end && !self.is_cut() {
            Ok(())
        } else {
            Err(Lost)
        }
    }

    /// [`ShardMap::load`] for pairs of a value and its timestamp. A value is at least as new as its timestamp.
    ///
    /// # Errors
    /// As there.
    pub fn load_pairs(
        &mut self,
        offsets_bytes: &[u32],
        values: &mut [f64],
        timestamps: &mut [f64],
    ) -> Result<(), Lost> {
        let words = self.words();
        for ((value, timestamp), &offset) in values.iter_mut().zip(timestamps).zip(offsets_bytes) {
            let index = offset as usize / VALUE_LEN_BYTES;
            let pair = words.get(index..index + 2).ok_or(Lost)?;
            // Acquire: pairs with the Release with which a writer stores the timestamp after the value.
            *timestamp = f64::from_bits(pair[1].load(Ordering::Acquire));
            *value = f64::from_bits(pair[0].load(Ordering::Relaxed));
        }
        match offsets_bytes.last() {
            Some(&offset) if !self.has_blank_before(offset as usize) => Err(Lost),
            _ if self.is_cut() => Err(Lost),
            _ => Ok(()),
        }
    }

    /// Whether a blank stands before the value at `offset`, as writers leave it: every cut that reaches the value takes it along, also in
    /// the last page of the file, where no load faults.
    fn has_blank_before(&self, offset: usize) -> bool {
        // Before the blank: the values were loaded.
        fence(Ordering::Acquire);
        let before = (offset / VALUE_LEN_BYTES).checked_sub(1);
        let word = before.and_then(|index| self.words().get(index));
        word.is_some_and(|word| word.load(Ordering::Relaxed).to_le_bytes()[7] == b' ')
    }

    /// Whether a page was found missing by any load before.
    fn is_cut(&self) -> bool {
        // Before the answer: the loads. This thread met the fault itself, so the compiler alone could mix them up.
        fence(Ordering::Acquire);
        self.watched.is_cut()
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: mapped by `new` with this length, readable until `drop` (private zeros may have taken the place of a part), aligned to a
        // page; any bits are a valid AtomicU64, and this process only loads from it.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.word_count) }
    }
}

impl Drop for ShardMap {
    fn drop(&mut self) {
        // Before the addresses can be anybody else's.
        give_back(self.watched);
        // SAFETY: exactly the mapping that `new` made, or what took its place; nobody has a reference into it.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.len_bytes()) };
    }
}
