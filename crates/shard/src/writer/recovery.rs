//! The background thread: notices deleted shards and replaced directories, tries again what failed, moves values from memory
//! into shards.
//!
//! Invariant: it holds the lock for a bounded piece of work at a time, takes no signal, and nobody waits for it to end.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::touch::{Writers, with_writers};
use super::trouble::Message;
use super::{WriterStatus, lanes};
use crate::map::process::{become_background_thread, fence_all_threads};

/// How long a failure, or a deleted or truncated file, goes unnoticed at most. A pass over a healthy writer is a few system calls
/// for each file.
const PERIOD: Duration = Duration::from_secs(1);

/// Entries that are moved before the lock is free for a moment, so that a first touch or a fork waits a millisecond or so.
const MOVES_AT_A_TIME: usize = 256;

/// How long the lock is left to others between two batches: a mutex goes to whoever asks first, and that would be us again.
const BREATH: Duration = Duration::from_millis(1);

/// Fifteen bytes, as much as Linux shows of a thread's name.
const THREAD_NAME: &str = "metricsd-writer";

/// The background thread cannot be started: what fails is not repaired, and deletions go unnoticed.
#[derive(Debug)]
pub(super) struct NoThread {
    reason: String,
    since: SystemTime,
    tried: Instant,
}

impl NoThread {
    pub(super) fn status(&self) -> WriterStatus {
        WriterStatus::Degraded {
            since: self.since,
            reason: self.reason.clone(),
        }
    }
}

/// Starts the thread unless it runs or no writer needs it. At most one attempt a period.
pub(super) fn ensure_thread(writers: &mut Writers) {
    if writers.thread_runs || !writers.list.iter().any(|writer| writer.needs_thread()) {
        return;
    }
    let now = Instant::now();
    let is_too_soon = |earlier: &NoThread| now.saturating_duration_since(earlier.tried) < PERIOD;
    if writers.no_thread.as_ref().is_some_and(is_too_soon) {
        return;
    }
    let earlier = writers.no_thread.take();
    match thread::Builder::new()
        .name(THREAD_NAME.to_owned())
        .spawn(run)
    {
        Ok(_detached) => writers.thread_runs = true,
        Err(error) => {
            let reason = format!("cannot start the thread that repairs metrics shards: {error}");
            let is_told = earlier
                .as_ref()
                .is_some_and(|earlier| earlier.reason == reason);
            if !is_told {
                writers.messages.push(Message::NoThread {
                    reason: reason.clone(),
                });
            }
            writers.no_thread = Some(NoThread {
                reason,
                since: earlier.map_or_else(SystemTime::now, |earlier| earlier.since),
                tried: now,
            });
        }
    }
}

fn run() {
    become_background_thread();
    lanes::renounce();
    // The first one takes the kernel ten milliseconds and more, for which nobody shall wait: neither for the lock, nor for a gauge that is moved.
    fence_all_threads();
    loop {
        thread::sleep(PERIOD);
        let count = with_writers(|writers| writers.list.len());
        for index in 0..count {
            with_writers(|writers| {
                if let Some(writer) = writers.list.get_mut(index) {
                    writer.inspect(&mut writers.messages);
                }
            });
            while with_writers(|writers| {
                writers.list.get_mut(index).is_some_and(|writer| {
                    writer.move_waiting(MOVES_AT_A_TIME, &mut writers.messages)
                })
            }) {
                thread::sleep(BREATH);
            }
            let due = with_writers(|writers| {
                let writer = writers.list.get_mut(index)?;
                writer.take_degraded_seconds()
            });
            // Not under the lock, which a first touch needs.
            if let Some((series, seconds)) = due {
                series.add(0, seconds);
            }
        }
    }
}
