//! Sidecars of processes whose shards are retired.
//!
//! Invariant: a sidecar goes after the last shard of its process has gone and its process is dead, as far as anybody can tell. One
//! that goes too early costs nothing: its writer, if there is one after all, writes it again within a second. No shard is touched.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use metricsd_shard::process_file_name;
use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use super::Rounds;
use crate::directory::ShardDirectory;

/// How often sidecars are looked at.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

impl Rounds {
    pub(super) fn sweep_sidecars(&mut self) {
        if self.retirement.after.is_none() || self.swept_at.elapsed() < SWEEP_INTERVAL {
            return;
        }
        self.swept_at = Instant::now();
        let work = self.daemon.work();
        if !work.collector.is_at_home() {
            return;
        }
        let ended = work.ended_sidecars(&self.retired_writers);
        // Those that are not among them have no sidecar, or shards that are to be retired yet, which brings them here again.
        self.retired_writers.clear();
        for id in ended {
            if let Err(err) = remove(work.collector.directory(), &id) {
                tracing::debug!(id, error = %err, "the process file of an ended session cannot be removed");
            }
        }
    }
}

fn remove(directory: &ShardDirectory, id: &str) -> io::Result<()> {
    let name = process_file_name(id);
    if name.contains('/') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    match unlinkat(directory.as_fd(), name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
