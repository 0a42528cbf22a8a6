//! What a forked child must not share with its parent: two processes that add to one cell lose counts.
//!
//! Invariant: no thread holds the writers' lock while the process forks, so the child finds every writer whole; in the child,
//! before `fork` returns, no slot leads to a cell and no mapping leads to the parent's files.

use std::cell::Cell;
use std::io;
use std::mem::ManuallyDrop;
use std::sync::{MutexGuard, OnceLock};

use super::lanes;
use super::touch::{Writers, lock};
use crate::map::process::at_fork;

thread_local! {
    /// The writers' lock, from before a fork to after it. `ManuallyDrop`, so that the thread-local needs no destructor and works
    /// in a thread that is ending.
    static HELD: Cell<Option<ManuallyDrop<MutexGuard<'static, Writers>>>> = const { Cell::new(None) };
}

/// Registers the handlers the first time. Called under the writers' lock.
pub(super) fn install_once() -> io::Result<()> {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    if INSTALLED.get().is_none() {
        at_fork(before, after_in_parent, after_in_child)?;
        let _ = INSTALLED.set(());
    }
    Ok(())
}

extern "C" fn before() {
    HELD.set(Some(ManuallyDrop::new(lock())));
}

extern "C" fn after_in_parent() {
    drop(HELD.take().map(ManuallyDrop::into_inner));
}

/// System calls and stores only: in the child of a process with threads, an allocator may be locked for ever.
extern "C" fn after_in_child() {
    let Some(mut writers) = HELD.take().map(ManuallyDrop::into_inner) else {
        return;
    };
    for writer in &mut writers.list {
        writer.leave_to_parent();
    }
    lanes::leave_to_parent();
    writers.thread_runs = false;
    writers.log_thread_runs = false;
    // They are the parent's to tell. Forgotten and not dropped, which would call the allocator.
    std::mem::forget(std::mem::take(&mut writers.messages));
}
