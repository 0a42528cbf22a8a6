//! Every process that procfs shows: who it is, which shard directory its environment names, what it has open there.
//!
//! Invariant: what may not be looked at is counted, never passed over. Paths are followed as the process itself follows them, from
//! its own root and working directory. Must not touch: anything but procfs and the directories that processes name.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use metricsd_shard::{
    DEFAULT_DIRECTORY, DIRECTORY_VARIABLES, LEGACY_DIRECTORY_VARIABLE, ShardName,
};

use super::descriptors::{is_writer, listening_sockets, socket_inode};
use super::maps::Maps;
use super::user::User;
use crate::directory::ShardDirectory;
use crate::lock_holder::readable;
use crate::report::Check;

/// Most processes that are looked at.
const PROCESSES_MAX: usize = 50_000;
/// Most descriptors that are looked at, of all processes together.
const DESCRIPTORS_MAX: usize = 300_000;
/// Longest environment or command line that is read.
const TEXT_LEN_MAX_BYTES: u64 = 2 << 20;
/// The variable that says whether a program of ours writes shards.
const MODE_VARIABLE: &str = "PEAKTRADE_METRICS_MODE";

/// A directory that a variable names.
#[derive(Debug, Clone)]
pub(super) struct Named {
    /// None: the default, in a program that was told to write shards and not where.
    pub(super) variable: Option<&'static str>,
    pub(super) value: PathBuf,
    /// As the process sees it.
    pub(super) path: PathBuf,
    /// Device and inode, if it is there.
    pub(super) place: Option<(u64, u64)>,
    pub(super) is_ours: bool,
}

/// A process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) name: String,
    pub(super) user: User,
    pub(super) arguments: Vec<OsString>,
    pub(super) named: Vec<Named>,
    /// Shards that it has open or mapped read-only.
    pub(super) reads: usize,
    /// Shards that it has open for writing.
    pub(super) writes: usize,
    pub(super) descriptor_count: usize,
    /// Of those with a variable only.
    pub(super) maps: Maps,
    pub(super) is_listening: bool,
    is_environment_hidden: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Processes {
    pub(super) all: Vec<Process>,
    hidden_count: usize,
    is_cut: bool,
}

impl Processes {
    /// Looks at every process but this one. `path` is the shard directory's, and `directory` is that when it is there.
    pub(super) fn scan(path: &Path, directory: Option<&ShardDirectory>) -> Processes {
        let ours = directory.and_then(|directory| {
            let stat = rustix::fs::fstat(directory.as_fd()).ok()?;
            Some((stat.st_dev, stat.st_ino))
        });
        let mut scan = Scan {
            path,
            ours,
            descriptors_left: DESCRIPTORS_MAX,
        };
        let mut processes = Processes::default();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        for pid in pids.filter(|pid| *pid != std::process::id()) {
            if processes.all.len() == PROCESSES_MAX {
                processes.is_cut = true;
                break;
            }
            processes.all.extend(scan.look(pid));
        }
        let hidden = |process: &&Process| process.is_environment_hidden;
        processes.hidden_count = processes.all.iter().filter(hidden).count();
        processes.is_cut |= scan.descriptors_left == 0;
        processes
    }

    /// Those of which a variable names the shard directory.
    pub(super) fn wired(&self) -> impl Iterator<Item = &Process> {
        self.all.iter().filter(|process| process.is_wired())
    }

    /// The process of this ID.
    pub(super) fn get(&self, pid: u32) -> Option<&Process> {
        self.all.iter().find(|process| process.pid == pid)
    }

    /// Whether every process could be looked at.
    pub(super) fn check(&self) -> Vec<Check> {
        let id = "processes";
        if self.all.is_empty() && !Path::new("/proc/self/status").exists() {
            let text = "/proc is not mounted, so nothing is known of other processes";
            return vec![Check::warn(id, text, "mount -t proc proc /proc")];
        }
        let mut checks = Vec::new();
        if self.hidden_count > 0 {
            let next = match rustix::process::geteuid().is_root() {
                true => {
                    "run the doctor with CAP_SYS_PTRACE: outside the container, or with that capability in it"
                }
                false => "run the doctor as root, with the flags and the environment of the daemon",
            };
            checks.push(Check::warn(
                id,
                format!(
                    "the environment of {} processes may not be looked at; what is said of processes leaves them out",
                    self.hidden_count
                ),
                next,
            ));
        }
        if self.is_cut {
            checks.push(Check::warn(
                id,
                format!("more than {PROCESSES_MAX} processes or {DESCRIPTORS_MAX} descriptors; the rest was not looked at"),
                "run the doctor in the container, or PID namespace, of the daemon",
            ));
        }
        let wired = self.wired().count();
        let seen = self.all.len();
        let passed = format!("{seen} processes looked at; {wired} name this shard directory");
        super::findings_or(checks, id, passed)
    }
}

impl Process {
    /// Whether one of its variables names the shard directory.
    pub(super) fn is_wired(&self) -> bool {
        self.named.iter().any(|named| named.is_ours)
    }

    /// The value of a flag, as the next word or behind `=`.
    pub(super) fn flag(&self, name: &str) -> Option<&OsStr> {
        let mut words = self.arguments.iter();
        while let Some(word) = words.next() {
            match word.as_bytes().strip_prefix(name.as_bytes()) {
                Some([]) => return words.next().map(OsString::as_os_str),
                Some([b'=', value @ ..]) => return Some(OsStr::from_bytes(value)),
                _ => {}
            }
        }
        None
    }

    /// For a message.
    pub(super) fn shown(&self) -> String {
        let command: Vec<u8> = self
            .arguments
            .iter()
            .flat_map(|argument| {
                let mut bytes = argument.as_bytes().to_vec();
                bytes.push(0);
                bytes
            })
            .collect();
        format!("process {} ({})", self.pid, readable(&command))
    }

