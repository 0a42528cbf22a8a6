//! What is written down of one shard while the daemon runs.

use super::{Desk, Shard};
use crate::archive::testing::Fault;
use crate::archive::{AppendError, Exact, KeyId, Phase, SeriesKind};
use crate::books::SightedEntry;

fn counter(number: usize, entries: &[(&str, f64)]) -> Shard {
    Shard::new(number, SeriesKind::Counter, entries)
}

fn seen(desk: &Desk, shard: &Shard) -> Vec<f64> {
    desk.known(shard, |known| {
        let known = known.unwrap().last_known();
        known.map(|(_, seen)| seen.value()).collect()
    })
}

#[test]
fn nothing_counts_before_the_sync_and_all_of_it_after() {
    let shard = counter(1, &[("a", 10.0)]);
    let mut desk = Desk::new();
    desk.note(&shard);
    assert!(desk.known(&shard, |known| known.is_none()));
    let sequence = desk.books.durable_sequence();
    desk.books.sync().unwrap();
    // The key, what it holds, its start.
    assert_eq!(desk.books.durable_sequence(), sequence + 3);
    assert_eq!(seen(&desk, &shard), [10.0]);
    assert_eq!(
        desk.known(&shard, |known| known.unwrap().origin().cloned()),
        Some(shard.origin)
    );
}

#[test]
fn all_lanes_of_a_changed_key_are_noted_and_other_keys_are_left_alone() {
    let mut shard = counter(1, &[("a", 1.0), ("b", 2.0), ("a", 4.0)]);
    let mut desk = Desk::new();
    desk.note(&shard);
    desk.books.sync().unwrap();
    assert_eq!(seen(&desk, &shard), [5.0, 2.0]);
    shard.set(2, 8.0);
    shard.set(1, 3.0);
    let noted = shard.seen(|it| desk.books.note(it, &[2], 1000.0));
    assert_eq!(noted.unwrap().resets, 0);
    desk.books.sync().unwrap();
    assert_eq!(seen(&desk, &shard), [9.0, 2.0]);
}

#[test]
fn what_did_not_change_is_not_written_again() {
    let shard = counter(1, &[("a", 1.0), ("b", 2.0)]);
    let gauge = Shard::new(2, SeriesKind::GaugeMin, &[("g", 7.0)]);
    let mut desk = Desk::new();
    for _ in 0..2 {
        desk.note(&shard);
        desk.note(&gauge);
        let waiting = desk.books.waiting_len_bytes();
        desk.note(&shard);
        desk.note(&gauge);
        assert_eq!(
            desk.books.waiting_len_bytes(),
            waiting,
            "noted twice before the sync"
        );
        desk.books.sync().unwrap();
    }
    let sequence = desk.books.durable_sequence();
    desk.note(&shard);
    desk.note(&gauge);
    desk.books.sync().unwrap();
    assert_eq!(desk.books.durable_sequence(), sequence);
}

#[test]
fn the_earliest_birth_before_the_first_sync_is_the_start_and_stays_it() {
    let mut desk = Desk::new();
    let (mut early, late) = (counter(1, &[("a", 1.0)]), counter(5, &[("a", 1.0)]));
    desk.note(&late);
    desk.note(&early);
    desk.books.sync().unwrap();
    assert_eq!(desk.start("a"), Some(101.0));
    early.identity = counter(7, &[]).identity;
    early.birth = Some(1.0);
    desk.note(&early);
    desk.books.sync().unwrap();
    assert_eq!(desk.start("a"), Some(101.0));
    assert_eq!(desk.books.take_oddities(), []);
}

#[test]
fn a_birth_that_cannot_be_is_now() {
    for birth in [
        None,
        Some(f64::NAN),
        Some(-4.0),
        Some(f64::INFINITY),
        Some(9e9),
    ] {
        let mut desk = Desk::new();
        let mut shard = counter(1, &[("a", 1.0)]);
        shard.birth = birth;
        desk.note(&shard);
        desk.books.sync().unwrap();
        assert_eq!(desk.start("a"), Some(desk.now), "{birth:?}");
    }
}

#[test]
fn a_writer_that_goes_back_is_followed_and_counted() {
    let mut shard = counter(1, &[("a", 10.0), ("b", 1.5)]);
    let mut desk = Desk::new();
    desk.note(&shard);
    shard.set(0, 2.0);
    assert_eq!(desk.note(&shard), 1, "before the sync");
    assert_eq!(desk.note(&shard), 0, "counted once");
    desk.books.sync().unwrap();
    shard.set(1, 0.5);
    let absorbed = shard.seen(|it| desk.books.absorb(it, 1000.0));
    assert_eq!(absorbed.unwrap().resets, 1);
    desk.books.sync().unwrap();
    assert_eq!(desk.exposed("a", &[&shard]), 2.0);
    assert_eq!(desk.exposed("b", &[&shard]), 0.5);
}

