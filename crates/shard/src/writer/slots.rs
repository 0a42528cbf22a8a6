//! The slots of all series of the process: numbered, dense, found without a lock, for ever.
//!
//! Invariant: a slot is whole before its number is handed out, and what it is of never changes. Numbers are given under the writers' lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::map::slot::CellSlot;

/// Slots of the first block; each further one is twice as long as the one before.
const FIRST_BLOCK_LEN: u32 = 64;

/// Blocks that reach further than the numbers do.
const BLOCK_COUNT: usize = 27;

/// Numbers from here on lead to no slot.
pub(super) const NUMBERS_END: u32 = u32::MAX;

static BLOCKS: [OnceLock<Box<[Slot]>>; BLOCK_COUNT] = [const { OnceLock::new() }; BLOCK_COUNT];

/// Whether any thread may store into the cell of `place`. Once true, always true, but in a fork's child.
const IS_SHARED: u32 = 1 << 31;
/// Whether threads have cells of their own.
const IS_LANED: u32 = 1 << 30;
/// Whether no further thread gets one.
const IS_CROWDED: u32 = 1 << 29;
/// The place of the writer.
const WRITER: u32 = IS_CROWDED - 1;

/// What leads to one series' value for those who have no lane, and to what it is of.
#[derive(Debug)]
pub(super) struct Slot {
    /// The cell that any thread may store into; or, while nobody stores, the one that exists since registration.
    pub(super) place: CellSlot,
    /// The place of the item among those of its writer.
    item: AtomicU32,
    /// The place of the writer, and what is to be said of the slot with one bit.
    writer: AtomicU32,
}

const _: () = assert!(size_of::<Slot>() == 24, "every series has one");

impl Slot {
    fn empty() -> Slot {
        Slot {
            place: CellSlot::empty(),
            item: AtomicU32::new(0),
            writer: AtomicU32::new(0),
        }
    }

    pub(super) fn is_laned(&self) -> bool {
        // Relaxed, as below: stored before the number was handed out.
        self.writer.load(Ordering::Relaxed) & IS_LANED != 0
    }

    pub(super) fn is_crowded(&self) -> bool {
        // Relaxed: who misses it asks under the lock.
        self.writer.load(Ordering::Relaxed) & IS_CROWDED != 0
    }

    /// Whether further threads get cells of their own; told at each touch under the lock.
    pub(super) fn set_crowded(&self, is_crowded: bool) {
        if is_crowded {
            self.writer.fetch_or(IS_CROWDED, Ordering::Relaxed);
        } else {
            self.writer.fetch_and(!IS_CROWDED, Ordering::Relaxed);
        }
    }

    pub(super) fn is_shared(&self) -> bool {
        // Acquire: pairs with the Release in `set_shared`, so that `place` is seen.
        self.writer.load(Ordering::Acquire) & IS_SHARED != 0
    }

    /// Any thread may store into the cell of `place` from now on.
    pub(super) fn set_shared(&self) {
        self.writer.fetch_or(IS_SHARED, Ordering::Release);
    }

    /// Which writer, and which of its items.
    pub(super) fn of(&self) -> (usize, usize) {
        let writer = self.writer.load(Ordering::Relaxed) & WRITER;
        let item = self.item.load(Ordering::Relaxed);
        (writer as usize, item as usize)
    }

    /// Forgets the cell, in a fork's child.
    pub(super) fn forget_in_child(&self) {
        self.place.forget_in_child();
        let over = if self.is_laned() {
            IS_SHARED | IS_CROWDED
        } else {
            IS_CROWDED
        };
        self.writer.fetch_and(!over, Ordering::Relaxed);
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
    let begun = if is_laned { IS_LANED } else { IS_SHARED };
    // Half a billion writers, or as many items as there are numbers, are never made: they would take hundreds of gigabytes.
    let writer = u32::try_from(writer).unwrap_or(WRITER) & WRITER;
    slot.item
        .store(u32::try_from(item).unwrap_or(u32::MAX), Ordering::Relaxed);
    slot.writer.store(writer | begun, Ordering::Relaxed);
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
