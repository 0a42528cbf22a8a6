//! What is watched for SIGBUS: the mapped ranges, and how much of each the file still has.
//!
//! Invariant: from the place where a range was lost, it is private memory to its end, and no byte of it is replaced twice:
//! what was added to a replaced page stays. Losing comes from the end of a file, so one number says all. A range that is given back
//! is nobody's before its addresses can be anybody else's. Everything here may
//! run in a signal handler: it takes no memory and no lock but a range's own, which is held for one system call.

#[cfg(not(loom))]
pub(crate) mod handler;

use crate::loom::{AtomicBool, AtomicU64, Ordering, wait_a_moment};

/// Bits of a [`Span`] that say how many pages it has; the others say with which page it begins. A mapping of a shard has 2 GiB at most,
/// and addresses of processes have 56 bits at most.
const PAGE_COUNT_BITS: u32 = 20;

/// The addresses that a record of the table stands for. One word, because records are used again: who looks for the record of his own
/// fault would otherwise find the start of one range with the length of another, and take a stranger's addresses for theirs.
#[derive(Debug)]
pub struct Span(AtomicU64);

impl Span {
    /// No addresses.
    pub fn nowhere() -> Span {
        Span(AtomicU64::new(0))
    }

    /// Stands for these pages from now on. False: they are more than a span can say, and it stands for none.
    #[must_use]
    pub fn lend(&self, first_page: u64, page_count: u64) -> bool {
        let is_sayable =
            page_count < 1 << PAGE_COUNT_BITS && first_page < 1 << (u64::BITS - PAGE_COUNT_BITS);
        let span = match is_sayable {
            true => first_page << PAGE_COUNT_BITS | page_count,
            false => 0,
        };
        // Release: pairs with the Acquire in `offset_of`, so that who finds the record finds a watch that has begun anew.
        self.0.store(span, Ordering::Release);
        is_sayable
    }

    /// Stands for no addresses any more. To be called before others can get them.
    pub fn give_back(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// How many pages before this one it begins; none: the page is not in it.
    pub fn offset_of(&self, page: u64) -> Option<u64> {
        let span = self.0.load(Ordering::Acquire);
        let offset = page.checked_sub(span >> PAGE_COUNT_BITS)?;
        (offset < span & ((1 << PAGE_COUNT_BITS) - 1)).then_some(offset)
    }
}

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

    /// Begins anew for another range. Nobody is in the old one any more, nor in the new one yet.
    pub fn begin_again(&self, len_bytes: u64) {
        // Relaxed: the span that is lent next publishes it.
        self.held_len_bytes.store(len_bytes, Ordering::Relaxed);
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