#[test]
fn a_late_writer_is_counted_on_top_of_what_was_absorbed() {
    let mut shard = counter(1, &[("a", 10.0)]);
    let mut desk = Desk::new();
    shard
        .seen(|it| desk.books.absorb(it, 1000.0))
        .map(drop)
        .unwrap();
    desk.books.sync().unwrap();
    let revision = desk.known(&shard, |known| known.unwrap().revision());
    assert_ne!(revision, 0);
    shard.set(0, 12.5);
    assert_eq!(desk.exposed("a", &[&shard]), 12.5);
    shard
        .seen(|it| desk.books.absorb(it, 1001.0))
        .map(drop)
        .unwrap();
    desk.books.sync().unwrap();
    assert_ne!(
        desk.known(&shard, |known| known.unwrap().revision()),
        revision
    );
    desk.books.unlinked(&shard.identity).unwrap();
    desk.books.sync().unwrap();
    assert_eq!(desk.exposed("a", &[]), 12.5);
    assert_eq!(desk.books.take_oddities(), []);
}

#[test]
fn a_shard_that_vanishes_stays_counted_as_it_was_read_last_and_may_come_back() {
    let mut shard = counter(1, &[("a", 10.0)]);
    let mut desk = Desk::new();
    desk.note(&shard);
    shard.set(0, 11.0);
    shard
        .seen(|it| desk.books.missing(it, 1000.0))
        .map(drop)
        .unwrap();
    // Back before anything of it is durable.
    shard.set(0, 4.0);
    shard.seen(|it| desk.books.returned(it)).unwrap();
    desk.books.sync().unwrap();
    assert_eq!(desk.exposed("a", &[&shard]), 11.0);
    shard.set(0, 5.0);
    assert_eq!(desk.note(&shard), 0);
    desk.books.sync().unwrap();
    assert_eq!(desk.exposed("a", &[&shard]), 12.0);
    assert_eq!(desk.books.take_oddities(), []);
}

#[test]
fn a_missing_shard_that_is_noted_or_absorbed_is_back_by_that() {
    for absorbs in [false, true] {
        let mut shard = counter(1, &[("a", 10.0)]);
        let mut desk = Desk::new();
        shard
            .seen(|it| desk.books.missing(it, 1000.0))
            .map(drop)
            .unwrap();
        desk.books.sync().unwrap();
        shard.set(0, 12.0);
        match absorbs {
            true => drop(shard.seen(|it| desk.books.absorb(it, 1000.0)).unwrap()),
            false => drop(desk.note(&shard)),
        }
        desk.books.sync().unwrap();
        assert_eq!(desk.exposed("a", &[&shard]), 12.0);
        assert_eq!(desk.books.take_oddities(), []);
    }
}

#[test]
fn a_key_that_is_no_text_is_an_error_and_leaves_the_books_as_they_are() {
    let good = counter(1, &[("a", 1.0)]);
    let mut desk = Desk::new();
    let entries = [b"a".as_slice(), b"\xff\xfe"].map(|key| SightedEntry {
        key,
        value: 1.0,
        timestamp: 0.0,
    });
    let bad = good.sighting(&entries);
    assert_eq!(desk.books.absorb(&bad, 1.0), Err(AppendError::KeyNotText));
    assert_eq!(
        desk.books.note(&bad, &[0], 1.0),
        Err(AppendError::KeyNotText)
    );
    desk.books.sync().unwrap();
    assert!(desk.known(&good, |known| known.is_none()));
    desk.note(&good);
    desk.books.sync().unwrap();
    assert_eq!(seen(&desk, &good), [1.0]);
    assert_eq!(desk.books.take_oddities(), []);
}

/// Many lanes of few keys: what a record cannot hold is entries, not keys.
fn lanes(names: &[String], count: usize) -> Vec<SightedEntry<'_>> {
    let entry = |at: usize| SightedEntry {
        key: names[at % names.len()].as_bytes(),
        value: 0.1 + at as f64,
        timestamp: 1.5,
    };
    (0..count).map(entry).collect()
}

#[test]
fn a_shard_that_no_record_holds_is_not_absorbed() {
    let mut desk = Desk::new();
    let shard = counter(1, &[]);
    let names: Vec<String> = (0..10).map(|key| format!("key-{key}")).collect();
    let entries = lanes(&names, 1_900_000);
    let absorbed = desk.books.absorb(&shard.sighting(&entries), 1.0);
    assert!(matches!(absorbed, Err(AppendError::TooLarge { .. })));
    desk.books.sync().unwrap();
    assert!(desk.known(&shard, |known| known.is_none()));
}

