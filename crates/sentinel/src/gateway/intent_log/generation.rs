//! Beginning a file: with a snapshot of all that the files before it lead to.
//!
//! Invariant: a file is gone on with only when its snapshot and its name are durable; until then those before it stay.

use super::error::{LogError, Operation, failed};
use super::format::FORMAT;
use super::record::{HaltReason, Record};
use super::replay;
use super::state::State;
use super::storage::Storage;
use super::{Opened, frame};
use crate::decide::TradingState;

/// A file that was begun, and what is known with it.
pub(super) struct Begun<F> {
    pub(super) file: F,
    pub(super) generation: u64,
    pub(super) len_bytes: u64,
    pub(super) state: State,
    pub(super) opened: Opened,
}

/// Reads all files and begins the next one with what they lead to.
pub(super) fn begin<S: Storage>(
    storage: &S,
    now_ms: i64,
    unrecorded: Option<&Record>,
) -> Result<Begun<S::File>, LogError> {
    let mut replayed = replay::replay(storage)?;
    if let Some(record) = unrecorded {
        replayed.state.absorb(replayed.state.last_seq(), record);
    }
    if !replayed.damage.is_empty() {
        // What is missing may have been an order or a halt.
        let halt = Record::Tightened {
            state: TradingState::Halted,
            reason: HaltReason::LogDamaged,
            at_ms: now_ms,
        };
        let seq = replayed.state.last_seq();
        replayed.state.absorb(seq, &halt);
    }
    let generation = replayed
        .generations
        .last()
        .map_or(1, |last| last.saturating_add(1));
    let (file, len_bytes, state) = start_file(storage, generation, &replayed.state)?;
    for old in &replayed.generations {
        // What is damaged stays for whoever looks into it, until the next start without damage.
        if Some(*old) != replayed.base && replayed.damage.is_empty() {
            // One that stays costs room and nothing else: the snapshot overrules it.
            let _ = storage.remove(&replay::file_name(*old));
        }
    }
    Ok(Begun {
        file,
        generation,
        len_bytes,
        state,
        opened: Opened {
            is_new: replayed.generations.is_empty(),
            torn: replayed.torn,
            damage: replayed.damage,
        },
    })
}

/// A new file with a snapshot, durable with its name.
pub(super) fn start_file<S: Storage>(
    storage: &S,
    generation: u64,
    state: &State,
) -> Result<(S::File, u64, State), LogError> {
    let name = replay::file_name(generation);
    let mut state = state.clone();
    let seq = state.last_seq().saturating_add(1);
    let snapshot = Record::Snapshot {
        format: FORMAT,
        state: state.clone(),
    };
    let line = frame::encode(seq, &snapshot).ok_or(LogError::TooLong)?;
    let mut file = storage
        .create(&name)
        .map_err(failed(Operation::Create, &name))?;
    write_durably(storage, &mut file, &name, &line)?;
    storage
        .sync_dir()
        .map_err(failed(Operation::SyncDir, "."))?;
    state.absorb(seq, &snapshot);
    Ok((file, line.len() as u64, state))
}

pub(super) fn write_durably<S: Storage>(
    storage: &S,
    file: &mut S::File,
    name: &str,
    line: &[u8],
) -> Result<(), LogError> {
    storage
        .append(file, line)
        .map_err(failed(Operation::Append, name))?;
    storage
        .sync_file(file)
        .map_err(failed(Operation::SyncFile, name))
}
