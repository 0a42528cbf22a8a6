//! Room that is kept for the time when the disk is full: a file without bytes, but with blocks.
//!
//! Invariant: it becomes a segment of the journal by its name alone. That takes neither space nor an inode, and nobody else
//! can be quicker to take what it gives up.

use std::io;

use super::format::RESERVE_NAME;
use super::storage::{Operation, Storage, StorageError, failed};

/// What the journal can count on when the disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// The reserve is there.
    Ample,
    /// The reserve is in use, or there is no room for it. Only what matters should be recorded; retirement waits.
    OnReserve,
    /// The file system cannot reserve room: a full disk stops the journal at once, and totals stay in memory until it ends.
    Unreservable,
}

/// The reserve.
#[derive(Debug)]
pub(super) struct Reserve<F> {
    len_bytes: u64,
    file: Option<F>,
    cannot_reserve: bool,
}

impl<F> Reserve<F> {
    /// None yet; it will have this much room.
    pub(super) fn new(len_bytes: u64) -> Reserve<F> {
        Reserve {
            len_bytes,
            file: None,
            cannot_reserve: false,
        }
    }

    /// The room that it has when it is there.
    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Whether it is there.
    pub(super) fn is_there(&self) -> bool {
        self.file.is_some()
    }

    /// What the journal can count on.
    pub(super) fn space(&self) -> Space {
        match self.file {
            Some(_) => Space::Ample,
            None if self.cannot_reserve => Space::Unreservable,
            None => Space::OnReserve,
        }
    }

    /// Makes it if there is none, or takes the one that is there from an earlier run.
    pub(super) fn make<S: Storage<File = F>>(&mut self, storage: &S) -> Result<(), StorageError> {
        if self.is_there() || self.cannot_reserve {
            return Ok(());
        }
        let file = find_or_create(storage)?;
        match storage.preallocate(&file, self.len_bytes) {
            Ok(()) => {
                self.file = Some(file);
                Ok(())
            }
            Err(error) => {
                // Without room it reserves nothing; its inode at least is not taken from others.
                drop(file);
                let _ = storage.remove(RESERVE_NAME);
                self.cannot_reserve = error.kind() == io::ErrorKind::Unsupported;
                Err(failed(Operation::Preallocate, RESERVE_NAME)(error))
            }
        }
    }

    /// Gives it another name, for good. Only while it is there.
    pub(super) fn spend<S: Storage<File = F>>(
        &mut self,
        storage: &S,
        name: &str,
    ) -> Result<F, StorageError> {
        storage
            .rename(RESERVE_NAME, name)
            .map_err(failed(Operation::Rename, RESERVE_NAME))?;
        Ok(self.file.take().expect("asked for only while it is there"))
    }
}

fn find_or_create<S: Storage>(storage: &S) -> Result<S::File, StorageError> {
    match storage.read(RESERVE_NAME, 0) {
        Ok(_) => {
            let opened = storage.open_append(RESERVE_NAME);
            return opened.map_err(failed(Operation::Create, RESERVE_NAME));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => {
            // It has content: a power cut undid its renaming. Nothing in it was ever counted on.
            let removed = storage.remove(RESERVE_NAME);
            removed.map_err(failed(Operation::Remove, RESERVE_NAME))?;
        }
    }
    let created = storage.create(RESERVE_NAME);
    created.map_err(failed(Operation::Create, RESERVE_NAME))
}
