//! A shelf on a simulated directory: it loses power, fails, and stops the process before or after any operation.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;

use metricsd_shard::Liveness;

use crate::archive::Storage;
use crate::archive::testing::{OpenFile, Simulated};
use crate::retire::{Named, Shelf};

/// An open shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) open: OpenFile,
    pub(super) inode: u64,
}

/// Who writes what, by inode. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Writers(Rc<RefCell<BTreeSet<u64>>>);

impl Writers {
    pub(super) fn open(&self, inode: u64) {
        self.0.borrow_mut().insert(inode);
    }

    pub(super) fn close(&self, inode: u64) {
        self.0.borrow_mut().remove(&inode);
    }

    fn liveness(&self, inode: u64) -> Liveness {
        match self.0.borrow().contains(&inode) {
            true => Liveness::Busy,
            false => Liveness::Idle,
        }
    }
}

/// What the process says when it is stopped.
pub(super) struct Stopped;

/// The shelf.
#[derive(Debug)]
pub(super) struct Double {
    pub(super) disk: Simulated,
    pub(super) writers: Writers,
    pub(super) reads_fail: Cell<bool>,
    /// What the kernel says whatever is asked; `Some(None)`: nothing.
    pub(super) answer: Cell<Option<Option<Liveness>>>,
    /// Files that have another name in another directory.
    pub(super) linked_elsewhere: Rc<RefCell<BTreeSet<u64>>>,
    /// Stops before this operation.
    stop_after: Option<usize>,
    operation_count: usize,
    is_sound: bool,
}

impl Double {
    pub(super) fn new(disk: &Simulated, writers: &Writers) -> Double {
        Double {
            disk: disk.clone(),
            writers: writers.clone(),
            reads_fail: Cell::new(false),
            answer: Cell::new(None),
            linked_elsewhere: Rc::default(),
            stop_after: None,
            operation_count: 0,
            is_sound: true,
        }
    }

    /// Stops before the operation that comes after `count` more.
    pub(super) fn stop_after(&mut self, count: usize) {
        self.stop_after = Some(self.operation_count + count);
    }

    /// Every change of the directory passes here once.
    fn operate<T>(&mut self, operation: impl FnOnce(&Simulated) -> T) -> T {
        if self.stop_after == Some(self.operation_count) {
            std::panic::resume_unwind(Box::new(Stopped));
        }
        self.operation_count += 1;
        operation(&self.disk)
    }

    fn leads_to(&self, name: &str, file: &File) -> Named {
        match self.disk.inode(name) {
            None => Named::Nothing,
            Some(inode) if inode == file.inode => Named::Done,
            Some(_) => Named::Other,
        }
    }
}

impl Shelf for Double {
    type File = File;

    fn rename(&mut self, file: &File, from: &str, to: &str) -> io::Result<Named> {
        match self.leads_to(from, file) {
            Named::Done if self.disk.inode(to).is_some() => {
                Err(io::ErrorKind::AlreadyExists.into())
            }
            Named::Done => self
                .operate(|disk| disk.rename(from, to))
                .map(|()| Named::Done),
            other => Ok(other),
        }
    }

    fn unlink(&mut self, file: &File, name: &str) -> io::Result<Named> {
        match self.leads_to(name, file) {
            Named::Done => self.operate(|disk| disk.remove(name)).map(|()| Named::Done),
            other => Ok(other),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let synced = self.operate(Storage::sync_dir);
        self.is_sound &= synced.is_ok();
        synced
    }

    fn is_sound(&self) -> bool {
        self.is_sound
    }

    fn link_count(&mut self, file: &File) -> io::Result<u64> {
        let names = self.disk.names();
        let leads = |name: &&String| self.disk.inode(name) == Some(file.inode);
        let elsewhere = self.linked_elsewhere.borrow().contains(&file.inode);
        Ok(names.iter().filter(leads).count() as u64 + u64::from(elsewhere))
    }

    fn ask(&mut self, files: &[&File]) -> Vec<Liveness> {
        if let Some(answer) = self.answer.get() {
            return files.iter().filter_map(|_| answer).collect();
        }
        files
            .iter()
            .map(|file| self.writers.liveness(file.inode))
            .collect()
    }

    fn read(&mut self, file: &File, buffer: &mut Vec<u8>) -> io::Result<()> {
        if self.reads_fail.get() {
            return Err(io::Error::other("device failed"));
        }
        *buffer = self.disk.contents(&file.open);
        Ok(())
    }
}
