//! Writing the journal: records are gathered in memory and made durable together.
//!
//! Invariant: a group is written only after the one before it is durable, and a descriptor on which anything failed is never
//! used again: what was not durable is written once more, from memory, to a new segment. So nothing that [`Journal::sync`]
//! has said yes to depends on a later success, and a frame in a file proves that all groups before its own were durable.

use super::format::{MARK, alone, segment_head, segment_name};
use super::frame::{HEADER_LEN_BYTES, Place, RECORD_LEN_MAX_BYTES, put_frame};
use super::reserve::{Reserve, Space};
use super::storage::{Operation, Storage, StorageError, failed, is_full};

/// Tries of one sync: the open segment, a new one, and one more if that one's device stumbled as well.
const ATTEMPT_COUNT: usize = 3;
/// Memory that is kept for the next group.
const IDLE_LEN_MAX_BYTES: usize = 1 << 20;
/// Files that a device that fails again and again may leave.
const ABANDONED_MAX: usize = 8;

/// The journal while it is written.
#[derive(Debug)]
pub(super) struct Journal<F> {
    segment_len_bytes: u64,
    active: Option<Active<F>>,
    next_segment: u64,
    /// Segments that can no longer be written to, oldest first.
    closed: Vec<ClosedSegment>,
    /// Number of the last durable record.
    durable_through: u64,
    /// Payloads of the records after that one, one after the other, and where each ends.
    payloads: Vec<u8>,
    ends: Vec<usize>,
    reserve: Reserve<F>,
    /// Closed segments of which nothing ever became durable.
    abandoned: Vec<String>,
}

#[derive(Debug)]
struct Active<F> {
    file: F,
    name: String,
    len_bytes: u64,
    /// Room that was reserved for it, or should have been.
    capacity_bytes: u64,
    /// Whether any group in it is durable.
    is_used: bool,
    /// Whether anything of a group may be in it.
    has_records: bool,
}

/// A segment that is only read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClosedSegment {
    pub(super) name: String,
    /// No record in it has a greater number.
    pub(super) last_sequence: u64,
    pub(super) is_damaged: bool,
}

impl<F: std::fmt::Debug> Journal<F> {
    /// Goes on after `durable_through`, in a segment with a number of at least `next_segment`.
    pub(super) fn new(
        segment_len_bytes: u64,
        reserve_len_bytes: u64,
        durable_through: u64,
        next_segment: u64,
        closed: Vec<ClosedSegment>,
    ) -> Journal<F> {
        Journal {
            segment_len_bytes,
            active: None,
            next_segment,
            closed,
            durable_through,
            payloads: Vec::new(),
            ends: Vec::new(),
            reserve: Reserve::new(reserve_len_bytes),
            abandoned: Vec::new(),
        }
    }

    /// Adds a record, in memory. The bytes are appended by `encode`; gives `false`, with nothing changed, if they are too many.
    pub(super) fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> bool {
        let start = self.payloads.len();
        encode(&mut self.payloads);
        if self.payloads.len() - start > RECORD_LEN_MAX_BYTES {
            self.payloads.truncate(start);
            return false;
        }
        self.ends.push(self.payloads.len());
        true
    }

    /// Number of the last durable record.
    pub(super) fn durable_through(&self) -> u64 {
        self.durable_through
    }

    /// Number of the last record, durable or not.
    pub(super) fn last_sequence(&self) -> u64 {
        self.durable_through + self.ends.len() as u64
    }

    /// Bytes in memory that are not durable.
    pub(super) fn unsynced_len_bytes(&self) -> usize {
        self.payloads.len()
    }

    /// What the journal can count on when the disk is full.
    pub(super) fn space(&self) -> Space {
        self.reserve.space()
    }

    /// Makes the reserve if there is none, or finds the one that is there.
    pub(super) fn make_reserve<S: Storage<File = F>>(
        &mut self,
        storage: &S,
    ) -> Result<(), StorageError> {
        self.reserve.make(storage)
    }

