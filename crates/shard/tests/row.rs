//! A series of many keys of which each stands by itself, and additions that ask for nothing but the thread's own cell.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod child;
mod shards;

use std::sync::{Mutex, MutexGuard, PoisonError};

use child::key;
use metricsd_shard::{
    FileKind, HEADER_LEN_BYTES, Key, ProcessInfo, Series, Writer, parse_from, read_value,
};

/// More than are made before the lock is free for a moment, in both steps.
const KEYS: usize = 700;

/// Numbers are the process's, and only who is alone gets them in a row for sure.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keys(numbers: impl Iterator<Item = usize>) -> Vec<Key> {
    numbers
        .map(|number| key(&format!("n{number}_total")))
        .collect()
}

#[test]
fn all_keys_are_at_zero_in_their_order_and_count_each_by_itself() {
    let _alone = alone();
    let temp = tempfile::tempdir().unwrap();
    let writer = Writer::open(temp.path(), ProcessInfo::default());
    let row = writer.series_of_each(FileKind::Counter, keys(0..KEYS));
    let read = || {
        let file = std::fs::read_dir(temp.path())
            .unwrap()
            .map(|file| file.unwrap().path())
            .find(|path| path.extension().is_some_and(|end| end == "db"));
        std::fs::read(file.unwrap()).unwrap()
    };
    let bytes = read();
    let parsed = parse_from(&bytes, HEADER_LEN_BYTES);
    let samples = parsed
        .entries
        .iter()
        .map(|entry| Key::parse(entry.key).unwrap());
    assert_eq!(samples.collect::<Vec<_>>(), keys(0..KEYS));
    let values = parsed.entries.iter();
    let mut values = values.map(|entry| read_value(&bytes, entry.value_offset));
    assert!(values.all(|value| value == (0.0, 0.0)));
    for number in 0..KEYS {
        row.add(number, 1.0);
        assert!(row.add_at_once(number, number as f64));
        assert_eq!(row.get(number), number as f64 + 1.0);
        assert_eq!(row.one(number).get(0), number as f64 + 1.0);
    }
    let shard = shards::read_all(temp.path()).remove(0);
    for number in 0..KEYS {
        let value = shard.get(&format!("n{number}_total"));
        assert_eq!(value, Some(number as f64 + 1.0));
    }
    assert_eq!(writer.snapshot().len(), KEYS);
}

#[test]
fn the_first_addition_of_a_thread_is_none_until_it_has_a_cell() {
    let _alone = alone();
    let writer = Writer::in_memory();
    let row = writer.series_of_each(FileKind::Counter, keys(0..3));
    // On a thread of its own, which has no table yet.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(!row.add_at_once(1, 1.0), "a cell of nobody's");
            row.add(1, 1.0);
            assert!(row.add_at_once(1, 1.0));
        });
    });
    assert_eq!([0, 1, 2].map(|index| row.get(index)), [0.0, 2.0, 0.0]);
}

#[test]
fn keys_that_were_given_before_keep_their_cells_and_count_as_ever() {
    let _alone = alone();
    let temp = tempfile::tempdir().unwrap();
    for writer in [
        Writer::open(temp.path(), ProcessInfo::default()),
        Writer::in_memory(),
    ] {
        let known = writer.series_of_each(FileKind::Counter, keys(2..3));
        known.add(0, 5.0);
        let row = writer.series_of_each(FileKind::Counter, keys(0..4));
        for index in 0..4 {
            for _ in 0..3 {
                // Their numbers do not follow each other.
                assert!(!row.add_at_once(index, 1.0));
                row.add(index, 1.0);
            }
            assert_eq!(row.one(index).get(0), row.get(index));
        }
        let counts = [0, 1, 2, 3].map(|index| row.get(index));
        assert_eq!(counts, [3.0, 3.0, 8.0, 3.0]);
        assert_eq!(known.get(0), 8.0);
        assert_eq!(writer.snapshot().len(), 4);
    }
    assert_eq!(shards::total(temp.path(), "n2_total"), 8.0);
}

#[test]
fn a_series_of_no_keys_takes_nothing() {
    let _alone = alone();
    let none = Series::default();
    assert!(!none.add_at_once(0, 1.0));
    none.add(0, 1.0);
    none.set(0, 1.0);
    assert_eq!(none.get(0), 0.0);
    let writer = Writer::in_memory();
    let row = writer.series_of_each(FileKind::Counter, keys(0..2));
    let beyond = row.one(2);
    beyond.add(0, 1.0);
    assert!(!beyond.add_at_once(0, 1.0));
    assert_eq!((row.get(0), row.get(1), beyond.get(0)), (0.0, 0.0, 0.0));
    assert_eq!(
        writer.series_of_each(FileKind::Counter, Vec::new()).get(0),
        0.0
    );
}
