//! A writer's entries, and where the value of each is: nowhere yet, in memory, or in a shard.
//!
//! Invariant: an entry's value is in exactly one place that calls can reach. Everything here runs under the writers' lock.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::series::Slot;
use super::shards::Shards;
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
    /// The entries that come into being together with this one: a histogram without some of its buckets would be a wrong one.
    together: Range<usize>,
}

impl WriterState {
    pub(super) fn in_memory() -> WriterState {
        WriterState {
            entries: Vec::new(),
            by_key: HashMap::new(),
            shards: None,
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
            for &index in &indexes {
                self.give_cell(index, 0.0, 0.0, messages);
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
        for other in entry.together.clone() {
            if other == index {
                self.give_cell(index, value, timestamp, messages);
            } else {
                self.give_cell(other, 0.0, 0.0, messages);
            }
        }
    }

    /// Gives an entry that has none a cell with this value: in the shard, or in memory if that does not work.
    fn give_cell(&mut self, index: usize, value: f64, timestamp: f64, messages: &mut Vec<Message>) {
        let Some(entry) = self.entries.get_mut(index) else {
            return;
        };
        if entry.slot.place.cell().is_some() {
            return;
        }
        let value = Cell::canonical(value);
        let in_shard = self.shards.as_mut().and_then(|shards| {
            shards.append_or_wait(entry.kind, index, &entry.text, (value, timestamp), messages)
        });
        entry.is_in_shard = in_shard.is_some();
        entry
            .slot
            .place
            .point_to(in_shard.unwrap_or_else(|| memory_cell(value, timestamp)));
    }

    /// Looks whether files or directory are still ours, and tries to open what is not open.
    pub(super) fn inspect(&mut self, messages: &mut Vec<Message>) {
        let Some(shards) = &mut self.shards else {
            return;
        };
        for kind in shards.inspect(messages) {
            for (index, entry) in self.entries.iter_mut().enumerate() {
                if entry.kind == kind && entry.is_in_shard {
                    entry.is_in_shard = false;
                    entry.slot.place.point_to(after_deletion(entry));
                    shards.wait(kind, index);
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
            let Some(entry) = self.entries.get_mut(index) else {
                continue;
            };
            // The first value of the new entry is the value of now, so that no reader sees it at zero; `move_to` brings what is
            // added in between.
            let first = entry
                .slot
                .place
                .cell()
                .and_then(Cell::load)
                .unwrap_or_default();
            if let Some(cell) = shards.append_again(entry.kind, index, &entry.text, first, messages)
            {
                entry.slot.place.move_to(cell);
                entry.is_in_shard = true;
            }
        }
        true
    }

    /// In a fork's child, which has one thread: forgets cells, mappings and descriptors. Allocates nothing.
    pub(super) fn leave_to_parent(&mut self) {
        let Some(shards) = &mut self.shards else {
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

/// Where an entry goes on whose shard was deleted: in memory first, in a new shard soon.
///
/// Counts start at zero: what was counted is in the deleted file, which a daemon may still hold, and must not be counted twice.
/// A gauge is not a count but what is true of this process now, and stays so.
fn after_deletion(entry: &Entry) -> &'static Cell {
    let carries_on = match entry.kind {
        FileKind::Counter | FileKind::Summary | FileKind::Histogram => false,
        FileKind::Gauge(_)
        | FileKind::Untyped
        | FileKind::Info
        | FileKind::StateSet
        | FileKind::GaugeHistogram => true,
    };
    let last = entry
        .slot
        .place
        .cell()
        .and_then(Cell::load)
        .filter(|_| carries_on);
    let (value, timestamp) = last.unwrap_or_default();
    memory_cell(value, timestamp)
}

/// A cell that lives for ever, as a late caller may hold it for as long as it likes.
fn memory_cell(value: f64, timestamp: f64) -> &'static Cell {
    Box::leak(Box::new(Cell::new(value, timestamp)))
}
