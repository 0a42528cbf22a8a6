//! A sidecar `process_ID.json`, and whether its process still runs as far as procfs tells.
//!
//! Invariant: a process that cannot be looked up is not said to have ended. Must not touch: anything but the sidecar and procfs.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use metricsd_shard::{ProcessFile, process_file_name};
use rustix::fs::{Mode, OFlags};
use serde::Serialize;

use super::table::{aligned, row, time};
use super::{InspectError, Page, after_name};
use program::sentence;

/// What a process says of itself.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ProcessPage {
    what: &'static str,
    #[serde(flatten)]
    file: ProcessFile,
    state: &'static str,
}

/// Reads the sidecar at a path.
pub(super) fn look(path: &Path, folder: &Path, name: &str) -> Result<ProcessPage, InspectError> {
    let failed = |found: String| InspectError::NotOurs {
        path: path.to_owned(),
        found,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())
        .map_err(|err| failed(std::io::Error::from(err).to_string()))?;
    let file = ProcessFile::read_at(folder.as_fd(), name)
        .map_err(|err| failed(after_name(&sentence(&err), name)))?;
    Ok(ProcessPage::of(file))
}

impl ProcessPage {
    fn of(file: ProcessFile) -> ProcessPage {
        ProcessPage {
            what: "process",
            state: state_of(&file),
            file,
        }
    }

    /// The one beside the shards of this ID.
    pub(super) fn beside(folder: BorrowedFd<'_>, id: &str) -> Option<ProcessPage> {
        let file = ProcessFile::read_at(folder, &process_file_name(id)).ok()?;
        Some(ProcessPage::of(file))
    }

    pub(super) fn program(&self) -> &str {
        &self.file.program
    }

    pub(super) fn state(&self) -> &'static str {
        self.state
    }

    /// In one line.
    pub(super) fn summary(&self) -> String {
        let file = &self.file;
        format!(
            "{} {} ({}), pid {}, started {}: {}{}",
            file.program,
            file.version,
            file.mode,
            file.pid,
            time(file.started_at_unix_seconds),
            self.state,
            if file.degraded {
                ", degraded: records into memory"
            } else {
                ""
            },
        )
    }
}

impl Page for ProcessPage {
    fn lines(&self) -> Vec<String> {
        let file = &self.file;
        let labels: Vec<String> = file
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        aligned(&[
            row(["what", "process that writes shards"]),
            row(["program", &file.program]),
            row(["version", &file.version]),
            row(["mode", &file.mode]),
            row(["pid", &file.pid.to_string()]),
            row(["started", &time(file.started_at_unix_seconds)]),
            row(["boot", &file.boot_id]),
            row(["labels", &labels.join(" ")]),
            row(["degraded", if file.degraded { "yes" } else { "no" }]),
            row(["state", self.state]),
        ])
    }
}

/// PID and start time together are a process; a PID alone is none.
fn state_of(file: &ProcessFile) -> &'static str {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::metadata("/proc/self/ns/pid").map(|it| it.ino()).ok();
    if file.start_ticks == 0 || file.boot_id.is_empty() || boot.is_empty() {
        return "not known";
    }
    if boot.trim() != file.boot_id {
        return "ended";
    }
    if file.pid_namespace.is_none() || file.pid_namespace != namespace {
        return "not known (another PID namespace)";
    }
    let stat = i32::try_from(file.pid)
        .ok()
        .and_then(|pid| procfs::process::Process::new(pid).ok())
        .and_then(|process| process.stat().ok());
    match stat {
        Some(stat) if stat.starttime == file.start_ticks => "runs",
        _ => "ended",
    }
}
