//! A writer's entries, and where the value of each is: nowhere yet, in memory, or in a shard.
//!
//! Invariant: an entry's value is in exactly one place that calls can reach. Everything here runs under the writers' lock.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::file::NewEntry;
use super::remains::Fate;
use super::series::{Series, Slot};
use super::shards::{GoneValues, Left, Shards};
use super::touch::Operation;
use super::trouble::Message;
use super::{Create, ProcessInfo, Snapshot, WriterStatus};
use crate::key::Key;
use crate::map::cell::Cell;
use crate::map::slot::CellSlot;
use crate::name::FileKind;

/// One writer.
#[derive(Debug)]
pub(super) struct WriterState {
    entries: Vec<Entry>,
    by_key: HashMap<(FileKind, Arc<str>), usize>,
    /// None: in memory, on purpose.
    shards: Option<Shards>,
    /// What the program publishes the time by in which it was degraded.
    degraded_seconds: Option<Series>,
}

#[derive(Debug)]
struct Entry {
    kind: FileKind,
    key: Arc<Key>,
    /// The key as it stands in a shard.
    text: Arc<str>,
    slot: &'static Slot,
    /// Whether the slot's cell is a shard's.
    is_in_shard: bool,
    /// The cell of this entry while it is not in a shard, made when it is first needed. One for ever, as a late caller may hold it
    /// for as long as it likes; sealed while it is not the current one.
    memory: Option<&'static Cell>,
    /// The entries that come into being together with this one.
    together: Range<usize>,
}

impl WriterState {
    pub(super) fn in_memory() -> WriterState {
        WriterState {
            entries: Vec::new(),
            by_key: HashMap::new(),
            shards: None,
            degraded_seconds: None,
        }
    }

    pub(super) fn with_shards(
        dir: PathBuf,
        info: ProcessInfo,
        messages: &mut Vec<Message>,
    ) -> WriterState {
        WriterState {
            shards: Some(Shards::open(dir, info, messages)),
            ..WriterState::in_memory()
        }
    }

    pub(super) fn needs_thread(&self) -> bool {
        self.shards.is_some()
    }