#[test]
fn a_large_shard_is_noted_in_pieces_and_no_lane_is_left_behind() {
    let mut desk = Desk::new();
    desk.storage = crate::archive::testing::Simulated::new();
    let settings = crate::archive::Settings::default();
    let storage = desk.storage.clone();
    desk.books = crate::books::Books::open(storage, settings, "boot-0", 1.0)
        .unwrap()
        .0;
    let shard = counter(1, &[]);
    let names: Vec<String> = (0..7).map(|key| format!("key-{key}")).collect();
    let entries = lanes(&names, 120_000);
    let sequence = desk.books.durable_sequence();
    let noted = desk.books.note(&shard.sighting(&entries), &[], 1.0);
    noted.unwrap();
    desk.books.sync().unwrap();
    let count = (desk.books.durable_sequence() - sequence) as usize;
    assert!(count > names.len() + 3, "several pieces: {count}");
    desk.known(&shard, |known| {
        for (key, name) in names.iter().enumerate() {
            let lanes = entries.iter().filter(|it| it.key == name.as_bytes());
            let expected: Exact = lanes.map(|entry| entry.value).collect();
            assert_eq!(known.unwrap().seen(KeyId(key as u32)), Some(&expected));
        }
    });
}

#[test]
fn while_storage_fails_nothing_counts_and_when_it_works_again_everything_does() {
    let mut shard = counter(1, &[("a", 10.0)]);
    let mut desk = Desk::new();
    desk.storage.fail_all("sync_file", Fault::Full);
    desk.note(&shard);
    assert!(desk.books.sync().is_err());
    shard.set(0, 12.0);
    desk.note(&shard);
    shard
        .seen(|it| desk.books.absorb(it, 1000.0))
        .map(drop)
        .unwrap();
    assert!(desk.books.tend(1000.0).is_err());
    assert!(desk.known(&shard, |known| known.is_none()));
    desk.storage.heal();
    let phase = desk.books.sync_then(|state| {
        let known = state.shard(&shard.identity);
        known.map(|known| known.phase())
    });
    assert_eq!(phase.unwrap(), Some(Phase::Absorbed));
    assert_eq!(desk.start("a"), Some(101.0));
    assert_eq!(desk.exposed("a", &[]), 12.0);
    assert_eq!(desk.books.take_oddities(), []);
}

#[test]
fn too_much_that_waits_is_an_error_and_the_shard_is_noted_later() {
    let mut desk = Desk::new();
    desk.storage.fail_all("sync_file", Fault::Full);
    let mut refused = None;
    for number in 0.. {
        let entries: Vec<(String, f64, f64)> = (0..2000)
            .map(|key| (format!("key-{number}-{key}"), 1.0, 0.0))
            .collect();
        let shard = Shard {
            entries,
            ..counter(number, &[])
        };
        let noted = shard.seen(|it| desk.books.note(it, &[], 1000.0));
        if let Err(error) = noted {
            assert!(matches!(error, AppendError::Backlog { .. }), "{error}");
            refused = Some(shard);
            break;
        }
    }
    assert!(desk.books.sync().is_err());
    desk.storage.heal();
    desk.books.sync().unwrap();
    let shard = refused.unwrap();
    desk.note(&shard);
    desk.books.sync().unwrap();
    assert_eq!(seen(&desk, &shard).len(), 2000);
    let unstarted = desk.state(|state| {
        (0..state.keys().len())
            .filter(|key| state.start_unix_seconds(KeyId(*key as u32)).is_none())
            .count()
    });
    assert_eq!(unstarted, 0, "starts that could not be recorded came later");
    assert_eq!(desk.books.take_oddities(), []);
}

#[test]
fn a_series_that_an_absorbed_file_no_longer_names_is_known_to_be_at_zero_in_it() {
    let both = counter(1, &[("a", 1.0), ("b", 5.0)]);
    let one = counter(1, &[("a", 1.0)]);
    let mut desk = Desk::new();
    desk.note(&both);
    one.seen(|it| desk.books.absorb(it, 1000.0))
        .map(drop)
        .unwrap();
    let back = counter(1, &[("a", 1.0), ("b", 2.0)]);
    assert_eq!(desk.note(&back), 0, "2 is more than nothing");
    desk.books.sync().unwrap();
    assert_eq!(seen(&desk, &back), [1.0, 2.0]);
}
