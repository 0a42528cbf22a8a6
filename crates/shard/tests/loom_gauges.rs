//! Every interleaving of setting a gauge by a plain store with other sets, additions and reads, and with the move of its value, checked by loom on
//! the types that are shipped. Run with `RUSTFLAGS="--cfg loom" cargo test -p metricsd-shard --release --test loom_gauges`; without that
//! flag the file is empty.
#![cfg(loom)]

use loom::sync::atomic::{Ordering, fence};
use loom::sync::{Arc, Mutex};
use loom::thread;
use metricsd_shard::{Cell, CellSlot, Moves, Stored};

/// One gauge, and what a setter, the mover and a reader do with it.
struct Gauge {
    slot: CellSlot,
    /// Its cell in memory, sealed while it is not the current one.
    memory: &'static Cell,
    moves: Moves,
    writers: Mutex<()>,
}

fn cell(value: f64, timestamp: f64) -> &'static Cell {
    Box::leak(Box::new(Cell::new(value, timestamp)))
}

impl Gauge {
    fn in_memory(value: f64, timestamp: f64) -> Arc<Gauge> {
        let gauge = Gauge {
            slot: CellSlot::empty(),
            memory: cell(value, timestamp),
            moves: Moves::new(),
            writers: Mutex::new(()),
        };
        gauge.slot.point_to(gauge.memory);
        Arc::new(gauge)
    }

    fn set(&self, v: f64) {
        let stored = self.slot.set(v);
        self.finish(stored, |slot| slot.set(v));
    }

    fn add(&self, v: f64) {
        let stored = self.slot.add(v);
        self.finish(stored, |slot| slot.add(v));
    }

    /// As what follows a call that is not done: under the lock, where nothing moves.
    fn finish(&self, stored: Stored, again: impl FnOnce(&CellSlot) -> Stored) {
        let stored = match stored {
            Stored::Here => return,
            Stored::Nowhere => {
                let _writers = self.writers.lock().unwrap();
                again(&self.slot)
            }
            Stored::Late(vacated) => {
                let _writers = self.writers.lock().unwrap();
                match self.slot.take_late(vacated) {
                    Some(late) => self.slot.set(late),
                    None => return,
                }
            }
        };
        assert!(matches!(stored, Stored::Here), "moved under the lock");
    }

    fn set_with_timestamp(&self, v: f64, unix_seconds: f64) {
        if !self.slot.set_with_timestamp(v, unix_seconds) {
            let _writers = self.writers.lock().unwrap();
            assert!(self.slot.set_with_timestamp(v, unix_seconds));
        }
    }

    /// As a pass that moves a value into a shard.
    fn move_to_shard(&self, to: &'static Cell) {
        let _writers = self.writers.lock().unwrap();
        self.moves.make(|| {
            let from = self.suspend();
            self.slot.resume_in(to, from.value_taken());
        });
    }

    /// As a pass that finds the shard deleted and its mapping private.
    fn lose_shard(&self) {
        let _writers = self.writers.lock().unwrap();
        self.moves.make(|| {
            let from = self.suspend();
            self.slot.resume_in_sealed(self.memory, from.value_taken());
        });
    }

    fn suspend(&self) -> &'static Cell {
        let from = self.slot.suspend().expect("it has a cell");
        fence(Ordering::SeqCst);
        from
    }

    /// As `SharedEntry::get`; none where it would try again.
    fn get(&self) -> Option<f64> {
        self.moves.between(|| self.slot.cell()?.value())?
    }

    /// What stands in the cell that a reader of the files finds.
    fn settled(&self) -> (f64, f64) {
        let _writers = self.writers.lock().unwrap();
        self.slot.cell().unwrap().load().unwrap()
    }
}

trait Taken {
    fn value_taken(&self) -> (f64, f64);
}

impl Taken for Cell {
    fn value_taken(&self) -> (f64, f64) {
        self.seal().expect("the current cell is never sealed")
    }
}

/// Threads of a model that has more to choose from than can be looked through.
fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

#[test]
fn of_sets_beside_a_move_the_last_one_stands() {
    loom::model(|| {
        let gauge = Gauge::in_memory(100.0, 0.0);
        let setter = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || {
                gauge.set(1.0);
                gauge.set(2.0);
            })
        };
        let shard = cell(100.0, 0.0);
        gauge.move_to_shard(shard);
        setter.join().unwrap();
        assert_eq!(shard.value(), Some(2.0));
    });
}

#[test]
fn a_set_that_returned_beside_a_move_stands_where_the_value_is_now() {
    loom::model(|| {
        let gauge = Gauge::in_memory(100.0, 0.0);
        let mover = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || gauge.move_to_shard(cell(100.0, 0.0)))
        };
        gauge.set(1.0);
        assert_eq!(gauge.settled().0, 1.0);
        mover.join().unwrap();
    });
}

#[test]
fn of_two_setters_beside_a_move_the_last_set_of_one_stands() {
    bounded(4, || {
        let gauge = Gauge::in_memory(100.0, 0.0);
        let setters = [1.0, 2.0].map(|v| {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || {
                gauge.set(v);
                gauge.set(v + 10.0);
            })
        });
        gauge.move_to_shard(cell(100.0, 0.0));
        for setter in setters {
            setter.join().unwrap();
        }
        let value = gauge.settled().0;
        assert!(value == 11.0 || value == 12.0, "{value}");
    });
}

