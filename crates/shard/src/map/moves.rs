//! When cells move: what is read from several cells without a lock is read again if one of them was moved meanwhile.
//!
//! Invariant: one thread at a time moves cells (it holds the writers' lock); readers never wait for it.

use crate::loom::{AtomicU64, Ordering, fence, light_fence};

/// Counts the beginnings and the ends of moves.
#[derive(Debug)]
pub struct Moves {
    /// Odd while somebody moves cells.
    count: AtomicU64,
}

impl Moves {
    /// Nobody has moved anything yet.
    #[cfg(not(loom))]
    pub const fn new() -> Moves {
        Moves {
            count: AtomicU64::new(0),
        }
    }

    /// Nobody has moved anything yet.
    #[cfg(loom)]
    pub fn new() -> Moves {
        Moves {
            count: AtomicU64::new(0),
        }
    }

    /// Moves cells, and maybe more of them as a part of that. Under the writers' lock.
    pub fn make<R>(&self, work: impl FnOnce() -> R) -> R {
        // Relaxed: one thread at a time counts.
        let count = self.count.load(Ordering::Relaxed);
        if !count.is_multiple_of(2) {
            return work();
        }
        self.count.store(count + 1, Ordering::Relaxed);
        // Release: pairs with the Acquire fence in `between`. Who sees one of the stores of `work` sees the odd number.
        fence(Ordering::Release);
        let result = work();
        // Release: pairs with the first Acquire in `between`. Who sees the even number sees all stores of `work`.
        self.count.store(count + 2, Ordering::Release);
        result
    }

    /// Whether somebody moves cells at this moment.
    pub fn run(&self) -> bool {
        !self.count.load(Ordering::Acquire).is_multiple_of(2)
    }

    /// Reads cells; none if one of them may have been moved meanwhile.
    pub fn between<R>(&self, read: impl FnOnce() -> R) -> Option<R> {
        let before = self.count.load(Ordering::Acquire);
        let result = read();
        fence(Ordering::Acquire);
        // Pairs with the fence that the mover has every thread run: either what was read is older than that and the mover has carried it over,
        // or the odd number is seen.
        light_fence();
        let after = self.count.load(Ordering::Relaxed);
        (before == after && before.is_multiple_of(2)).then_some(result)
    }
}
