//! The atomics of cells and slots: the standard library's, or loom's when the model checker runs (`--cfg loom`), so that what is
//! model-checked is what is shipped.
//!
//! One pair of fences is not the same in both: who adds to a lane's cell or reads one pays for no fence, because whoever moves cells has the
//! kernel run one in every thread (`fence_all_threads`). In the model both sides run a fence of their own.
//!
//! Nor is a plain store beside read-modify-write operations of others. The model has no order between the two, so that an exchange could miss a store
//! that it stands behind; on a machine one word has one order of all its modifications. In the model such a store is an exchange, whose result
//! nobody looks at. What else a plain store may do, be seen late, shows there in loads that see an old value.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(crate) use ::loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering, fence};

/// Attempts at a lock that is held for a few instructions, after which its holder is taken to be off its core.
#[cfg(not(loom))]
const SPINS: u32 = 100;

/// Waits a little for a lock that is held for a few instructions; `attempt` counts from 0. Sleeps after a while and never merely
/// yields: a real-time thread that yields goes on at once, and the thread that it waits for would not run for seconds.
#[cfg(not(loom))]
pub(crate) fn wait_a_moment(attempt: u32) {
    if attempt < SPINS {
        std::hint::spin_loop();
    } else {
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
}

#[cfg(loom)]
pub(crate) fn wait_a_moment(_attempt: u32) {
    ::loom::thread::yield_now();
}

/// The cheap half of the pair, of those who use cells: holds the compiler back, and the processor not at all.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn light_fence() {
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
}

#[cfg(loom)]
pub(crate) fn light_fence() {
    fence(Ordering::SeqCst);
}

/// Stores into a word that others change by read-modify-write operations.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn store_among_exchanges(word: &AtomicU64, bits: u64) {
    word.store(bits, Ordering::Relaxed);
}

#[cfg(loom)]
pub(crate) fn store_among_exchanges(word: &AtomicU64, bits: u64) {
    word.swap(bits, Ordering::Relaxed);
}
