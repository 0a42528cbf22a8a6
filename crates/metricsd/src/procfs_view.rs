//! What procfs says: about the daemon itself, and whether a process still lives.
//!
//! Invariant: nothing here decides what is served. Where procfs does not tell, the answer is the one that hides nothing: a
//! process that cannot be looked up by PID counts as living. Must not touch: anything but procfs.

use std::fs;
use std::os::unix::fs::MetadataExt;

use procfs::process::Process as ProcfsProcess;
use rustix::process::{Resource, getrlimit};

use crate::sessions::Session;

/// How much later than its first shard a process may seem to have started: boot time is known to the second.
const START_SLACK_SECONDS: f64 = 2.0;

/// Facts about this system that do not change while it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct SystemFacts {
    /// When it was booted, unix seconds; none where procfs is not mounted.
    boot_unix_seconds: Option<f64>,
    boot_id: String,
    ticks_per_second: f64,
    page_len_bytes: u64,
}

/// The daemon's own consumption.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct OwnProcess {
    /// User and system time.
    pub cpu_seconds: f64,
    /// Open descriptors.
    pub open_fd_count: u64,
    /// Descriptors that may be open.
    pub max_fd_count: u64,
    /// Address space.
    pub virtual_memory_bytes: u64,
    /// Memory in RAM.
    pub resident_memory_bytes: u64,
    /// Threads.
    pub thread_count: u64,
    /// Start, unix seconds.
    pub started_at_unix_seconds: f64,
}

impl SystemFacts {
    /// Reads them.
    pub fn read() -> SystemFacts {
        SystemFacts {
            boot_unix_seconds: procfs::boot_time_secs().ok().map(|seconds| seconds as f64),
            boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            ticks_per_second: procfs::ticks_per_second() as f64,
            page_len_bytes: procfs::page_size(),
        }
    }

    /// Whether the process behind a session still lives. With a sidecar, PID and start time must both be the same; of others
    /// only the shard's age is known, and the process must be older than it.
    pub fn lives(&self, session: &Session) -> bool {
        let Some(pid) = session.pid else {
            return true;
        };
        let Ok(pid) = i32::try_from(pid) else {
            return false;
        };
        let Ok(stat) = ProcfsProcess::new(pid).and_then(|process| process.stat()) else {
            return false;
        };
        if let Some(process) = &session.process
            && process.start_ticks != 0
            && !process.boot_id.is_empty()
        {
            return process.boot_id == self.boot_id && process.start_ticks == stat.starttime;
        }
        match (self.started_at(stat.starttime), session.birth) {
            (Some(started), Some(birth)) => {
                started <= birth.unix_seconds as f64 + 1.0 + START_SLACK_SECONDS
            }
            _ => true,
        }
    }

    /// What the daemon itself uses now; none where procfs is not mounted.
    pub fn own_process(&self) -> Option<OwnProcess> {
        let stat = ProcfsProcess::myself()
            .and_then(|process| process.stat())
            .ok()?;
        Some(OwnProcess {
            cpu_seconds: (stat.utime + stat.stime) as f64 / self.ticks_per_second,
            open_fd_count: open_fd_count(),
            max_fd_count: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            virtual_memory_bytes: stat.vsize,
            resident_memory_bytes: stat.rss * self.page_len_bytes,
            thread_count: u64::try_from(stat.num_threads).unwrap_or(0),
            started_at_unix_seconds: self.started_at(stat.starttime).unwrap_or(0.0),
        })
    }

    fn started_at(&self, start_ticks: u64) -> Option<f64> {
        Some(self.boot_unix_seconds? + start_ticks as f64 / self.ticks_per_second)
    }
}

/// Open descriptors. Since Linux 6.2 the directory's size says how many; listing thousands of them costs milliseconds.
fn open_fd_count() -> u64 {
    match fs::metadata("/proc/self/fd").map(|metadata| metadata.size()) {
        Ok(count) if count > 0 => count,
        _ => fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
    }
}
