//! Every interleaving of the hot path with itself, with the move of a value out of memory into a shard, with the hand-over of a lane, and
//! with the loss of the page
//! that it stores into, checked by loom on the types that are shipped. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p metricsd-shard --release --test loom`; without that flag the file is empty.
#![cfg(loom)]

use loom::sync::atomic::{AtomicUsize, Ordering, fence};
use loom::sync::{Arc, Mutex};
use loom::thread;
use metricsd_shard::{Added, Cell, CellPointer, CellSlot, Lane, Moves, Span, Watch};

/// A slot and the writers' lock: what a series' call has in hand.
struct Entry {
    slot: CellSlot,
    writers: Mutex<()>,
}

impl Entry {
    fn in_memory(value: f64, timestamp: f64) -> Arc<Entry> {
        let slot = CellSlot::empty();
        slot.point_to(cell(value, timestamp));
        Arc::new(Entry {
            slot,
            writers: Mutex::new(()),
        })
    }

    /// As `Series::add`: what finds the cell sealed goes on under the lock, where nothing moves.
    fn add(&self, v: f64) {
        if !self.slot.cell().is_some_and(|cell| cell.add(v)) {
            let _writers = self.writers.lock().unwrap();
            assert!(self.slot.cell().unwrap().add(v), "sealed under the lock");
        }
    }

    fn set(&self, v: f64) {
        if !self.slot.cell().is_some_and(|cell| cell.set(v)) {
            let _writers = self.writers.lock().unwrap();
            assert!(self.slot.cell().unwrap().set(v), "sealed under the lock");
        }
    }

    fn set_with_timestamp(&self, v: f64, unix_seconds: f64) {
        if !self.slot.set_with_timestamp(v, unix_seconds) {
            let _writers = self.writers.lock().unwrap();
            assert!(
                self.slot.set_with_timestamp(v, unix_seconds),
                "sealed under the lock"
            );
        }
    }

    fn move_to(&self, to: &'static Cell) {
        let _writers = self.writers.lock().unwrap();
        self.slot.move_to(to);
    }

    fn value(&self) -> f64 {
        self.slot.cell().unwrap().value().unwrap()
    }
}

fn cell(value: f64, timestamp: f64) -> &'static Cell {
    Box::leak(Box::new(Cell::new(value, timestamp)))
}

