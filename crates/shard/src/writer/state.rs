//! A writer's items (what its series consist of), the entries of each, and who stores into them.
//!
//! Invariant: an item's value is the sum over its entries, of which each is held by somebody else: nobody yet, one lane, or everybody.
//! Everything here runs under the writers' lock.

mod gauges;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use super::entry::{Entry, Holder, MemoryCells, Vacated, adds_up};
use super::file::NewEntry;
use super::groups::Groups;
use super::keys::{Keys, make_room};
use super::lanes::{self, MOVES};
use super::series::Series;
use super::shards::{Gone, Shards};
use super::slots;
use super::touch::Operation;
use super::trouble::Message;
use super::{Create, ProcessInfo, Snapshot, WriterStatus};
use crate::key::Key;
use crate::map::cell::Cell;
use crate::map::process::fence_all_threads;
use crate::name::FileKind;

/// One writer.
#[derive(Debug)]
pub(super) struct WriterState {
    /// The kind and key of each item.
    keys: Keys,
    items: Vec<Item>,
    /// The items that come into being together.
    item_groups: Groups,
    entries: Vec<Entry>,
    /// The entries that came into being together.
    entry_groups: Groups,
    memory: MemoryCells,
    /// Keys as they were shown, as far as somebody asked, which in a program with shards nobody may ever do.
    shown: Vec<Arc<Key>>,
    /// What may get something late: cells of lanes, and those of gauges in lost shards. It stays here: an owner that is not scheduled may be about to
    /// add for as long as it likes.
    vacated: Vec<Vacated>,
    /// None: in memory, on purpose.
    shards: Option<Shards>,
    /// What the program publishes the time by in which it was degraded.
    degraded_seconds: Option<Series>,
}

/// What one key of a kind stands for.
#[derive(Debug)]
struct Item {
    slot: u32,
    /// The first of its entries.
    first: Option<Number>,
}

/// A place in a list, plus one, so that none takes no memory.
type Number = NonZeroU32;

fn number(place: usize) -> Option<Number> {
    Number::new(u32::try_from(place + 1).ok()?)
}

fn place(number: Number) -> usize {
    number.get() as usize - 1
}