    /// The slots of these keys; entries that are new are created as `create` says.
    pub(super) fn series(
        &mut self,
        writer: usize,
        kind: FileKind,
        keys: Vec<Key>,
        create: Create,
        messages: &mut Vec<Message>,
    ) -> Vec<&'static Slot> {
        self.begin_again_in_child(messages);
        let first_new = self.entries.len();
        let indexes: Vec<usize> = keys
            .into_iter()
            .map(|key| self.find_or_add(writer, kind, key))
            .collect();
        let end = self.entries.len();
        if create == Create::AtZero {
            for entry in &mut self.entries[first_new..] {
                entry.together = first_new..end;
            }
            if is_whole(kind) {
                self.give_cells(kind, &indexes, |_| (0.0, 0.0), messages);
            } else {
                for &index in &indexes {
                    self.give_cells(kind, &[index], |_| (0.0, 0.0), messages);
                }
            }
        }
        indexes
            .iter()
            .map(|&index| self.entries[index].slot)
            .collect()
    }

    fn find_or_add(&mut self, writer: usize, kind: FileKind, key: Key) -> usize {
        let text: Arc<str> = key.encode().into();
        let index = self.entries.len();
        match self.by_key.entry((kind, Arc::clone(&text))) {
            std::collections::hash_map::Entry::Occupied(found) => *found.get(),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(index);
                self.entries.push(Entry {
                    kind,
                    key: Arc::new(key),
                    text,
                    slot: Box::leak(Box::new(Slot {
                        place: CellSlot::empty(),
                        writer,
                        entry: index,
                    })),
                    is_in_shard: false,
                    memory: None,
                    together: index..index + 1,
                });
                index
            }
        }
    }

    /// Does what a call wanted of an entry that had no cell, or a sealed one.
    pub(super) fn touch(
        &mut self,
        index: usize,
        operation: Operation,
        messages: &mut Vec<Message>,
    ) {
        self.begin_again_in_child(messages);
        let Some(entry) = self.entries.get(index) else {
            return;
        };
        let place = &entry.slot.place;
        let (value, timestamp) = operation.first_value();
        if let Some(cell) = place.cell() {
            let done = match operation {
                Operation::Add(v) => cell.add(v),
                Operation::Set(v) => cell.set(v),
                Operation::SetAt(v, unix_seconds) => place.set_with_timestamp(v, unix_seconds),
            };
            if !done {
                // A current cell is never sealed by us; a stranger wrote those bits into our shard.
                cell.store(value, timestamp);
            }
            return;
        }
        let (kind, together) = (entry.kind, entry.together.clone());
        let first = |other: usize| {
            if other == index {
                (value, timestamp)
            } else {
                (0.0, 0.0)
            }
        };
        if is_whole(kind) {
            let together: Vec<usize> = together.collect();
            self.give_cells(kind, &together, first, messages);
        } else {
            for other in together {
                self.give_cells(kind, &[other], first, messages);
            }
        }
    }

    /// Gives those of these entries that have none a cell with their first value: all in the shard, or all in memory if that does
    /// not work.
    fn give_cells(
        &mut self,
        kind: FileKind,
        indexes: &[usize],
        first: impl Fn(usize) -> (f64, f64),
        messages: &mut Vec<Message>,
    ) {
        let mut new: Vec<usize> = Vec::with_capacity(indexes.len());
        for &index in indexes {
            let is_empty = |entry: &Entry| entry.slot.place.cell().is_none();
            if self.entries.get(index).is_some_and(is_empty) && !new.contains(&index) {
                new.push(index);
            }
        }
        if new.is_empty() {
            return;
        }
        let cells = match &mut self.shards {
            Some(shards) => {
                let new_entry = |&index: &usize| self.entries[index].new_entry(first(index));
                let new_entries: Vec<NewEntry> = new.iter().map(new_entry).collect();
                shards.append_or_wait(kind, &new, &new_entries, messages)
            }
            None => None,
        };
        for (position, &index) in new.iter().enumerate() {
            let entry = &mut self.entries[index];
            let cell = cells
                .as_ref()
                .and_then(|cells| cells.get(position).copied());
            entry.is_in_shard = cell.is_some();
            match cell {
                Some(cell) => entry.slot.place.point_to(cell),
                None => {
                    let (value, timestamp) = first(index);
                    entry
                        .slot
                        .place
                        .begin_in(entry.memory_cell(), value, timestamp);
                }
            }
        }
    }

    /// Looks whether files or directory are still ours, and tries to open what is not open.
    pub(super) fn inspect(&mut self, messages: &mut Vec<Message>) {
        let Some(shards) = &mut self.shards else {
            return;
        };
        for gone in shards.inspect(messages) {
            for (index, entry) in self.entries.iter_mut().enumerate() {
                if entry.kind == gone.kind && entry.is_in_shard {
                    entry.is_in_shard = false;
                    if entry.go_on_in_memory(&gone.values) {
                        shards.wait(gone.kind, index);
                    }
                }
            }
        }
    }

    /// Moves up to `count_max` values from memory into shards; true if there may be more to move.
    pub(super) fn move_waiting(&mut self, count_max: usize, messages: &mut Vec<Message>) -> bool {
        let Some(shards) = &mut self.shards else {
            return false;
        };
        for _ in 0..count_max {
            let Some(index) = shards.next_waiting() else {
                shards.settle(messages);
                shards.keep_sidecars();
                return false;
            };
            let Some(entry) = self.entries.get(index) else {
                continue;
            };
            let kind = entry.kind;
            let together = if is_whole(kind) {
                entry.together.clone()
            } else {
                index..index + 1
            };
            // Those that went with one that was in front of them in the queue are there already.
            let is_to_move =
                |entry: &Entry| !entry.is_in_shard && entry.slot.place.cell().is_some();
            if !is_to_move(entry) {
                continue;
            }
            let entries = &self.entries;
            let indexes: Vec<usize> = together
                .filter(|&index| entries.get(index).is_some_and(is_to_move))
                .collect();
            // The first value of a new entry is the value of now, so that no reader sees it at zero; `move_to` brings what is
            // added in between.
            let new_entry = |&index: &usize| {
                let entry: &Entry = &entries[index];
                entry.new_entry(entry.present())
            };
            let new_entries: Vec<NewEntry> = indexes.iter().map(new_entry).collect();
            let Some(cells) = shards.append_again(kind, &indexes, &new_entries, messages) else {
                continue;
            };
            for (&index, cell) in indexes.iter().zip(cells) {
                let entry = &mut self.entries[index];
                entry.slot.place.move_to(cell);
                entry.is_in_shard = true;
            }
        }
        true
    }

    /// In a fork's child, which has one thread: forgets cells, mappings and descriptors; what is in memory on purpose stays, and only
    /// the locks are opened that a thread of the parent's may have held. Allocates nothing.
    pub(super) fn leave_to_parent(&mut self) {
        let Some(shards) = &mut self.shards else {
            for entry in &mut self.entries {
                entry.slot.place.open_pair_in_child();
            }
            return;
        };
        shards.leave_to_parent();
        for entry in &mut self.entries {
            entry.slot.place.forget_in_child();
            entry.is_in_shard = false;
        }
    }

    fn begin_again_in_child(&mut self, messages: &mut Vec<Message>) {
        if let Some(shards) = &mut self.shards {
            shards.begin_again_in_child(messages);
        }
    }

    pub(super) fn count_degraded_seconds_in(&mut self, series: Series) {
        self.degraded_seconds = Some(series);
    }

    /// Seconds in which values went into memory and that were not taken before, and where they are to be added.
    pub(super) fn take_degraded_seconds(&mut self) -> Option<(Series, f64)> {
        let series = self.degraded_seconds.clone()?;
        let time = self.shards.as_mut()?.take_degraded_time();
        (!time.is_zero()).then_some((series, time.as_secs_f64()))
    }

    pub(super) fn snapshot(&self) -> Vec<Snapshot> {
        self.entries
            .iter()
            .filter_map(|entry| {
                let (value, timestamp) = entry.slot.place.cell()?.load()?;
                Some(Snapshot {
                    kind: entry.kind,
                    key: Arc::clone(&entry.key),
                    value,
                    timestamp,
                })
            })
            .collect()
    }

    pub(super) fn status(&self) -> WriterStatus {
        self.shards
            .as_ref()
            .map_or(WriterStatus::InMemory, Shards::status)
    }
}

