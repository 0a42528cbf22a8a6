//! One record as one line, in a chain: each line names the hash of the line before it and carries its own.
//!
//! Invariant: a line is believed only if its hash is that of its bytes, and a change of any one byte makes it another. Must not touch:
//! storage, clocks.
//!
//! `{"sha256":"H","prev":"P","seq":N,"record":{...}}`, where H is the SHA-256 of all bytes behind `"H",` up to the end of the line (which
//! is not in it), and P the H of the line before.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::digest::{Digest, HEX_LEN};
use super::record::Record;

const PREFIX: &[u8] = br#"{"sha256":""#;

/// Longest line with its end: many times what a book of the longest message of the gateway takes.
pub const LINE_LEN_MAX_BYTES: usize = 4 << 20;

/// Where a chain stands: the last line of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) sha256: Digest,
    pub(super) seq: u64,
}

impl Link {
    /// Before the first line of all.
    pub(super) const START: Link = Link {
        sha256: Digest::NONE,
        seq: 0,
    };
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<R> {
    prev: Digest,
    seq: u64,
    record: R,
}

/// A line whose hash is right.
#[derive(Debug)]
pub(super) struct Framed {
    pub(super) own: Link,
    pub(super) prev: Digest,
    /// What it holds, or why this program does not understand it.
    pub(super) record: Result<Record, String>,
}

/// The line that follows `prev`, with its end, and where the chain stands then; none if it would be too long.
pub(super) fn encode(prev: Link, record: &Record) -> Option<(Vec<u8>, Link)> {
    let seq = prev.seq.checked_add(1)?;
    let body = Body {
        prev: prev.sha256,
        seq,
        record,
    };
    let json = serde_json::to_vec(&body).ok()?;
    let rest = json.get(1..)?;
    let sha256 = Digest::of(rest);
    let mut line = PREFIX.to_vec();
    line.extend_from_slice(format!("{sha256}\",").as_bytes());
    line.extend_from_slice(rest);
    line.push(b'\n');
    (line.len() <= LINE_LEN_MAX_BYTES).then_some((line, Link { sha256, seq }))
}

/// What a line without its end holds, or what is wrong with it.
pub(super) fn decode(line: &[u8]) -> Result<Framed, &'static str> {
    let (sha256, rest) = line
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_at_checked(HEX_LEN))
        .and_then(|(hex, rest)| Some((Digest::parse(hex)?, rest.strip_prefix(b"\",")?)))
        .ok_or("it does not begin with a hash")?;
    if Digest::of(rest) != sha256 {
        return Err("its hash is not that of its bytes");
    }
    let json = [b"{", rest].concat();
    let (prev, seq, record) = match serde_json::from_slice::<Body<Record>>(&json) {
        Ok(body) => (body.prev, body.seq, Ok(body.record)),
        Err(error) => {
            let body: Body<IgnoredAny> =
                serde_json::from_slice(&json).map_err(|_| "it is no line of an audit")?;
            (body.prev, body.seq, Err(error.to_string()))
        }
    };
    Ok(Framed {
        own: Link { sha256, seq },
        prev,
        record,
    })
}

/// Whether a line without its end may be the beginning of one: as much as was written, and zeros where a length arrived and bytes did not.
pub(super) fn may_begin(line: &[u8]) -> bool {
    let written = line
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(line.len());
    let (head, zeros) = line.split_at(written);
    let shared = head.len().min(PREFIX.len());
    head[..shared] == PREFIX[..shared] && zeros.iter().all(|byte| *byte == 0)
}
