//! A reset, stopped before every operation: all totals are zero or none has changed, and what was there can be had back.

use super::{Desk, SETTINGS, Shard};
use crate::archive::testing::Simulated;
use crate::archive::{Exact, IdentityKey, SeriesKind, Storage};
use crate::books::{Books, SightedEntry, Sighting};

const RESET_AT: f64 = 5000.0;

/// A living counter and one that ended and was not retired, gauges of both kinds, and a counter that is in the archive.
fn shards() -> [Shard; 4] {
    [
        Shard::new(1, SeriesKind::Counter, &[("a", 5.5), ("b", 2.0)]),
        Shard::new(2, SeriesKind::Counter, &[("a", 0.25), ("new", 4.0)]),
        Shard::new(3, SeriesKind::GaugeMax, &[("level", 9.0)]),
        Shard::new(4, SeriesKind::GaugeMax, &[("level", 3.0)]),
    ]
}

/// The second and the third shard have no writer any more.
fn has_ended(identity: &IdentityKey) -> bool {
    [2, 3]
        .iter()
        .any(|number| *identity == IdentityKey::new(format!("shard-{number}").as_bytes()).unwrap())
}

fn prepared() -> Simulated {
    let mut desk = Desk::new();
    desk.reconcile(&[], false);
    let gone = Shard::new(9, SeriesKind::Counter, &[("a", 10.0), ("old", 1.0)]);
    gone.seen(|sighting| desk.books.absorb(sighting, 1001.0))
        .unwrap();
    let shards = shards();
    desk.note(&shards[0]);
    desk.note(&shards[2]);
    desk.books.sync().unwrap();
    desk.books.unlinked(&gone.identity).unwrap();
    desk.books.sync().unwrap();
    desk.storage.process_death()
}

/// As far as it gets. True: it was reported done.
fn reset(storage: &Simulated, shards: &[Shard]) -> bool {
    let Ok((mut books, _)) = Books::open(storage.clone(), SETTINGS, "boot-0", RESET_AT) else {
        return false;
    };
    let entries: Vec<Vec<SightedEntry<'_>>> = shards.iter().map(Shard::sighted).collect();
    let pairs = shards.iter().zip(&entries);
    let present: Vec<Sighting<'_>> = pairs.map(|(it, entries)| it.sighting(entries)).collect();
    if books.reconcile(&present, false, RESET_AT).is_err() || books.sync().is_err() {
        return false;
    }
    let dropped = vec![("a_total".into(), Exact::from(15.75))];
    let done = books.reset_totals(&present, has_ended, dropped, RESET_AT);
    if done.is_err() {
        return false;
    }
    let _ = books.checkpoint(RESET_AT);
    let _ = books.close(RESET_AT);
    true
}

fn opened(storage: Simulated, boot: u32, shards: &[Shard]) -> Desk {
    let mut desk = Desk::new();
    (desk.boot, desk.now) = (boot, RESET_AT + 100.0);
    let report = desk.open(storage);
    let present: Vec<&Shard> = shards.iter().collect();
    desk.reconcile(&present, report.may_have_lost_power());
    desk
}

fn shown(desk: &Desk, shards: &[Shard]) -> [f64; 4] {
    let present: Vec<&Shard> = shards.iter().collect();
    ["a", "b", "new", "old"].map(|key| desk.exposed(key, &present))
}

fn level_count(desk: &Desk, shard: &Shard) -> Option<usize> {
    desk.known(shard, |known| Some(known?.gauges().count()))
}

/// Whether the reset happened; anything in between fails.
fn check(left: Simulated, boot: u32, context: &str) -> bool {
    let mut shards = shards();
    let desk = opened(left, boot, &shards);
    let is_reset = desk.state(|state| !state.ledger().resets().is_empty());
    let before = shown(&desk, &shards);
    if is_reset {
        assert_eq!(before, [0.0; 4], "{context}");
        for key in ["a", "b", "new", "old"] {
            let start = desk.start(key);
            assert!(start >= Some(RESET_AT), "{context}: {key} {start:?}");
        }
        assert_eq!(level_count(&desk, &shards[2]), Some(0), "{context}");
        assert_eq!(level_count(&desk, &shards[3]), Some(1), "{context}");
        desk.state(|state| assert_eq!(state.ledger().absorbed_count(), 0, "{context}"));
    } else {
        assert_eq!(before, [15.75, 2.0, 4.0, 1.0], "{context}");
    }
    // Whoever lives counts on.
    shards[0].set(0, 7.5);
    let after = shown(&desk, &shards);
    assert_eq!(after[0], before[0] + 2.0, "{context}");
    is_reset
}

#[test]
fn a_reset_that_is_stopped_before_any_operation_happened_wholly_or_not_at_all() {
    let prepared = prepared();
    let whole = prepared.process_death();
    assert!(reset(&whole, &shards()));
    let operations = whole.operations();
    let (mut happened, mut did_not) = (0, 0);
    for stop in 0..=operations.len() {
        let storage = prepared.process_death();
        storage.stop_before(stop);
        let is_done = reset(&storage, &shards());
        let death = [("process death".to_owned(), 0, storage.process_death())];
        let cuts = (0..10).map(|seed| (format!("cut {seed}"), 1, storage.power_cut(seed)));
        for (how, boot, left) in death.into_iter().chain(cuts) {
            let context = format!("stop before {stop} of {}, {how}", operations.len());
            let is_reset = check(left, boot, &context);
            assert!(is_reset || !is_done, "{context}: reported done and undone");
            if is_reset {
                happened += 1
            } else {
                did_not += 1
            }
        }
    }
    assert!(happened > 50 && did_not > 50, "{happened}, {did_not}");
}

#[test]
fn the_state_that_a_reset_keeps_aside_brings_everything_back() {
    let storage = prepared();
    assert!(reset(&storage, &shards()));
    let names = storage.list().unwrap();
    let backup = names.iter().find(|name| name.ends_with(".backup")).unwrap();
    let sequence = backup
        .strip_prefix("before-reset-")
        .and_then(|name| name.strip_suffix(".backup"))
        .unwrap();
    let restored = Simulated::new();
    let name = format!("checkpoint-{sequence}.bin");
    restored.create(&name).unwrap();
    restored.overwrite(&name, storage.read(backup, u64::MAX).unwrap());
    let mut shards = shards();
    // What was counted since the reset is there as well.
    shards[0].set(1, 12.0);
    let desk = opened(restored, 0, &shards);
    assert_eq!(shown(&desk, &shards), [15.75, 12.0, 4.0, 1.0]);
    assert_eq!(level_count(&desk, &shards[2]), Some(1));
    desk.state(|state| assert!(state.ledger().resets().is_empty()));
}

#[test]
fn a_shard_that_holds_only_what_was_dropped_adds_nothing_when_it_is_retired() {
    let storage = prepared();
    assert!(reset(&storage, &shards()));
    let shards = shards();
    let mut desk = opened(storage, 0, &shards);
    shards[1]
        .seen(|sighting| desk.books.absorb(sighting, RESET_AT + 200.0))
        .unwrap();
    desk.books.sync().unwrap();
    desk.books.unlinked(&shards[1].identity).unwrap();
    desk.books.sync().unwrap();
    let left = [shards[0].clone(), shards[2].clone(), shards[3].clone()];
    assert_eq!(shown(&desk, &left), [0.0; 4]);
    desk.state(|state| assert_eq!(state.ledger().absorbed_count(), 0));
}
