//! What is left of a shard that somebody else cut short, and which values its process has to carry over.
//!
//! Invariant: a value that a reader still finds in the file, or may have found there, is never carried over, so nothing is counted
//! twice; a value that was stored where no file is, is. Reads the file, never through a mapping; changes nothing.

use std::os::fd::BorrowedFd;

use crate::layout::{HEADER_LEN_BYTES, TIMESTAMP_LEN_BYTES, VALUE_LEN_BYTES, value_offset_bytes};
use crate::map::cell::Cell;
use crate::map::segment::Segment;
use crate::reader::parse_from;

/// What became of one value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fate {
    /// The file has it, and readers find it there.
    InFile,
    /// Nowhere but in its cell, which is private memory: it began at zero when the loss was found.
    InMemory,
    /// Nowhere but in its cell, which is a part of the file that no reader reaches. It began at zero when the file was cut.
    OutOfReach,
    /// Of an entry of which a part is still in the file, or of which the file has something else: what its cell holds may have been
    /// read before, or is no value.
    Doubtful,
}

/// The file as it is now, and the segments that its cells are in.
#[derive(Debug)]
pub(super) struct Remains {
    segments: Vec<Segment>,
    bytes: Vec<u8>,
    /// Where the values stand of the entries that readers find, in ascending order.
    served: Vec<usize>,
    is_known: bool,
}

impl Remains {
    /// Reads up to `used_len_bytes` of the file.
    pub(super) fn read(
        file: BorrowedFd<'_>,
        used_len_bytes: usize,
        segments: Vec<Segment>,
    ) -> Remains {
        let mut bytes = vec![0; used_len_bytes];
        let read = read_at_most(file, &mut bytes);
        bytes.truncate(read.unwrap_or_default());
        let parsed = parse_from(&bytes, HEADER_LEN_BYTES);
        let served = parsed.entries.iter().map(|entry| entry.value_offset);
        let served = served.collect();
        Remains {
            segments,
            bytes,
            served,
            is_known: read.is_some(),
        }
    }

    /// What became of the value in this cell, whose entry has a key of `key_len_bytes`.
    pub(super) fn fate_of(&self, cell: &Cell, key_len_bytes: usize) -> Fate {
        // Touches the page: if the file has nothing for it, that is found now at the latest.
        let _ = cell.value();
        let mut segments = self.segments.iter();
        let Some((offset, is_held)) = segments.find_map(|segment| segment.place_of(cell)) else {
            // None of this file's, which the caller asks about by mistake only: keep the value.
            return Fate::InMemory;
        };
        if !is_held {
            return Fate::InMemory;
        }
        // A file that cannot be read may have everything.
        if !self.is_known || self.served.binary_search(&offset).is_ok() {
            return Fate::InFile;
        }
        let begin = offset.saturating_sub(value_offset_bytes(key_len_bytes));
        let present = begin.min(self.bytes.len())..offset.min(self.bytes.len());
        // A cut leaves nothing of the key: what reads as zeros now was beyond the end of the file, value and all.
        if self.bytes[present].iter().all(|&byte| byte == 0) {
            Fate::OutOfReach
        } else {
            Fate::Doubtful
        }
    }
}

/// Whether the file still has what it had between its last key and the value behind it. A cut takes everything from some place to
/// the end, so what is left at the end of the last key tells of all before it. `pad_offset` is that of the last blank.
pub(super) fn has_blank_at(file: BorrowedFd<'_>, pad_offset: usize) -> bool {
    let mut byte = [0];
    match rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut byte, pad_offset as u64)) {
        Ok(count) => count == 1 && byte == *b" ",
        // No evidence.
        Err(_) => true,
    }
}

/// Where the last blank stands before the value of an entry that ends at `entry_end`.
pub(super) fn pad_offset_before(entry_end: usize) -> usize {
    entry_end - VALUE_LEN_BYTES - TIMESTAMP_LEN_BYTES - 1
}

/// Fills the buffer as far as the file goes; none if it cannot be read.
fn read_at_most(file: BorrowedFd<'_>, buffer: &mut [u8]) -> Option<usize> {
    let mut len = 0;
    while len < buffer.len() {
        let rest = &mut buffer[len..];
        match rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *rest, len as u64)) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(_) => return None,
        }
    }
    Some(len)
}
