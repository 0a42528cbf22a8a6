//! The state directory: whether it is the daemon's, lasts, can be written, has room, is whole, and what it knows of deleted shards.
//!
//! Invariant: the archive is read as a start would read it and nothing is repaired. Must not touch: shards.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::access::shown;
use super::company::{Daemon, lock_holder, locked_directories};
use super::scripts::Hooks;
use super::user::{Owned, READ, SEARCH, WRITE, own_user};
use super::{deleted, some_of};
use crate::archive::{self, OpenError, OpenReport, RESERVE_NAME, State};
use crate::directory::ShardDirectory;
use crate::report::Check;
use crate::serve::archive_settings;
use crate::state_directory::{Durability, NotDurableReason, StateDirectory, StateDirectoryError};
use program::sentence;

/// Most files of the state that are looked at.
const FILES_MAX: usize = 10_000;

/// What is kept.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    directory: Option<StateDirectory>,
    durability: Option<Durability>,
    opened: Vec<Check>,
    report: Option<Result<OpenReport, OpenError>>,
    /// Files that the doctor's own user may not read.
    hidden: Vec<String>,
    pub(super) state: Option<State>,
}

impl Kept {
    /// Opens and reads it.
    pub(super) fn open(path: &Path, shards: &ShardDirectory, daemon: &Daemon) -> Kept {
        let id = "state_directory";
        let mut kept = Kept {
            path: path.to_owned(),
            directory: None,
            durability: None,
            opened: Vec::new(),
            report: None,
            hidden: Vec::new(),
            state: None,
        };
        let directory = match StateDirectory::open(path, shards) {
            Ok(directory) => directory,
            Err(err) => {
                kept.opened.push(refused(id, &err, daemon));
                return kept;
            }
        };
        kept.opened
            .push(Check::pass(id, path.display().to_string()));
        kept.durability = Some(directory.durability(shards));
        // A file that only we may not read says nothing of the state.
        kept.hidden = hidden_files(path);
        if kept.hidden.is_empty()
            && let Ok(disk) = directory.disk()
        {
            let loaded = archive::load(&disk);
            kept.report = Some(loaded.map(|(state, report)| {
                kept.state = Some(state);
                report
            }));
        }
        kept.directory = Some(directory);
        kept
    }

    /// Every check of the state.
    pub(super) fn check(&self, daemon: &Daemon, hooks: &Hooks) -> Vec<Check> {
        let mut checks = self.opened.clone();
        if let Some(directory) = &self.directory {
            checks.extend(self.check_lock(directory, daemon));
            checks.extend(self.check_durable());
            checks.extend(self.check_access(directory, daemon));
            checks.extend(self.check_room(directory));
            checks.extend(self.check_whole());
        }
        checks.extend(deleted::check(self.state.as_ref(), hooks));
        checks
    }

    fn check_lock(&self, directory: &StateDirectory, daemon: &Daemon) -> Vec<Check> {
        let id = "state_lock";
        let path = self.path.display();
        let check = match (daemon.pid, lock_holder(directory.as_fd())) {
            (Some(daemon), Some(holder)) if daemon == holder => {
                Check::pass(id, format!("process {holder} keeps its state in {path}"))
            }
            (None, None) => Check::pass(id, format!("no daemon uses {path} now")),
            (_, Some(holder)) => Check::fail(
                id,
                format!(
                    "{path} is in use by process {holder}, which does not serve this shard directory"
                ),
                format!(
                    "give each daemon a state directory of its own: metricsd serve --state-dir {path}-2 (tr '\\0' ' ' </proc/{holder}/cmdline shows the other one)"
                ),
            ),
            (Some(pid), None) => {
                let at: Vec<String> = locked_directories(pid)
                    .iter()
                    .map(|path| format!("--state-dir {}", path.display()))
                    .collect();
                Check::fail(
                    id,
                    format!("the daemon (process {pid}) keeps its state elsewhere than {path}"),
                    format!(
                        "run the doctor with the daemon's --state-dir; it has locked {}",
                        match at.is_empty() {
                            true => format!(
                                "what its log calls \"state directory\" (or see /proc/{pid}/cmdline)"
                            ),
                            false => at.join(" or "),
                        }
                    ),
                )
            }
        };
        vec![check]
    }

    fn check_durable(&self) -> Vec<Check> {
        let id = "state_durable";
        let path = self.path.display();
        let reason = match self.durability {
            Some(Durability::Durable) | None => {
                return vec![Check::pass(
                    id,
                    format!("{path} is on a local disk, apart from the shards"),
                )];
            }
            Some(Durability::NotDurable { reason }) => reason,
        };
        let why = match reason {
            NotDurableReason::Unknown => "a container's own layer (overlayfs) goes with it",
            _ => "totals of ended processes begin anew when it is gone",
        };
        vec![Check::fail(
            id,
            format!("{path} does not last: {reason}; {why}"),
            "name a directory on a local disk: metricsd serve --state-dir /var/lib/metricsd (systemd: StateDirectory=metricsd; a container: a volume); with the daemon stopped, copy the files over first",
        )]
    }

