//! Reads a shard's bytes. Pure and total: any bytes give a valid prefix of entries and, where something is wrong, a typed
//! damage; never a panic.
//!
//! Must not touch files or the clock, nor allocate by unchecked input: a length is believed only within the bytes at hand.

use thiserror::Error;

use crate::file::READ_LEN_MAX_BYTES;
use crate::key;
use crate::layout::{
    HEADER_LEN_BYTES, KEY_LENGTH_LEN_BYTES, VALUE_LEN_BYTES, entry_len_bytes, value_offset_bytes,
};
use crate::old_format::{self, StrandedEntry};

/// Every word that `reason` of [`Damage`], [`OpenError`](crate::OpenError), [`ReadError`](crate::ReadError) and
/// [`NameError`](crate::NameError) can give.
pub const REASONS: [&str; 8] = [
    "empty",
    "short",
    "truncated",
    "bad_key",
    "bad_type",
    "permission",
    "not_regular",
    "too_large",
];

/// One entry of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The key's bytes without padding. They are a valid key: [`Key::parse`](crate::Key::parse) accepts them.
    pub key: &'a [u8],
    /// Where the value stands in the file (f64, little-endian); the timestamp is 8 bytes further.
    pub value_offset: usize,
}

/// What is wrong with a shard. What was read before it stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Damage {
    /// No bytes, or a header that was never written: a writer is about to begin, or died before it did.
    #[error("empty; its writer has not begun or died before it did")]
    Empty,
    /// Fewer bytes than a header.
    #[error("{len_bytes} bytes; a shard has at least {HEADER_LEN_BYTES}")]
    Short {
        /// How many there are.
        len_bytes: usize,
    },
    /// The used length cannot be one: negative, or not a whole number of entries.
    #[error("the used length says {used}, which no writer writes")]
    BadUsed {
        /// What it says.
        used: i32,
    },
    /// The used length says more than the file has, or more than its entries lead to.
    #[error("the used length says {used_len_bytes} bytes, of which {len_bytes} could be read")]
    Truncated {
        /// What it says.
        used_len_bytes: usize,
        /// What is there.
        len_bytes: usize,
    },
    /// Fewer bytes are in use than an earlier call has parsed: the file was cut or overwritten.
    #[error("{len_bytes} bytes in use, {from} were before; the file was cut or overwritten")]
    Shrunk {
        /// Where the earlier call ended.
        from: usize,
        /// How many bytes are in use now.
        len_bytes: usize,
    },
    /// An entry reaches beyond the used length.
    #[error("the entry at byte {offset} reaches beyond the {used_len_bytes} bytes in use")]
    Overrun {
        /// Where the entry begins.
        offset: usize,
        /// The used length.
        used_len_bytes: usize,
    },
    /// The length of a key is zero or negative.
    #[error("the key at byte {offset} has the length {key_len}")]
    BadKeyLength {
        /// Where the entry begins.
        offset: usize,
        /// What the length says.
        key_len: i32,
    },
    /// Keys that are not valid were skipped; the other entries stand.
    #[error("the key at byte {offset} is not valid, {count} such in all")]
    BadKey {
        /// Where the first entry with such a key begins.
        offset: usize,
        /// How many entries were skipped.
        count: usize,
    },
    /// Written by a release before 0.18; nothing of it is served.
    #[error(
        "written by prometheus_client before 0.18, whose files have no timestamps; update the writer and remove the file"
    )]
    OldFormat,
    /// More bytes in use than are read; the entries up to the limit stand.
    #[error("{used_len_bytes} bytes in use; only the first {limit_bytes} are read")]
    TooLarge {
        /// What the header says.
        used_len_bytes: usize,
        /// What is read.
        limit_bytes: usize,
    },
}

impl Damage {
    /// The word for the metric of unreadable shards, one of [`REASONS`].
    pub fn reason(&self) -> &'static str {
        match self {
            Damage::Empty => "empty",
            Damage::Short { .. } => "short",
            Damage::BadUsed { .. }
            | Damage::Truncated { .. }
            | Damage::Shrunk { .. }
            | Damage::Overrun { .. } => "truncated",
            Damage::BadKeyLength { .. } | Damage::BadKey { .. } | Damage::OldFormat => "bad_key",
            Damage::TooLarge { .. } => "too_large",
        }
    }
}

