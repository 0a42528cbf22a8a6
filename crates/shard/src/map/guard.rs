//! What is watched for SIGBUS: the mapped ranges, and how much of each the file still has.
//!
//! Invariant: from the place where a range was lost, it is private memory to its end, and no byte of it is replaced twice:
//! what was added to a replaced page stays. Losing comes from the end of a file, so one number says all. Everything here may
//! run in a signal handler: it takes no memory and no lock but a range's own, which is held for one system call.

#[cfg(not(loom))]
pub(crate) mod handler;

use crate::loom::{AtomicBool, AtomicU64, Ordering, wait_a_moment};

/// How much of one mapped range is still the file.
#[derive(Debug)]
pub struct Watch {
    /// Held while a part of the range is replaced. Not a std mutex: a signal handler takes it. A fork's child may find it taken for
    /// ever, and never takes it: there, all of the range is private memory before the fork returns, and nothing faults.
    locked: AtomicBool,
    /// Bytes from the start of the range that are still the file; all of them at first.
    held_len_bytes: AtomicU64,
}

impl Watch {
    /// Nothing of the range is lost yet.
    pub fn new(len_bytes: u64) -> Watch {
        Watch {
            locked: AtomicBool::new(false),
            held_len_bytes: AtomicU64::new(len_bytes),
        }
    }

    /// The file has nothing for the byte at `offset_bytes` any more: has `replace` put private zeros over what is still the file from
    /// there on (a range of offsets, from and to). False: it could not, and nothing changed. True: there is private memory now, made
    /// by this call or by another thread's.
    pub fn lose_from(&self, offset_bytes: u64, replace: impl FnOnce(u64, u64) -> bool) -> bool {
        let _lock = self.lock();
        // Relaxed: changed under the lock only.
        let held = self.held_len_bytes.load(Ordering::Relaxed);
        if offset_bytes >= held {
            // Somebody else's fault in the same page, a moment ago. To replace the page again would take back what was added to it.
            return true;
        }
        if !replace(offset_bytes, held) {
            return false;
        }
        // Release: pairs with the Acquire in `held_len_bytes`, so that who sees the loss sees private memory.
        self.held_len_bytes.store(offset_bytes, Ordering::Release);
        true
    }

    /// Runs `replace` with the length of what is still the file while nothing is lost at the same time.
    pub fn with_held<R>(&self, replace: impl FnOnce(u64) -> R) -> R {
        let _lock = self.lock();
        replace(self.held_len_bytes.load(Ordering::Relaxed))
    }

    /// Bytes from the start of the range that are still the file; the others are private memory for good.
    pub fn held_len_bytes(&self) -> u64 {
        // Acquire: pairs with the Release in `lose_from`.
        self.held_len_bytes.load(Ordering::Acquire)
    }

    fn lock(&self) -> Lock<'_> {
        let mut attempt = 0;
        // Acquire: pairs with the Release when the lock is dropped.
        while self
            .locked
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            wait_a_moment(attempt);
            attempt = attempt.saturating_add(1);
        }
        Lock(&self.locked)
    }
}

struct Lock<'a>(&'a AtomicBool);

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `lock`.
        self.0.store(false, Ordering::Release);
    }
}
