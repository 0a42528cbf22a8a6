//! One record as one line: JSON with its own checksum in front, the same form as the events of a shadow session.
//!
//! Invariant: a line is believed only if its checksum is right and all of it is understood. Must not touch: storage.

use serde::{Deserialize, Serialize};

use super::record::Record;

const CRC_PREFIX: &[u8] = br#"{"crc32":""#;
/// Longest line with its end; a snapshot is the longest.
pub(super) const LINE_LEN_MAX_BYTES: usize = 256 << 10;

#[derive(Serialize, Deserialize)]
struct Body<R> {
    seq: u64,
    record: R,
}

/// A line with its end; none if it would be too long.
pub(super) fn encode(seq: u64, record: &Record) -> Option<Vec<u8>> {
    let json = serde_json::to_vec(&Body { seq, record }).ok()?;
    let rest = json.get(1..)?;
    let mut line = CRC_PREFIX.to_vec();
    line.extend_from_slice(format!("{:08x}\",", crc32fast::hash(rest)).as_bytes());
    line.extend_from_slice(rest);
    line.push(b'\n');
    (line.len() <= LINE_LEN_MAX_BYTES).then_some(line)
}

/// Sequence number and record of a line without its end, or what is wrong with it.
pub(super) fn decode(line: &[u8]) -> Result<(u64, Record), &'static str> {
    let rest = line.strip_prefix(CRC_PREFIX).ok_or("no checksum")?;
    let (crc, rest) = rest.split_at_checked(8).ok_or("no checksum")?;
    let rest = rest.strip_prefix(b"\",").ok_or("no checksum")?;
    let crc = std::str::from_utf8(crc)
        .ok()
        .and_then(|crc| u32::from_str_radix(crc, 16).ok())
        .ok_or("no checksum")?;
    if crc32fast::hash(rest) != crc {
        return Err("wrong checksum");
    }
    let json = [b"{", rest].concat();
    let body: Body<Record> = serde_json::from_slice(&json).map_err(|_| "no known record")?;
    Ok((body.seq, body.record))
}