    /// Makes all records durable. On an error they stay in memory, for the next try.
    pub(super) fn sync<S: Storage<File = F>>(&mut self, storage: &S) -> Result<(), StorageError> {
        if self.ends.is_empty() {
            return Ok(());
        }
        let group = self.frame_group();
        let (mut tries, mut is_full) = (1, false);
        while let Err(error) = self.write_group(storage, &group, is_full) {
            self.abandon(storage);
            if tries == ATTEMPT_COUNT {
                return Err(error);
            }
            tries += 1;
            is_full = error.is_full();
        }
        self.durable_through = self.last_sequence();
        self.payloads.clear();
        self.payloads.shrink_to(IDLE_LEN_MAX_BYTES);
        self.ends.clear();
        self.mark(storage);
        self.remove_abandoned(storage, self.abandoned.len());
        Ok(())
    }

    /// Says in the file that everything before is durable. Without it nobody could tell a damaged last group from one that
    /// was cut short, and would have to give up all of it. Not synced: it arrives with the next group, or by itself in time.
    fn mark<S: Storage<File = F>>(&mut self, storage: &S) {
        let Some(active) = &mut self.active else {
            return;
        };
        let mut frame = Vec::new();
        put_frame(&mut frame, alone(self.durable_through), &MARK);
        active.len_bytes += frame.len() as u64;
        if storage.append(&active.file, &frame).is_err() {
            // Something of it may be in the file; nothing may follow that.
            self.retire_active();
        }
    }

    /// Makes the last mark durable too, for a journal that is closed.
    pub(super) fn seal<S: Storage<File = F>>(&mut self, storage: &S) -> Result<(), StorageError> {
        let Some(active) = self.active.take() else {
            return Ok(());
        };
        storage
            .sync_file(&active.file)
            .map_err(failed(Operation::SyncFile, &active.name))
    }

    /// Ends the open segment, so that it can be removed once a checkpoint holds its records.
    pub(super) fn retire_active(&mut self) {
        if let Some(active) = self.active.take() {
            let last_sequence = self.durable_through;
            self.closed.push(ClosedSegment {
                name: active.name,
                last_sequence,
                is_damaged: false,
            });
        }
    }

    /// How many segments there are besides the open one.
    pub(super) fn closed_count(&self) -> usize {
        self.closed.len()
    }

    /// Segments of which a checkpoint that holds the records up to `sequence` makes all records superfluous.
    pub(super) fn take_superfluous(&mut self, sequence: u64) -> Vec<ClosedSegment> {
        let (superfluous, kept) = self
            .closed
            .drain(..)
            .partition(|segment| segment.last_sequence <= sequence);
        self.closed = kept;
        superfluous
    }

    /// Puts back a segment that could not be removed.
    pub(super) fn keep(&mut self, segment: ClosedSegment) {
        self.closed.insert(0, segment);
    }

    /// All records that are not durable, as one group.
    fn frame_group(&self) -> Vec<u8> {
        let count = self.ends.len();
        let mut group = Vec::with_capacity(self.payloads.len() + count * HEADER_LEN_BYTES);
        let mut start = 0;
        for (index, end) in self.ends.iter().enumerate() {
            let place = Place {
                sequence: self.durable_through + 1 + index as u64,
                index: u32::try_from(index).expect("records of a group fit into memory"),
                is_last: index + 1 == count,
            };
            put_frame(&mut group, place, &self.payloads[start..*end]);
            start = *end;
        }
        group
    }

