//! An entry of which any thread may set the value by a plain store: how the value moves.
//!
//! Invariant: as in [`CellSlot`](crate::map::slot::CellSlot): the entry is suspended, every thread runs a fence, and then its value moves; all under one
//! hold of the writers' lock. Its memory cell is sealed whenever it is not the current one, so that what is stored late is told from the rest.

use super::{Entry, Holder, MemoryCells};
use crate::map::cell::Cell;
use crate::writer::remains::Fate;
use crate::writer::shards::GoneValues;

impl Entry {
    /// Whether it is set by plain stores, so that its value moves by [`suspend`](Self::suspend) and one of the calls that follow it.
    pub(in crate::writer) fn is_gauge(&self) -> bool {
        !self.slot().is_laned()
    }

    /// Takes a gauge's cell away until its value has moved, and gives it.
    pub(in crate::writer) fn suspend(&self) -> Option<&'static Cell> {
        self.slot().place.suspend()
    }

    /// Moves a gauge's value out of the memory cell that it was suspended in into a shard's cell, which has an earlier one.
    pub(in crate::writer) fn resume_in_shard(&self, from: &Cell, cell: &'static Cell) {
        let place = &self.slot().place;
        match from.seal() {
            Some(value) => place.resume_in(cell, value),
            None => place.point_to(cell),
        }
    }

    /// Moves a gauge's value out of a lost shard's cell, in which it was suspended, into memory; in a new shard soon. Gives whether it has a
    /// value still, and whether the old cell is sealed, so that what is stored late into it can be told from the rest.
    pub(in crate::writer) fn resume_in_memory(
        &mut self,
        own: usize,
        from: &'static Cell,
        cells: &mut MemoryCells,
        values: &GoneValues,
        key_len_bytes: usize,
    ) -> (bool, bool) {
        self.is_in_shard = false;
        let (fate, is_private) = match values {
            GoneValues::StayBehind | GoneValues::GoOn => (Fate::InFile, true),
            GoneValues::GoOnFromFile => (Fate::InFile, false),
            GoneValues::AreLeftIn(left) => {
                let fate = left.remains.fate_of(from, key_len_bytes);
                (fate, left.is_private || fate == Fate::InMemory)
            }
        };
        // A cell that is the file's cannot be sealed: an addition of this very moment may be lost.
        let value = if is_private { from.seal() } else { from.load() };
        let (value, timestamp) = value.unwrap_or_default();
        // A zero in the place of a lost value was set by nobody.
        let is_void = match fate {
            Fate::InFile => false,
            Fate::InMemory | Fate::OutOfReach => value == 0.0,
            Fate::Doubtful => true,
        };
        if !is_void {
            let memory = cells.ensure_sealed(own, self.holder);
            let place = &self.slot().place;
            place.resume_in_sealed(memory, (value, timestamp));
        }
        (!is_void, is_private)
    }

    /// What was stored late into this sealed cell, which was a gauge's, and is to be stored anew.
    pub(in crate::writer) fn take_late(&self, vacated: &'static Cell) -> Option<f64> {
        self.slot().place.take_late(vacated)
    }
}

impl MemoryCells {
    /// The cell of this gauge's entry, sealed, or with what was stored late into it.
    pub(super) fn ensure_sealed(&mut self, entry: usize, holder: Holder) -> &'static Cell {
        self.of(entry).unwrap_or_else(|| {
            let cell = self.renew(entry, holder);
            let _zero = cell.seal();
            cell
        })
    }
}
