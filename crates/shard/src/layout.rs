//! The byte layout of a shard: offsets, lengths, one entry's bytes. Pure.
//!
//! Invariant: every entry is a multiple of 8 bytes long and begins at a multiple of 8, so every value is 8-aligned and one
//! aligned store replaces it. Must not touch files or the clock, nor allocate by unchecked input.

/// Bytes before the first entry: the used length (i32) and four zero bytes.
pub const HEADER_LEN_BYTES: usize = 8;

/// Bytes of the length that stands before each key (i32).
pub(crate) const KEY_LENGTH_LEN_BYTES: usize = 4;

/// Bytes of a value: one f64.
pub const VALUE_LEN_BYTES: usize = 8;

/// Bytes of a timestamp: one f64, unix seconds.
pub const TIMESTAMP_LEN_BYTES: usize = 8;

/// Everything in the file is aligned to this.
pub(crate) const ALIGNMENT_BYTES: usize = 8;

/// What fills the gap between a key and its value. A blank, so that key and padding together are still the same JSON text.
const PADDING: u8 = b' ';

const _: () = assert!(
    HEADER_LEN_BYTES.is_multiple_of(ALIGNMENT_BYTES),
    "the first entry must be aligned"
);
const _: () = assert!(
    (VALUE_LEN_BYTES + TIMESTAMP_LEN_BYTES).is_multiple_of(ALIGNMENT_BYTES),
    "the entry after an entry must be aligned"
);
const _: () = assert!(
    value_offset_bytes(0) == 8 && value_offset_bytes(3) == 8 && value_offset_bytes(4) == 16,
    "1 to 8 blanks, never 0"
);
const _: () = assert!(entry_len_bytes(18) == 40);

/// Where the value stands, counted from the start of its entry, for a key of this length.
///
/// Between key and value are 1 to 8 blanks, never none: a key that ends on a boundary is followed by eight.
pub const fn value_offset_bytes(key_len_bytes: usize) -> usize {
    let unpadded = KEY_LENGTH_LEN_BYTES + key_len_bytes;
    unpadded + (ALIGNMENT_BYTES - unpadded % ALIGNMENT_BYTES)
}

/// Length of a whole entry for a key of this length: 4 + key + 1 to 8 blanks + value + timestamp.
pub const fn entry_len_bytes(key_len_bytes: usize) -> usize {
    value_offset_bytes(key_len_bytes) + VALUE_LEN_BYTES + TIMESTAMP_LEN_BYTES
}

/// The bytes of one entry.
///
/// # Panics
/// When the key is longer than an i32 can say; keys of [`Key::encode`](crate::Key::encode) that a shard accepts are far shorter.
pub fn encode_entry(key: &[u8], value: f64, timestamp: f64) -> Vec<u8> {
    let key_len = i32::try_from(key.len()).expect("a key is bounded long before 2 GiB");
    let mut entry = Vec::with_capacity(entry_len_bytes(key.len()));
    entry.extend_from_slice(&key_len.to_le_bytes());
    entry.extend_from_slice(key);
    entry.resize(value_offset_bytes(key.len()), PADDING);
    entry.extend_from_slice(&value.to_le_bytes());
    entry.extend_from_slice(&timestamp.to_le_bytes());
    entry
}

/// The first eight bytes of a file that has this many bytes in use, header included.
///
/// # Panics
/// When the length is more than an i32 can say, which is the format's own limit of 2 GiB.
pub fn encode_header(used_len_bytes: usize) -> [u8; HEADER_LEN_BYTES] {
    let used =
        i32::try_from(used_len_bytes).expect("a shard stays below the format's limit of 2 GiB");
    let mut header = [0; HEADER_LEN_BYTES];
    header[..4].copy_from_slice(&used.to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_aligned_for_every_length_of_key() {
        for key_len_bytes in 0..100 {
            let blanks = value_offset_bytes(key_len_bytes) - KEY_LENGTH_LEN_BYTES - key_len_bytes;
            assert!(
                (1..=8).contains(&blanks),
                "{blanks} blanks after {key_len_bytes} bytes"
            );
            assert_eq!(value_offset_bytes(key_len_bytes) % 8, 0);
            assert_eq!(
                encode_entry(&vec![b'k'; key_len_bytes], 1.0, 0.0).len(),
                entry_len_bytes(key_len_bytes)
            );
        }
    }

    #[test]
    fn entry_is_length_key_blanks_value_timestamp() {
        let entry = encode_entry(b"[1]", 2.0, 0.5);
        let expected: [&[u8]; 5] = [
            &[3, 0, 0, 0],
            b"[1]",
            b" ",
            &2f64.to_le_bytes(),
            &0.5f64.to_le_bytes(),
        ];
        assert_eq!(entry, expected.concat());
        assert_eq!(encode_header(0x1234), [0x34, 0x12, 0, 0, 0, 0, 0, 0]);
    }
}
