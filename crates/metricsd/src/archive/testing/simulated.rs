//! A file system that loses power, fails and stops as a test tells it to.
//!
//! Invariant: what other processes see (live) and what a power cut leaves (durable) are kept apart; nothing moves from the one
//! to the other but by a sync. General on purpose: it stands for a directory of shards as well as for one of journals.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::image::{Dice, FileImage, NameChange, NamesImage, Style};
use crate::archive::storage::Storage;

/// A simulated directory. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Simulated {
    inner: Arc<Mutex<Inner>>,
}

/// An open file: an inode, whatever it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFile {
    inode: u64,
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The device.
    Io,
    /// No space.
    Full,
}

#[derive(Debug, Clone, Default)]
struct Inner {
    files: BTreeMap<u64, FileImage>,
    names: NamesImage,
    last_inode: u64,
    operations: Vec<&'static str>,
    stop_before: Option<usize>,
    faults: BTreeMap<usize, Fault>,
    broken: BTreeMap<&'static str, Fault>,
    capacity: Option<Capacity>,
    cannot_preallocate: bool,
}

#[derive(Debug, Clone, Copy)]
struct Capacity {
    byte_count: usize,
    inode_count: usize,
}

impl Simulated {
    /// An empty directory.
    pub fn new() -> Simulated {
        Simulated::default()
    }

    /// What a power cut at this moment leaves, as a directory of its own. The first four seeds keep nothing that was not
    /// synced, everything, names without data, and data without names; all others choose at random.
    pub fn power_cut(&self, seed: u64) -> Simulated {
        let inner = self.lock();
        let (style, mut dice) = (Style::of(seed), Dice(seed));
        let names = inner.names.after_power_cut(style, &mut dice);
        let mut files = BTreeMap::new();
        for inode in names.values() {
            let Some(file) = inner.files.get(inode) else {
                continue;
            };
            let left = file.after_power_cut(style, &mut dice);
            files.insert(*inode, FileImage::durable(left));
        }
        Simulated::of(Inner {
            files,
            names: NamesImage::durable(names),
            last_inode: inner.last_inode,
            ..Inner::default()
        })
    }

    /// What the death of the process at this moment leaves: everything, with the same things still to be synced.
    pub fn process_death(&self) -> Simulated {
        let mut inner = self.lock().clone();
        inner.operations.clear();
        inner.faults.clear();
        inner.broken.clear();
        inner.stop_before = None;
        Simulated::of(inner)
    }

    /// Stops before operation `index` (from 0): it and all after it do nothing and fail.
    pub fn stop_before(&self, index: usize) {
        self.lock().stop_before = Some(index);
    }

    /// Lets operation `index` (from 0) fail. A failed append may leave some bytes, a failed sync loses the bytes for good.
    pub fn fail(&self, index: usize, fault: Fault) {
        self.lock().faults.insert(index, fault);
    }

    /// From now on every operation of this name fails.
    pub fn fail_all(&self, operation: &'static str, fault: Fault) {
        self.lock().broken.insert(operation, fault);
    }

    /// No operation is made to fail any more.
    pub fn heal(&self) {
        let mut inner = self.lock();
        inner.broken.clear();
        inner.faults.clear();
    }

    /// The names, as other processes see them. Not an operation.
    pub fn names(&self) -> Vec<String> {
        self.lock().names.live.keys().cloned().collect()
    }

    /// Sets how many bytes and files there is room for.
    pub fn set_capacity(&self, byte_count: usize, inode_count: usize) {
        self.lock().capacity = Some(Capacity {
            byte_count,
            inode_count,
        });
    }

    /// Takes the limits away.
    pub fn lift_capacity(&self) {
        self.lock().capacity = None;
    }

    /// From now on room cannot be reserved, as on some file systems.
    pub fn forbid_preallocation(&self) {
        self.lock().cannot_preallocate = true;
    }

