//! One entry of a writer: who stores into it, and where its value is: nowhere yet, in memory, or in a shard.
//!
//! Invariant: an entry's value is in exactly one cell that calls can reach. A lane's memory cell is an odometer: it never goes back, and what
//! was carried over out of it into a shard stands in it. Everything here runs under the writers' lock; it must not know of files.

mod gauge;

use std::num::NonZeroU32;

use super::lanes;
use super::remains::Fate;
use super::shards::GoneValues;
use super::slots::{self, Slot};
use crate::map::cell::Cell;
use crate::map::pointer::CellPointer;
use crate::name::FileKind;

/// Memory cells that are made at a time.
const CELLS_AT_A_TIME: usize = 64;

/// Who may store into an entry's cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// Nobody yet. It exists since registration, and is given to the first who comes.
    Nobody,
    /// The owner of this lane.
    Lane(u8),
    /// Any thread, by compare-and-swap.
    Everybody,
}

impl Holder {
    /// Who adds to a value of this kind through this lane, or through none.
    pub(super) fn of(kind: FileKind, lane: Option<usize>) -> Holder {
        match lane.map(u8::try_from) {
            Some(Ok(lane)) if adds_up(kind) => Holder::Lane(lane),
            _ => Holder::Everybody,
        }
    }

    /// Who holds an entry of this kind that was made before anybody stored a value.
    pub(super) fn at_first(kind: FileKind) -> Holder {
        if adds_up(kind) {
            Holder::Nobody
        } else {
            Holder::Everybody
        }
    }
}

/// Whether values of this kind are sums: then every thread may have its own part, and what was counted stays in a deleted shard.
pub(super) fn adds_up(kind: FileKind) -> bool {
    match kind {
        FileKind::Counter | FileKind::Summary | FileKind::Histogram => true,
        FileKind::Gauge(_)
        | FileKind::Untyped
        | FileKind::Info
        | FileKind::StateSet
        | FileKind::GaugeHistogram => false,
    }
}

/// One entry. What is rare stands elsewhere: [`MemoryCells`] has the cells of those that were in memory.
#[derive(Debug)]
pub(super) struct Entry {
    slot: u32,
    /// The next entry of the same item: its place plus one.
    pub(super) next: Option<NonZeroU32>,
    holder: Holder,
    /// Whether its cell is a shard's.
    is_in_shard: bool,
    /// Whether what comes late into the memory cell is looked after.
    is_watched: bool,
}

const _: () = assert!(size_of::<Entry>() == 12, "a series has one at least");

/// A private cell that was a lane's current one, and that its owner may have been about to add to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vacated {
    pub(super) entry: usize,
    pub(super) cell: &'static Cell,
    /// Whether it is in the private memory that took the place of a file's page.
    pub(super) is_of_file: bool,
}

/// Cells in memory, some at a time, so that those of one lane are beside each other and not beside another's.
#[derive(Debug, Default)]
pub(super) struct MemoryCells {
    by_holder: Vec<(Holder, &'static [Cell])>,
    /// By the places of entries, as far as one of them needed a cell: that of an entry while it is not in a shard, made when it is first needed. Who
    /// still holds it from the last time may use it for as long as he likes: that of everybody is sealed while it is not the current one, that of a
    /// lane goes on.
    of_entries: Vec<Option<&'static Cell>>,
}

impl MemoryCells {
    fn take(&mut self, holder: Holder) -> &'static Cell {
        let position = self.by_holder.iter().position(|(of, _)| *of == holder);
        let position = position.unwrap_or_else(|| {
            self.by_holder.push((holder, &[]));
            self.by_holder.len() - 1
        });
        let rest = &mut self.by_holder[position].1;
        if rest.is_empty() {
            *rest = (0..CELLS_AT_A_TIME)
                .map(|_| Cell::new(0.0, 0.0))
                .collect::<Vec<_>>()
                .leak();
        }
        let (cell, others) = rest.split_first().expect("filled above");
        *rest = others;
        cell
    }

    /// The cell that this entry has, if it has one.
    pub(super) fn of(&self, entry: usize) -> Option<&'static Cell> {
        self.of_entries.get(entry).copied().flatten()
    }

    /// The cell of this entry, which gets one if it has none.
    fn ensure(&mut self, entry: usize, holder: Holder) -> &'static Cell {
        match self.of(entry) {
            Some(cell) => cell,
            None => self.renew(entry, holder),
        }
    }

    /// Another cell for this entry.
    fn renew(&mut self, entry: usize, holder: Holder) -> &'static Cell {
        let cell = self.take(holder);
        if self.of_entries.len() <= entry {
            self.of_entries.resize(entry + 1, None);
        }
        self.of_entries[entry] = Some(cell);
        cell
    }

    /// There are no entries any more.
    pub(super) fn forget_entries(&mut self) {
        self.of_entries.clear();
    }
}

