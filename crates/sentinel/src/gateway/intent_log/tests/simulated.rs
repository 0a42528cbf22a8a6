//! A directory that fails, stops and loses power as a test tells it to.
//!
//! Invariant: what the process sees (live) and what a power cut leaves (durable) are apart; only a sync that succeeds joins them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use super::super::storage::Storage;

/// What happens at one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is gone: this operation and all later ones do nothing.
    Stop,
    /// The device fails at this operation.
    Io,
    /// There is no space at this operation.
    Full,
}

/// What a power cut leaves of bytes that were not synced.
pub(crate) const POWER_CUTS: [PowerCut; 5] = [
    PowerCut {
        keep: 0,
        of: 1,
        zeros: false,
        names: false,
    },
    PowerCut {
        keep: 1,
        of: 1,
        zeros: false,
        names: true,
    },
    PowerCut {
        keep: 1,
        of: 2,
        zeros: false,
        names: true,
    },
    PowerCut {
        keep: 1,
        of: 2,
        zeros: true,
        names: true,
    },
    PowerCut {
        keep: 0,
        of: 1,
        zeros: false,
        names: true,
    },
];

#[derive(Debug, Clone, Copy)]
pub(crate) struct PowerCut {
    keep: usize,
    of: usize,
    /// The length arrived and the rest of the data did not.
    zeros: bool,
    /// Whether names that were not synced stay.
    names: bool,
}

#[derive(Debug, Clone, Default)]
struct Image {
    live: Vec<u8>,
    durable_len: usize,
    /// A sync failed: later ones say yes and do nothing for what was written before.
    is_doomed: bool,
}

#[derive(Debug, Clone, Default)]
struct Inner {
    files: Vec<Image>,
    live: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    operations: usize,
    fault: Option<(usize, Fault)>,
    /// A power cut took bytes of a file whose sync had failed before: the device had said yes to them since.
    has_lied: bool,
}

impl Inner {
    fn is_past_stop(&self) -> bool {
        matches!(self.fault, Some((at, Fault::Stop)) if self.operations > at + 1)
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Simulated(Rc<RefCell<Inner>>);

impl Simulated {
    pub(crate) fn fail_at(&self, operation: usize, fault: Fault) {
        self.0.borrow_mut().fault = Some((operation, fault));
    }

    pub(crate) fn operations(&self) -> usize {
        self.0.borrow().operations
    }

    pub(crate) fn process_death(&self) -> Simulated {
        let mut inner = self.0.borrow().clone();
        (inner.fault, inner.operations) = (None, 0);
        Simulated(Rc::new(RefCell::new(inner)))
    }

    pub(crate) fn power_cut(&self, cut: PowerCut) -> Simulated {
        let left = self.process_death();
        {
            let mut inner = left.0.borrow_mut();
            if !cut.names {
                inner.live = inner.durable.clone();
            }
            inner.durable = inner.live.clone();
            inner.has_lied |= inner
                .files
                .iter()
                .any(|file| file.is_doomed && file.durable_len < file.live.len());
            for file in &mut inner.files {
                let unsynced = file.live.len() - file.durable_len;
                let kept = file.durable_len + unsynced * cut.keep / cut.of;
                if cut.zeros {
                    file.live[kept..].fill(0);
                } else {
                    file.live.truncate(kept);
                }
                (file.durable_len, file.is_doomed) = (file.live.len(), false);
            }
        }
        left
    }

    pub(crate) fn has_lied(&self) -> bool {
        self.0.borrow().has_lied
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.borrow().live.keys().cloned().collect()
    }

    pub(crate) fn contents(&self, name: &str) -> Vec<u8> {
        let inner = self.0.borrow();
        inner.files[inner.live[name]].live.clone()
    }

    /// A file as some earlier program left it.
    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut inner = self.0.borrow_mut();
        let inode = inner.files.len();
        inner.files.push(Image {
            durable_len: bytes.len(),
            live: bytes,
            is_doomed: false,
        });
        inner.live.insert(name.to_owned(), inode);
        inner.durable.insert(name.to_owned(), inode);
    }

    pub(crate) fn overwrite(&self, name: &str, bytes: Vec<u8>) {
        let mut inner = self.0.borrow_mut();
        let inode = inner.live[name];
        inner.files[inode] = Image {
            durable_len: bytes.len(),
            live: bytes,
            is_doomed: false,
        };
    }

    fn step(&self) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        let index = inner.operations;
        inner.operations += 1;
        match inner.fault {
            Some((at, Fault::Stop)) if index >= at => Err(io::Error::other("stopped")),
            Some((at, Fault::Io)) if index == at => Err(io::Error::other("device failed")),
            Some((at, Fault::Full)) if index == at => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

impl Storage for Simulated {
    type File = usize;

    fn list(&self) -> io::Result<Vec<String>> {
        self.step()?;
        Ok(self.names())
    }

    fn read(&self, name: &str, _len_max_bytes: u64) -> io::Result<Vec<u8>> {
        self.step()?;
        Ok(self.contents(name))
    }

    fn create(&self, name: &str) -> io::Result<usize> {
        self.step()?;
        let mut inner = self.0.borrow_mut();
        let inode = inner.files.len();
        assert!(
            inner.live.insert(name.to_owned(), inode).is_none(),
            "{name} exists"
        );
        inner.files.push(Image::default());
        Ok(inode)
    }

    fn append(&self, file: &mut usize, bytes: &[u8]) -> io::Result<()> {
        let result = self.step();
        let mut inner = self.0.borrow_mut();
        // A write that fails, or during which the process ends, leaves a half.
        let len = if result.is_ok() {
            bytes.len()
        } else {
            bytes.len() / 2
        };
        if !inner.is_past_stop() {
            inner.files[*file].live.extend_from_slice(&bytes[..len]);
        }
        result
    }

    fn sync_file(&self, file: &mut usize) -> io::Result<()> {
        let result = self.step();
        let mut inner = self.0.borrow_mut();
        let is_stopped = matches!(inner.fault, Some((_, Fault::Stop)));
        let image = &mut inner.files[*file];
        match result {
            Ok(()) if !image.is_doomed => image.durable_len = image.live.len(),
            Ok(()) => {}
            // The end of the process is no failure of the device.
            Err(_) => image.is_doomed |= !is_stopped,
        }
        result
    }

    fn sync_name(&self, name: &str) -> io::Result<()> {
        let mut inode = self.0.borrow().live[name];
        self.sync_file(&mut inode)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.step()?;
        let mut inner = self.0.borrow_mut();
        inner.durable = inner.live.clone();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.step()?;
        self.0.borrow_mut().live.remove(name);
        Ok(())
    }
}
