//! A series in a program's hand, and the hot path of what adds up: the thread's own table, a pointer, and one load, addition and store.
//!
//! Invariant: a call on an entry that has a cell for it makes no system call, takes no lock (but for the pair lock of the mostrecent
//! modes), allocates nothing and cannot fail. Everything else goes through [`touch`](super::touch).

use super::lanes::{MOVES, pointers, table_of_this_thread};
use super::slots::{self, NUMBERS_END, Slot};
use super::touch::{Operation, add_elsewhere, settle_late, settled_value, store_elsewhere};
use crate::map::cell::Cell;
use crate::map::pointer::{Added, CellPointer};

/// Attempts to read the cells of one value while values move, before the lock is taken.
const READS: u32 = 100;

/// Some entries of one series: one of a counter or gauge, sum and buckets of a histogram. Clones are the same entries, and so is
/// every series of the same kind and keys.
///
/// Counters, histograms and summaries add up, so each thread (of the first sixteen at a time) has cells of its own for them: an addition
/// costs a load, an addition and a store, whatever other threads do. A thread's first addition to an entry takes a lock and may
/// write an entry into the shard. Everything else has one cell for all threads: set by a plain store, added to by compare-and-swap.
///
/// Calls are infallible and may come from any thread, but not from a signal handler, a global allocator, or a child made by raw
/// `clone` (see [`Writer`](super::Writer)). An index that is not one of the keys' is ignored.
#[derive(Debug, Clone)]
pub struct Series {
    /// The number of the first slot; the others follow. `NUMBERS_END` if they do not.
    base: u32,
    len: u32,
    /// The numbers of the slots where they do not follow each other: some of the keys had been given before. One word, so that a handle is
    /// two.
    scattered: Option<&'static Vec<u32>>,
}

impl Default for Series {
    /// A series of no keys.
    fn default() -> Series {
        Series::of(&[])
    }
}

impl Series {
    /// The series of these slots.
    pub(super) fn of(numbers: &[u32]) -> Series {
        let base = numbers.first().copied().unwrap_or(NUMBERS_END);
        let are_in_a_row = numbers.iter().copied().eq((base..).take(numbers.len()));
        Series {
            base: if are_in_a_row { base } else { NUMBERS_END },
            len: u32::try_from(numbers.len()).unwrap_or(0),
            scattered: (!are_in_a_row).then(|| &*Box::leak(Box::new(numbers.to_vec()))),
        }
    }

    /// Adds `v` to the value of `keys[index]`. The first touch of an entry may create it in the shard.
    #[inline]
    pub fn add(&self, index: usize, v: f64) {
        // The first of none has no number either (`of`), so that the index 0 of a counter needs no comparison.
        if index != 0 && index >= self.len as usize {
            return;
        }
        let number = (self.base as usize).wrapping_add(index);
        let Some(pointer) = table_of_this_thread().get(number) else {
            return self.add_slowly(index, v);
        };
        match pointer.add(v) {
            Added::Here => {}
            Added::Late => self.settle(index),
            Added::Nowhere => self.add_slowly(index, v),
        }
    }

    /// Adds `v` to the value of `keys[index]` if the calling thread has a cell for it, as it has from its first addition on. False: nothing was
    /// added, and [`add`](Self::add) will do it.
    ///
    /// For a caller that knows that there is such a key, which is not looked at here: with any other index it may be the value of another
    /// series that changes.
    #[inline]
    #[must_use]
    pub fn add_at_once(&self, index: usize, v: f64) -> bool {
        let number = (self.base as usize).wrapping_add(index);
        let added = table_of_this_thread()
            .get(number)
            .map_or(Added::Nowhere, |pointer| pointer.add(v));
        match added {
            Added::Here => true,
            Added::Late => {
                // Only what has a number in the table was added to.
                settle_late(u32::try_from(number).unwrap_or(NUMBERS_END));
                true
            }
            Added::Nowhere => false,
        }
    }

    /// The series of `keys[index]` alone.
    pub fn one(&self, index: usize) -> Series {
        self.number(index)
            .map_or_else(Series::default, |number| Series::of(&[number]))
    }