    fn check_access(&self, directory: &StateDirectory, daemon: &Daemon) -> Vec<Check> {
        let id = "state_access";
        let path = self.path.display();
        let mut closed = Vec::new();
        if let Ok(stat) = rustix::fs::fstat(directory.as_fd()) {
            let owned = Owned::from(&stat);
            if !daemon.user.may(owned, READ | WRITE | SEARCH) {
                closed.push(format!("{path} ({})", shown(owned)));
            }
        }
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        for entry in entries.take(FILES_MAX) {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let owned = Owned::from(&metadata);
            if !daemon.user.may(owned, READ | WRITE) {
                closed.push(format!(
                    "{} ({})",
                    entry.file_name().to_string_lossy(),
                    shown(owned)
                ));
            }
        }
        if closed.is_empty() {
            return vec![Check::pass(
                id,
                format!("{} may read and write the state", daemon.shown()),
            )];
        }
        vec![Check::fail(
            id,
            format!(
                "{} may not read and write {}",
                daemon.shown(),
                some_of(&closed)
            ),
            format!("chown -R {} {path}", daemon.user.uid),
        )]
    }

    fn check_room(&self, directory: &StateDirectory) -> Vec<Check> {
        let id = "state_room";
        let path = self.path.display();
        let settings = archive_settings(directory);
        let Ok(stat) = rustix::fs::fstatvfs(directory.as_fd()) else {
            return vec![Check::warn(
                id,
                format!("{path}: how much room there is cannot be asked"),
                format!("df -h {path}"),
            )];
        };
        let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
        let reserve = fs::metadata(self.path.join(RESERVE_NAME))
            .map_or(0, |metadata| metadata.blocks() * 512);
        let next = format!(
            "make room on the file system of {path} (df -h {path}): {} bytes are wanted; retirement goes on by itself then",
            settings.reserve_len_bytes + settings.segment_len_bytes
        );
        let check = match (
            reserve >= settings.reserve_len_bytes,
            free_bytes >= settings.segment_len_bytes,
        ) {
            (true, true) => Check::pass(
                id,
                format!("{free_bytes} bytes are free, and {reserve} in reserve"),
            ),
            (true, false) => Check::fail(
                id,
                format!(
                    "{path}: {free_bytes} bytes are free; the journal lives on its reserve from its next segment on"
                ),
                next,
            ),
            (false, _) if free_bytes < settings.reserve_len_bytes => Check::fail(
                id,
                format!(
                    "{path}: the reserve is missing and {free_bytes} bytes are free: the disk is full, and retirement waits"
                ),
                next,
            ),
            (false, _) => Check::warn(
                id,
                format!("{path}: there is no reserve yet"),
                "start the daemon; it makes one when it next tends its archive, if the file system can reserve room",
            ),
        };
        vec![check]
    }

    fn check_whole(&self) -> Vec<Check> {
        let id = "state_whole";
        let path = self.path.display();
        let report = match &self.report {
            Some(Ok(report)) => report,
            Some(Err(err @ OpenError::Moving)) => {
                return vec![Check::warn(id, sentence(err), "run the doctor again")];
            }
            Some(Err(err)) => {
                let next =
                    format!("restore {path} from a backup, or run the metricsd that wrote it");
                return vec![Check::fail(id, sentence(err), next)];
            }
            None => {
                return vec![Check::warn(
                    id,
                    match self.hidden.is_empty() {
                        true => format!("{path} could not be read"),
                        false => format!(
                            "this user may not read {} in {path}, so nothing is known of it",
                            some_of(&self.hidden)
                        ),
                    },
                    "run the doctor as the daemon's user or as root",
                )];
            }
        };
        let mut wrong: Vec<String> = report.losses.iter().map(ToString::to_string).collect();
        if report.earlier_totals_lost {
            wrong.push("earlier totals are lost".to_owned());
        }
        wrong.extend(
            report
                .damaged
                .iter()
                .map(|file| format!("{}: {}", file.name, file.defect)),
        );
        wrong.extend(
            report
                .set_aside
                .iter()
                .map(|name| format!("{name} was damaged and set aside")),
        );
        wrong.extend(report.oddities.iter().map(ToString::to_string));
        if wrong.is_empty() {
            let count = report.replayed_count;
            return vec![Check::pass(
                id,
                format!("checkpoint and {count} records behind it are whole"),
            )];
        }
        vec![Check::fail(
            id,
            format!("{path} is damaged: {}", some_of(&wrong)),
            format!(
                "check the disk (dmesg, smartctl -a DEVICE); what was lost is listed by metricsd serve at start; with a backup: stop the daemon and restore {path}; files ending in .damaged may be removed after that"
            ),
        )]
    }
}

fn hidden_files(path: &Path) -> Vec<String> {
    let own = own_user();
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut hidden: Vec<String> = entries
        .take(FILES_MAX)
        .filter(|entry| {
            let metadata = entry.metadata();
            metadata.is_ok_and(|metadata| !own.may(Owned::from(&metadata), READ))
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    hidden.sort();
    hidden
}

fn refused(id: &str, err: &StateDirectoryError, daemon: &Daemon) -> Check {
    let text = sentence(err);
    match (err, daemon.pid) {
        (StateDirectoryError::Missing { .. }, None) => Check::warn(
            id,
            text,
            "metricsd serve makes it; with other flags or as another user it may be elsewhere: --state-dir DIR",
        ),
        (StateDirectoryError::Missing { .. }, Some(pid)) => {
            let at: Vec<String> = locked_directories(pid)
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            let next = format!(
                "run the doctor with the daemon's --state-dir (process {pid} has locked {})",
                at.join(" and ")
            );
            Check::fail(id, text, next)
        }
        (StateDirectoryError::Read { path, .. }, _) => Check::fail(
            id,
            text,
            format!(
                "run the doctor as root, or let this user read it: chmod o+rx {}",
                path.display()
            ),
        ),
        _ => Check::fail(
            id,
            text,
            "name another directory for both: metricsd serve --state-dir /var/lib/metricsd",
        ),
    }
}
