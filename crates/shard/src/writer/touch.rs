//! What a call does that finds no cell: everything that needs the process-wide lock.
//!
//! Invariant: nothing is logged here, because a subscriber may wait for its own lock or record metrics of its own. One lock for all
//! writers: a fork takes it, and first touches are rare.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use super::lanes::MOVES;
use super::recovery::NoThread;
use super::series::{Series, value_of};
use super::slots::{self, Slot};
use super::state::WriterState;
use super::trouble::Message;
use super::{Create, ProcessInfo, Snapshot, WriterStatus, fork, lanes, log, recovery};
use crate::key::Key;
use crate::loom::wait_a_moment;
use crate::map::cell::Cell;
use crate::map::slot::Stored;
use crate::name::FileKind;

/// Attempts to find the new cell of a value that is being moved, which is a matter of a few instructions or, for gauges, of some hundred of
/// them and a fence, before the lock is taken, which the mover may hold for a millisecond.
const RELOADS: u32 = 110;

/// Keys that get numbers, and entries that are written, before the lock is free for a moment: some hundred microseconds.
const KEYS_AT_A_TIME: usize = 256;
const ENTRIES_AT_A_TIME: usize = 64;

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
    /// How many slots have been given.
    pub(super) slot_count: u32,
    /// What is to be logged, by a thread of its own.
    pub(super) messages: Vec<Message>,
    /// False again in a fork's child, which has only the thread that forked; so is the next.
    pub(super) thread_runs: bool,
    pub(super) log_thread_runs: bool,
    /// When the system last refused a thread for the log.
    pub(super) log_refused: Option<Instant>,
    /// Why there is no background thread, if there should be one.
    pub(super) no_thread: Option<NoThread>,
}

static WRITERS: Mutex<Writers> = Mutex::new(Writers {
    list: Vec::new(),
    slot_count: 0,
    messages: Vec::new(),
    thread_runs: false,
    log_thread_runs: false,
    log_refused: None,
    no_thread: None,
});