    /// Whether this is one of our daemons or its commands.
    pub(super) fn is_metricsd(&self) -> bool {
        self.name == "metricsd"
    }
}

struct Scan<'a> {
    path: &'a Path,
    ours: Option<(u64, u64)>,
    descriptors_left: usize,
}

impl Scan<'_> {
    /// None: it has ended, or is a thread of the kernel.
    fn look(&mut self, pid: u32) -> Option<Process> {
        let (user, parent, name) = User::of(&pid.to_string())?;
        let arguments =
            words(&read_bounded(&format!("/proc/{pid}/cmdline"), TEXT_LEN_MAX_BYTES).ok()?);
        if arguments.is_empty() {
            return None;
        }
        let environment = read_bounded(&format!("/proc/{pid}/environ"), TEXT_LEN_MAX_BYTES);
        let is_environment_hidden =
            matches!(&environment, Err(err) if err.kind() == io::ErrorKind::PermissionDenied);
        let named = self.named(pid, &environment.unwrap_or_default());
        let mut process = Process {
            pid,
            parent,
            name,
            user,
            arguments,
            named,
            reads: 0,
            writes: 0,
            descriptor_count: 0,
            maps: Maps::default(),
            is_listening: false,
            is_environment_hidden,
        };
        if process.is_wired() {
            process.maps = Maps::of(pid);
        }
        self.look_at_descriptors(&mut process);
        Some(process)
    }

    fn named(&self, pid: u32, environment: &[u8]) -> Vec<Named> {
        let variables: HashMap<&[u8], &[u8]> = environment
            .split(|byte| *byte == 0)
            .filter_map(|pair| {
                let at = pair.iter().position(|byte| *byte == b'=')?;
                Some((&pair[..at], &pair[at + 1..]))
            })
            .collect();
        let value_of = |name: &str| variables.get(name.as_bytes()).filter(|it| !it.is_empty());
        let mut named: Vec<Named> = DIRECTORY_VARIABLES
            .into_iter()
            .filter_map(|name| {
                let value = PathBuf::from(OsStr::from_bytes(value_of(name)?));
                Some(self.follow(pid, Some(name), value))
            })
            .collect();
        let writes_shards = value_of(MODE_VARIABLE)
            .is_some_and(|mode| mode.trim_ascii().eq_ignore_ascii_case(b"B"));
        if named.is_empty() && writes_shards {
            named.push(self.follow(pid, None, DEFAULT_DIRECTORY.into()));
        }
        named
    }

    fn follow(&self, pid: u32, variable: Option<&'static str>, value: PathBuf) -> Named {
        let through = seen_by(pid, &value);
        let path = match value.is_absolute() {
            true => value.clone(),
            false => fs::read_link(seen_by(pid, Path::new("")))
                .unwrap_or_default()
                .join(&value),
        };
        let metadata = fs::metadata(through).ok();
        let place = metadata.map(|metadata| (metadata.dev(), metadata.ino()));
        let is_ours = match (place, self.ours) {
            (Some(place), Some(ours)) => place == ours,
            // Neither is there yet: the same words mean the same.
            (None, None) => path == self.path,
            _ => false,
        };
        Named {
            variable,
            value,
            path,
            place,
            is_ours,
        }
    }

    fn look_at_descriptors(&mut self, process: &mut Process) {
        let pid = process.pid;
        let listening = match process.is_wired() {
            true => listening_sockets(pid),
            false => HashSet::new(),
        };
        let entries = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten();
        for entry in entries.take(self.descriptors_left) {
            process.descriptor_count += 1;
            let Ok(link) = fs::read_link(entry.path()) else {
                continue;
            };
            if let Some(inode) = socket_inode(&link) {
                process.is_listening |= listening.contains(&inode);
            } else if self.is_our_shard(&link) {
                let number = entry.file_name();
                match is_writer(pid, &number.to_string_lossy()) {
                    true => process.writes += 1,
                    false => process.reads += 1,
                }
            }
        }
        self.descriptors_left = self
            .descriptors_left
            .saturating_sub(process.descriptor_count);
        let maps = process.maps.read_only.iter();
        process.reads += maps.filter(|path| self.is_our_shard(path)).count();
    }

    /// By its path: what a descriptor leads to is not asked, since a file system that does not answer would not.
    fn is_our_shard(&self, link: &Path) -> bool {
        let text = link.to_string_lossy();
        let path = Path::new(text.strip_suffix(" (deleted)").unwrap_or(&text));
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        path.parent() == Some(self.path) && ShardName::parse(name).is_ok()
    }
}

/// The way to what a process calls by this path: from its own root or working directory.
pub(super) fn seen_by(pid: u32, path: &Path) -> PathBuf {
    let of_process = Path::new("/proc").join(pid.to_string());
    match path.strip_prefix("/") {
        Ok(below) => of_process.join("root").join(below),
        Err(_) => of_process.join("cwd").join(path),
    }
}

fn words(raw: &[u8]) -> Vec<OsString> {
    let words = raw.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect()
}

/// What a file of procfs says, to a bound.
pub(super) fn read_bounded(path: &str, len_max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(len_max_bytes)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether the old spelling is the only one that names the directory for Python.
pub(super) fn is_spelled_old(process: &Process) -> bool {
    let has = |name: &str| {
        process
            .named
            .iter()
            .any(|named| named.variable == Some(name))
    };
    has(LEGACY_DIRECTORY_VARIABLE)
        && DIRECTORY_VARIABLES
            .iter()
            .all(|name| *name == LEGACY_DIRECTORY_VARIABLE || !has(name))
}
