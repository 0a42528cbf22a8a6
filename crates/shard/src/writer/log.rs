//! What the log is told, and by whom: never by a thread that recorded a value.
//!
//! Invariant: nothing of the program's (a subscriber's lock, a pipe that nobody empties) is waited for by a call, by the repair of
//! shards, or under the writers' lock. The thread that may wait does nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use super::touch::{Writers, lock};
use crate::map::process::become_background_thread;

/// Messages that wait while the log takes none. Further ones are dropped: the first tell the cause.
const WAITING_MAX: usize = 64;

/// How long no other thread is started after the system refused one.
const RETRY_PERIOD: Duration = Duration::from_secs(1);

/// Fifteen bytes at most, as much as Linux shows of a thread's name.
const THREAD_NAME: &str = "metricsd-log";

/// Has what came up logged, by a thread that ends when there is nothing more to tell.
pub(super) fn ensure_told(writers: &mut Writers) {
    writers.messages.truncate(WAITING_MAX);
    let was_refused = writers
        .log_refused
        .is_some_and(|when| when.elapsed() < RETRY_PERIOD);
    if writers.messages.is_empty() || writers.log_thread_runs || was_refused {
        return;
    }
    let started = thread::Builder::new()
        .name(THREAD_NAME.to_owned())
        .spawn(run);
    match started {
        Ok(_detached) => writers.log_thread_runs = true,
        Err(_) => writers.log_refused = Some(Instant::now()),
    }
}

fn run() {
    become_background_thread();
    loop {
        let mut writers = lock();
        let messages = std::mem::take(&mut writers.messages);
        if messages.is_empty() {
            writers.log_thread_runs = false;
            return;
        }
        drop(writers);
        for message in messages {
            // A subscriber that panics must not silence what comes after.
            let _ = catch_unwind(AssertUnwindSafe(|| message.log()));
        }
    }
}
