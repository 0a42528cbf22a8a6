//! What a call does that finds no cell: everything that needs the process-wide lock.
//!
//! Invariant: whatever is logged is logged after the lock is free, because a subscriber may record metrics of its own. One lock
//! for all writers: a fork takes it, and first touches are rare.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::series::{Series, Slot};
use super::state::WriterState;
use super::trouble::Message;
use super::{Create, ProcessInfo, Snapshot, WriterStatus, fork, recovery};
use crate::key::Key;
use crate::name::FileKind;

/// What a caller wanted of an entry that had no cell.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Add(f64),
    Set(f64),
    SetAt(f64, f64),
}

impl Operation {
    /// Value and timestamp of an entry that this operation creates.
    pub(super) fn first_value(self) -> (f64, f64) {
        match self {
            Operation::Add(value) | Operation::Set(value) => (value, 0.0),
            Operation::SetAt(value, unix_seconds) => (value, unix_seconds),
        }
    }
}

/// All writers of the process.
#[derive(Debug)]
pub(super) struct Writers {
    pub(super) list: Vec<WriterState>,
    /// What is to be logged when the lock is free.
    pub(super) messages: Vec<Message>,
    /// False again in a fork's child, which has only the thread that forked.
    pub(super) thread_runs: bool,
}

static WRITERS: Mutex<Writers> = Mutex::new(Writers {
    list: Vec::new(),
    messages: Vec::new(),
    thread_runs: false,
});

/// A panic under the lock is a bug of ours, and each writer is still whole: pointers are stored last.
pub(super) fn lock() -> MutexGuard<'static, Writers> {
    WRITERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` under the lock, then logs what came up.
pub(super) fn with_writers<R>(work: impl FnOnce(&mut Writers) -> R) -> R {
    let mut writers = lock();
    let result = work(&mut writers);
    let messages = std::mem::take(&mut writers.messages);
    drop(writers);
    for message in messages {
        message.log();
    }
    result
}

#[cold]
#[inline(never)]
pub(super) fn touch(slot: &'static Slot, operation: Operation) {
    with_writers(|writers| {
        if let Some(writer) = writers.list.get_mut(slot.writer) {
            writer.touch(slot.entry, operation, &mut writers.messages);
        }
        recovery::ensure_thread(writers);
    });
}

/// The value of an entry whose cell was seen in the middle of a move.
#[cold]
#[inline(never)]
pub(super) fn settled_value(slot: &'static Slot) -> f64 {
    // Moves happen under the lock, so there is none now.
    let _writers = lock();
    slot.place
        .cell()
        .and_then(|cell| cell.value())
        .unwrap_or(f64::NAN)
}

pub(super) fn add_writer(shards: Option<(PathBuf, ProcessInfo)>) -> usize {
    with_writers(|writers| {
        let state = match shards {
            None => {
                // Without shards a fork copies what it should; the handler only keeps the lock from being held in the child.
                let _ = fork::install_once();
                WriterState::in_memory()
            }
            Some((dir, info)) => WriterState::with_shards(dir, info, &mut writers.messages),
        };
        writers.list.push(state);
        recovery::ensure_thread(writers);
        writers.list.len() - 1
    })
}

pub(super) fn series(writer: usize, kind: FileKind, keys: Vec<Key>, create: Create) -> Series {
    with_writers(|writers| {
        let slots = match writers.list.get_mut(writer) {
            Some(state) => state.series(writer, kind, keys, create, &mut writers.messages),
            None => Vec::new(),
        };
        recovery::ensure_thread(writers);
        Series {
            slots: slots.into(),
        }
    })
}

pub(super) fn snapshot(writer: usize) -> Vec<Snapshot> {
    lock()
        .list
        .get(writer)
        .map(WriterState::snapshot)
        .unwrap_or_default()
}

pub(super) fn status(writer: usize) -> WriterStatus {
    lock()
        .list
        .get(writer)
        .map_or(WriterStatus::InMemory, WriterState::status)
}
