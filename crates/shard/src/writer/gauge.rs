//! One gauge at hand: the hot path of what has one cell for all threads.
//!
//! Invariant: as in [`series`](super::series): a call on an entry that has a cell makes no system call, takes no lock but that of a pair,
//! allocates nothing and cannot fail.

use super::series::{Series, read};
use super::slots::Slot;
use super::touch::{Operation, finish};
use crate::map::slot::Stored;

/// One entry of a series that has one cell for all threads (what does not add up: gauges), found without a look-up. Its calls are those of
/// [`Series`] with the same names.
#[derive(Debug, Clone, Copy)]
pub struct SharedEntry {
    slot: &'static Slot,
    number: u32,
}

impl SharedEntry {
    /// Stores `v`: a load, a store, and a look whether the cell is still the same.
    #[inline]
    pub fn set(&self, v: f64) {
        let stored = self.slot.place.set(v);
        if !matches!(stored, Stored::Here) {
            finish(self.number, Operation::Set(v), stored);
        }
    }

    /// As [`Series::set_with_timestamp`].
    #[inline]
    pub fn set_with_timestamp(&self, v: f64, unix_seconds: f64) {
        if !self.slot.place.set_with_timestamp(v, unix_seconds) {
            let operation = Operation::SetAt(v, unix_seconds);
            finish(self.number, operation, Stored::Nowhere);
        }
    }

    /// Adds `v`, by compare-and-swap.
    #[inline]
    pub fn add(&self, v: f64) {
        let stored = self.slot.place.add(v);
        if !matches!(stored, Stored::Here) {
            finish(self.number, Operation::Add(v), stored);
        }
    }

    /// The present value; 0 while the entry does not exist.
    pub fn get(&self) -> f64 {
        read(self.number, self.slot)
    }
}

impl Series {
    /// The entry of `keys[index]`; none if it is made of parts, or there is no such key.
    pub fn shared_entry(&self, index: usize) -> Option<SharedEntry> {
        let (number, slot) = self.slot(index)?;
        (!slot.is_laned()).then_some(SharedEntry { slot, number })
    }
}