impl Entry {
    pub(super) fn new(slot: u32, holder: Holder) -> Entry {
        if let Holder::Lane(lane) = holder {
            lanes::reach(usize::from(lane), slot, slot + 1);
        }
        Entry {
            slot,
            next: None,
            holder,
            is_in_shard: false,
            is_watched: false,
        }
    }

    /// Which of the writer's items it is of.
    pub(super) fn item(&self) -> usize {
        self.slot().of().1
    }

    pub(super) fn holder(&self) -> Holder {
        self.holder
    }

    pub(super) fn is_in_shard(&self) -> bool {
        self.is_in_shard
    }

    fn slot(&self) -> &'static Slot {
        slots::at(self.slot).expect("a slot is made before its entries")
    }

    fn pointer(&self, lane: u8) -> &'static CellPointer {
        lanes::pointer(usize::from(lane), self.slot)
            .expect("a lane's table reaches every entry that it holds")
    }

    pub(super) fn cell(&self) -> Option<&'static Cell> {
        match self.holder {
            Holder::Lane(lane) => self.pointer(lane).cell(),
            Holder::Nobody | Holder::Everybody => self.slot().place.cell(),
        }
    }

    /// Value and timestamp of now; none where there are none.
    pub(super) fn value(&self) -> Option<(f64, f64)> {
        let cell = self.cell()?;
        match self.holder {
            Holder::Lane(_) => Some((cell.uncarried(), 0.0)),
            Holder::Nobody | Holder::Everybody => cell.load(),
        }
    }

    /// Adds to it. If it is a lane's, the caller is the owner.
    pub(super) fn add(&self, v: f64) {
        match self.holder {
            Holder::Lane(lane) => {
                let _here = self.pointer(lane).add(v);
            }
            Holder::Nobody | Holder::Everybody => {
                if let Some(cell) = self.cell()
                    && !cell.add(v)
                {
                    // A current cell is never sealed by us; a stranger wrote those bits into our shard.
                    cell.store(v, 0.0);
                }
            }
        }
    }

    /// Stores the value of what everybody may store into.
    pub(super) fn set(&self, v: f64, unix_seconds: Option<f64>) {
        let place = &self.slot().place;
        let is_done = match unix_seconds {
            Some(unix_seconds) => place.set_with_timestamp(v, unix_seconds),
            None => place.cell().is_some_and(|cell| cell.set(v)),
        };
        if !is_done && let Some(cell) = place.cell() {
            // As above.
            cell.store(v, unix_seconds.unwrap_or(0.0));
        }
    }

    /// Gives an entry that nobody stored into yet to a holder. `memory` is its cell in memory, if it has one.
    pub(super) fn give_to(&mut self, holder: Holder, memory: Option<&'static Cell>) {
        let slot = self.slot();
        match holder {
            Holder::Nobody => {}
            Holder::Everybody => slot.set_shared(),
            Holder::Lane(lane) => {
                lanes::reach(usize::from(lane), self.slot, self.slot + 1);
                let Some(cell) = slot.place.cell() else {
                    return;
                };
                if cell.value().is_none() {
                    // A stranger's seal.
                    cell.store(0.0, 0.0);
                }
                if self.is_in_shard
                    && let Some(memory) = memory
                {
                    // It was sealed when the value went into the shard, and no call has ever held it.
                    memory.store(0.0, 0.0);
                }
                self.pointer(lane).point_to(cell);
                slot.place.forget();
            }
        }
        self.holder = holder;
    }

    /// Begins in a shard's cell, which has its first value.
    pub(super) fn begin_in_shard(&mut self, cell: &'static Cell) {
        self.is_in_shard = true;
        match self.holder {
            Holder::Lane(lane) => self.pointer(lane).point_to(cell),
            Holder::Nobody | Holder::Everybody => self.slot().place.point_to(cell),
        }
        self.show();
    }

    /// Begins in memory. `own` is its place among the entries, as below.
    pub(super) fn begin_in_memory(
        &mut self,
        own: usize,
        cells: &mut MemoryCells,
        (value, timestamp): (f64, f64),
    ) {
        self.is_in_shard = false;
        match self.holder {
            Holder::Lane(lane) => {
                let memory = cells.ensure(own, self.holder);
                memory.store(value, 0.0);
                self.pointer(lane).point_to(memory);
            }
            Holder::Nobody | Holder::Everybody if self.is_gauge() => {
                let memory = cells.ensure_sealed(own, self.holder);
                let place = &self.slot().place;
                place.resume_in_sealed(memory, (value, timestamp));
            }
            Holder::Nobody | Holder::Everybody => {
                let memory = cells.ensure(own, self.holder);
                self.slot().place.begin_in(memory, value, timestamp);
            }
        }
        self.show();
    }

    fn show(&self) {
        if self.holder == Holder::Everybody {
            self.slot().set_shared();
        }
    }

    /// A shard has a cell for it, with the value of now; `move_to` follows at once.
    pub(super) fn set_in_shard(&mut self) {
        self.is_in_shard = true;
    }

    /// Moves the value of what is no gauge from memory into a shard's cell. Gives the cell that its owner may still be about to add to.
    pub(super) fn move_to(&self, cell: &'static Cell) -> Option<&'static Cell> {
        match self.holder {
            Holder::Nobody | Holder::Everybody => {
                self.slot().place.move_to(cell);
                None
            }
            Holder::Lane(lane) => {
                let pointer = self.pointer(lane);
                let memory = pointer.cell()?;
                pointer.move_on(memory, cell);
                Some(memory)
            }
        }
    }

    /// Whether the memory cell is to be looked after from now on, and was not before.
    pub(super) fn watch(&mut self) -> bool {
        !std::mem::replace(&mut self.is_watched, true)
    }

    /// Goes on in memory after the shard was lost; in a new shard soon. For what adds up. Gives whether it has a cell to go on from, and the cell
    /// that its owner may still be about to add to.
    pub(super) fn go_on_in_memory(
        &mut self,
        own: usize,
        cells: &mut MemoryCells,
        values: &GoneValues,
        key_len_bytes: usize,
    ) -> (bool, Option<&'static Cell>) {
        self.is_in_shard = false;
        if let Holder::Lane(lane) = self.holder {
            return (
                true,
                self.go_on_in_lane(lane, own, cells, values, key_len_bytes),
            );
        }
        let memory = cells.ensure(own, self.holder);
        let place = &self.slot().place;
        let Some(cell) = place.cell() else {
            return (false, None);
        };
        let fate = match values {
            GoneValues::AreLeftIn(left) => left.remains.fate_of(cell, key_len_bytes),
            // What was counted stays in the deleted file.
            GoneValues::StayBehind | GoneValues::GoOn | GoneValues::GoOnFromFile => Fate::InFile,
        };
        match fate {
            // What a call of this moment still adds to the old cell is in the file with the rest.
            Fate::InFile | Fate::Doubtful => place.begin_in(memory, 0.0, 0.0),
            Fate::InMemory => place.move_to(memory),
            // The cell is the file's, where the seal must not stand: a call of this very moment may be lost.
            Fate::OutOfReach => {
                let (value, timestamp) = self.value().unwrap_or_default();
                place.begin_in(memory, value, timestamp);
            }
        }
        (true, None)
    }

    /// The same for a lane's entry, whose old cell cannot be closed: its owner may add to it once more. Gives that cell if what it gets
    /// is in no file.
    fn go_on_in_lane(
        &mut self,
        lane: u8,
        own: usize,
        cells: &mut MemoryCells,
        values: &GoneValues,
        key_len_bytes: usize,
    ) -> Option<&'static Cell> {
        let pointer = self.pointer(lane);
        let old = pointer.cell()?;
        let fate = match values {
            GoneValues::AreLeftIn(left) => left.remains.fate_of(old, key_len_bytes),
            // What is added to a deleted file is in it with the rest.
            GoneValues::StayBehind | GoneValues::GoOn | GoneValues::GoOnFromFile => Fate::InFile,
        };
        let carried = match fate {
            Fate::InFile | Fate::Doubtful => 0.0,
            // The cell is a part of the file that nobody reads: a call of this very moment may be lost.
            Fate::OutOfReach => Cell::canonical(old.value().unwrap_or(f64::NAN)),
            Fate::InMemory => old.carry(),
        };
        if carried != 0.0 {
            // Into a new one: the owner may still be about to store into the one of before.
            let memory = cells.renew(own, self.holder);
            memory.store(carried, 0.0);
            self.is_watched = false;
        }
        pointer.point_to(cells.ensure(own, self.holder));
        (fate == Fate::InMemory).then_some(old)
    }
}
