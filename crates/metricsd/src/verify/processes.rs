//! Which processes listen, and which ones write shards: what `lsof` and `ss` would be asked for, from procfs.
//!
//! Invariant: nothing is guessed: a process whose files may not be seen is counted as hidden, never taken for one that has none. A
//! process is told from a later one of the same PID by its start. No lease is taken: the daemon's own would be disturbed. Reads only.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use metricsd_shard::ShardName;
use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, MMPermissions, MMapPath, Process, all_processes};

use crate::verify::evidence::redact;

/// A process, as far as a report needs it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Process ID.
    pub pid: i32,
    /// Start in clock ticks since boot: tells it from a later one of the same PID.
    pub start_ticks: u64,
    /// The program's file.
    pub program: PathBuf,
    /// The command line without secrets.
    pub command: String,
}

impl Seen {
    /// What procfs says of a process; none when it is gone.
    pub fn of(process: &Process) -> Option<Seen> {
        let start_ticks = process.stat().ok()?.starttime;
        let words = process.cmdline().unwrap_or_default();
        Some(Seen {
            pid: process.pid,
            start_ticks,
            program: process.exe().unwrap_or_default(),
            command: redact(words.iter().map(String::as_str)),
        })
    }

    /// The file name of its program, also after that file was replaced by a newer one.
    pub fn program_name(&self) -> String {
        let name = self.program.file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        name.strip_suffix(" (deleted)").unwrap_or(&name).to_owned()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} ({})", self.pid, self.command)
    }
}

/// Who has the listening sockets of a port.
#[derive(Debug, Default)]
pub struct PortLook {
    /// Listening sockets.
    pub sockets: usize,
    /// The processes that have them open.
    pub owners: BTreeSet<Seen>,
    /// The users of sockets whose processes may not be seen.
    pub hidden_uids: BTreeSet<u32>,
}

/// Looks for everybody who listens on this port of this address, wildcards included.
pub fn listeners_on(address: IpAddr, port: u16) -> io::Result<PortLook> {
    let mut table = procfs::net::tcp().map_err(io::Error::other)?;
    // A kernel without IPv6 has no second table.
    table.extend(procfs::net::tcp6().unwrap_or_default());
    let answers = |entry: &&TcpNetEntry| {
        let ip = entry.local_address.ip().to_canonical();
        entry.state == TcpState::Listen
            && entry.local_address.port() == port
            && (ip == address.to_canonical() || ip.is_unspecified() || address.is_unspecified())
    };
    let uid_of: HashMap<u64, u32> = table
        .iter()
        .filter(answers)
        .map(|entry| (entry.inode, entry.uid))
        .collect();
    let mut look = PortLook {
        sockets: uid_of.len(),
        ..PortLook::default()
    };
    let mut found: HashSet<u64> = HashSet::new();
    for process in all_processes().map_err(io::Error::other)?.flatten() {
        let mine: Vec<u64> = sockets_of(&process)
            .unwrap_or_default()
            .into_iter()
            .filter(|inode| uid_of.contains_key(inode))
            .collect();
        if !mine.is_empty()
            && let Some(seen) = Seen::of(&process)
        {
            found.extend(mine);
            look.owners.insert(seen);
        }
    }
    look.hidden_uids = uid_of
        .iter()
        .filter(|(inode, _)| !found.contains(inode))
        .map(|(_, uid)| *uid)
        .collect();
    Ok(look)
}

/// The TCP addresses on which a process listens, in its own network namespace.
///
/// # Errors
/// It is gone, or its files may not be seen.
pub fn listening_addresses(pid: i32) -> io::Result<Vec<String>> {
    let process = Process::new(pid).map_err(io::Error::other)?;
    let own: HashSet<u64> = sockets_of(&process)?.into_iter().collect();
    let mut table = process.tcp().map_err(io::Error::other)?;
    table.extend(process.tcp6().unwrap_or_default());
    Ok(table
        .iter()
        .filter(|entry| entry.state == TcpState::Listen && own.contains(&entry.inode))
        .map(|entry| entry.local_address.to_string())
        .collect())
}

