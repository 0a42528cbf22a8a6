//! A series in a program's hand, and the hot path: one pointer, one check, one compare-and-swap.
//!
//! Invariant: a call on an entry that has a cell makes no system call, takes no lock (but for the pair lock of the mostrecent
//! modes), allocates nothing and cannot fail. Everything else goes through [`touch`].

use std::sync::Arc;

use super::touch::{Operation, settled_value, touch};
use crate::map::slot::CellSlot;

/// Some entries of one series: one of a counter or gauge, sum and buckets of a histogram. Clones are the same entries, and so is
/// every series of the same kind and keys.
///
/// Calls are infallible and may come from any thread, but not from a signal handler, a global allocator, or a child made by raw
/// `clone` (see [`Writer`](super::Writer)). An index that is not one of the keys' is ignored.
#[derive(Debug, Clone)]
pub struct Series {
    pub(super) slots: Arc<[&'static Slot]>,
}

/// What leads to one entry's cell. There is one for each entry, it lives for ever, and all series of the entry share it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) place: CellSlot,
    /// Which writer, by its place in the list of all.
    pub(super) writer: usize,
    /// Which of its entries.
    pub(super) entry: usize,
}

impl Series {
    /// Adds `v` to the value of `keys[index]`. The first touch of an entry may create it in the shard.
    #[inline]
    pub fn add(&self, index: usize, v: f64) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        if !slot.place.cell().is_some_and(|cell| cell.add(v)) {
            touch(slot, Operation::Add(v));
        }
    }

    /// Stores `v`.
    #[inline]
    pub fn set(&self, index: usize, v: f64) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        if !slot.place.cell().is_some_and(|cell| cell.set(v)) {
            touch(slot, Operation::Set(v));
        }
    }

    /// Stores `v` and the time at which it was true, as the mostrecent modes need it: the value first, then the time. In this process
    /// nobody sees the new time with the old value. A process that reads the file copies both words without a lock; in the
    /// middle of a call it may have one of them new and the other old, until it reads again. Of two calls the later one stands, whatever their times say.
    pub fn set_with_timestamp(&self, index: usize, v: f64, unix_seconds: f64) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        if !slot.place.set_with_timestamp(v, unix_seconds) {
            touch(slot, Operation::SetAt(v, unix_seconds));
        }
    }

    /// The present value; 0 while the entry does not exist.
    pub fn get(&self, index: usize) -> f64 {
        let Some(slot) = self.slots.get(index) else {
            return 0.0;
        };
        let Some(cell) = slot.place.cell() else {
            return 0.0;
        };
        // Sealed: the value moves into a shard at this moment, and the pointer to its new cell is about to be stored.
        cell.value().unwrap_or_else(|| settled_value(slot))
    }
}
