//! Recognises files of `prometheus_client` before 0.18. Pure.
//!
//! Their header is the same, but an entry ends with its value: there is no timestamp. Read as today's format, the place of
//! the first entry's timestamp holds the length and the first four characters of the second entry's key, and the walk then
//! takes letters for a length, which is more than any file is read. So a genuine old file always strands the walk, at its
//! first entry or right after it. The first entry would come out right and the rest be lost without a word, so such a file
//! is refused as a whole.
//!
//! Invariant: nothing here is asked about a file whose entries lead exactly to the end that its header states. Of a damaged
//! one no timestamp in unix seconds before the year 3058 is taken for the start of a key: its last two bytes are no
//! characters.

use crate::key;
use crate::layout::{KEY_LENGTH_LEN_BYTES, VALUE_LEN_BYTES, value_offset_bytes};

/// How every key begins that Python has ever written.
const KEY_START: [u8; 2] = *b"[\"";

/// How many characters of a key stand where today's layout has the upper half of a timestamp.
const KEY_START_LEN_BYTES: usize = 4;

/// The highest byte of every time in unix seconds until 2242 (the first day of 1970 apart), and the smallest that stands below it from 2004 on.
const TIME_HIGHEST_BYTE: u8 = 0x41;
const TIME_SECOND_BYTE_MIN: u8 = 0xd0;

/// Smallest key: `["a", "a", {}]`.
const KEY_LEN_MIN_BYTES: usize = 14;

/// Whether the eight bytes where today's layout has a timestamp are the start of an old file's next entry: a length, then a
/// key. The first two characters alone would not do: times of recurring spans of 1,024 s have them (2025-07-30 00:49:04 UTC
/// begins one). The byte after them is 0xd0 to 0xff in every time in seconds from 2004 to 2242, and below 0x20 until 3058.
pub(crate) fn timestamp_is_a_key(timestamp: &[u8]) -> bool {
    timestamp
        .get(KEY_LENGTH_LEN_BYTES..)
        .is_some_and(|upper_half| key_characters(upper_half) == KEY_START_LEN_BYTES)
}

/// How many of the first four bytes are what a key has there: `["`, then two characters of ASCII.
fn key_characters(bytes: &[u8]) -> usize {
    let fits = |(at, byte): (usize, &u8)| match KEY_START.get(at) {
        Some(expected) => byte == expected,
        None => matches!(byte, b' '..=b'~'),
    };
    let start = bytes.iter().take(KEY_START_LEN_BYTES).enumerate();
    start.filter(|&place| fits(place)).count()
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
    is_old_entry(in_use, old_end)
}

/// Whether the second entry of an old file stands at `offset`: a length that leaves room for its key and a value, and the
/// start of a key, of which one character may have suffered.
fn is_old_entry(in_use: &[u8], offset: usize) -> bool {
    let Some((length, key)) = in_use
        .get(offset..)
        .and_then(|rest| rest.split_first_chunk::<KEY_LENGTH_LEN_BYTES>())
    else {
        return false;
    };
    let fits = usize::try_from(i32::from_le_bytes(*length)).is_ok_and(|key_len| {
        key_len >= KEY_LEN_MIN_BYTES
            && offset + value_offset_bytes(key_len) + VALUE_LEN_BYTES <= in_use.len()
    });
    let is_time = matches!(
        key,
        [_, _, TIME_SECOND_BYTE_MIN..=u8::MAX, TIME_HIGHEST_BYTE, ..]
    );
    fits && !is_time && key_characters(key) + 1 >= KEY_START_LEN_BYTES
}