#[test]
fn concurrent_additions_are_all_counted() {
    loom::model(|| {
        let cell = cell(0.0, 0.0);
        let threads = [1.0, 2.0].map(|v| {
            thread::spawn(move || {
                assert!(cell.add(v));
                assert!(cell.add(v));
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(cell.value(), Some(6.0));
    });
}

#[test]
fn a_move_loses_no_addition_and_counts_none_twice() {
    loom::model(|| {
        let entry = Entry::in_memory(100.0, 0.0);
        let adders = [1.0, 2.0].map(|v| {
            let entry = Arc::clone(&entry);
            thread::spawn(move || entry.add(v))
        });
        let old = entry.slot.cell().unwrap();
        // The first value that the mover saw and wrote into the new entry; by now there may be more.
        let new = cell(old.value().unwrap(), 0.0);
        entry.move_to(new);
        for adder in adders {
            adder.join().unwrap();
        }
        assert_eq!(new.value(), Some(103.0));
        assert_eq!(old.value(), None, "the old cell takes nothing any more");
    });
}

#[test]
fn two_moves_in_a_row_lose_nothing_either() {
    loom::model(|| {
        let entry = Entry::in_memory(100.0, 0.0);
        let adder = {
            let entry = Arc::clone(&entry);
            thread::spawn(move || {
                entry.add(1.0);
                entry.add(2.0);
            })
        };
        entry.move_to(cell(0.0, 0.0));
        entry.move_to(cell(0.0, 0.0));
        adder.join().unwrap();
        assert_eq!(entry.value(), 103.0);
    });
}

#[test]
fn a_set_survives_a_move() {
    loom::model(|| {
        let entry = Entry::in_memory(1.0, 0.0);
        let setter = {
            let entry = Arc::clone(&entry);
            thread::spawn(move || {
                entry.set(7.0);
                entry.add(0.5);
            })
        };
        entry.move_to(cell(1.0, 0.0));
        setter.join().unwrap();
        assert_eq!(entry.value(), 7.5);
    });
}

#[test]
fn a_reader_never_sees_a_new_time_with_an_old_value() {
    loom::model(|| {
        let entry = Entry::in_memory(0.0, 0.0);
        let setter = {
            let entry = Arc::clone(&entry);
            thread::spawn(move || {
                entry.set_with_timestamp(1.0, 1.0);
                entry.set_with_timestamp(2.0, 2.0);
            })
        };
        let (value, timestamp) = entry.slot.cell().unwrap().load().unwrap();
        assert!(value >= timestamp, "{value} at {timestamp}");
        setter.join().unwrap();
    });
}

#[test]
fn of_two_setters_one_pair_stands() {
    loom::model(|| {
        let entry = Entry::in_memory(0.0, 0.0);
        let setters = [1.0, 2.0].map(|v| {
            let entry = Arc::clone(&entry);
            thread::spawn(move || entry.set_with_timestamp(v, v))
        });
        for setter in setters {
            setter.join().unwrap();
        }
        let (value, timestamp) = entry.slot.cell().unwrap().load().unwrap();
        assert_eq!(value, timestamp);
    });
}

#[test]
fn a_move_keeps_value_and_time_together() {
    loom::model(|| {
        let entry = Entry::in_memory(1.0, 1.0);
        let setter = {
            let entry = Arc::clone(&entry);
            thread::spawn(move || entry.set_with_timestamp(2.0, 2.0))
        };
        entry.move_to(cell(1.0, 1.0));
        setter.join().unwrap();
        assert_eq!(entry.slot.cell().unwrap().load(), Some((2.0, 2.0)));
    });
}

#[test]
fn a_memory_cell_that_is_used_again_loses_no_addition_of_who_still_holds_it() {
    loom::model(|| {
        let entry = Entry::in_memory(100.0, 0.0);
        let memory = entry.slot.cell().unwrap();
        let adder = {
            let entry = Arc::clone(&entry);
            thread::spawn(move || {
                entry.add(1.0);
                entry.add(2.0);
            })
        };
        // Into a shard, which is deleted and made private, back into the same cell, and into the next shard.
        entry.move_to(cell(0.0, 0.0));
        entry.move_to(memory);
        entry.move_to(cell(0.0, 0.0));
        adder.join().unwrap();
        assert_eq!(entry.value(), 103.0);
    });
}

/// A page of a file, cut off, and what takes its place: fresh zeros each time that it is replaced.
struct CutPage {
    watch: Watch,
    fresh: [&'static Cell; 3],
    /// How often it was replaced; 0: touching it is a fault.
    replaced: AtomicUsize,
}

impl CutPage {
    fn new() -> Arc<CutPage> {
        Arc::new(CutPage {
            watch: Watch::new(4096),
            fresh: [(); 3].map(|()| cell(0.0, 0.0)),
            replaced: AtomicUsize::new(0),
        })
    }

    fn replace(&self) -> bool {
        let earlier = self.replaced.load(Ordering::Relaxed);
        self.replaced.store(earlier + 1, Ordering::Release);
        true
    }

    /// What a call finds at the cell's address: a fault, the handler, and the same instruction again.
    fn cell(&self) -> &'static Cell {
        if self.replaced.load(Ordering::Acquire) == 0 {
            assert!(self.watch.lose_from(0, |_, _| self.replace()));
        }
        match self.replaced.load(Ordering::Acquire) {
            0 => panic!("the handler returned, and nothing is mapped"),
            count => self.fresh[count - 1],
        }
    }
}

#[test]
fn a_lost_page_is_replaced_once_and_keeps_what_is_added_to_it() {
    loom::model(|| {
        let page = CutPage::new();
        let adders = [1.0, 2.0].map(|v| {
            let page = Arc::clone(&page);
            thread::spawn(move || assert!(page.cell().add(v)))
        });
        for adder in adders {
            adder.join().unwrap();
        }
        assert_eq!(page.cell().value(), Some(3.0));
        assert_eq!(page.watch.held_len_bytes(), 0);
    });
}

#[test]
fn who_sees_that_a_page_is_lost_finds_private_memory() {
    loom::model(|| {
        let page = CutPage::new();
        let entry = Entry::in_memory(0.0, 0.0);
        let adder = {
            let (page, entry) = (Arc::clone(&page), Arc::clone(&entry));
            thread::spawn(move || {
                // As a call whose cell is in the lost page: what finds it sealed goes on where the slot leads.
                if !page.cell().add(1.0) {
                    entry.add(1.0);
                }
            })
        };
        // As the pass that sees the loss and takes the value out for good.
        let mut taken = 0.0;
        if page.watch.held_len_bytes() == 0 {
            assert_ne!(
                page.replaced.load(Ordering::Relaxed),
                0,
                "lost, and not private yet"
            );
            let slot = CellSlot::empty();
            slot.point_to(page.cell());
            let next = cell(0.0, 0.0);
            slot.move_to(next);
            taken = next.value().unwrap();
        }
        adder.join().unwrap();
        let rest = page.cell().value().unwrap_or_default();
        assert_eq!(taken + rest + entry.value(), 1.0);
    });
}

#[test]
fn a_copy_of_what_is_left_never_covers_what_was_lost() {
    loom::model(|| {
        let watch = Arc::new(Watch::new(8192));
        // Which half is a copy of the file (1) and which is private zeros (2).
        let halves = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let fault = {
            let (watch, halves) = (Arc::clone(&watch), Arc::clone(&halves));
            thread::spawn(move || {
                watch.lose_from(4096, |from, to| {
                    assert_eq!((from, to), (4096, 8192));
                    halves[1].store(2, Ordering::Relaxed);
                    true
                })
            })
        };
        watch.with_held(|held| {
            halves[0].store(1, Ordering::Relaxed);
            if held == 8192 {
                halves[1].store(1, Ordering::Relaxed);
            }
        });
        assert!(fault.join().unwrap());
        assert_eq!(halves[1].load(Ordering::Relaxed), 2);
    });
}

/// One series of which a lane has an entry and everybody has another, and what its owner, a thread without a lane, the mover and a reader
/// do with it.
struct Laned {
    lane: Lane,
    pointer: CellPointer,
    /// The lane's cell in memory.
    memory: &'static Cell,
    everybody: &'static Cell,
    moves: Moves,
    writers: Mutex<()>,
}

impl Laned {
    fn in_memory(value: f64) -> Arc<Laned> {
        let laned = Laned {
            lane: Lane::new(),
            pointer: CellPointer::empty(),
            memory: cell(value, 0.0),
            everybody: cell(0.0, 0.0),
            moves: Moves::new(),
            writers: Mutex::new(()),
        };
        laned.pointer.point_to(laned.memory);
        Arc::new(laned)
    }

    /// As `Series::add` in the thread that has the lane.
    fn add(&self, v: f64) {
        if self.pointer.add(v) == Added::Late {
            self.settle_late();
        }
    }

    /// As `Series::add` after a late addition; where nothing is late, nothing happens.
    fn settle_late(&self) {
        let _writers = self.writers.lock().unwrap();
        self.moves.make(|| {
            let late = self.take_late();
            assert_eq!(self.pointer.add(late), Added::Here, "moved under the lock");
        });
    }

    /// As a pass that moves a value into a shard: what comes late goes to the entry of everybody.
    fn move_to(&self, to: &'static Cell) {
        let _writers = self.writers.lock().unwrap();
        self.moves.make(|| {
            self.pointer.move_on(self.memory, to);
            fence(Ordering::SeqCst);
            let late = self.take_late();
            if late != 0.0 {
                assert!(self.everybody.add(late));
            }
        });
    }

    /// As a pass that finds the shard deleted: what is in it stays there.
    fn lose_shard(&self) {
        let _writers = self.writers.lock().unwrap();
        self.moves.make(|| self.pointer.point_to(self.memory));
    }

    fn take_late(&self) -> f64 {
        if std::ptr::eq(self.pointer.cell().unwrap(), self.memory) {
            return 0.0;
        }
        self.memory.carry()
    }

    /// As `Series::get`; none where it would try again.
    fn get(&self) -> Option<f64> {
        self.moves
            .between(|| self.everybody.value().unwrap() + self.pointer.cell().unwrap().uncarried())
    }
}

#[test]
fn what_a_lanes_owner_adds_beside_a_move_is_carried_over_once() {
    loom::model(|| {
        let laned = Laned::in_memory(100.0);
        let owner = {
            let laned = Arc::clone(&laned);
            thread::spawn(move || {
                laned.add(1.0);
                laned.add(2.0);
            })
        };
        let shard = cell(100.0, 0.0);
        laned.move_to(shard);
        owner.join().unwrap();
        let in_files = shard.value().unwrap() + laned.everybody.value().unwrap();
        assert_eq!(in_files, 103.0);
        assert_eq!(laned.memory.uncarried(), 0.0, "nothing stays behind");
    });
}

#[test]
fn a_call_that_returned_beside_a_move_is_in_the_files() {
    loom::model(|| {
        let laned = Laned::in_memory(100.0);
        let shard = cell(100.0, 0.0);
        let mover = {
            let laned = Arc::clone(&laned);
            thread::spawn(move || laned.move_to(shard))
        };
        laned.add(1.0);
        let has_returned = {
            let _writers = laned.writers.lock().unwrap();
            std::ptr::eq(laned.pointer.cell().unwrap(), shard)
        };
        if has_returned {
            let in_files = shard.value().unwrap() + laned.everybody.value().unwrap();
            assert_eq!(in_files, 101.0);
        }
        mover.join().unwrap();
    });
}

#[test]
fn a_lane_whose_shard_is_deleted_between_two_moves_counts_each_addition_once() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(4);
    model.check(|| {
        let laned = Laned::in_memory(100.0);
        let owner = {
            let laned = Arc::clone(&laned);
            thread::spawn(move || {
                laned.add(1.0);
                laned.add(2.0);
            })
        };
        let (first, second) = (cell(100.0, 0.0), cell(0.0, 0.0));
        laned.move_to(first);
        laned.lose_shard();
        laned.move_to(second);
        owner.join().unwrap();
        let cells = [first, second, laned.everybody];
        let sum: f64 = cells.map(|cell| cell.value().unwrap()).iter().sum();
        assert_eq!(sum, 103.0);
        assert_eq!(laned.memory.uncarried(), 0.0);
    });
}

#[test]
fn who_takes_a_lane_goes_on_where_its_owner_before_stopped() {
    loom::model(|| {
        let laned = Laned::in_memory(0.0);
        assert!(laned.lane.take());
        let ending = {
            let laned = Arc::clone(&laned);
            thread::spawn(move || {
                laned.add(1.0);
                laned.lane.give_back();
            })
        };
        let starting = {
            let laned = Arc::clone(&laned);
            thread::spawn(move || {
                let has_lane = laned.lane.take();
                if has_lane {
                    assert!(!laned.lane.take(), "a lane has one owner");
                    laned.add(2.0);
                } else {
                    assert!(laned.everybody.add(2.0));
                }
            })
        };
        ending.join().unwrap();
        starting.join().unwrap();
        let sum = laned.memory.value().unwrap() + laned.everybody.value().unwrap();
        assert_eq!(sum, 3.0);
    });
}

#[test]
fn a_lane_that_changes_hands_beside_a_move_loses_nothing() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let laned = Laned::in_memory(100.0);
        assert!(laned.lane.take());
        let ending = {
            let laned = Arc::clone(&laned);
            thread::spawn(move || {
                laned.add(1.0);
                laned.lane.give_back();
            })
        };
        let starting = {
            let laned = Arc::clone(&laned);
            thread::spawn(move || {
                if laned.lane.take() {
                    laned.add(2.0);
                } else {
                    assert!(laned.everybody.add(2.0));
                }
            })
        };
        let shard = cell(100.0, 0.0);
        laned.move_to(shard);
        ending.join().unwrap();
        starting.join().unwrap();
        let in_files = shard.value().unwrap() + laned.everybody.value().unwrap();
        assert_eq!(in_files, 103.0);
    });
}