    fn write_group<S: Storage<File = F>>(
        &mut self,
        storage: &S,
        group: &[u8],
        is_full: bool,
    ) -> Result<(), StorageError> {
        let len_bytes = group.len() as u64;
        let fits = |active: &Active<F>| active.len_bytes + len_bytes <= active.capacity_bytes;
        if !self.active.as_ref().is_some_and(fits) {
            self.retire_active();
            self.open_segment(storage, len_bytes, is_full)?;
        }
        let active = self.active.as_mut().expect("a segment was opened just now");
        active.has_records = true;
        let name = &active.name;
        storage
            .append(&active.file, group)
            .map_err(failed(Operation::Append, name))?;
        active.len_bytes += len_bytes;
        storage
            .sync_file(&active.file)
            .map_err(failed(Operation::SyncFile, name))?;
        if !active.is_used {
            // The bytes first: a name without bytes says nothing, and does no harm.
            storage
                .sync_dir()
                .map_err(failed(Operation::SyncDir, "."))?;
            active.is_used = true;
        }
        Ok(())
    }

    /// Begins a segment; in the reserve, if there is no room for another one.
    fn open_segment<S: Storage<File = F>>(
        &mut self,
        storage: &S,
        group_len_bytes: u64,
        is_full: bool,
    ) -> Result<(), StorageError> {
        let name = segment_name(self.next_segment);
        self.next_segment += 1;
        let wanted = self
            .segment_len_bytes
            .max(group_len_bytes + 2 * HEADER_LEN_BYTES as u64);
        let reserved = self.reserve.len_bytes().max(wanted);
        let (file, capacity_bytes) = if is_full && self.reserve.is_there() {
            (self.reserve.spend(storage, &name)?, reserved)
        } else {
            match self.create_segment(storage, &name, wanted) {
                Ok(file) => (file, wanted),
                Err(error) if error.is_full() && self.reserve.is_there() => {
                    (self.reserve.spend(storage, &name)?, reserved)
                }
                Err(error) => return Err(error),
            }
        };
        let active = self.active.insert(Active {
            file,
            name,
            len_bytes: 0,
            capacity_bytes,
            is_used: false,
            has_records: false,
        });
        let mut head = Vec::new();
        put_frame(&mut head, alone(self.durable_through + 1), &segment_head());
        storage
            .append(&active.file, &head)
            .map_err(failed(Operation::Append, &active.name))?;
        active.len_bytes = head.len() as u64;
        Ok(())
    }

    fn create_segment<S: Storage<File = F>>(
        &self,
        storage: &S,
        name: &str,
        len_bytes: u64,
    ) -> Result<F, StorageError> {
        let file = storage
            .create(name)
            .map_err(failed(Operation::Create, name))?;
        match storage.preallocate(&file, len_bytes) {
            Err(error) if is_full(&error) && self.reserve.is_there() => {
                drop(file);
                let _ = storage.remove(name);
                Err(failed(Operation::Preallocate, name)(error))
            }
            // Without a reserve the little room that is left is better than none, and some file systems reserve nothing.
            _ => Ok(file),
        }
    }

    /// Never touches the open segment again. What is durable in it stays. If that is nothing, it is removed once its records
    /// are durable elsewhere, and not before: a power cut may bring back what was removed, and a start in between would have
    /// gone on without it.
    fn abandon<S: Storage<File = F>>(&mut self, storage: &S) {
        let Some(active) = self.active.take() else {
            return;
        };
        let (name, last_sequence) = (active.name, self.durable_through);
        if !active.has_records && storage.remove(&name).is_ok() {
            return;
        }
        if !active.is_used {
            self.abandoned.push(name.clone());
        }
        self.closed.push(ClosedSegment {
            name,
            last_sequence,
            is_damaged: false,
        });
        if self.abandoned.len() > ABANDONED_MAX {
            self.remove_abandoned(storage, 1);
        }
    }

    /// Removes the oldest segments of which nothing ever became durable.
    fn remove_abandoned<S: Storage<File = F>>(&mut self, storage: &S, count: usize) {
        for name in self.abandoned.drain(..count) {
            if storage.remove(&name).is_ok() {
                self.closed.retain(|segment| segment.name != name);
            }
        }
    }
}
