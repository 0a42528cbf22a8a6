//! Where the value of an entry that any thread may store into is at the moment: a pointer to its cell, empty until the first touch,
//! again after a fork, and, where the value is a gauge's, for the moment of a move.
//!
//! Invariant: the pointer changes only under the writer's process-wide lock (or in a fork's child, which has one thread).
//!
//! What adds up is changed by compare-and-swap alone, and its value moves in one step ([`CellSlot::move_to`]): the seal in the old cell sends every
//! later call on. A gauge is set by a plain store, which a seal does not stop, so its value moves in three steps: the pointer is taken away
//! ([`CellSlot::suspend`]), every thread runs a fence, and then the value moves and the pointer comes ([`CellSlot::resume_in`]). Who
//! stored and still found the pointer has his value carried over; who did not find it looks, under the writers' lock, whether what stands
//! in the old cell was stored over the seal, and if so brings it to the current cell ([`CellSlot::take_late`]). His call has not returned, so it is
//! as new as any. Until then nobody has seen his value: a reader at the old cell finds that there was a move and reads again.

use std::ptr;

use super::cell::Cell;
use super::pointer::CellPointer;
use crate::loom::{AtomicBool, Ordering, wait_a_moment};

/// What became of a call on the current cell of a gauge.
#[derive(Debug, Clone, Copy)]
pub enum Stored {
    /// It is in the current cell.
    Here,
    /// It is in this cell, which was the current one when the call began and is not any more. The mover may have missed it: the caller has to
    /// look, under the writers' lock.
    Late(&'static Cell),
    /// There is no cell, or it is sealed; nothing was stored.
    Nowhere,
}

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

    /// Stores a gauge's value.
    #[inline]
    pub fn set(&self, v: f64) -> Stored {
        let Some(cell) = self.cell() else {
            return Stored::Nowhere;
        };
        cell.set_plainly(v);
        self.stored_in(cell)
    }

    /// Adds to a gauge's value.
    #[inline]
    pub fn add(&self, v: f64) -> Stored {
        match self.cell() {
            // It may be on top of what was stored late over the seal, so this has to look too.
            Some(cell) if cell.add(v) => self.stored_in(cell),
            _ => Stored::Nowhere,
        }
    }

    #[inline]
    fn stored_in(&self, cell: &'static Cell) -> Stored {
        if self.cell.still_leads_to(cell) {
            Stored::Here
        } else {
            Stored::Late(cell)
        }
    }

    /// Takes a gauge's cell away, and gives it. Calls find none until [`resume_in`](Self::resume_in), so no reader may take that for an
    /// answer: the caller counts it as a move. He has every thread run a fence before he reads the cell.
    #[must_use]
    pub fn suspend(&self) -> Option<&'static Cell> {
        // A pair is either whole in the cell before this, or finds no cell.
        let _pair = self.lock_pair();
        let cell = self.cell();
        self.cell.clear();
        cell
    }

    /// Gives a gauge a cell that nobody else has yet, with this value.
    pub fn resume_in(&self, to: &'static Cell, (value, timestamp): (f64, f64)) {
        to.store(value, timestamp);
        self.point_to(to);
    }

    /// Gives a gauge a sealed cell, which was its own before, with this value. What was stored late into that one is newer, and stays.
    pub fn resume_in_sealed(&self, to: &'static Cell, (value, timestamp): (f64, f64)) {
        to.unseal(value, timestamp);
        self.point_to(to);
    }

    /// What was stored late into `vacated`, a sealed cell that was this gauge's: the caller stores it into the current cell. None: the mover had
    /// it, somebody else has brought it on, or the cell is the current one again and it counts there. Under the writers' lock.
    #[must_use]
    pub fn take_late(&self, vacated: &'static Cell) -> Option<f64> {
        let is_current = self.cell().is_some_and(|cell| ptr::eq(cell, vacated));
        if is_current {
            return None;
        }
        vacated.seal().map(|(value, _)| value)
    }

    /// Stores a value and its time as a pair; false if there is no cell.
    #[must_use]
    pub fn set_with_timestamp(&self, v: f64, unix_seconds: f64) -> bool {
        let _pair = self.lock_pair();
        // Under this lock the cell stays the current one, and unsealed, so the plain stores are seen by whoever moves them.
        self.cell()
            .map(|cell| cell.store(v, unix_seconds))
            .is_some()
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
