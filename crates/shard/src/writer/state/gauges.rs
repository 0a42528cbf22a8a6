//! How the values of gauges move, several at a time, and what becomes of a value that was set beside that.
//!
//! Invariant: from the moment at which a gauge is suspended to that at which it has a cell again, nothing here waits for a disk: a thread that sets it
//! waits for us. Everything here runs under the writers' lock, and inside a move.

use std::time::Duration;

use super::{Vacated, WriterState};
use crate::map::cell::Cell;
use crate::map::process::fence_all_threads;
use crate::writer::entry::Holder;
use crate::writer::shards::Gone;
use crate::writer::touch::Operation;
use crate::writer::trouble::Message;

/// Gauges that are without a cell at a time.
const AT_A_TIME: usize = 256;

/// How long a store of another processor may take to be seen where the kernel cannot be asked to see to it. It is a matter of nanoseconds.
const SURELY_SEEN: Duration = Duration::from_millis(1);

impl WriterState {
    /// Moves the values of these entries from memory into shards' cells.
    pub(super) fn move_gauges(&mut self, ready: &[(usize, &'static Cell)]) {
        for some in ready.chunks(AT_A_TIME) {
            let from = self.suspend(some.iter().map(|&(index, _)| index));
            for (&(index, cell), from) in some.iter().zip(from) {
                if let Some(from) = from {
                    self.entries[index].resume_in_shard(from, cell);
                }
            }
        }
    }

    /// The entries, whose shards are lost, go on in memory.
    pub(super) fn gauges_go_on(&mut self, lost: &[(usize, &Gone)]) {
        for some in lost.chunks(AT_A_TIME) {
            let from = self.suspend(some.iter().map(|&(index, _)| index));
            for (&(index, gone), from) in some.iter().zip(from) {
                if let Some(from) = from {
                    self.gauge_goes_on(index, gone, from);
                }
            }
        }
    }

    fn gauge_goes_on(&mut self, index: usize, gone: &Gone, from: &'static Cell) {
        let entry = &mut self.entries[index];
        let key_len_bytes = self.keys.text(entry.item()).len();
        let (cells, values) = (&mut self.memory, &gone.values);
        let (has_value, is_sealed) =
            entry.resume_in_memory(index, from, cells, values, key_len_bytes);
        if has_value && let Some(shards) = &mut self.shards {
            shards.wait(gone.kind, index);
        }
        if is_sealed {
            self.vacated.push(Vacated {
                entry: index,
                cell: from,
                is_of_file: true,
            });
        }
    }

    /// Takes the cells of these entries away, and gives them; every value that was stored by who does not notice is in them.
    fn suspend(&self, indexes: impl Iterator<Item = usize>) -> Vec<Option<&'static Cell>> {
        let cells = indexes.map(|index| self.entries[index].suspend()).collect();
        if !fence_all_threads() {
            std::thread::sleep(SURELY_SEEN);
        }
        cells
    }

    /// For a thread that set (or added to) a gauge of this item in a cell that was not the current one any more.
    pub(in crate::writer) fn settle_gauge(
        &mut self,
        index: usize,
        vacated: &'static Cell,
        wanted: Operation,
        messages: &mut Vec<Message>,
    ) {
        let Some(entry) = self.find_entry(index, Holder::Everybody) else {
            return;
        };
        let is_it = |cell: &'static Cell| std::ptr::eq(cell, vacated);
        let is_sealed = self.memory.of(entry).is_some_and(is_it)
            || (self.vacated.iter()).any(|of| of.entry == entry && is_it(of.cell));
        let late = match wanted {
            _ if is_sealed => self.entries[entry].take_late(vacated).map(Operation::Set),
            Operation::Set(_) => Some(wanted),
            // To a cell that could not be sealed, or that was left long ago.
            Operation::Add(_) | Operation::SetAt(..) => None,
        };
        if let Some(late) = late {
            self.touch(index, None, late, messages);
        }
    }
}

#[cfg(test)]
mod tests;