/// A panic under the lock is a bug of ours, and each writer is still whole: pointers are stored last.
pub(super) fn lock() -> MutexGuard<'static, Writers> {
    WRITERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` under the lock and has what came up logged, by another thread.
pub(super) fn with_writers<R>(work: impl FnOnce(&mut Writers) -> R) -> R {
    let mut writers = lock();
    let result = work(&mut writers);
    log::ensure_told(&mut writers);
    result
}

/// An addition that found no cell in the thread's own table.
#[inline(never)]
pub(super) fn add_elsewhere(number: u32, v: f64) {
    let Some(slot) = slots::at(number) else {
        return;
    };
    let operation = Operation::Add(v);
    let is_for_everybody = !slot.is_laned() || slot.is_crowded() || !lanes::may_have_one();
    if slot.is_shared() && is_for_everybody && store_shared(number, slot, operation) {
        return;
    }
    // Whoever holds the lock may wait for a disk. Where there is a cell for everybody, the thread's own can come another time.
    let is_busy = || {
        WRITERS
            .try_lock()
            .is_err_and(|error| matches!(error, TryLockError::WouldBlock))
    };
    if slot.is_shared() && !is_for_everybody && is_busy() && store_shared(number, slot, operation) {
        return;
    }
    touch(number, slot, operation);
}

/// Any other call that found no cell, or that a cell of its own would not do for.
#[cold]
#[inline(never)]
pub(super) fn store_elsewhere(number: u32, operation: Operation) {
    let Some(slot) = slots::at(number) else {
        return;
    };
    if slot.is_laned() || !store_shared(number, slot, operation) {
        touch(number, slot, operation);
    }
}

/// A call on a gauge that is not done: it found no cell, or stored into one that was not the current one any more.
#[cold]
#[inline(never)]
pub(super) fn finish(number: u32, operation: Operation, stored: Stored) {
    match stored {
        Stored::Here => {}
        Stored::Late(vacated) => settle_gauge(number, vacated, operation),
        Stored::Nowhere => store_elsewhere(number, operation),
    }
}

/// Does it to the cell that any thread may store into; false if there is none or it stays sealed.
fn store_shared(number: u32, slot: &Slot, operation: Operation) -> bool {
    for attempt in 0..RELOADS {
        let stored = match operation {
            // What adds up is never set beside this, so a cell that takes it is looked after.
            Operation::Add(v) if slot.is_laned() => match slot.place.cell() {
                Some(cell) if cell.add(v) => Stored::Here,
                _ => Stored::Nowhere,
            },
            Operation::Add(v) => slot.place.add(v),
            Operation::Set(v) => slot.place.set(v),
            Operation::SetAt(v, unix_seconds) => {
                match slot.place.set_with_timestamp(v, unix_seconds) {
                    true => Stored::Here,
                    false => Stored::Nowhere,
                }
            }
        };
        match stored {
            Stored::Here => return true,
            Stored::Late(vacated) => {
                settle_gauge(number, vacated, operation);
                return true;
            }
            // It is not being moved either.
            Stored::Nowhere if slot.place.cell().is_none() && !MOVES.run() => return false,
            Stored::Nowhere => wait_a_moment(attempt),
        }
    }
    false
}

#[cold]
fn touch(number: u32, slot: &Slot, operation: Operation) {
    let (writer, item) = slot.of();
    with_writers(|writers| {
        // Under the lock, so that a fork finds a lane with its owner or none.
        let lane = slot.is_laned().then(lanes::of_this_thread).flatten();
        if let Some(lane) = lane {
            lanes::reach(lane, number, writers.slot_count);
        }
        if let Some(writer) = writers.list.get_mut(writer) {
            writer.touch(item, lane, operation, &mut writers.messages);
        }
        recovery::ensure_thread(writers);
    });
}

/// After an addition of the calling thread to a cell of its lane that was moved at this very moment.
#[cold]
#[inline(never)]
pub(super) fn settle_late(number: u32) {
    let Some(slot) = slots::at(number) else {
        return;
    };
    let (writer, item) = slot.of();
    with_writers(|writers| {
        if let Some(writer) = writers.list.get_mut(writer) {
            writer.carry_late_of(item, &mut writers.messages);
        }
    });
}

/// After a call on a gauge whose cell was moved at this very moment.
#[cold]
#[inline(never)]
fn settle_gauge(number: u32, vacated: &'static Cell, operation: Operation) {
    let Some(slot) = slots::at(number) else {
        return;
    };
    let (writer, item) = slot.of();
    with_writers(|writers| {
        if let Some(writer) = writers.list.get_mut(writer) {
            writer.settle_gauge(item, vacated, operation, &mut writers.messages);
        }
    });
}

/// The value of an entry whose cells were seen in the middle of a move.
#[cold]
#[inline(never)]
pub(super) fn settled_value(number: u32) -> f64 {
    // Moves happen under the lock, so there is none now.
    let _writers = lock();
    slots::at(number)
        .and_then(|slot| value_of(number, slot))
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
        let next_slot = &mut writers.slot_count;
        let numbers = match writers.list.get_mut(writer) {
            Some(state) => {
                state.series(writer, next_slot, kind, keys, create, &mut writers.messages)
            }
            None => Vec::new(),
        };
        recovery::ensure_thread(writers);
        Series::of(&numbers)
    })
}

pub(super) fn series_of_each(writer: usize, kind: FileKind, keys: Vec<Key>) -> Series {
    let mut numbers = Vec::with_capacity(keys.len());
    let mut keys = keys.into_iter().peekable();
    while keys.peek().is_some() {
        let some = keys.by_ref().take(KEYS_AT_A_TIME).collect();
        with_writers(|writers| {
            let (next_slot, messages) = (&mut writers.slot_count, &mut writers.messages);
            if let Some(state) = writers.list.get_mut(writer) {
                let create = Create::OnFirstTouch;
                numbers.extend(state.series(writer, next_slot, kind, some, create, messages));
            }
        });
    }
    // Only now, so that the numbers of all follow each other.
    for some in numbers.chunks(ENTRIES_AT_A_TIME) {
        with_writers(|writers| {
            if let Some(state) = writers.list.get_mut(writer) {
                state.create_each(kind, some, &mut writers.messages);
            }
            recovery::ensure_thread(writers);
        });
    }
    Series::of(&numbers)
}

pub(super) fn snapshot(writer: usize) -> Vec<Snapshot> {
    lock()
        .list
        .get_mut(writer)
        .map(WriterState::snapshot)
        .unwrap_or_default()
}

pub(super) fn count_degraded_seconds_in(writer: usize, series: &Series) {
    if let Some(writer) = lock().list.get_mut(writer) {
        writer.count_degraded_seconds_in(series.clone());
    }
}

pub(super) fn status(writer: usize) -> WriterStatus {
    with_writers(|writers| {
        recovery::ensure_thread(writers);
        let status = writers
            .list
            .get(writer)
            .map_or(WriterStatus::InMemory, WriterState::status);
        match (status, &writers.no_thread) {
            (WriterStatus::Healthy { .. }, Some(no_thread)) => no_thread.status(),
            (status, _) => status,
        }
    })
}
