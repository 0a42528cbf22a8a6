//! Who listens on a port, as procfs tells: the socket's inode in `/proc/net/tcp{,6}`, then the process that has it open.
//!
//! Invariant: reads only, answers `None` rather than guess, and never fails: this only improves an error message. Must not touch:
//! anything outside procfs.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// State of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// A command line is shown up to here.
const COMMAND_LEN_MAX_CHARS: usize = 80;

/// Who listens on a busy address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortOwner {
    /// A process whose open files we may see.
    Process {
        /// Process id.
        pid: u32,
        /// Its command line, cut to a readable length, without control characters.
        command: String,
    },
    /// A process of somebody else: only its user is known.
    User {
        /// User id.
        uid: u32,
    },
}

impl fmt::Display for PortOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortOwner::Process { pid, .. } if *pid == std::process::id() => {
                write!(f, "this process (pid {pid})")
            }
            PortOwner::Process { pid, command } => write!(f, "pid {pid} ({command})"),
            PortOwner::User { uid } => write!(
                f,
                "a process of user id {uid} (`ss -ltnp` as root names it)"
            ),
        }
    }
}

/// The listener that keeps `address` from being bound.
pub(super) fn find(address: SocketAddr) -> Option<PortOwner> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let listeners = tables
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok());
    let listener = listeners
        .flat_map(|table| {
            table
                .lines()
                .filter_map(Listener::parse)
                .collect::<Vec<_>>()
        })
        .find(|listener| listener.conflicts_with(address))?;
    let process = process_with_socket(listener.inode);
    Some(match process {
        Some(pid) => PortOwner::Process {
            pid,
            command: command(pid),
        },
        None => PortOwner::User { uid: listener.uid },
    })
}

struct Listener {
    address: SocketAddr,
    uid: u32,
    inode: u64,
}

impl Listener {
    /// `  0: 0100007F:2397 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 12345 1 ...`
    fn parse(line: &str) -> Option<Listener> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (address, port) = fields.next()?.split_once(':')?;
        let state = fields.nth(1)?;
        let uid = fields.nth(3)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        let address = SocketAddr::new(parse_address(address)?, u16::from_str_radix(port, 16).ok()?);
        (state == LISTENING).then_some(Listener {
            address,
            uid,
            inode,
        })
    }

    fn conflicts_with(&self, wanted: SocketAddr) -> bool {
        let (ours, theirs) = (wanted.ip(), self.address.ip().to_canonical());
        // A wildcard of IPv6 usually takes IPv4 too; when it does not, the exact match is found first, in the IPv4 table.
        let overlap = theirs == ours || theirs.is_unspecified() || ours.is_unspecified();
        self.address.port() == wanted.port()
            && overlap
            && (theirs.is_ipv4() == ours.is_ipv4() || ours.is_ipv4())
    }
}

/// The kernel prints each 32-bit word of an address, which is in network order, as a number of the machine's own order.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        hex.get(at..at + 8)
            .and_then(|word| u32::from_str_radix(word, 16).ok())
            .map(u32::from_be)
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from_bits(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            Some(
                Ipv6Addr::from_bits(
                    words
                        .iter()
                        .fold(0, |bits, &word| bits << 32 | u128::from(word)),
                )
                .into(),
            )
        }
        _ => None,
    }
}

fn process_with_socket(inode: u64) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    let pids = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter().find(|pid| {
        let open = fs::read_dir(format!("/proc/{pid}/fd"));
        open.is_ok_and(|open| {
            open.flatten().any(|file| {
                fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
            })
        })
    })
}

fn command(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = if line.is_empty() {
        fs::read(format!("/proc/{pid}/comm")).unwrap_or_default()
    } else {
        line
    };
    let line = String::from_utf8_lossy(&line);
    let shown: String = line
        .trim_end_matches(['\0', '\n'])
        .chars()
        .take(COMMAND_LEN_MAX_CHARS)
        .collect();
    let shown = shown.replace(|c: char| c.is_control(), " ");
    if line.chars().count() > COMMAND_LEN_MAX_CHARS + 1 {
        format!("{shown}...")
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(line: &str) -> Option<(String, u32, u64)> {
        Listener::parse(line).map(|found| (found.address.to_string(), found.uid, found.inode))
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_both_tables_are_read() {
        let v4 = "   1: 0100007F:2397 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0000000000000000 100 0 0 10 0";
        assert_eq!(
            listening(v4),
            Some(("127.0.0.1:9111".to_string(), 1000, 12345))
        );
        let v6 = "   0: 00000000000000000000000001000000:2397 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0000000000000000 100 0 0 10 0";
        assert_eq!(listening(v6), Some(("[::1]:9111".to_string(), 0, 77)));
        let connected = v4.replace(" 0A ", " 01 ");
        assert_eq!(listening(&connected), None);
        assert_eq!(
            listening(
                "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
            ),
            None
        );
        assert_eq!(listening(""), None);
    }

    #[test]
    fn only_an_overlapping_listener_is_blamed() {
        let blamed = |theirs: &str, ours: &str| {
            let address = theirs.parse().expect("an address");
            Listener {
                address,
                uid: 0,
                inode: 0,
            }
            .conflicts_with(ours.parse().expect("an address"))
        };
        assert!(blamed("127.0.0.1:9111", "127.0.0.1:9111"));
        assert!(blamed("0.0.0.0:9111", "127.0.0.1:9111"));
        assert!(blamed("127.0.0.1:9111", "0.0.0.0:9111"));
        assert!(blamed("[::]:9111", "127.0.0.1:9111"));
        assert!(blamed("[::ffff:127.0.0.1]:9111", "127.0.0.1:9111"));
        assert!(blamed("[::1]:9111", "[::]:9111"));
        assert!(!blamed("127.0.0.1:9112", "127.0.0.1:9111"));
        assert!(!blamed("127.0.0.2:9111", "127.0.0.1:9111"));
        assert!(!blamed("127.0.0.1:9111", "[::1]:9111"));
    }
}
