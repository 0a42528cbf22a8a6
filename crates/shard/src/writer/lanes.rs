//! Which lane the calling thread has: at most one, from its first addition to a counter, histogram or summary to its end.
//!
//! Invariant: a lane has one owner at a time, and only the owner stores into its cells. The thread-local that the hot path reads needs no
//! destructor, so it can be read as long as its thread runs; the one that gives the lane back does nothing else.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::map::lane::Lane;
use crate::map::moves::Moves;
use crate::map::pointer::CellPointer;

/// Threads that can have a lane at a time. Each costs a series that it touches one more entry in the shard, so the number is bounded;
/// threads beyond it share one cell for each series, and pay for that with a compare-and-swap.
pub(super) const LANE_COUNT: usize = 16;

/// Slots by which a table grows at least.
const GROWTH_MIN: usize = 64;

static LANES: [Lane; LANE_COUNT] = [const { Lane::new() }; LANE_COUNT];

/// How often a lane was given back: who got none tries again when one may be free.
static GIVEN_BACK: AtomicU32 = AtomicU32::new(0);

/// When values move from one cell to another, in all writers.
pub(super) static MOVES: Moves = Moves::new();

/// What the calling thread has.
#[derive(Debug, Clone, Copy)]
enum Standing {
    /// It has not asked.
    New,
    /// The lane of this number.
    Owner(u8),
    /// None: all were taken when [`GIVEN_BACK`] was this.
    Refused(u32),
    /// None, ever: it is ending, or it is one of our own.
    Never,
}

thread_local! {
    /// The table of the thread's lane; empty without one.
    static TABLE: Cell<&'static [CellPointer]> = const { Cell::new(&[]) };

    static STANDING: Cell<Standing> = const { Cell::new(Standing::New) };

    /// Gives the lane back when the thread ends.
    static KEEPER: Keeper = const { Keeper };
}

struct Keeper;

impl Drop for Keeper {
    fn drop(&mut self) {
        // Destructors that run after this one count through the shared cells.
        TABLE.set(&[]);
        if let Standing::Owner(number) = STANDING.replace(Standing::Never) {
            LANES[usize::from(number)].give_back();
            GIVEN_BACK.fetch_add(1, Ordering::Release);
        }
    }
}

/// What leads to the cells of the calling thread's lane, by the numbers of their slots.
#[inline]
pub(super) fn table_of_this_thread() -> &'static [CellPointer] {
    TABLE.get()
}

/// Whether the calling thread has a lane or may get one.
pub(super) fn may_have_one() -> bool {
    match STANDING.get() {
        Standing::New | Standing::Owner(_) => true,
        Standing::Refused(given_back) => GIVEN_BACK.load(Ordering::Relaxed) != given_back,
        Standing::Never => false,
    }
}

/// The lane of the calling thread, which takes the lowest free one now if it has none.
pub(super) fn of_this_thread() -> Option<usize> {
    match STANDING.get() {
        Standing::Owner(number) => return Some(usize::from(number)),
        Standing::Never => return None,
        Standing::New | Standing::Refused(_) => {}
    }
    // Read before the lanes are looked at, so that one that is given back meanwhile is not missed for ever.
    let given_back = GIVEN_BACK.load(Ordering::Acquire);
    if KEEPER.try_with(|_| ()).is_err() {
        // The thread is ending: nobody would give the lane back.
        STANDING.set(Standing::Never);
        return None;
    }
    let Some(number) = LANES.iter().position(Lane::take) else {
        STANDING.set(Standing::Refused(given_back));
        return None;
    };
    STANDING.set(Standing::Owner(u8::try_from(number).unwrap_or(u8::MAX)));
    TABLE.set(LANES[number].table());
    Some(number)
}

/// The calling thread gets no lane: it is one of our own, and touches next to nothing.
pub(super) fn renounce() {
    STANDING.set(Standing::Never);
}

/// Makes the table of the calling thread's lane reach this slot, of `slot_count` in all. Under the writers' lock.
pub(super) fn reach(lane: usize, slot: u32, slot_count: u32) {
    let lane = &LANES[lane];
    let len = lane.table().len();
    if (slot as usize) < len {
        return;
    }
    lane.grow_to(grown_len(len, slot_count));
    TABLE.set(lane.table());
}

/// The length of a table that has to reach further: as many slots as there are, which is all for most programs; twice as long if there come ever
/// more, since what is outgrown is never freed and must not come to a multiple of what is in use.
fn grown_len(len: usize, slot_count: u32) -> usize {
    (slot_count as usize).max(len * 2).max(len + GROWTH_MIN)
}

/// What leads to this lane's cell of this slot, if its table reaches so far.
pub(super) fn pointer(lane: usize, slot: u32) -> Option<&'static CellPointer> {
    LANES.get(lane)?.table().get(slot as usize)
}

/// The pointers of all lanes to this slot.
pub(super) fn pointers(slot: u32) -> impl Iterator<Item = &'static CellPointer> {
    (0..LANE_COUNT).filter_map(move |lane| pointer(lane, slot))
}

/// In a fork's child: all threads but the calling one are gone, so their lanes are free.
pub(super) fn leave_to_parent() {
    for (number, lane) in LANES.iter().enumerate() {
        let is_own = matches!(STANDING.get(), Standing::Owner(own) if usize::from(own) == number);
        if !is_own {
            lane.give_back();
        }
    }
    GIVEN_BACK.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_were_outgrown_are_no_longer_than_the_one_in_use() {
        let (mut len, mut outgrown) = (0, 0);
        for slot_count in 1..=1_000_000 {
            if slot_count as usize > len {
                outgrown += len;
                len = grown_len(len, slot_count);
            }
            assert!(len >= slot_count as usize && outgrown <= len);
            assert!(len <= (2 * slot_count as usize).max(GROWTH_MIN));
        }
        assert_eq!(grown_len(0, 100_000), 100_000);
    }
}
