//! A directory in memory for the archive. Invariant: every call does what a disk that never fails does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use metricsd::archive::Storage;

/// The directory; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Memory(Rc<RefCell<BTreeMap<String, File>>>);

type File = Rc<RefCell<Vec<u8>>>;

impl Memory {
    /// Puts a file there.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        self.0
            .borrow_mut()
            .insert(name.to_owned(), Rc::new(RefCell::new(bytes)));
    }

    fn get(&self, name: &str) -> io::Result<File> {
        let files = self.0.borrow();
        files
            .get(name)
            .cloned()
            .ok_or(io::ErrorKind::NotFound.into())
    }
}

impl Storage for Memory {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.borrow().keys().cloned().collect())
    }

    fn read(&self, name: &str, len_max_bytes: u64) -> io::Result<Vec<u8>> {
        let bytes = self.get(name)?.borrow().clone();
        if bytes.len() as u64 > len_max_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        if self.get(name).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.put(name, Vec::new());
        self.get(name)
    }

    fn open_append(&self, name: &str) -> io::Result<File> {
        self.get(name)
    }

    fn preallocate(&self, _: &File, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn append(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        file.borrow_mut().extend_from_slice(bytes);
        Ok(())
    }

    fn sync_file(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let file = self.get(from)?;
        let mut files = self.0.borrow_mut();
        files.remove(from);
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match self.0.borrow_mut().remove(name) {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }
}
