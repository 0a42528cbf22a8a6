//! How far into a file reading is worth it: as far as entries lead. A length is a claim, and so is a size: a sparse file
//! of one block can say that 64 MiB of it are in use. Pure.
//!
//! Invariant: stopping leaves out no entry that [`parse_from`](crate::parse_from) would give of a file that a writer wrote.
//! Must not look into keys beyond what their length needs: it runs over a whole file whenever that has grown.

use crate::key::KEY_LEN_MAX_BYTES;
use crate::layout::{HEADER_LEN_BYTES, KEY_LENGTH_LEN_BYTES, entry_len_bytes};

/// Most bytes of keys with a zero byte in them that are read on over. No writer makes one, and a hole in a file reads as zeros.
const HOLLOW_KEYS_LEN_MAX_BYTES: usize = 64 << 10;

/// What a look at the next entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// More bytes are needed to see where the next entry leads.
    More,
    /// Nothing that could follow would be an entry.
    Nothing,
}

/// A walk over lengths alone. It goes on where it was when more bytes are there.
#[derive(Debug)]
pub(crate) struct Extent {
    /// Where the next entry begins.
    pub(crate) end: usize,
    hollow_len_bytes: usize,
}

impl Extent {
    pub(crate) fn new() -> Extent {
        Extent {
            end: HEADER_LEN_BYTES,
            hollow_len_bytes: 0,
        }
    }

    /// Walks over the entries that are whole in `bytes` (the file from its first byte), of which the header says that
    /// `used_len_bytes` are in use.
    pub(crate) fn walk(&mut self, bytes: &[u8], used_len_bytes: usize) -> Next {
        loop {
            let rest = bytes.get(self.end..).unwrap_or_default();
            let Some((length, rest)) = rest.split_first_chunk::<KEY_LENGTH_LEN_BYTES>() else {
                // At the end of the bytes in use, too, where the caller has no more to read.
                return Next::More;
            };
            let Ok(key_len) = usize::try_from(i32::from_le_bytes(*length)) else {
                return Next::Nothing;
            };
            let entry_len = entry_len_bytes(key_len);
            if key_len == 0
                || key_len > KEY_LEN_MAX_BYTES
                || entry_len > used_len_bytes.saturating_sub(self.end)
            {
                return Next::Nothing;
            }
            let key = &rest[..key_len.min(rest.len())];
            let is_hollow = key.contains(&0);
            if is_hollow && self.hollow_len_bytes + key_len > HOLLOW_KEYS_LEN_MAX_BYTES {
                return Next::Nothing;
            }
            if entry_len > KEY_LENGTH_LEN_BYTES + rest.len() {
                return Next::More;
            }
            if is_hollow {
                self.hollow_len_bytes += key_len;
            }
            self.end += entry_len;
        }
    }
}