impl Entry {
    fn new_entry(&self, (value, timestamp): (f64, f64)) -> NewEntry {
        NewEntry {
            key: Arc::clone(&self.text),
            value: Cell::canonical(value),
            timestamp,
        }
    }

    /// Value and timestamp of now; zeros where there are none.
    fn present(&self) -> (f64, f64) {
        let cell = self.slot.place.cell();
        cell.and_then(Cell::load).unwrap_or_default()
    }

    fn memory_cell(&mut self) -> &'static Cell {
        self.memory
            .get_or_insert_with(|| Box::leak(Box::new(Cell::new(0.0, 0.0))))
    }

    /// Goes on in memory after the shard was lost; in a new shard soon. False: it has no value any more, and none to claim until
    /// somebody sets one.
    fn go_on_in_memory(&mut self, values: &GoneValues) -> bool {
        let memory = self.memory_cell();
        let place = &self.slot.place;
        match values {
            // What a call of this moment still adds to the old cell is in the deleted file with the rest.
            GoneValues::StayBehind => place.begin_in(memory, 0.0, 0.0),
            GoneValues::GoOn => place.move_to(memory),
            GoneValues::GoOnFromFile => {
                let (value, timestamp) = self.present();
                place.begin_in(memory, value, timestamp);
            }
            GoneValues::AreLeftIn(left) => return self.go_on_from_remains(memory, left),
        }
        true
    }

    /// Goes on with what is in no file; a gauge with what is still known of it.
    fn go_on_from_remains(&self, memory: &'static Cell, left: &Left) -> bool {
        let place = &self.slot.place;
        let Some(cell) = place.cell() else {
            return false;
        };
        let fate = left.remains.fate_of(cell, self.text.len());
        let is_known = match fate {
            Fate::InMemory | Fate::OutOfReach => true,
            Fate::InFile => left.carries_on,
            Fate::Doubtful => false,
        };
        let is_private = left.is_private || fate == Fate::InMemory;
        match (is_known, is_private) {
            // What a call of this moment still adds to the old cell is in the file with the rest.
            (false, _) => place.begin_in(memory, 0.0, 0.0),
            (true, true) => place.move_to(memory),
            // The cell is the file's, where the seal must not stand: a call of this very moment may be lost.
            (true, false) => {
                let (value, timestamp) = self.present();
                place.begin_in(memory, value, timestamp);
            }
        }
        // A gauge's zero in the place of a lost value was set by nobody.
        let is_void = left.carries_on && fate != Fate::InFile && memory.value() == Some(0.0);
        if is_void {
            place.forget();
        }
        !is_void
    }
}

/// Whether the entries that a series of this kind consists of are nothing without each other: a histogram without some of its
/// buckets is a wrong one.
fn is_whole(kind: FileKind) -> bool {
    match kind {
        FileKind::Histogram | FileKind::GaugeHistogram | FileKind::Summary => true,
        FileKind::Counter
        | FileKind::Gauge(_)
        | FileKind::Untyped
        | FileKind::Info
        | FileKind::StateSet => false,
    }
}
