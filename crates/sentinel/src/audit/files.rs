//! The files of an audit: their names, and where the chain in them stands.
//!
//! Invariant: names sort as their numbers do; a file that was left is never written to again. Must not touch: clocks.

use super::error::{AuditError, failed};
use super::frame::{self, LINE_LEN_MAX_BYTES, Link};
use super::{DAY_MS, ROTATE_LEN_BYTES};
use crate::gateway::intent_log::error::Operation;
use crate::gateway::intent_log::storage::Storage;

const PREFIX: &str = "audit-";
const SUFFIX: &str = ".jsonl";
const NUMBER_LEN: usize = 10;
/// Longest file that is read for its end; one is left long before.
const FILE_LEN_MAX_BYTES: u64 = ROTATE_LEN_BYTES + 2 * LINE_LEN_MAX_BYTES as u64;

/// The name of a file: its number, which orders it, and its UTC day, for people.
pub(super) fn name(number: u64, at_ms: i64) -> String {
    let day = jiff::Timestamp::from_millisecond(at_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let day = day.strftime("%Y-%m-%d");
    format!("{PREFIX}{number:0NUMBER_LEN$}-{day}{SUFFIX}")
}

/// The number in a name; none if it is no file of an audit.
pub(super) fn number(name: &str) -> Option<u64> {
    let rest = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let (digits, day) = rest.split_at_checked(NUMBER_LEN)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && day.starts_with('-')).then(|| digits.parse().ok())?
}

/// Names of files of an audit, oldest first.
pub(super) fn in_order(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<_> = names
        .into_iter()
        .filter(|name| number(name).is_some())
        .collect();
    names.sort_unstable();
    names
}

/// Days since the epoch, UTC.
pub(super) fn day(at_ms: i64) -> i64 {
    at_ms.div_euclid(DAY_MS)
}

/// The last line that can be believed, durable from now on; and the number of the next file.
pub(super) fn end<S: Storage>(storage: &S) -> Result<(Link, u64), AuditError> {
    let names = in_order(storage.list().map_err(failed(Operation::List, "."))?);
    let newest = names.last().and_then(|name| number(name)).unwrap_or(0);
    for name in names.iter().rev() {
        let bytes = storage
            .read(name, FILE_LEN_MAX_BYTES)
            .map_err(failed(Operation::Read, name))?;
        let mut lines = bytes.rsplit(|byte| *byte == b'\n');
        let Some(line) = lines.find_map(|line| frame::decode(line).ok()) else {
            continue;
        };
        // Its writer may have ended before it was: what follows it must not outlive it.
        storage
            .sync_name(name)
            .map_err(failed(Operation::SyncFile, name))?;
        return Ok((line.own, newest + 1));
    }
    Ok((Link::START, newest + 1))
}
