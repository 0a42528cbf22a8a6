//! The whole state in one file, so that the journal before it is no longer needed.
//!
//! Invariant: a checkpoint has its name only after all of it is durable, and counts only if all of it is there: blocks are
//! numbered and the last one says so. Of a damaged one the whole blocks can still be had, when there is nothing better.

mod decode;
mod encode;
mod layout;

use std::io;

use decode::read_block;
use encode::{put_gauges, put_ledger, put_run, put_series, put_shards};

use super::codec::{Reader, put_varint};
use super::format::{CHECKPOINT_ASIDE_NAME, PayloadRole, checkpoint_head, checkpoint_name};
use super::frame::{Place, put_frame, scan};
use super::state::State;
pub(super) use layout::block_name;

use super::storage::{Operation, Storage, StorageError, failed};

/// A block is closed when it has grown to this. Damage costs a block; the next one begins anew.
const BLOCK_LEN_BYTES: usize = 256 << 10;
/// Bytes that are handed to the system at once.
const WRITE_LEN_BYTES: usize = 1 << 20;

/// A checkpoint as it was read.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The state, or what is left of it.
    pub(super) state: State,
    /// Number of the last record in it, as its frames say.
    pub(super) sequence: Option<u64>,
    /// Why it does not count, if it does not.
    pub(super) defect: Option<String>,
    /// Set if it is of a version that is not understood.
    pub(super) newer: Option<u16>,
}

/// Writes a checkpoint that holds the records up to `sequence`: aside, synced, renamed, names synced. Gives its length.
pub(super) fn write<S: Storage>(
    storage: &S,
    state: &State,
    sequence: u64,
) -> Result<u64, StorageError> {
    write_as(storage, state, sequence, &checkpoint_name(sequence))
}

/// As [`write()`], under any name.
pub(super) fn write_as<S: Storage>(
    storage: &S,
    state: &State,
    sequence: u64,
    name: &str,
) -> Result<u64, StorageError> {
    let result = write_aside(storage, state, sequence).and_then(|len_bytes| {
        let renamed = storage.rename(CHECKPOINT_ASIDE_NAME, name);
        renamed.map_err(failed(Operation::Rename, CHECKPOINT_ASIDE_NAME))?;
        storage
            .sync_dir()
            .map_err(failed(Operation::SyncDir, "."))?;
        Ok(len_bytes)
    });
    if result.is_err() {
        // The room it takes is needed for other things; if it cannot be removed now, the next one does it.
        let _ = storage.remove(CHECKPOINT_ASIDE_NAME);
    }
    result
}

fn write_aside<S: Storage>(storage: &S, state: &State, sequence: u64) -> Result<u64, StorageError> {
    let name = CHECKPOINT_ASIDE_NAME;
    let file = match storage.create(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            storage
                .remove(name)
                .map_err(failed(Operation::Remove, name))?;
            storage.create(name)
        }
        created => created,
    };
    let file = file.map_err(failed(Operation::Create, name))?;
    let mut out = Out {
        storage,
        file,
        frames: Vec::new(),
        sequence,
        index: 0,
        len_bytes: 0,
    };

    let mut head = checkpoint_head().to_vec();
    put_varint(&mut head, state.keys.len() as u64);
    put_varint(&mut head, state.keys.byte_count() as u64);
    out.block(&head, false)?;
    put_series(state, BLOCK_LEN_BYTES, &mut |block| out.block(block, false))?;
    put_gauges(state, BLOCK_LEN_BYTES, &mut |block| out.block(block, false))?;
    put_shards(state, BLOCK_LEN_BYTES, &mut |block| out.block(block, false))?;
    put_ledger(state, BLOCK_LEN_BYTES, &mut |block| out.block(block, false))?;
    out.block(&put_run(state), true)?;
    out.flush()?;
    storage
        .sync_file(&out.file)
        .map_err(failed(Operation::SyncFile, name))?;
    Ok(out.len_bytes)
}

struct Out<'a, S: Storage> {
    storage: &'a S,
    file: S::File,
    frames: Vec<u8>,
    sequence: u64,
    index: u32,
    len_bytes: u64,
}

impl<S: Storage> Out<'_, S> {
    fn block(&mut self, payload: &[u8], is_last: bool) -> Result<(), StorageError> {
        let place = Place {
            sequence: self.sequence,
            index: self.index,
            is_last,
        };
        put_frame(&mut self.frames, place, payload);
        self.index += 1;
        if self.frames.len() >= WRITE_LEN_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        let written = self.storage.append(&self.file, &self.frames);
        written.map_err(failed(Operation::Append, CHECKPOINT_ASIDE_NAME))?;
        self.len_bytes += self.frames.len() as u64;
        self.frames.clear();
        Ok(())
    }
}

/// Reads a checkpoint. Total: any bytes give a state, with a defect if it is not all of what was written.
pub(super) fn load(bytes: &[u8]) -> Loaded {
    let mut loaded = Loaded {
        state: State::default(),
        sequence: None,
        defect: None,
        newer: None,
    };
    let scanned = scan(bytes);
    if let Some(damage) = scanned.damage.first() {
        loaded.defect(format!(
            "{} bytes at {} are damaged",
            damage.len_bytes, damage.offset
        ));
    }
    let mut is_complete = false;
    for (expected, frame) in scanned.frames.iter().enumerate() {
        loaded.sequence.get_or_insert(frame.place.sequence);
        let is_next = frame.place.index as usize == expected;
        if !is_next || loaded.sequence != Some(frame.place.sequence) {
            loaded.defect(format!("block {expected} is missing"));
        }
        is_complete = frame.place.is_last;
        match PayloadRole::of(frame.payload) {
            // Also where only a part of the file is left: a version that is not understood is not guessed at.
            PayloadRole::Newer(version) => {
                loaded.newer = Some(version);
                return loaded;
            }
            PayloadRole::Checkpoint => reserve(&mut loaded.state, frame.payload, bytes.len()),
            _ => {
                if let Err(error) = read_block(frame.payload, &mut loaded.state) {
                    loaded.defect(format!("block at {}: {error}", frame.offset));
                }
            }
        }
    }
    if !is_complete {
        loaded.defect("its end is missing".to_owned());
    }
    loaded.state.keys.index_all();
    loaded.state.make_room();
    loaded
}

impl Loaded {
    /// The first defect is the one to tell.
    fn defect(&mut self, defect: String) {
        self.defect.get_or_insert(defect);
    }
}

/// Makes room for what the head announces, as far as the file's length makes it believable.
fn reserve(state: &mut State, payload: &[u8], file_len: usize) {
    let mut reader = Reader::new(payload.get(checkpoint_head().len()..).unwrap_or_default());
    let key_count = reader.count(file_len).unwrap_or(0);
    state.keys.reserve(key_count);
    state.totals.reserve(key_count);
    state.starts.reserve(key_count);
}
