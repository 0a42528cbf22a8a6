//! Frames: how records lie in a file, so that a torn or damaged one is seen and the next one found again.
//!
//! ```text
//! magic 4 | CRC-32 4 | length 4 | place 4 | sequence 8 | payload
//! ```
//! Records that are made durable together are a *group*: `place` counts within it and its highest bit marks the last one.
//!
//! Invariant: [`scan`] gives only frames whose checksum is right and which fit between the ones before them; any bytes are
//! scanned without a panic. Pure.

use crc32fast::Hasher;

/// Opens each frame. Text is UTF-8 and has neither of the outer bytes, so no label value can look like a frame.
pub(super) const MAGIC: [u8; 4] = [0xff, b'm', b'd', 0xfe];
/// Bytes before the payload.
pub(super) const HEADER_LEN_BYTES: usize = 24;
/// Longest payload. A greater length is damage.
pub(super) const PAYLOAD_LEN_MAX_BYTES: usize = 64 << 20;
/// Longest record: the entries of the longest shard that is read, twice over. Half a payload, so that a block of a checkpoint
/// has room for whatever one record brought.
pub(super) const RECORD_LEN_MAX_BYTES: usize = PAYLOAD_LEN_MAX_BYTES / 2;
/// In `place`: the last frame of its group.
const LAST: u32 = 1 << 31;

const _: () = assert!(PAYLOAD_LEN_MAX_BYTES < u32::MAX as usize);

/// What stands in a frame's header besides the checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the record.
    pub(super) sequence: u64,
    /// Position in its group, from 0.
    pub(super) index: u32,
    /// Whether the group ends with it.
    pub(super) is_last: bool,
}

impl Place {
    /// Number of the first record of the group: all before it were durable when this was written.
    pub(super) fn group_first(self) -> u64 {
        self.sequence.saturating_sub(self.index.into())
    }
}

/// A frame that was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    /// Where it begins.
    pub(super) offset: usize,
    /// Its header.
    pub(super) place: Place,
    /// Its payload.
    pub(super) payload: &'a [u8],
}

/// A stretch of bytes that are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Where it begins.
    pub(super) offset: usize,
    /// How long it is.
    pub(super) len_bytes: usize,
}

/// Everything in a file, in order.
#[derive(Debug, Default)]
pub(super) struct Scanned<'a> {
    /// The frames.
    pub(super) frames: Vec<Frame<'a>>,
    /// What lies between and behind them.
    pub(super) damage: Vec<Stretch>,
}

/// Appends a frame.
pub(super) fn put_frame(out: &mut Vec<u8>, place: Place, payload: &[u8]) {
    let len = u32::try_from(payload.len()).expect("who builds a payload keeps it below the limit");
    let index = place.index | if place.is_last { LAST } else { 0 };
    let mut header = [0; HEADER_LEN_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&len.to_le_bytes());
    header[12..16].copy_from_slice(&index.to_le_bytes());
    header[16..].copy_from_slice(&place.sequence.to_le_bytes());
    let checksum = checksum(&header, payload);
    header[4..8].copy_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
}

/// Finds all frames. After bytes that are none, the next place is taken where a whole frame lies with the right checksum and
/// a number that can follow.
pub(super) fn scan(bytes: &[u8]) -> Scanned<'_> {
    let mut scanned = Scanned::default();
    let (mut at, mut damaged_from) = (0, None);
    while at < bytes.len() {
        let frame = frame_at(bytes, at).filter(|frame| {
            let skipped = damaged_from.map_or(0, |from| at - from);
            can_follow(scanned.frames.last(), frame, skipped)
        });
        match frame {
            Some(frame) => {
                if let Some(from) = damaged_from.take() {
                    scanned.damage.push(Stretch {
                        offset: from,
                        len_bytes: at - from,
                    });
                }
                at += HEADER_LEN_BYTES + frame.payload.len();
                scanned.frames.push(frame);
            }
            None => {
                damaged_from.get_or_insert(at);
                at = next_magic(bytes, at + 1);
            }
        }
    }
    if let Some(from) = damaged_from {
        scanned.damage.push(Stretch {
            offset: from,
            len_bytes: bytes.len() - from,
        });
    }
    scanned
}

/// Whether a frame can stand behind another one with so many damaged bytes between: the damage held at most as many frames
/// as there is room for. What looks like a frame inside a payload fails this, and so do frames of an older use of the space.
fn can_follow(before: Option<&Frame<'_>>, frame: &Frame<'_>, skipped_len: usize) -> bool {
    let Some(before) = before else { return true };
    let missing_max = (skipped_len / HEADER_LEN_BYTES) as u64;
    // A frame may repeat the number of the file's first one, which carries no record.
    match frame.place.sequence.checked_sub(before.place.sequence) {
        Some(0) => true,
        Some(distance) => distance - 1 <= missing_max,
        None => false,
    }
}

fn frame_at(bytes: &[u8], at: usize) -> Option<Frame<'_>> {
    let (header, rest) = bytes.get(at..)?.split_first_chunk::<HEADER_LEN_BYTES>()?;
    if header[..4] != MAGIC {
        return None;
    }
    let len = word(header, 8) as usize;
    if len > PAYLOAD_LEN_MAX_BYTES {
        return None;
    }
    let payload = rest.get(..len)?;
    if word(header, 4) != checksum(header, payload) {
        return None;
    }
    let sequence = u64::from(word(header, 16)) | u64::from(word(header, 20)) << 32;
    let index = word(header, 12);
    let place = Place {
        sequence,
        index: index & !LAST,
        is_last: index & LAST != 0,
    };
    Some(Frame {
        offset: at,
        place,
        payload,
    })
}

fn word(header: &[u8; HEADER_LEN_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

/// Over everything but the magic and the checksum itself.
fn checksum(header: &[u8; HEADER_LEN_BYTES], payload: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&header[8..]);
    hasher.update(payload);
    hasher.finalize()
}

/// Where the next frame may begin, from `from` on; the end if nowhere.
fn next_magic(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let found = rest.windows(MAGIC.len()).position(|window| window == MAGIC);
    found.map_or(bytes.len(), |position| from + position)
}
