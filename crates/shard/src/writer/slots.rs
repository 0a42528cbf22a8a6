//! The slots of all series of the process: numbered, dense, found without a lock, for ever.
//!
//! Invariant: a slot is whole before its number is handed out, and what it is of never changes. Numbers are given under the writers' lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::map::slot::CellSlot;

/// Slots of the first block; each further one is twice as long as the one before.
const FIRST_BLOCK_LEN: u32 = 64;

/// Blocks that reach further than the numbers do.
const BLOCK_COUNT: usize = 27;

/// Numbers from here on lead to no slot.
pub(super) const NUMBERS_END: u32 = u32::MAX;

static BLOCKS: [OnceLock<Box<[Slot]>>; BLOCK_COUNT] = [const { OnceLock::new() }; BLOCK_COUNT];

/// What leads to one series' value for those who have no lane, and to what it is of.
#[derive(Debug)]
pub(super) struct Slot {
    /// The cell that any thread may store into; or, while nobody stores, the one that exists since registration.
    pub(super) place: CellSlot,
    /// Whether any thread may store into the cell of `place`. Once true, always true, but in a fork's child.
    is_shared: AtomicBool,
    /// Whether threads have cells of their own.
    is_laned: AtomicBool,
    /// Whether no further thread gets one.
    is_crowded: AtomicBool,
    /// Writer and item, by their places in the lists of all, in the halves of one word.
    of: AtomicU64,
}

impl Slot {
    fn empty() -> Slot {
        Slot {
            place: CellSlot::empty(),
            is_shared: AtomicBool::new(false),
            is_laned: AtomicBool::new(false),
            is_crowded: AtomicBool::new(false),
            of: AtomicU64::new(0),
        }
    }

    pub(super) fn is_laned(&self) -> bool {
        // Relaxed, as below: stored before the number was handed out.
        self.is_laned.load(Ordering::Relaxed)
    }

    pub(super) fn is_crowded(&self) -> bool {
        // Relaxed: who misses it asks under the lock.
        self.is_crowded.load(Ordering::Relaxed)
    }

    /// Whether further threads get cells of their own; told at each touch under the lock.
    pub(super) fn set_crowded(&self, is_crowded: bool) {
        self.is_crowded.store(is_crowded, Ordering::Relaxed);
    }

    pub(super) fn is_shared(&self) -> bool {
        // Acquire: pairs with the Release in `set_shared`, so that `place` is seen.
        self.is_shared.load(Ordering::Acquire)
    }

    /// Any thread may store into the cell of `place` from now on.
    pub(super) fn set_shared(&self) {
        self.is_shared.store(true, Ordering::Release);
    }

    /// Which writer, and which of its items.
    pub(super) fn of(&self) -> (usize, usize) {
        let of = self.of.load(Ordering::Relaxed);
        ((of >> 32) as usize, (of & u64::from(u32::MAX)) as usize)
    }

    /// Forgets the cell, in a fork's child.
    pub(super) fn forget_in_child(&self) {
        self.place.forget_in_child();
        self.is_shared.store(!self.is_laned(), Ordering::Relaxed);
        self.set_crowded(false);
    }
}

/// The slot of this number.
pub(super) fn at(number: u32) -> Option<&'static Slot> {
    let (block, place) = block_and_place(number)?;
    BLOCKS.get(block)?.get()?.get(place)
}

/// Makes the slot of this number one of this writer's item. Under the writers' lock, before anybody has the number.
pub(super) fn begin(number: u32, writer: usize, item: usize, is_laned: bool) {
    let Some((block, place)) = block_and_place(number) else {
        return;
    };
    let len = (FIRST_BLOCK_LEN as usize) << block;
    let slots = BLOCKS[block].get_or_init(|| (0..len).map(|_| Slot::empty()).collect());
    let slot = &slots[place];
    let of = (writer as u64) << 32 | item as u64;
    slot.of.store(of, Ordering::Relaxed);
    slot.is_laned.store(is_laned, Ordering::Relaxed);
    slot.is_shared.store(!is_laned, Ordering::Relaxed);
}

fn block_and_place(number: u32) -> Option<(usize, usize)> {
    let block = (number / FIRST_BLOCK_LEN + 1).ilog2();
    let begin = FIRST_BLOCK_LEN.checked_mul((1 << block) - 1)?;
    Some((block as usize, (number - begin) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_follow_each_other_without_a_gap() {
        let mut expected = (0, 0);
        for number in 0..100_000 {
            assert_eq!(block_and_place(number), Some(expected), "{number}");
            expected.1 += 1;
            if expected.1 == (FIRST_BLOCK_LEN as usize) << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert!(at(NUMBERS_END).is_none());
    }
}
