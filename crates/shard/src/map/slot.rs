//! Where the value of an entry that any thread may store into is at the moment: a pointer to its cell, empty until the first touch
//! and again after a fork.
//!
//! Invariant: the pointer changes only under the writer's process-wide lock (or in a fork's child, which has one thread).

use super::cell::Cell;
use super::pointer::CellPointer;
use crate::loom::{AtomicBool, Ordering, wait_a_moment};

/// The current cell of one entry.
#[derive(Debug)]
pub struct CellSlot {
    cell: CellPointer,
    /// Held while a value and its timestamp are stored as a pair. Not a std mutex: a fork's child must be able to open it.
    pair_locked: AtomicBool,
}

impl CellSlot {
    /// A slot without a cell.
    pub fn empty() -> CellSlot {
        CellSlot {
            cell: CellPointer::empty(),
            pair_locked: AtomicBool::new(false),
        }
    }

    /// The current cell, if there is one.
    #[inline]
    pub fn cell(&self) -> Option<&'static Cell> {
        self.cell.cell()
    }

    /// Makes `cell` the current one. What the last one held stays in it.
    pub fn point_to(&self, cell: &'static Cell) {
        self.cell.point_to(cell);
    }

    /// Makes the memory cell `cell`, new or sealed, the current one with this value. What the last one held stays in it.
    pub fn begin_in(&self, cell: &'static Cell, value: f64, timestamp: f64) {
        let _pair = self.lock_pair();
        // Somebody may hold this cell from the last time it was current, and his call succeeds from here on: it is as good as
        // current.
        cell.store(value, timestamp);
        self.point_to(cell);
    }

    /// Moves the value out of the current cell, which must be in memory, into `to`, which is new or sealed, and makes that the
    /// current one. Whoever still holds the old cell finds it sealed.
    pub fn move_to(&self, to: &'static Cell) {
        let _pair = self.lock_pair();
        // The value is in `to` before anybody can reach it, and no call can reach the old cell any more: nothing is lost between
        // the two and nothing is counted twice.
        if let Some((value, timestamp)) = self.cell().and_then(Cell::seal) {
            to.store(value, timestamp);
        } else if to.load().is_none() {
            // A stranger wrote the seal into our shard, and the value is lost. The current cell must take calls all the same.
            to.store(0.0, 0.0);
        }
        self.point_to(to);
    }

    /// Stores a value and its time as a pair; false if there is no cell or it was sealed.
    #[must_use]
    pub fn set_with_timestamp(&self, v: f64, unix_seconds: f64) -> bool {
        let _pair = self.lock_pair();
        self.cell()
            .is_some_and(|cell| cell.set_with_timestamp(v, unix_seconds))
    }

    /// Leaves the entry without a cell until its next touch: what it held is lost.
    pub fn forget(&self) {
        let _pair = self.lock_pair();
        self.cell.clear();
    }

    /// Forgets the cell. In a fork's child only: whoever held the lock on the pair does not exist there.
    pub fn forget_in_child(&self) {
        self.cell.clear();
        self.open_pair_in_child();
    }

    /// Keeps the cell and opens the lock on the pair, whose holder may not exist any more. In a fork's child only.
    pub fn open_pair_in_child(&self) {
        self.pair_locked.store(false, Ordering::Relaxed);
    }

    fn lock_pair(&self) -> PairGuard<'_> {
        let mut attempt = 0;
        // Acquire: pairs with the Release when the guard is dropped.
        while self
            .pair_locked
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            wait_a_moment(attempt);
            attempt = attempt.saturating_add(1);
        }
        PairGuard {
            locked: &self.pair_locked,
        }
    }
}

struct PairGuard<'a> {
    locked: &'a AtomicBool,
}

impl Drop for PairGuard<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `lock_pair`.
        self.locked.store(false, Ordering::Release);
    }
}
