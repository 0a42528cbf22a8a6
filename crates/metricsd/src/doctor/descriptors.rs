//! What a process's descriptors are: sockets that listen, files that are open for writing.
//!
//! Invariant: no descriptor is followed; procfs describes it. Where that does not tell, it is a writer. Must not touch: anything but
//! procfs.

use std::collections::HashSet;
use std::path::Path;

use super::processes::read_bounded;

/// `socket:[4711]`.
pub(super) fn socket_inode(link: &Path) -> Option<u64> {
    let text = link.to_str()?;
    text.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// Inodes of the TCP sockets that listen in the network namespace of a process.
pub(super) fn listening_sockets(pid: u32) -> HashSet<u64> {
    const LISTENING: &str = "0A";
    let tables = ["tcp", "tcp6"].map(|name| {
        let raw = read_bounded(&format!("/proc/{pid}/net/{name}"), 16 << 20);
        String::from_utf8_lossy(&raw.unwrap_or_default()).into_owned()
    });
    let of_line = |line: &str| {
        let mut fields = line.split_whitespace().skip(3);
        let state = fields.next()?;
        let inode = fields.nth(5)?.parse().ok()?;
        (state == LISTENING).then_some(inode)
    };
    tables
        .iter()
        .flat_map(|table| table.lines())
        .filter_map(of_line)
        .collect()
}

/// Whether a descriptor is open for writing, as `flags` in its `fdinfo` says.
pub(super) fn is_writer(pid: u32, number: &str) -> bool {
    const ACCESS_MODE: u32 = 3;
    let raw = read_bounded(&format!("/proc/{pid}/fdinfo/{number}"), 4096).unwrap_or_default();
    let text = String::from_utf8_lossy(&raw);
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_none_or(|flags| flags & ACCESS_MODE != 0)
}