    /// The operations so far; the position in the list is the index that [`Simulated::stop_before`] and
    /// [`Simulated::fail`] mean.
    pub fn operations(&self) -> Vec<&'static str> {
        self.lock().operations.clone()
    }

    /// The bytes in use, room that is reserved among them.
    pub fn used_len_bytes(&self) -> usize {
        self.lock().used()
    }

    /// The inode that a name stands for. An identity: numbers are not given away again.
    pub fn inode(&self, name: &str) -> Option<u64> {
        self.lock().names.live.get(name).copied()
    }

    /// The content of an open file, removed or not.
    pub fn contents(&self, file: &OpenFile) -> Vec<u8> {
        self.lock()
            .files
            .get(&file.inode)
            .map(|file| file.live.clone())
            .unwrap_or_default()
    }

    /// A store into a file at any place, as through a mapping. Not an operation: it cannot fail and is not counted.
    pub fn store(&self, file: &OpenFile, offset: usize, bytes: &[u8]) {
        if let Some(file) = self.lock().files.get_mut(&file.inode) {
            file.write(offset, bytes);
        }
    }

    /// Replaces what a file holds, on the medium as well: damage.
    pub fn overwrite(&self, name: &str, bytes: Vec<u8>) {
        let mut inner = self.lock();
        if let Some(inode) = inner.names.live.get(name).copied() {
            inner.files.insert(inode, FileImage::durable(bytes));
        }
    }

    fn of(inner: Inner) -> Simulated {
        Simulated {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Counts an operation; says how it fails.
    fn step(&mut self, name: &'static str) -> io::Result<Option<io::Error>> {
        let index = self.operations.len();
        if self.stop_before.is_some_and(|stop| index >= stop) {
            return Err(io::Error::other("stopped"));
        }
        self.operations.push(name);
        let fault = self.faults.get(&index).or_else(|| self.broken.get(name));
        Ok(fault.map(|fault| match fault {
            Fault::Io => io::Error::other("device failed"),
            Fault::Full => io::ErrorKind::StorageFull.into(),
        }))
    }

    /// Counts an operation that does nothing at all when it fails.
    fn step_or_fail(&mut self, name: &'static str) -> io::Result<()> {
        match self.step(name)? {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn find(&self, name: &str) -> io::Result<u64> {
        self.names
            .live
            .get(name)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used(&self) -> usize {
        let linked = self
            .names
            .live
            .values()
            .filter_map(|inode| self.files.get(inode));
        linked
            .map(|file| file.live.len().max(file.reserved_len))
            .sum()
    }

    /// Bytes that a file may still grow by, the room reserved for it among them.
    fn room(&self, inode: u64) -> usize {
        let Some(capacity) = self.capacity else {
            return usize::MAX;
        };
        let reserved = self
            .files
            .get(&inode)
            .map_or(0, |file| file.reserved_len.saturating_sub(file.live.len()));
        capacity.byte_count.saturating_sub(self.used()) + reserved
    }
}

impl Storage for Simulated {
    type File = OpenFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut inner = self.lock();
        inner.step_or_fail("list")?;
        Ok(inner.names.live.keys().cloned().collect())
    }

    fn read(&self, name: &str, len_max_bytes: u64) -> io::Result<Vec<u8>> {
        let mut inner = self.lock();
        inner.step_or_fail("read")?;
        let inode = inner.find(name)?;
        let content = inner
            .files
            .get(&inode)
            .map(|file| file.live.clone())
            .unwrap_or_default();
        match content.len() as u64 > len_max_bytes {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => Ok(content),
        }
    }

    fn create(&self, name: &str) -> io::Result<OpenFile> {
        let mut inner = self.lock();
        inner.step_or_fail("create")?;
        if inner.names.live.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if inner
            .capacity
            .is_some_and(|capacity| inner.names.live.len() >= capacity.inode_count)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        inner.last_inode += 1;
        let inode = inner.last_inode;
        inner.files.insert(inode, FileImage::default());
        inner.names.change(NameChange::Create {
            name: name.to_owned(),
            inode,
        });
        Ok(OpenFile { inode })
    }

    fn open_append(&self, name: &str) -> io::Result<OpenFile> {
        let mut inner = self.lock();
        inner.step_or_fail("open")?;
        inner.find(name).map(|inode| OpenFile { inode })
    }

    fn preallocate(&self, file: &OpenFile, len_bytes: u64) -> io::Result<()> {
        let mut inner = self.lock();
        inner.step_or_fail("preallocate")?;
        if inner.cannot_preallocate {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let room = inner.room(file.inode);
        let image = inner
            .files
            .get_mut(&file.inode)
            .ok_or(io::ErrorKind::NotFound)?;
        let wanted = usize::try_from(len_bytes).map_err(|_| io::ErrorKind::StorageFull)?;
        if wanted.saturating_sub(image.live.len()) > room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        image.reserved_len = image.reserved_len.max(wanted);
        Ok(())
    }

    fn append(&self, file: &OpenFile, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.lock();
        let mut failure = inner.step("append")?;
        // A failed write leaves about half of the bytes.
        let mut written = if failure.is_some() {
            bytes.len() / 2
        } else {
            bytes.len()
        };
        let room = inner.room(file.inode);
        if written > room {
            written = room;
            failure = Some(io::ErrorKind::StorageFull.into());
        }
        let image = inner
            .files
            .get_mut(&file.inode)
            .ok_or(io::ErrorKind::NotFound)?;
        image.write(image.live.len(), &bytes[..written]);
        failure.map_or(Ok(()), Err)
    }

    fn sync_file(&self, file: &OpenFile) -> io::Result<()> {
        let mut inner = self.lock();
        let failure = inner.step("sync_file")?;
        let image = inner
            .files
            .get_mut(&file.inode)
            .ok_or(io::ErrorKind::NotFound)?;
        match failure {
            None => image.sync(),
            Some(_) => image.fail_sync(),
        }
        failure.map_or(Ok(()), Err)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.step_or_fail("rename")?;
        let inode = inner.find(from)?;
        inner.names.change(NameChange::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
            inode,
        });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.step_or_fail("remove")?;
        let inode = inner.find(name)?;
        inner.names.change(NameChange::Remove {
            name: name.to_owned(),
            inode,
        });
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut inner = self.lock();
        let failure = inner.step("sync_dir")?;
        match failure {
            None => inner.names.sync(),
            Some(_) => inner.names.fail_sync(),
        }
        failure.map_or(Ok(()), Err)
    }
}