#[test]
fn who_has_no_lane_adds_beside_what_comes_late() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(4);
    model.check(|| {
        let laned = Laned::in_memory(100.0);
        let owner = {
            let laned = Arc::clone(&laned);
            thread::spawn(move || laned.add(1.0))
        };
        let without_lane = {
            let laned = Arc::clone(&laned);
            thread::spawn(move || assert!(laned.everybody.add(2.0)))
        };
        let shard = cell(100.0, 0.0);
        laned.move_to(shard);
        owner.join().unwrap();
        without_lane.join().unwrap();
        let in_files = shard.value().unwrap() + laned.everybody.value().unwrap();
        assert_eq!(in_files, 103.0);
    });
}

#[test]
fn a_sum_that_is_read_beside_a_move_has_every_call_that_returned() {
    loom::model(|| {
        let laned = Laned::in_memory(100.0);
        let mover = {
            let laned = Arc::clone(&laned);
            thread::spawn(move || laned.move_to(cell(100.0, 0.0)))
        };
        laned.add(1.0);
        if let Some(sum) = laned.get() {
            assert_eq!(sum, 101.0);
        }
        mover.join().unwrap();
        assert_eq!(laned.get(), Some(101.0));
    });
}

#[test]
fn a_sum_that_another_thread_reads_beside_a_move_never_goes_back() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let laned = Laned::in_memory(100.0);
        let owner = {
            let laned = Arc::clone(&laned);
            thread::spawn(move || laned.add(1.0))
        };
        let mover = {
            let laned = Arc::clone(&laned);
            thread::spawn(move || laned.move_to(cell(100.0, 0.0)))
        };
        let sums: Vec<f64> = (0..2).filter_map(|_| laned.get()).collect();
        assert!(sums.is_sorted(), "{sums:?}");
        assert!(
            sums.iter().all(|sum| (100.0..=101.0).contains(sum)),
            "{sums:?}"
        );
        owner.join().unwrap();
        mover.join().unwrap();
    });
}