impl WriterState {
    pub(super) fn in_memory() -> WriterState {
        WriterState {
            keys: Keys::default(),
            items: Vec::new(),
            item_groups: Groups::default(),
            entries: Vec::new(),
            entry_groups: Groups::default(),
            memory: MemoryCells::default(),
            shown: Vec::new(),
            vacated: Vec::new(),
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

    /// The slots of these keys; items that are new get the next ones, and are created as `create` says.
    pub(super) fn series(
        &mut self,
        writer: usize,
        next_slot: &mut u32,
        kind: FileKind,
        keys: Vec<Key>,
        create: Create,
        messages: &mut Vec<Message>,
    ) -> Vec<u32> {
        self.begin_again_in_child(messages);
        let first_new = self.items.len();
        let indexes: Vec<usize> = keys
            .into_iter()
            .map(|key| self.find_or_add(writer, next_slot, kind, key))
            .collect();
        let end = self.items.len();
        if create == Create::AtZero {
            self.item_groups.add(first_new..end);
            self.create_missing(kind, &indexes, |_| (0.0, 0.0), messages);
        }
        indexes
            .iter()
            .map(|&index| self.items[index].slot)
            .collect()
    }

    /// Makes the entries of those of these slots, which are of this writer, that have none: at zero, each by itself.
    pub(super) fn create_each(
        &mut self,
        kind: FileKind,
        numbers: &[u32],
        messages: &mut Vec<Message>,
    ) {
        self.begin_again_in_child(messages);
        for slot in numbers.iter().filter_map(|&number| slots::at(number)) {
            self.create_missing(kind, &[slot.of().1], |_| (0.0, 0.0), messages);
        }
    }

    fn find_or_add(
        &mut self,
        writer: usize,
        next_slot: &mut u32,
        kind: FileKind,
        key: Key,
    ) -> usize {
        let index = self.keys.find_or_add(kind, key);
        if index == self.items.len() {
            let slot = *next_slot;
            *next_slot += 1;
            slots::begin(slot, writer, index, adds_up(kind));
            make_room(&mut self.items, 1);
            self.items.push(Item { slot, first: None });
        }
        index
    }

    /// Does what a call wanted of an item for which it found no cell.
    pub(super) fn touch(
        &mut self,
        index: usize,
        lane: Option<usize>,
        operation: Operation,
        messages: &mut Vec<Message>,
    ) {
        self.begin_again_in_child(messages);
        let Some(item) = self.items.get(index) else {
            return;
        };
        let (kind, slot) = (self.keys.kind(index), item.slot);
        let is_new = self.is_missing(index);
        if is_new {
            let together: Vec<usize> = self.item_groups.of(index).collect();
            let (value, timestamp) = operation.first_value();
            let first = |other: usize| match other == index {
                true if adds_up(kind) => (value, 0.0),
                true => (value, timestamp),
                false => (0.0, 0.0),
            };
            self.create_missing(kind, &together, first, messages);
        }
        match operation {
            Operation::Add(v) => {
                let entry = self.entry_for(index, Holder::of(kind, lane), messages);
                if !is_new {
                    self.entries[entry].add(v);
                }
            }
            _ if is_new => {}
            Operation::Set(v) | Operation::SetAt(v, _) if adds_up(kind) => {
                let entry = self.entry_for(index, Holder::Everybody, messages);
                let of_lanes = lanes::pointers(slot).filter_map(|pointer| pointer.cell());
                let rest = v - of_lanes.map(Cell::uncarried).sum::<f64>();
                self.entries[entry].set(rest, None);
            }
            Operation::Set(v) => {
                let entry = self.entry_for(index, Holder::Everybody, messages);
                self.entries[entry].set(v, None);
            }
            Operation::SetAt(v, unix_seconds) => {
                let entry = self.entry_for(index, Holder::Everybody, messages);
                self.entries[entry].set(v, Some(unix_seconds));
            }
        }
    }

    /// The entry of this item that this holder stores into. If there is none, it gets the one that nobody has, or a new one; and so it does
    /// with everything that is nothing without that.
    fn entry_for(&mut self, index: usize, holder: Holder, messages: &mut Vec<Message>) -> usize {
        if let Some(entry) = self.find_entry(index, holder) {
            return entry;
        }
        let kind = self.keys.kind(index);
        let has_nobodys = self.find_entry(index, Holder::Nobody).is_some();
        let is_crowded = !has_nobodys && !self.has_room_for_lanes(kind);
        if let Some(slot) = slots::at(self.items[index].slot) {
            slot.set_crowded(is_crowded);
        }
        if is_crowded && holder != Holder::Everybody {
            return self.entry_for(index, Holder::Everybody, messages);
        }
        let together = if is_whole(kind) {
            self.item_groups.of(index)
        } else {
            index..index + 1
        };
        let mut without: Vec<usize> = Vec::new();
        for index in together {
            match self.find_entry(index, Holder::Nobody) {
                Some(entry) => {
                    let memory = self.memory.of(entry);
                    MOVES.make(|| self.entries[entry].give_to(holder, memory));
                }
                None => without.push(index),
            }
        }
        self.add_entries(kind, &without, holder, |_| (0.0, 0.0), messages);
        self.find_entry(index, holder)
            .expect("given to this holder, or made for it")
    }

    fn find_entry(&self, index: usize, holder: Holder) -> Option<usize> {
        self.entries_of(index)
            .find(|&entry| self.entries[entry].holder() == holder)
    }

    fn entries_of(&self, index: usize) -> impl Iterator<Item = usize> {
        let first = self.items.get(index).and_then(|item| item.first);
        std::iter::successors(first, |&entry| self.entries[place(entry)].next).map(place)
    }

    /// Whether an item has no value: no entry yet, or one that lost its value and claims none until it is set again.
    fn is_missing(&self, index: usize) -> bool {
        let entry = self.items.get(index).and_then(|item| item.first);
        entry.is_none_or(|entry| {
            let entry = &self.entries[place(entry)];
            entry.holder() == Holder::Everybody && entry.cell().is_none()
        })
    }

    /// Makes the first entries of those of these items that have no value: all in one step if they are nothing without each other.
    fn create_missing(
        &mut self,
        kind: FileKind,
        indexes: &[usize],
        first: impl Fn(usize) -> (f64, f64),
        messages: &mut Vec<Message>,
    ) {
        let mut new: Vec<usize> = Vec::with_capacity(indexes.len());
        for &index in indexes {
            if self.is_missing(index) && !new.contains(&index) {
                new.push(index);
            }
        }
        let at_a_time = if is_whole(kind) { new.len().max(1) } else { 1 };
        for new in new.chunks(at_a_time) {
            let holder = if self.has_room_for_lanes(kind) {
                Holder::at_first(kind)
            } else {
                Holder::Everybody
            };
            self.add_entries(kind, new, holder, &first, messages);
        }
    }

    fn has_room_for_lanes(&self, kind: FileKind) -> bool {
        let shards = self.shards.as_ref();
        shards.is_none_or(|shards| shards.has_room_for_lanes(kind))
    }

    /// Makes one more entry of each of these items, with its first value: all in the shard, or all in memory if that does not work.
    fn add_entries(
        &mut self,
        kind: FileKind,
        indexes: &[usize],
        holder: Holder,
        first: impl Fn(usize) -> (f64, f64),
        messages: &mut Vec<Message>,
    ) {
        let begin = self.entries.len();
        make_room(&mut self.entries, indexes.len());
        let mut entries = Vec::with_capacity(indexes.len());
        for &index in indexes {
            if let Some(entry) = self.find_entry(index, holder) {
                entries.push(entry);
                continue;
            }
            let slot = self.items[index].slot;
            let last = self.entries_of(index).last();
            let entry = self.entries.len();
            self.entries.push(Entry::new(slot, holder));
            match last {
                Some(last) => self.entries[last].next = number(entry),
                None => self.items[index].first = number(entry),
            }
            entries.push(entry);
        }
        self.entry_groups.add(begin..self.entries.len());
        let values: Vec<(f64, f64)> = indexes.iter().map(|&index| first(index)).collect();
        self.give_cells(kind, &entries, &values, messages);
    }

    /// Gives these entries, which have none, a cell with their first value.
    fn give_cells(
        &mut self,
        kind: FileKind,
        entries: &[usize],
        values: &[(f64, f64)],
        messages: &mut Vec<Message>,
    ) {
        if entries.is_empty() {
            return;
        }
        let of_entries = entries.iter().zip(values);
        let cells = match &mut self.shards {
            Some(shards) => {
                let new_entry = |(&entry, &value): (&usize, &(f64, f64))| {
                    new_entry(&self.keys, self.entries[entry].item(), value)
                };
                let new_entries: Vec<NewEntry> = of_entries.clone().map(new_entry).collect();
                shards.append_or_wait(kind, entries, &new_entries, messages)
            }
            None => None,
        };
        for (position, (&index, &value)) in of_entries.enumerate() {
            let entry = &mut self.entries[index];
            match cells.as_ref().and_then(|cells| cells.get(position)) {
                Some(cell) => entry.begin_in_shard(cell),
                None => entry.begin_in_memory(index, &mut self.memory, value),
            }
        }
    }

    /// Looks whether files or directory are still ours, and tries to open what is not open; brings home what came late.
    pub(super) fn inspect(&mut self, messages: &mut Vec<Message>) {
        let Some(shards) = &mut self.shards else {
            return;
        };
        if shards.is_left_to_parent() {
            return;
        }
        let forget = shards.releases_all_soon();
        self.carry_late_of_all(messages);
        self.vacated
            .retain(|vacated| !(forget && vacated.is_of_file));
        let Some(shards) = &mut self.shards else {
            return;
        };
        let gone = shards.inspect(messages);
        if gone.is_empty() {
            return;
        }
        // Until what comes late is where it belongs too, so that nobody reads a sum without it.
        MOVES.make(|| self.go_on_without(&gone, messages));
    }

    /// The entries of these kinds go on in memory.
    fn go_on_without(&mut self, gone: &[Gone], messages: &mut Vec<Message>) {
        let Some(shards) = &mut self.shards else {
            return;
        };
        let (mut left, mut gauges) = (Vec::new(), Vec::new());
        for (index, entry) in self.entries.iter_mut().enumerate() {
            let item = entry.item();
            let kind = self.keys.kind(item);
            let lost = |gone: &&Gone| gone.kind == kind && entry.is_in_shard();
            let Some(gone) = gone.iter().find(lost) else {
                continue;
            };
            if entry.is_gauge() {
                gauges.push((index, gone));
                continue;
            }
            let key_len_bytes = self.keys.text(item).len();
            let (has_value, cell) =
                entry.go_on_in_memory(index, &mut self.memory, &gone.values, key_len_bytes);
            if has_value {
                shards.wait(gone.kind, index);
            }
            left.extend(cell.map(|cell| Vacated {
                entry: index,
                cell,
                is_of_file: true,
            }));
        }
        self.gauges_go_on(&gauges);
        self.carry_late(left, messages);
    }

    /// Moves up to `count_max` values from memory into shards; true if there may be more to move.
    pub(super) fn move_waiting(&mut self, count_max: usize, messages: &mut Vec<Message>) -> bool {
        let mut ready = Vec::new();
        let mut may_be_more = true;
        for _ in 0..count_max {
            if !self.prepare_next(&mut ready, messages) {
                may_be_more = false;
                break;
            }
        }
        if !ready.is_empty() {
            // As above.
            MOVES.make(|| self.move_into_shards(&ready, messages));
        }
        if !may_be_more && let Some(shards) = &mut self.shards {
            shards.settle(messages);
            shards.keep_sidecars();
        }
        may_be_more
    }

    /// Writes the entry that waits longest, and those that are nothing without it, into a shard. False: none waits.
    fn prepare_next(
        &mut self,
        ready: &mut Vec<(usize, &'static Cell)>,
        messages: &mut Vec<Message>,
    ) -> bool {
        let Some(shards) = &mut self.shards else {
            return false;
        };
        let Some(index) = shards.next_waiting() else {
            return false;
        };
        // Those that went with one that was in front of them in the queue are there already.
        let is_to_move = |entry: &Entry| !entry.is_in_shard() && entry.cell().is_some();
        let Some(entry) = self.entries.get(index).filter(|entry| is_to_move(entry)) else {
            return true;
        };
        let kind = self.keys.kind(entry.item());
        let together = if is_whole(kind) {
            self.entry_groups.of(index)
        } else {
            index..index + 1
        };
        let entries = &self.entries;
        let indexes: Vec<usize> = together
            .filter(|&index| entries.get(index).is_some_and(is_to_move))
            .collect();
        // The first value of a new entry is the value of now, so that no reader sees it at zero; the move brings what is
        // added in between.
        let new_entry = |&index: &usize| {
            let entry: &Entry = &entries[index];
            new_entry(&self.keys, entry.item(), entry.value().unwrap_or_default())
        };
        let new_entries: Vec<NewEntry> = indexes.iter().map(new_entry).collect();
        if let Some(cells) = shards.append_again(kind, &[index], &new_entries, messages) {
            for (index, cell) in indexes.into_iter().zip(cells) {
                self.entries[index].set_in_shard();
                ready.push((index, cell));
            }
        }
        true
    }

    fn move_into_shards(&mut self, ready: &[(usize, &'static Cell)], messages: &mut Vec<Message>) {
        let is_gauge = |&&(index, _): &&(usize, _)| self.entries[index].is_gauge();
        let (gauges, sums): (Vec<_>, Vec<_>) = ready.iter().partition(is_gauge);
        self.move_gauges(&gauges);
        let mut left = Vec::new();
        for (index, cell) in sums {
            let from = self.entries[index].move_to(cell);
            left.extend(from.map(|cell| Vacated {
                entry: index,
                cell,
                is_of_file: false,
            }));
        }
        self.carry_late(left, messages);
    }

    /// Carries over what owners added to cells that were just left, and has those looked after from now on.
    fn carry_late(&mut self, left: Vec<Vacated>, messages: &mut Vec<Message>) {
        if left.is_empty() {
            return;
        }
        // From here on an addition to one of these cells is either to be seen there, or its owner sees that the cell is not his any more and
        // comes to us. Where the kernel does not help, the next pass finds what this one misses.
        fence_all_threads();
        for &vacated in &left {
            self.carry_late_from(vacated, Holder::Everybody, messages);
            if vacated.is_of_file || self.entries[vacated.entry].watch() {
                self.vacated.push(vacated);
            }
        }
    }

    fn carry_late_of_all(&mut self, messages: &mut Vec<Message>) {
        for position in 0..self.vacated.len() {
            self.carry_late_from(self.vacated[position], Holder::Everybody, messages);
        }
    }

    /// For the owner of a lane, who added to a cell of this item when it was not his any more.
    pub(super) fn carry_late_of(&mut self, index: usize, messages: &mut Vec<Message>) {
        let Some(lane) = lanes::of_this_thread() else {
            return;
        };
        if index >= self.items.len() {
            return;
        }
        let holder = Holder::of(self.keys.kind(index), Some(lane));
        let Some(entry) = self.find_entry(index, holder) else {
            return;
        };
        for position in 0..self.vacated.len() {
            if self.vacated[position].entry == entry {
                self.carry_late_from(self.vacated[position], holder, messages);
            }
        }
    }

    /// Carries what came late over into what this holder, who may add there, has of the same item.
    fn carry_late_from(&mut self, late: Vacated, to: Holder, messages: &mut Vec<Message>) {
        let entry = &self.entries[late.entry];
        if entry.is_gauge() {
            // Who stored there late is still in his call, and sees to it himself.
            return;
        }
        let is_current = |cell: &'static Cell| std::ptr::eq(cell, late.cell);
        if entry.cell().is_some_and(is_current) {
            return;
        }
        let item = entry.item();
        if late.cell.uncarried() == 0.0 {
            return;
        }
        // A reader that still holds the old pointer must not see one cell without the other.
        MOVES.make(|| {
            let amount = late.cell.carry();
            let entry = self.entry_for(item, to, messages);
            self.entries[entry].add(amount);
        });
    }

    /// In a fork's child, which has one thread: forgets cells, mappings and descriptors; what is in memory on purpose stays, and only
    /// the locks are opened that a thread of the parent's may have held. Allocates nothing.
    pub(super) fn leave_to_parent(&mut self) {
        let slots = self.items.iter().map(|item| item.slot);
        let Some(shards) = &mut self.shards else {
            for slot in slots.filter_map(slots::at) {
                slot.place.open_pair_in_child();
            }
            return;
        };
        shards.leave_to_parent();
        for number in slots {
            if let Some(slot) = slots::at(number) {
                slot.forget_in_child();
            }
            for pointer in lanes::pointers(number) {
                pointer.clear();
            }
        }
        // What came late into the parent's cells is the parent's.
        self.vacated.clear();
    }

    /// The child's first touch: its entries are made anew.
    fn begin_again_in_child(&mut self, messages: &mut Vec<Message>) {
        let Some(shards) = &mut self.shards else {
            return;
        };
        if shards.is_left_to_parent() {
            self.entries.clear();
            self.entry_groups.clear();
            self.memory.forget_entries();
            for item in &mut self.items {
                item.first = None;
            }
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

    pub(super) fn snapshot(&mut self) -> Vec<Snapshot> {
        for index in self.shown.len()..self.items.len() {
            self.shown.push(Arc::new(self.keys.key(index)));
        }
        let of_item = |(index, key): (usize, &Arc<Key>)| {
            let values = self
                .entries_of(index)
                .filter_map(|entry| self.entries[entry].value());
            // In the order in which they were made, so that rounding never makes the sum fall while its parts rise.
            let (value, timestamp) = values.reduce(|sum, one| (sum.0 + one.0, one.1))?;
            Some(Snapshot {
                kind: self.keys.kind(index),
                key: Arc::clone(key),
                value,
                timestamp,
            })
        };
        self.shown.iter().enumerate().filter_map(of_item).collect()
    }

    pub(super) fn status(&self) -> WriterStatus {
        self.shards
            .as_ref()
            .map_or(WriterStatus::InMemory, Shards::status)
    }
}

fn new_entry(keys: &Keys, item: usize, (value, timestamp): (f64, f64)) -> NewEntry {
    NewEntry {
        key: keys.text(item),
        value: Cell::canonical(value),
        timestamp,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(sample: &str) -> Key {
        Key {
            family: "seconds".to_owned(),
            sample: sample.to_owned(),
            labels: Vec::new(),
            help: String::new(),
        }
    }

    #[test]
    fn a_histogram_that_cannot_be_written_waits_once_however_often_it_is_tried() {
        let temp = tempfile::tempdir().unwrap();
        let mut messages = Vec::new();
        let dir = temp.path().to_path_buf();
        let mut writer = WriterState::with_shards(dir, ProcessInfo::default(), &mut messages);
        let WriterStatus::Healthy { id, .. } = writer.status() else {
            panic!("{:?}", writer.status());
        };
        // The shard is made under this name first, and a directory is not to be removed as a file is.
        let hidden = format!(".histogram_{id}.db.new");
        std::fs::create_dir(temp.path().join(&hidden)).unwrap();
        let keys: Vec<Key> = (0..10).map(|index| key(&format!("n{index}"))).collect();
        let mut next_slot = 50_000;
        let kind = FileKind::Histogram;
        let slots = writer.series(0, &mut next_slot, kind, keys, Create::AtZero, &mut messages);
        assert_eq!(slots.len(), 10);
        for _ in 0..50 {
            writer.inspect(&mut messages);
            while writer.move_waiting(4, &mut messages) {}
        }
        let waiting = writer.shards.as_ref().unwrap().waiting_count();
        assert_eq!(waiting, 10);
        std::fs::remove_dir(temp.path().join(&hidden)).unwrap();
        writer.inspect(&mut messages);
        while writer.move_waiting(4, &mut messages) {}
        assert_eq!(writer.shards.as_ref().unwrap().waiting_count(), 0);
        assert!(writer.entries.iter().all(Entry::is_in_shard));
    }
}
