//! Recognises files of `prometheus_client` before 0.18. Pure.
//!
//! Their header is the same, but an entry ends with its value: there is no timestamp. Read as today's format, the place of
//! the first entry's timestamp holds the length and the first four characters of the second entry's key, and the walk then
//! takes letters for a length. The first entry would come out right and the rest be lost without a word, so such a file is
//! refused as a whole.
//!
//! Invariant: no file that a release from 0.18 on has written is taken for an old one.

use crate::key;
use crate::layout::{KEY_LENGTH_LEN_BYTES, VALUE_LEN_BYTES, value_offset_bytes};

/// How every key begins that Python has ever written.
const KEY_START: &[u8] = b"[\"";

/// Smallest key: `["a", "a", {}]`.
const KEY_LEN_MIN_BYTES: usize = 14;

/// Whether the eight bytes where today's layout has a timestamp are the start of an old file's next entry: a length, then a
/// key. Neither 0.0 nor a time in seconds has these characters in its upper half.
pub(crate) fn timestamp_is_a_key(timestamp: &[u8]) -> bool {
    timestamp
        .get(KEY_LENGTH_LEN_BYTES..)
        .is_some_and(|upper_half| upper_half.starts_with(KEY_START))
}

/// The first entry of a file where today's layout leads nowhere after it.
pub(crate) struct StrandedEntry<'a> {
    /// Its key's bytes.
    pub(crate) key: &'a [u8],
    /// Where it begins.
    pub(crate) offset: usize,
    /// Whether all bytes in use are at hand, so that their end is the writer's and not a cut.
    pub(crate) file_is_whole: bool,
}

/// Whether the first entry of `in_use` (the bytes of the file that are in use) makes sense under the old layout.
pub(crate) fn is_old(in_use: &[u8], first: &StrandedEntry<'_>) -> bool {
    // Before 0.16 the key itself had another shape.
    if key::is_old_shape(first.key) {
        return true;
    }
    if !key::is_whole(first.key) {
        return false;
    }
    let old_end = first.offset + value_offset_bytes(first.key.len()) + VALUE_LEN_BYTES;
    if old_end == in_use.len() {
        return first.file_is_whole;
    }
    is_length_of_old_key(in_use, old_end)
}

/// Whether a length stands at `offset` that leaves room for its key and a value: the second entry of an old file, whose key
/// may have suffered.
fn is_length_of_old_key(in_use: &[u8], offset: usize) -> bool {
    let length = in_use.get(offset..).and_then(|rest| rest.first_chunk());
    let key_len = length.and_then(|length| usize::try_from(i32::from_le_bytes(*length)).ok());
    key_len.is_some_and(|key_len| {
        key_len >= KEY_LEN_MIN_BYTES
            && offset + value_offset_bytes(key_len) + VALUE_LEN_BYTES <= in_use.len()
    })
}
