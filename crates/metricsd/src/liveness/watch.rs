//! The kernel's word that a writer has closed a file of the directory: `IN_CLOSE_WRITE`, which `kill -9` causes as well.
//!
//! Invariant: an event is a hint to ask, never an answer; lost events are reported as lost. Must not touch: anything but the watch.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// Room for some hundred events a read; each has at least 16 bytes and at most 16 + 256.
const BUFFER_LEN_BYTES: usize = 16 << 10;

/// A watch on one directory.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: OwnedFd,
}

/// What happened since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Happened {
    /// Files that a writer closed, each as often as it happened.
    pub(super) names: Vec<String>,
    /// Events were lost: it may have happened to any file.
    pub(super) overflow: bool,
}

impl Watch {
    /// Watches the directory that is open, wherever it is by now.
    pub(super) fn new(directory: BorrowedFd<'_>) -> io::Result<Watch> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        inotify::add_watch(
            &inotify,
            path,
            WatchFlags::CLOSE_WRITE | WatchFlags::ONLYDIR,
        )?;
        Ok(Watch { inotify })
    }

    /// Takes all events that are there, without waiting.
    pub(super) fn take(&self) -> Happened {
        let mut happened = Happened::default();
        let mut buffer = [MaybeUninit::uninit(); BUFFER_LEN_BYTES];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    happened.overflow |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                    let name = event.file_name().and_then(|name| name.to_str().ok());
                    happened.names.extend(name.map(str::to_owned));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return happened,
                Err(_) => {
                    happened.overflow = true;
                    return happened;
                }
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