/// What a handler does: the record of a page, and how far into it the page is.
fn record_of<'a>(records: &'a [(Span, Watch)], page: u64) -> Option<(&'a Watch, u64)> {
    let found = |(span, watch): &'a (Span, Watch)| Some((watch, span.offset_of(page)?));
    records.iter().find_map(found)
}

/// The range that is given back begins before the one that is met and the range that takes its record is long: the start of the one with
/// the length of the other would cover it.
#[test]
fn a_fault_finds_its_own_range_while_another_record_is_used_again() {
    loom::model(|| {
        let records = Arc::new([
            (Span::nowhere(), Watch::new(8192)),
            (Span::nowhere(), Watch::new(4096)),
        ]);
        assert!(records[0].0.lend(10, 2));
        assert!(records[1].0.lend(20, 1));
        let reuse = {
            let records = Arc::clone(&records);
            thread::spawn(move || {
                let (span, watch) = &records[0];
                span.give_back();
                watch.begin_again(50 * 4096);
                assert!(span.lend(100, 50));
                let (found, offset) = record_of(&*records, 149).expect("lent");
                assert!(found.lose_from(offset * 4096, |from, to| {
                    assert_eq!((from, to), (49 * 4096, 50 * 4096), "the old range's rest");
                    true
                }));
            })
        };
        let (found, offset) = record_of(&*records, 20).expect("lent all the time");
        assert_eq!(offset, 0);
        assert!(found.lose_from(0, |from, to| {
            assert_eq!((from, to), (0, 4096), "another's range");
            true
        }));
        assert_eq!(records[1].1.held_len_bytes(), 0);
        reuse.join().unwrap();
        assert_eq!(records[0].1.held_len_bytes(), 49 * 4096);
    });
}

