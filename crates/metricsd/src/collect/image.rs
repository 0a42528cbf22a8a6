//! What a file of a layout looks like, so that the other new files of that layout cost one comparison each: their keys are neither taken
//! apart nor looked up.
//!
//! Invariant: an image stands for entries that were read, parsed and found whole, and a file is said to have them only if every byte of
//! it that is no value is the same. Numbers of keys are as if the files had been parsed one after the other. Must not touch files.

use std::sync::Arc;

use metricsd_shard::{
    FileKind, HEADER_LEN_BYTES, TIMESTAMP_LEN_BYTES, VALUE_LEN_BYTES, encode_entry, encode_header,
};

use super::layout::Layout;
use crate::merge::Catalog;

/// So many new files are worth an image of what two of them have.
pub(super) const FILES_MIN: usize = 8;

/// Images in one reading. Each has all files looked at that are still new, which pays for a few programs and not for a thousand.
pub(super) const IMAGES_MAX: usize = 16;

/// What stands behind each key and its blanks.
const VALUE_AND_TIMESTAMP_LEN_BYTES: usize = VALUE_LEN_BYTES + TIMESTAMP_LEN_BYTES;

/// The bytes of a file without its values.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) kind: FileKind,
    pub(super) layout: Arc<Layout>,
    /// Where the next entry would start.
    pub(super) end: usize,
    /// All of it, as little-endian words.
    pub(super) words: Vec<u64>,
}

impl Image {
    /// None: between its entries, or behind them, a file of this layout has something else, or it has no entries.
    pub(super) fn of(
        kind: FileKind,
        layout: &Arc<Layout>,
        end: usize,
        catalog: &Catalog,
    ) -> Option<Image> {
        if layout.len() == 0 {
            return None;
        }
        let mut words = Vec::with_capacity(end / size_of::<u64>());
        let mut push = |bytes: &[u8]| {
            let (chunks, _) = bytes.as_chunks();
            words.extend(chunks.iter().map(|word| u64::from_le_bytes(*word)));
            words.len() * size_of::<u64>()
        };
        let mut len_bytes = push(&encode_header(HEADER_LEN_BYTES));
        for (&key, &offset) in layout.keys.iter().zip(&layout.offsets) {
            let entry = encode_entry(&catalog.spelling(key), 0.0, 0.0);
            let behind_value = len_bytes + entry.len() - offset as usize;
            len_bytes = push(&entry);
            if behind_value != VALUE_AND_TIMESTAMP_LEN_BYTES {
                return None;
            }
        }
        (len_bytes == end).then(|| Image {
            kind,
            layout: Arc::clone(layout),
            end,
            words,
        })
    }
}
