//! A pointer to a cell that may be another one the next moment, and the hot path: what a lane's owner does with it.
//!
//! Invariant: the pointer is null or was made from a `&'static Cell`. It changes under the writers' process-wide lock only (or in a
//! fork's child, which has one thread). A lane's pointer is followed by its owner, and read by others.

use std::ptr;

use super::cell::Cell;
use crate::loom::{AtomicPtr, Ordering, light_fence};

/// What became of an addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is in the current cell.
    Here,
    /// It is in a cell that was the current one when the call began and is not any more. Whoever moved the value may have missed it: the caller
    /// has to look, under the writers' lock.
    Late,
    /// There is no cell; nothing was added.
    Nowhere,
}

/// Leads to a cell, or nowhere yet.
#[derive(Debug)]
pub struct CellPointer(AtomicPtr<Cell>);

impl CellPointer {
    /// Leads nowhere.
    pub fn empty() -> CellPointer {
        CellPointer(AtomicPtr::new(ptr::null_mut()))
    }

    /// The cell that it leads to.
    #[inline]
    pub fn cell(&self) -> Option<&'static Cell> {
        // Acquire: pairs with the Release in `point_to`, so that the cell's first value is seen with the pointer.
        let cell = self.0.load(Ordering::Acquire);
        // SAFETY: null gives none. Otherwise it was made from a `&'static Cell` (`point_to` takes nothing else), so it is
        // aligned, points to a cell that lives for ever, and every access to a cell is atomic.
        unsafe { cell.as_ref() }
    }

    /// Adds `v` to the cell. For the lane's owner only.
    #[inline]
    pub fn add(&self, v: f64) -> Added {
        let Some(cell) = self.cell() else {
            return Added::Nowhere;
        };
        cell.add_alone(v);
        // Whoever moves a value stores the new pointer, has every thread run a fence, and reads the old cell again. Either our store is
        // before that fence, and he sees it; or what follows is behind it, and sees the new pointer.
        if self.still_leads_to(cell) {
            Added::Here
        } else {
            Added::Late
        }
    }

    /// Adds `v` to the cell and then `w` to that of `other`, or, where one of them has none, nothing. For the lane's owner only. Late: one
    /// of them is, or both.
    #[inline]
    pub fn add_both(&self, v: f64, other: &CellPointer, w: f64) -> Added {
        let Some(cell) = self.cell() else {
            return Added::Nowhere;
        };
        let Some(second) = other.cell() else {
            return Added::Nowhere;
        };
        cell.add_alone(v);
        // In this order also for whoever reads the file.
        light_fence();
        second.add_alone(w);
        // As in `add`.
        light_fence();
        if ptr::eq(self.0.load(Ordering::Relaxed), cell)
            && ptr::eq(other.0.load(Ordering::Relaxed), second)
        {
            Added::Here
        } else {
            Added::Late
        }
    }

    /// Whether it still leads to this cell, into which the caller has just stored. The one who moves the value stores another pointer, has every
    /// thread run a fence, and reads the cell only then: what a caller stored who gets a true here, he sees.
    #[inline]
    pub(super) fn still_leads_to(&self, cell: &'static Cell) -> bool {
        light_fence();
        ptr::eq(self.0.load(Ordering::Relaxed), cell)
    }

    /// Leads to `cell` from now on. What the last one held stays in it.
    pub fn point_to(&self, cell: &'static Cell) {
        // Release: pairs with the Acquire in `cell`. The cast to `*mut` only suits AtomicPtr; nobody writes through it.
        self.0
            .store(ptr::from_ref(cell).cast_mut(), Ordering::Release);
    }

    /// Moves what the lane's memory cell `from` has to `to`, which nobody else has yet, and leads there from now on. The owner may still add
    /// to `from`, once; the caller has every thread run a fence and then carries that over too.
    pub fn move_on(&self, from: &Cell, to: &'static Cell) {
        to.store(from.carry(), 0.0);
        self.point_to(to);
    }

    /// Leads nowhere from now on.
    pub fn clear(&self) {
        // Release: as in `point_to`.
        self.0.store(ptr::null_mut(), Ordering::Release);
    }
}
