//! Who else is at the directory: the daemon that serves it, a second one, and others that merge its shards.
//!
//! Invariant: locks are looked up in procfs; none is asked for, since that could keep a daemon from starting. Must not touch: shards.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::processes::{Process, Processes, seen_by};
use super::user::User;
use super::{findings_or, some_of};
use crate::config::FileConfig;
use crate::directory::ShardDirectory;
use crate::lock_holder::holder_pid;
use crate::report::Check;
use crate::retention::RetireAfter;

/// Most descriptors of the daemon that are searched for its directories, which it opens first.
const SEARCHED_MAX: usize = 1000;

/// The daemon, or who would be it.
#[derive(Debug)]
pub(super) struct Daemon {
    /// None: nobody who can be seen serves the directory.
    pub(super) pid: Option<u32>,
    /// The daemon's user; while none runs, the doctor's own.
    pub(super) user: User,
}

impl Daemon {
    /// Who holds the lock on the shard directory.
    pub(super) fn find(directory: Option<&ShardDirectory>) -> Daemon {
        let pid = directory.and_then(|directory| lock_holder(directory.as_fd()));
        let of_daemon = pid.and_then(|pid| User::of(&pid.to_string()));
        let user = of_daemon.or_else(|| User::of("self"));
        Daemon {
            pid,
            user: user.map(|(user, ..)| user).unwrap_or_default(),
        }
    }

    /// For messages about what it may do.
    pub(super) fn shown(&self) -> String {
        match self.pid {
            Some(pid) => format!("the daemon (process {pid}, {})", self.user),
            None => format!("a daemon started by {}", self.user),
        }
    }

    /// Whether somebody serves the directory, once.
    pub(super) fn check(&self, path: &Path, processes: &Processes) -> Vec<Check> {
        let id = "daemon";
        let Some(pid) = self.pid else {
            let others = processes
                .all
                .iter()
                .filter(|process| process.is_metricsd() && is_serving(process));
            let others: Vec<String> = others
                .map(|process| {
                    let at = locked_directories(process.pid);
                    let at: Vec<String> =
                        at.iter().map(|path| path.display().to_string()).collect();
                    format!("{} at {}", process.shown(), at.join(" and "))
                })
                .collect();
            let instead = match others.is_empty() {
                true => String::new(),
                false => format!("; there is {}", some_of(&others)),
            };
            return vec![Check::warn(
                id,
                format!(
                    "no daemon that can be seen from here serves {}{instead}",
                    path.display()
                ),
                if path.exists() && !path.is_dir() {
                    "name the directory that the programs use with --multiproc-dir".to_owned()
                } else {
                    format!("metricsd serve --multiproc-dir {}", path.display())
                },
            )];
        };
        let second: Vec<String> = processes
            .all
            .iter()
            .filter(|process| {
                process.pid != pid
                    && process.is_metricsd()
                    && is_serving(process)
                    && process.is_wired()
            })
            .map(Process::shown)
            .collect();
        if second.is_empty() {
            return vec![Check::pass(
                id,
                format!("process {pid} serves {}", path.display()),
            )];
        }
        vec![Check::fail(
            id,
            format!(
                "process {pid} serves {}, and {} is there as well",
                path.display(),
                some_of(&second)
            ),
            format!(
                "stop the one that is not wanted: kill {}",
                second[0].split_whitespace().nth(1).unwrap_or("PID")
            ),
        )]
    }

    /// Whether it removes shards: it was not told to leave them, by its flag or else by its configuration file.
    fn retires(&self, processes: &Processes) -> bool {
        let Some(process) = self.pid.and_then(|pid| processes.get(pid)) else {
            return true;
        };
        if let Some(after) = process.flag("--retire-after") {
            return after != "off";
        }
        let Some(path) = process.flag("--config.file").map(Path::new) else {
            return true;
        };
        // Where its root may not be looked at, the path most likely means the same here.
        let file =
            FileConfig::read(&seen_by(process.pid, path)).or_else(|_| FileConfig::read(path));
        file.map_or(true, |file| file.retire_after != Some(RetireAfter(None)))
    }
}

fn is_serving(process: &Process) -> bool {
    let command = process.arguments.get(1).map(|it| it.to_string_lossy());
    command.is_none_or(|command| command == "serve" || command.starts_with('-'))
}

/// The process that has locked a directory.
pub(super) fn lock_holder(directory: BorrowedFd<'_>) -> Option<u32> {
    let stat = rustix::fs::fstat(directory).ok()?;
    holder_pid(stat.st_dev, stat.st_ino)
}

/// The directories that a process has open and locked.
pub(super) fn locked_directories(pid: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    let mut locked: Vec<PathBuf> = entries
        .take(SEARCHED_MAX)
        .filter_map(|entry| {
            let link = fs::read_link(entry.path())
                .ok()
                .filter(|link| link.is_absolute())?;
            let metadata = fs::metadata(entry.path())
                .ok()
                .filter(fs::Metadata::is_dir)?;
            (holder_pid(metadata.dev(), metadata.ino()) == Some(pid)).then_some(link)
        })
        .collect();
    locked.sort();
    locked.dedup();
    locked
}

/// Others that read the shards while the daemon removes them.
pub(super) fn check_collectors(daemon: &Daemon, processes: &Processes) -> Vec<Check> {
    let id = "second_collector";
    if !daemon.retires(processes) {
        return vec![Check::pass(
            id,
            "the daemon retires no shards, so others may read them",
        )];
    }
    let others = || {
        processes
            .all
            .iter()
            .filter(|process| Some(process.pid) != daemon.pid && !process.is_metricsd())
    };
    let readers: Vec<String> = others()
        .filter(|process| process.reads > 0)
        .map(|process| format!("{}, {} of them", process.shown(), process.reads))
        .collect();
    let mut checks = Vec::new();
    if !readers.is_empty() {
        checks.push(Check::fail(
            id,
            format!("others have shards open for reading: {}; what they add up falls when the daemon retires a shard", some_of(&readers)),
            "let Prometheus scrape metricsd alone and remove MultiProcessCollector from the program, or start the daemon with --retire-after off",
        ));
    }
    let listeners: Vec<String> = others()
        .filter(|process| process.is_wired() && process.is_listening && process.reads == 0)
        .map(Process::shown)
        .collect();
    if !listeners.is_empty() {
        checks.push(Check::warn(
            id,
            format!("programs with this directory listen on a port, as any server does: {}; whether one also serves merged metrics of its own (MultiProcessCollector) is not seen, and those would fall when the daemon retires a shard", some_of(&listeners)),
            "nothing, if none does; else let Prometheus scrape metricsd alone and remove MultiProcessCollector from the program, or start the daemon with --retire-after off",
        ));
    }
    findings_or(checks, id, "nobody else is seen to read the shards")
}