/// What [`parse_from`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// Entries in file order. A key may occur twice: counters add up, of a gauge the last one holds.
    pub entries: Vec<Entry<'a>>,
    /// Where the next entry would start; the `from` of the next call.
    pub end: usize,
    /// What is wrong, if anything.
    pub damage: Option<Damage>,
}

/// Parses the entries of `bytes` (the file from its first byte) from the offset `from` on: [`HEADER_LEN_BYTES`] the first
/// time, then the `end` of the call before, so that every key is parsed once in the life of a file.
///
/// Damage is that of *this* call: a bad key is reported by the call that passes it. After [`Damage::Shrunk`] nothing known
/// from earlier calls holds any more; parse again from the start.
pub fn parse_from(bytes: &[u8], from: usize) -> Parsed<'_> {
    parse_knowing(bytes, from, |_, _| false)
}

/// [`parse_from`] for who knows of many keys that they are valid, because the same bytes were a key before: `is_known` is given an entry,
/// and its index among those of this call, and says so. Whoever says it of others gets what he said.
pub fn parse_knowing<'a>(
    bytes: &'a [u8],
    from: usize,
    is_known: impl Fn(usize, &Entry<'a>) -> bool,
) -> Parsed<'a> {
    let from = from.max(HEADER_LEN_BYTES);
    let nothing = |damage| Parsed {
        entries: Vec::new(),
        end: from,
        damage: Some(damage),
    };
    let used_len_bytes = match used_len(bytes) {
        Ok(used) => used,
        Err(damage) => return nothing(damage),
    };
    let in_use = &bytes[..used_len_bytes.min(bytes.len())];
    if from > in_use.len() {
        return nothing(Damage::Shrunk {
            from,
            len_bytes: in_use.len(),
        });
    }
    let walk = Walk::run(in_use, from, is_known);
    // Entries that lead exactly to the used length are of today's layout, whatever their timestamps look like.
    let is_clean = walk.end == used_len_bytes && walk.bad_key_count == 0;
    let file_is_whole = used_len_bytes <= bytes.len();
    if from == HEADER_LEN_BYTES && !is_clean && walk.looks_old(in_use, file_is_whole) {
        return nothing(Damage::OldFormat);
    }
    // A length that no byte behind it can mend comes first: reading ends at it, so that bytes may be missing by our choice.
    let damage = walk
        .bad_length(in_use)
        .or_else(|| missing_bytes(bytes.len(), used_len_bytes))
        .or_else(|| walk.overrun(in_use))
        .or_else(|| {
            walk.first_bad_key.map(|offset| Damage::BadKey {
                offset,
                count: walk.bad_key_count,
            })
        });
    Parsed {
        entries: walk.entries,
        end: walk.end,
        damage,
    }
}

/// The used length, if it can be one.
fn used_len(bytes: &[u8]) -> Result<usize, Damage> {
    if bytes.is_empty() {
        return Err(Damage::Empty);
    }
    if bytes.len() < HEADER_LEN_BYTES {
        return Err(Damage::Short {
            len_bytes: bytes.len(),
        });
    }
    let used = i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    match usize::try_from(used) {
        // Python makes the file long before it writes the header.
        Ok(0) => Err(Damage::Empty),
        Ok(used_len_bytes) if used_len_bytes >= HEADER_LEN_BYTES => Ok(used_len_bytes),
        _ => Err(Damage::BadUsed { used }),
    }
}

/// Bytes that are in use but not here: because the file was cut, or because no more of it is read.
fn missing_bytes(len_bytes: usize, used_len_bytes: usize) -> Option<Damage> {
    if used_len_bytes <= len_bytes {
        None
    } else if len_bytes >= READ_LEN_MAX_BYTES {
        Some(Damage::TooLarge {
            used_len_bytes,
            limit_bytes: READ_LEN_MAX_BYTES,
        })
    } else {
        Some(Damage::Truncated {
            used_len_bytes,
            len_bytes,
        })
    }
}

