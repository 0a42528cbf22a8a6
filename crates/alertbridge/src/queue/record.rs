//! Records of the journal, and their bytes: `ABR1`, length, CRC-32 of the rest, JSON.
//!
//! Invariant: a record is read as it was written or not at all; what lies between two readable ones is counted, not guessed. Must not touch:
//! files.

use serde::{Deserialize, Serialize};

use crate::payload::{Alert, Header, Status};

/// Before each record: what a search for the next whole one looks for.
const MAGIC: &[u8; 4] = b"ABR1";

/// Magic, length, checksum.
const HEAD_LEN: usize = 12;

/// Longest record; a body of a request is shorter.
const RECORD_LEN_MAX: usize = 256 << 20;

/// What the journal holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Record {
    /// The begin of a file; identities begin at `next_id`.
    Begin { format: u32, next_id: u64 },
    /// Alerts for a target were taken in. The first one has the identity `first_id`, the others those behind it.
    Accepted {
        at: f64,
        target: String,
        first_id: u64,
        header: Header,
        alerts: Vec<Alert>,
    },
    /// A message is about to be sent on a lane.
    Attempted { at: f64, lane: String },
    /// Everything for a target up to this identity has been delivered.
    Delivered { target: String, through: u64 },
    /// What was last taken in of each alert; only at the begin of a file.
    Known { alerts: Vec<KnownAlert> },
}

/// What was last taken in of an alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct KnownAlert {
    pub(super) key: String,
    pub(super) status: Status,
    pub(super) starts_at: String,
    pub(super) at: f64,
}

impl Record {
    /// The record's bytes.
    pub(super) fn encoded(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEAD_LEN];
        // Writing values of these types into memory cannot fail: no maps with other keys than texts, no numbers that JSON lacks.
        serde_json::to_writer(&mut bytes, self).expect("records are plain values");
        let length = u32::try_from(bytes.len() - HEAD_LEN).unwrap_or(u32::MAX);
        let checksum = crc32fast::hash(&bytes[HEAD_LEN..]);
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }
}

/// The record at the begin of these bytes, and its length.
fn first(bytes: &[u8]) -> Option<(Record, usize)> {
    let head: &[u8; HEAD_LEN] = bytes.first_chunk()?;
    let (magic, rest) = head.split_at(4);
    if magic != MAGIC {
        return None;
    }
    let number = |at: usize| {
        rest[at..at + 4]
            .try_into()
            .map(u32::from_le_bytes)
            .expect("four bytes of eight")
    };
    let length = usize::try_from(number(0)).ok()?;
    if length > RECORD_LEN_MAX {
        return None;
    }
    let body = bytes.get(HEAD_LEN..HEAD_LEN + length)?;
    if crc32fast::hash(body) != number(4) {
        return None;
    }
    let record = serde_json::from_slice(body).ok()?;
    Some((record, HEAD_LEN + length))
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Its records, in order.
    pub(super) records: Vec<Record>,
    /// Where the last whole record ends.
    pub(super) end: usize,
    /// Bytes between two records that are none: damage, and not a write that was cut short.
    pub(super) damaged_bytes: usize,
}

/// All records of these bytes.
pub(super) fn decode(bytes: &[u8]) -> Contents {
    let mut contents = Contents::default();
    let mut at = 0;
    while at < bytes.len() {
        if let Some((record, length)) = first(&bytes[at..]) {
            contents.damaged_bytes += at - contents.end;
            at += length;
            contents.end = at;
            contents.records.push(record);
            continue;
        }
        let next = bytes[at + 1..]
            .windows(MAGIC.len())
            .position(|window| window == MAGIC);
        match next {
            Some(offset) => at += 1 + offset,
            None => break,
        }
    }
    contents
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(number: u64) -> Record {
        Record::Delivered {
            target: format!("t{number}"),
            through: number,
        }
    }

    #[test]
    fn a_journal_cut_at_any_byte_gives_the_records_before_the_cut_and_no_damage() {
        let parts: Vec<Vec<u8>> = (0..4).map(|number| record(number).encoded()).collect();
        let whole = parts.concat();
        for end in 0..=whole.len() {
            let contents = decode(&whole[..end]);
            let mut length = 0;
            let before = parts.iter().take_while(|part| {
                length += part.len();
                length <= end
            });
            let count = before.count() as u64;
            assert_eq!(contents.records, (0..count).map(record).collect::<Vec<_>>());
            assert_eq!(contents.damaged_bytes, 0);
        }
    }

    proptest! {
        #[test]
        fn a_flipped_byte_costs_its_own_record_only_and_is_counted(at in 0usize..400, with in 1u8..=255) {
            let parts: Vec<Vec<u8>> = (0..8).map(|number| record(number).encoded()).collect();
            let mut whole = parts.concat();
            let at = at % whole.len();
            whole[at] ^= with;
            let mut end = 0;
            let hit = parts.iter().position(|part| { end += part.len(); at < end }).unwrap() as u64;
            let contents = decode(&whole);
            let expected: Vec<Record> = (0..8).filter(|number| *number != hit).map(record).collect();
            prop_assert_eq!(contents.records, expected);
            let lost = parts[hit as usize].len();
            // Behind the last whole record nobody knows whether it was a write that was cut short.
            prop_assert_eq!(contents.damaged_bytes, if hit == 7 { 0 } else { lost });
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            decode(&bytes);
            decode(&[MAGIC.as_slice(), &bytes].concat());
        }
    }
}