#[test]
fn who_sets_after_he_saw_a_value_is_not_overwritten_by_it() {
    bounded(4, || {
        let gauge = Gauge::in_memory(100.0, 0.0);
        let setter = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || gauge.set(1.0))
        };
        let mover = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || gauge.move_to_shard(cell(100.0, 0.0)))
        };
        let has_seen = gauge.get() == Some(1.0);
        if has_seen {
            gauge.set(2.0);
        }
        setter.join().unwrap();
        mover.join().unwrap();
        assert_eq!(gauge.settled().0, if has_seen { 2.0 } else { 1.0 });
    });
}

#[test]
fn a_reader_beside_a_move_never_sees_an_older_value_after_a_newer_one() {
    bounded(4, || {
        let gauge = Gauge::in_memory(0.0, 0.0);
        let setter = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || {
                gauge.set(1.0);
                gauge.set(2.0);
            })
        };
        let mover = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || gauge.move_to_shard(cell(0.0, 0.0)))
        };
        let seen: Vec<f64> = (0..2).filter_map(|_| gauge.get()).collect();
        assert!(seen.is_sorted(), "{seen:?}");
        setter.join().unwrap();
        mover.join().unwrap();
    });
}

#[test]
fn an_addition_beside_a_set_and_a_move_is_before_the_set_or_on_top_of_it() {
    bounded(4, || {
        let gauge = Gauge::in_memory(100.0, 0.0);
        let setter = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || gauge.set(10.0))
        };
        let adder = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || gauge.add(1.0))
        };
        gauge.move_to_shard(cell(100.0, 0.0));
        setter.join().unwrap();
        adder.join().unwrap();
        let value = gauge.settled().0;
        assert!(value == 10.0 || value == 11.0, "{value}");
    });
}

#[test]
fn who_added_and_then_set_is_not_overtaken_by_his_own_addition() {
    bounded(4, || {
        let gauge = Gauge::in_memory(100.0, 0.0);
        let setter = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || gauge.set(10.0))
        };
        let other = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || {
                gauge.add(1.0);
                gauge.set(20.0);
            })
        };
        gauge.move_to_shard(cell(100.0, 0.0));
        setter.join().unwrap();
        other.join().unwrap();
        let value = gauge.settled().0;
        assert!(value == 10.0 || value == 20.0, "{value}");
    });
}

#[test]
fn additions_beside_a_move_are_all_counted_once() {
    bounded(4, || {
        let gauge = Gauge::in_memory(100.0, 0.0);
        let adders = [1.0, 2.0].map(|v| {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || gauge.add(v))
        });
        gauge.move_to_shard(cell(100.0, 0.0));
        for adder in adders {
            adder.join().unwrap();
        }
        assert_eq!(gauge.settled().0, 103.0);
    });
}

#[test]
fn a_set_survives_that_its_memory_cell_is_used_again() {
    bounded(4, || {
        let gauge = Gauge::in_memory(100.0, 0.0);
        let setter = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || {
                gauge.set(1.0);
                gauge.add(0.5);
                gauge.set(2.0);
                gauge.add(0.5);
            })
        };
        // Into a shard, which is deleted, back into the same cell, and into the next shard.
        gauge.move_to_shard(cell(0.0, 0.0));
        gauge.lose_shard();
        gauge.move_to_shard(cell(0.0, 0.0));
        setter.join().unwrap();
        assert_eq!(gauge.settled().0, 2.5);
    });
}

#[test]
fn a_set_that_returned_stands_while_its_memory_cell_is_used_again() {
    bounded(4, || {
        let gauge = Gauge::in_memory(100.0, 0.0);
        let mover = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || {
                gauge.move_to_shard(cell(0.0, 0.0));
                gauge.lose_shard();
            })
        };
        gauge.set(1.0);
        assert_eq!(gauge.settled().0, 1.0);
        mover.join().unwrap();
        assert_eq!(gauge.settled().0, 1.0);
    });
}

#[test]
fn who_is_late_in_a_cell_that_is_used_again_brings_back_no_older_value() {
    bounded(3, || {
        let gauge = Gauge::in_memory(100.0, 0.0);
        let setter = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || gauge.set(1.0))
        };
        let other = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || {
                gauge.set(2.0);
                gauge.set(3.0);
            })
        };
        gauge.move_to_shard(cell(100.0, 0.0));
        gauge.lose_shard();
        setter.join().unwrap();
        other.join().unwrap();
        let value = gauge.settled().0;
        assert!(value == 1.0 || value == 3.0, "{value}");
    });
}

#[test]
fn a_move_of_a_gauge_keeps_value_and_time_together() {
    loom::model(|| {
        let gauge = Gauge::in_memory(1.0, 1.0);
        let setter = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || {
                gauge.set_with_timestamp(2.0, 2.0);
                gauge.set_with_timestamp(3.0, 3.0);
            })
        };
        gauge.move_to_shard(cell(1.0, 1.0));
        setter.join().unwrap();
        assert_eq!(gauge.settled(), (3.0, 3.0));
    });
}

#[test]
fn a_gauge_shows_no_new_time_with_an_old_value_beside_a_move() {
    loom::model(|| {
        let gauge = Gauge::in_memory(1.0, 1.0);
        let setter = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || gauge.set_with_timestamp(2.0, 2.0))
        };
        let shard = cell(1.0, 1.0);
        let mover = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || gauge.move_to_shard(shard))
        };
        // As a reader of the file.
        let (value, timestamp) = shard.load().unwrap();
        assert!(value >= timestamp, "{value} at {timestamp}");
        setter.join().unwrap();
        mover.join().unwrap();
        assert_eq!(gauge.settled(), (2.0, 2.0));
    });
}