/// One walk over the entries, as far as their lengths lead.
struct Walk<'a> {
    entries: Vec<Entry<'a>>,
    from: usize,
    /// Where the walk stopped: at the end of the bytes in use, or at an entry whose length leads nowhere.
    end: usize,
    first_bad_key: Option<usize>,
    bad_key_count: usize,
    /// Whether some entry has the start of a key where its timestamp should be.
    timestamp_is_a_key: bool,
}

impl<'a> Walk<'a> {
    fn run(
        in_use: &'a [u8],
        from: usize,
        is_known: impl Fn(usize, &Entry<'a>) -> bool,
    ) -> Walk<'a> {
        let mut walk = Walk {
            entries: Vec::new(),
            from,
            end: from,
            first_bad_key: None,
            bad_key_count: 0,
            timestamp_is_a_key: false,
        };
        while let Some(key) = key_at(in_use, walk.end) {
            let value_offset = walk.end + value_offset_bytes(key.len());
            let entry_end = walk.end + entry_len_bytes(key.len());
            if entry_end > in_use.len() {
                break;
            }
            let entry = Entry { key, value_offset };
            if is_known(walk.entries.len(), &entry) || key::is_whole(key) {
                let timestamp = &in_use[value_offset + VALUE_LEN_BYTES..entry_end];
                walk.timestamp_is_a_key |= old_format::timestamp_is_a_key(timestamp);
                walk.entries.push(entry);
            } else {
                walk.first_bad_key.get_or_insert(walk.end);
                walk.bad_key_count += 1;
            }
            walk.end = entry_end;
        }
        walk
    }

    /// Only for a walk that is not clean.
    fn looks_old(&self, in_use: &[u8], file_is_whole: bool) -> bool {
        if self.timestamp_is_a_key {
            return true;
        }
        let offset = self.from;
        key_at(in_use, offset).is_some_and(|key| {
            let is_stranded =
                self.end < in_use.len() && self.end <= offset + entry_len_bytes(key.len());
            is_stranded
                && old_format::is_old(
                    in_use,
                    &StrandedEntry {
                        key,
                        offset,
                        file_is_whole,
                    },
                )
        })
    }

    /// The length that stopped the walk, if it is none.
    fn bad_length(&self, in_use: &[u8]) -> Option<Damage> {
        let offset = self.end;
        key_len_at(in_use, offset)
            .filter(|&key_len| key_len <= 0)
            .map(|key_len| Damage::BadKeyLength { offset, key_len })
    }

    /// The entry that stopped the walk because it reaches beyond the bytes in use.
    fn overrun(&self, in_use: &[u8]) -> Option<Damage> {
        (self.end < in_use.len()).then_some(Damage::Overrun {
            offset: self.end,
            used_len_bytes: in_use.len(),
        })
    }
}

fn key_len_at(in_use: &[u8], offset: usize) -> Option<i32> {
    in_use
        .get(offset..)?
        .first_chunk()
        .map(|length| i32::from_le_bytes(*length))
}

/// The key of the entry at `offset`, if its length is one and all of it is there.
fn key_at(in_use: &[u8], offset: usize) -> Option<&[u8]> {
    let key_len = usize::try_from(key_len_at(in_use, offset)?)
        .ok()
        .filter(|&key_len| key_len > 0)?;
    in_use[offset + KEY_LENGTH_LEN_BYTES..].get(..key_len)
}

/// Value and timestamp (unix seconds, 0 if never set) at an entry's `value_offset`; NaN and 0 beyond the end of `bytes`.
pub fn read_value(bytes: &[u8], value_offset: usize) -> (f64, f64) {
    let word = |offset: usize| Some(f64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?));
    (
        word(value_offset).unwrap_or(f64::NAN),
        word(value_offset.saturating_add(VALUE_LEN_BYTES)).unwrap_or(0.0),
    )
}
