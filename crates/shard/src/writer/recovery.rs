//! The background thread: notices deleted shards and replaced directories, tries again what failed, moves values from memory
//! into shards.
//!
//! Invariant: it holds the lock for a bounded piece of work at a time, takes no signal, and nobody waits for it to end.

use std::thread;
use std::time::Duration;

use super::touch::{Writers, with_writers};
use super::trouble::Message;
use crate::map::process::block_signals_in_this_thread;

/// How long a failure, or a deleted file, goes unnoticed at most. A pass over a healthy writer is a few `fstat`s.
const PERIOD: Duration = Duration::from_secs(1);

/// Entries that are moved before the lock is free for a moment, so that a first touch or a fork waits a millisecond or so.
const MOVES_AT_A_TIME: usize = 256;

/// Fifteen bytes, as much as Linux shows of a thread's name.
const THREAD_NAME: &str = "metricsd-writer";

/// Starts the thread unless it runs or no writer needs it.
pub(super) fn ensure_thread(writers: &mut Writers) {
    if writers.thread_runs || !writers.list.iter().any(|writer| writer.needs_thread()) {
        return;
    }
    match thread::Builder::new()
        .name(THREAD_NAME.to_owned())
        .spawn(run)
    {
        Ok(_detached) => writers.thread_runs = true,
        Err(error) => writers.messages.push(Message::NoThread { error }),
    }
}

fn run() {
    block_signals_in_this_thread();
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
            }) {}
        }
    }
}