/// Who meets a page in a range that another thread mapped and handed over finds the watch of that range, not what is left of the last one.
#[test]
fn a_range_that_takes_an_old_record_begins_whole() {
    loom::model(|| {
        let records = Arc::new([(Span::nowhere(), Watch::new(4096))]);
        assert!(records[0].0.lend(10, 1));
        assert!(records[0].1.lose_from(0, |_, _| true));
        let next = {
            let records = Arc::clone(&records);
            thread::spawn(move || {
                let (span, watch) = &records[0];
                span.give_back();
                watch.begin_again(8192);
                assert!(span.lend(30, 2));
            })
        };
        // As soon as the span says that the range is lent.
        if let Some((found, offset)) = record_of(&*records, 31) {
            assert!(found.lose_from(offset * 4096, |from, to| {
                assert_eq!((from, to), (4096, 8192));
                true
            }));
            assert_eq!(found.held_len_bytes(), 4096);
        }
        next.join().unwrap();
    });
}

#[test]
fn what_is_added_to_two_cells_beside_a_move_of_one_is_carried_over_once() {
    loom::model(|| {
        let (first, second) = (Laned::in_memory(100.0), Laned::in_memory(200.0));
        let owner = {
            let (first, second) = (Arc::clone(&first), Arc::clone(&second));
            thread::spawn(
                move || match first.pointer.add_both(1.0, &second.pointer, 2.0) {
                    Added::Here => {}
                    Added::Late => {
                        first.settle_late();
                        second.settle_late();
                    }
                    Added::Nowhere => panic!("both have cells"),
                },
            )
        };
        second.move_to(cell(200.0, 0.0));
        owner.join().unwrap();
        assert_eq!((first.get(), second.get()), (Some(101.0), Some(202.0)));
    });
}
