//! The sidecars `process_ID.json`: what our own writers say of themselves.
//!
//! Invariant: a sidecar that cannot be read costs only what it would have said. Must not write.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;

use metricsd_shard::{ProcessFile, process_file_id};
use rustix::fs::AtFlags;

use crate::directory::ListedName;

/// A sidecar's content.
pub type Process = ProcessFile;

/// Every sidecar that could be read, by ID.
#[derive(Debug, Default)]
pub(super) struct Processes {
    by_id: HashMap<String, (Stamp, Option<Process>)>,
}

/// Inode, length and times: a sidecar with the same ones is the same. They are renamed into place, never rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    len_bytes: i64,
    changed: (i64, i64),
}

impl Processes {
    pub(super) fn clear(&mut self) {
        self.by_id.clear();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Process)> {
        self.by_id
            .iter()
            .filter_map(|(id, (_, process))| Some((id.as_str(), process.as_ref()?)))
    }

    pub(super) fn get(&self, id: &str) -> Option<&Process> {
        self.by_id.get(id).and_then(|(_, process)| process.as_ref())
    }

    /// Takes a listing over: new and changed sidecars are read, missing ones forgotten. True if there were any such.
    pub(super) fn update(&mut self, directory: BorrowedFd<'_>, listing: &[ListedName]) -> bool {
        let mut changed = false;
        let mut known = std::mem::take(&mut self.by_id);
        for name in listing.iter().filter_map(|entry| entry.name.to_str()) {
            let Some(id) = process_file_id(name) else {
                continue;
            };
            let Ok(stat) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let stamp = Stamp {
                inode: stat.st_ino,
                len_bytes: stat.st_size,
                changed: (stat.st_ctime, stat.st_ctime_nsec as i64),
            };
            let entry = match known
                .remove(id)
                .filter(|(known_stamp, _)| *known_stamp == stamp)
            {
                Some(unchanged) => unchanged,
                None => {
                    changed = true;
                    (stamp, read(directory, name))
                }
            };
            self.by_id.insert(id.to_owned(), entry);
        }
        changed || !known.is_empty()
    }
}

fn read(directory: BorrowedFd<'_>, name: &str) -> Option<Process> {
    match ProcessFile::read_at(directory, name) {
        Ok(process) => Some(process),
        Err(err) => {
            tracing::debug!(file = ?name, error = %err, "a process file cannot be used; its sessions are shown without their program");
            None
        }
    }
}
