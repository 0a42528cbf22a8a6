//! The atomics of cells and slots: the standard library's, or loom's when the model checker runs (`--cfg loom`), so that what is
//! model-checked is what is shipped.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

#[cfg(loom)]
pub(crate) use ::loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

/// Lets another thread run while this one waits for a lock that is held for a few instructions.
pub(crate) fn wait_a_moment() {
    #[cfg(not(loom))]
    std::thread::yield_now();
    #[cfg(loom)]
    ::loom::thread::yield_now();
}
