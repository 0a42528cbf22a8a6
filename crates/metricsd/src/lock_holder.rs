//! Who holds the lock on a directory: for a message that a person can act on.
//!
//! Invariant: nothing is guessed. Where procfs does not tell (another PID namespace, no permission) it is another process.
//! Must not touch: anything but procfs.

use std::fmt;
use std::fs;

use program::terminal::printable;

/// A command line is cut to this many characters.
const COMMAND_LEN_MAX_CHARS: usize = 160;

/// A process that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockHolder {
    /// Known.
    Process {
        /// Its process ID.
        pid: u32,
        /// Its command line.
        command: String,
    },
    /// It cannot be told which.
    Unknown,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockHolder::Process { pid, command } => write!(f, "process {pid} ({command})"),
            LockHolder::Unknown => f.write_str("another process"),
        }
    }
}

/// How often the list of locks is read before nobody is said to hold one. It comes in pages, and the kernel counts lines from the start
/// for each: a lock that is given up between two pages takes a later line with it.
const READINGS_MAX: usize = 4;

/// The process ID of who holds a `flock` on this inode. None: nobody, or nobody who can be seen from here.
pub(crate) fn holder_pid(device: u64, inode: u64) -> Option<u32> {
    (0..READINGS_MAX)
        .find_map(|_| holder_in(&fs::read_to_string("/proc/locks").ok()?, device, inode))
}

/// The process that holds a `flock` on this inode.
pub(crate) fn find_holder(device: u64, inode: u64) -> LockHolder {
    let Some(pid) = holder_pid(device, inode) else {
        return LockHolder::Unknown;
    };
    match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(raw) if !raw.is_empty() => LockHolder::Process {
            pid,
            command: readable(&raw),
        },
        _ => LockHolder::Unknown,
    }
}

/// The PID in the line of `/proc/locks` for this inode: `1: FLOCK ADVISORY WRITE 4711 fe:00:1234 0 EOF`, device in hex.
fn holder_in(locks: &str, device: u64, inode: u64) -> Option<u32> {
    let device = format!(
        "{:02x}:{:02x}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    let of_inode = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let is_lock = fields.next() == Some("FLOCK");
        let (pid, place) = (fields.nth(2)?, fields.next()?);
        let (found_device, found_inode) = place.rsplit_once(':')?;
        let matches = is_lock && found_inode.parse() == Ok(inode);
        matches.then(|| {
            (
                found_device == device,
                pid.parse().ok().filter(|&pid: &u32| pid != 0),
            )
        })
    };
    let candidates: Vec<(bool, Option<u32>)> = locks.lines().filter_map(of_inode).collect();
    // btrfs shows another device here than stat does; a single candidate is still the one.
    match candidates.iter().find(|(same_device, _)| *same_device) {
        Some((_, pid)) => *pid,
        None if candidates.len() == 1 => candidates[0].1,
        None => None,
    }
}

pub(crate) fn readable(raw: &[u8]) -> String {
    let words = String::from_utf8_lossy(raw);
    let text = words.trim_end_matches('\0').replace('\0', " ");
    printable(&text.chars().take(COMMAND_LEN_MAX_CHARS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_by_device_and_inode() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 fe:00:99 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 8 fe:01:99 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 9 fe:00:99 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 10 fe:00:99 0 EOF\n";
        let device = rustix::fs::makedev(0xfe, 0);
        assert_eq!(holder_in(locks, device, 99), Some(9));
        assert_eq!(holder_in(locks, device, 98), None);
        assert_eq!(
            holder_in("1: FLOCK ADVISORY WRITE 0 fe:00:99 0 EOF", device, 99),
            None,
            "another PID namespace"
        );
        assert_eq!(
            holder_in("1: FLOCK ADVISORY WRITE 5 00:2a:99 0 EOF", device, 99),
            Some(5),
            "btrfs"
        );
    }

    #[test]
    fn a_command_line_cannot_break_the_message() {
        assert_eq!(
            readable(b"metricsd\0serve\0\x1b[31m\n\0"),
            "metricsd serve \\u{1b}[31m\\n"
        );
    }
}