fn sockets_of(process: &Process) -> io::Result<Vec<u64>> {
    let files = process.fd().map_err(io::Error::other)?;
    Ok(files
        .flatten()
        .filter_map(|file| match file.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        })
        .collect())
}

/// A shard that a directory lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedShard {
    /// Its name.
    pub name: String,
    /// Its length.
    pub len_bytes: u64,
    device: u64,
    inode: u64,
}

/// What a look into a shard directory shows, without a lease.
#[derive(Debug, Default)]
pub struct DirectoryLook {
    /// The shards, by name.
    pub shards: Vec<ListedShard>,
    /// The processes that have one of them mapped for writing.
    pub writers: BTreeSet<Seen>,
    /// Processes whose mappings may not be seen.
    pub hidden: usize,
}

/// The command that finds who writes there.
pub fn writers_of(directory: &Path) -> String {
    format!(
        "grep -lE 'rw-s .* {}/' /proc/[0-9]*/maps",
        directory.display()
    )
}

/// Looks into a shard directory, and at who writes there.
///
/// # Errors
/// It cannot be listed, or there is no procfs.
pub fn look_into(directory: &Path) -> io::Result<DirectoryLook> {
    let mut look = DirectoryLook::default();
    for entry in fs::read_dir(directory)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // What vanished since it was listed is none any more.
        if ShardName::parse(&name).is_ok()
            && let Ok(metadata) = entry.metadata()
        {
            look.shards.push(ListedShard {
                name,
                len_bytes: metadata.len(),
                device: metadata.dev(),
                inode: metadata.ino(),
            });
        }
    }
    look.shards.sort_by(|a, b| a.name.cmp(&b.name));
    let by_inode: HashMap<u64, &ListedShard> = look
        .shards
        .iter()
        .map(|shard| (shard.inode, shard))
        .collect();
    for process in all_processes().map_err(io::Error::other)?.flatten() {
        match writes_any(&process, &by_inode) {
            Ok(true) => look.writers.extend(Seen::of(&process)),
            Ok(false) => {}
            Err(procfs::ProcError::PermissionDenied(_)) => look.hidden += 1,
            // Gone meanwhile.
            Err(_) => {}
        }
    }
    Ok(look)
}

fn writes_any(process: &Process, shards: &HashMap<u64, &ListedShard>) -> procfs::ProcResult<bool> {
    let writable = MMPermissions::WRITE | MMPermissions::SHARED;
    let maps = process.maps()?;
    Ok(maps.iter().any(|map| {
        let Some(shard) = shards.get(&map.inode) else {
            return false;
        };
        let device = rustix::fs::makedev(map.dev.0.unsigned_abs(), map.dev.1.unsigned_abs());
        // btrfs shows another device here than stat does; there the name decides.
        let same_name = matches!(&map.pathname, MMapPath::Path(path)
            if path.file_name().is_some_and(|name| name.to_string_lossy() == shard.name));
        map.perms.contains(writable) && (device == shard.device || same_name)
    }))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn a_listener_of_ours_is_found_by_port_and_by_process() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let look = listeners_on(address.ip(), address.port()).unwrap();
        let pids: Vec<i32> = look.owners.iter().map(|owner| owner.pid).collect();
        assert_eq!((look.sockets, pids), (1, vec![std::process::id() as i32]));
        let own = listening_addresses(std::process::id() as i32).unwrap();
        assert!(own.contains(&address.to_string()), "{own:?}");
        drop(listener);
        let look = listeners_on(address.ip(), address.port()).unwrap();
        assert_eq!((look.sockets, look.owners.len()), (0, 0));
    }

    #[test]
    fn a_shard_that_nobody_has_mapped_has_no_writer() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("counter_1.db"), [0; 8]).unwrap();
        fs::write(folder.path().join("process_1.json"), "{}").unwrap();
        let look = look_into(folder.path()).unwrap();
        let names: Vec<&str> = look.shards.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["counter_1.db"]);
        assert!(look.writers.is_empty(), "{:?}", look.writers);
    }
}