    /// Adds `v` to the value of `keys[index]` and then `w` to that of `keys[next]`, as two calls of [`add`](Self::add) would: for what is
    /// made of two numbers, at the price of one look at the thread's table.
    #[inline]
    pub fn add_two(&self, (index, v): (usize, f64), (next, w): (usize, f64)) {
        let (base, len) = (self.base as usize, self.len as usize);
        // One condition after the other, all of them foreseeable: a choice of both pointers at once becomes conditional moves, and the
        // comparisons of the second one, which is the first of the series in a histogram, are not seen to follow from those before.
        if index < len
            && next < len
            && let Some(own) = table_of_this_thread().get(base..)
            && let Some(first) = own.get(index)
            && let Some(second) = own.get(next)
        {
            match first.add_both(v, second, w) {
                Added::Here => {}
                Added::Late => self.settle_two(index, next),
                Added::Nowhere => self.add_two_slowly((index, v), (next, w)),
            }
        } else {
            self.add_two_slowly((index, v), (next, w));
        }
    }

    #[cold]
    #[inline(never)]
    fn add_two_slowly(&self, (index, v): (usize, f64), (next, w): (usize, f64)) {
        self.add(index, v);
        self.add(next, w);
    }

    #[cold]
    #[inline(never)]
    fn add_slowly(&self, index: usize, v: f64) {
        let Some(number) = self.number(index) else {
            return;
        };
        let added = match self.scattered {
            // The table was asked for no slot of ours.
            Some(_) => table_of_this_thread()
                .get(number as usize)
                .map_or(Added::Nowhere, |pointer| pointer.add(v)),
            None => Added::Nowhere,
        };
        match added {
            Added::Here => {}
            Added::Late => settle_late(number),
            Added::Nowhere => add_elsewhere(number, v),
        }
    }

    /// Of one of them or of both; where nothing is late, nothing happens.
    #[cold]
    #[inline(never)]
    fn settle_two(&self, index: usize, next: usize) {
        self.settle(index);
        self.settle(next);
    }

    #[cold]
    #[inline(never)]
    fn settle(&self, index: usize) {
        if let Some(number) = self.number(index) {
            settle_late(number);
        }
    }

    /// Stores `v`. Of what adds up, the sum over all threads becomes `v`, which takes a lock; what other threads add at the same time
    /// may be in it or come on top.
    #[inline]
    pub fn set(&self, index: usize, v: f64) {
        match self.shared_entry(index) {
            Some(entry) => entry.set(v),
            None => self.store_sum(index, Operation::Set(v)),
        }
    }

    /// Stores `v` and the time at which it was true, as the mostrecent modes need it: the value first, then the time. In this process
    /// nobody sees the new time with the old value. A process that reads the file copies both words without a lock; in the
    /// middle of a call it may have one of them new and the other old, until it reads again. Of two calls the later one stands, whatever
    /// their times say. What adds up has no time.
    pub fn set_with_timestamp(&self, index: usize, v: f64, unix_seconds: f64) {
        match self.shared_entry(index) {
            Some(entry) => entry.set_with_timestamp(v, unix_seconds),
            None => self.store_sum(index, Operation::SetAt(v, unix_seconds)),
        }
    }

    #[cold]
    fn store_sum(&self, index: usize, operation: Operation) {
        if let Some(number) = self.number(index) {
            store_elsewhere(number, operation);
        }
    }

    /// The present value, summed up over the threads; 0 while the entry does not exist.
    pub fn get(&self, index: usize) -> f64 {
        self.slot(index)
            .map_or(0.0, |(number, slot)| read(number, slot))
    }

    pub(super) fn slot(&self, index: usize) -> Option<(u32, &'static Slot)> {
        let number = self.number(index)?;
        Some((number, slots::at(number)?))
    }

    fn number(&self, index: usize) -> Option<u32> {
        if index >= self.len as usize {
            return None;
        }
        match self.scattered {
            Some(numbers) => numbers.get(index).copied(),
            None => self.base.checked_add(u32::try_from(index).ok()?),
        }
    }
}

/// The present value of a slot.
pub(super) fn read(number: u32, slot: &Slot) -> f64 {
    for _ in 0..READS {
        if let Some(Some(value)) = MOVES.between(|| value_of(number, slot)) {
            return value;
        }
        std::hint::spin_loop();
    }
    settled_value(number)
}

/// The value of a slot over all its cells; none if one of them was sealed, which is: in the middle of a move.
pub(super) fn value_of(number: u32, slot: &Slot) -> Option<f64> {
    let shared = match slot.place.cell() {
        Some(cell) => cell.value()?,
        None => 0.0,
    };
    if !slot.is_laned() {
        return Some(shared);
    }
    let lanes = pointers(number).filter_map(CellPointer::cell);
    // In the order of the lanes, so that rounding never makes the sum fall while its parts rise.
    Some(lanes.map(Cell::uncarried).fold(shared, |sum, v| sum + v))
}
