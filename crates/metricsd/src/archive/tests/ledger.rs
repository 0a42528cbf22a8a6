//! The ledger: it adds up to the totals whatever was recorded, has bounds, and a reset is one step.

use proptest::prelude::*;

use super::records::state_after;
use super::workload::{identity, origin, raw_key, workload};
use crate::archive::exact::Exact;
use crate::archive::known::Known;
use crate::archive::ledger::{ABSORPTIONS_KEPT, ABSORPTIONS_LEN_MAX_BYTES, Cause};
use crate::archive::model::{KeyId, SeriesKey, SeriesKind};
use crate::archive::record::{Entry, Record};
use crate::archive::state::State;
use crate::archive::storage::Storage;
use crate::archive::testing::{Dice, Simulated};
use crate::archive::{Archive, Settings, load};

/// What the absorptions that are kept one by one come to.
fn sums(state: &State) -> Vec<Exact> {
    let mut sums = vec![Exact::default(); state.keys().len()];
    for absorption in state.ledger().absorptions() {
        for (key, amount) in absorption.amounts() {
            sums[key.index()].merge(&amount);
        }
    }
    sums
}

fn define(number: u32, kind: SeriesKind) -> Record {
    Record::KeyDefined {
        key: KeyId(number),
        series: SeriesKey {
            kind,
            raw: raw_key(number as usize),
        },
    }
}

fn absorbed(shard: usize, kind: SeriesKind, entries: &[(u32, f64)]) -> Record {
    let entry = |(key, value): &(u32, f64)| Entry {
        key: KeyId(*key),
        value: *value,
        timestamp: 0.0,
    };
    Record::Absorbed {
        identity: identity(shard),
        origin: origin(shard, kind),
        at_unix_seconds: 1000.0 + shard as f64,
        entries: entries.iter().map(entry).collect(),
    }
}

proptest! {
    #[test]
    fn absorptions_add_up_to_the_totals_whatever_was_recorded(seed in any::<u64>()) {
        let state = state_after(&workload(&mut Dice(seed), 150));
        prop_assert!(state.ledger().earlier().is_none());
        prop_assert_eq!(sums(&state), state.totals());
    }
}

proptest! {
    #[test]
    fn after_a_reset_everything_that_is_known_to_be_there_adds_nothing(seed in any::<u64>()) {
        let mut records = workload(&mut Dice(seed), 120);
        records.push(Record::TotalsReset { at_unix_seconds: 1.8e9, dropped: Vec::new() });
        let state = state_after(&records);
        for number in 0..state.keys().len() {
            let key = KeyId(number as u32);
            let held = |(identity, known): (_, &Known)| Some((identity, known.seen(key)?.clone()));
            let files: Vec<_> = state.shards().filter_map(|(id, known)| held((id, known))).collect();
            prop_assert!(state.exposed(key, files).is_zero(), "series {}", number);
        }
        prop_assert_eq!(state.ended_gauges().iter().count(), 0);
    }
}

#[test]
fn a_shard_is_absorbed_once_however_often_that_is_repeated() {
    let absorbed = absorbed(1, SeriesKind::Counter, &[(0, 5.0)]);
    let records = [
        define(0, SeriesKind::Counter),
        absorbed.clone(),
        absorbed.clone(),
        Record::Missing {
            identity: identity(1),
            at_unix_seconds: 2000.0,
        },
    ];
    let state = state_after(&records);
    assert_eq!(state.ledger().absorptions().len(), 1);
    let only = state.ledger().absorptions().next().unwrap();
    assert_eq!(only.cause, Cause::Absorbed);
    assert_eq!(only.at_unix_seconds, 1001.0);
    assert_eq!(only.origin, Some(origin(1, SeriesKind::Counter)));
    assert_eq!(sums(&state), [Exact::from(5.0)]);
}

#[test]
fn a_late_writer_is_an_entry_of_its_own_with_what_it_added() {
    let records = [
        define(0, SeriesKind::Counter),
        absorbed(1, SeriesKind::Counter, &[(0, 5.0)]),
        absorbed(1, SeriesKind::Counter, &[(0, 7.5)]),
    ];
    let state = state_after(&records);
    let amounts: Vec<_> = state
        .ledger()
        .absorptions()
        .flat_map(|it| it.amounts())
        .collect();
    assert_eq!(
        amounts,
        [(KeyId(0), Exact::from(5.0)), (KeyId(0), Exact::from(2.5))]
    );
}

#[test]
fn the_oldest_absorptions_are_counted_when_there_are_too_many_and_the_totals_stay() {
    let mut records = vec![define(0, SeriesKind::Counter)];
    let count = ABSORPTIONS_KEPT + 25;
    for shard in 0..count {
        records.push(absorbed(shard, SeriesKind::Counter, &[(0, 1.0)]));
        records.push(Record::UnlinkDurable {
            identity: identity(shard),
        });
    }
    let state = state_after(&records);
    let ledger = state.ledger();
    assert_eq!(ledger.absorptions().len(), ABSORPTIONS_KEPT);
    assert_eq!(ledger.absorbed_count(), count as u64);
    let earlier = ledger.earlier().unwrap();
    assert_eq!(
        (earlier.first_unix_seconds, earlier.last_unix_seconds),
        (1000.0, 1024.0)
    );
    assert_eq!(sums(&state), [Exact::from(ABSORPTIONS_KEPT as f64)]);
    assert_eq!(state.totals(), [Exact::from(count as f64)]);
}

#[test]
fn large_absorptions_take_no_more_room_than_they_may() {
    let key_count = 50_000;
    let mut records: Vec<Record> = (0..key_count)
        .map(|key| define(key, SeriesKind::Counter))
        .collect();
    let shard_count = 60;
    for shard in 0..shard_count {
        let entries: Vec<(u32, f64)> = (0..key_count)
            .map(|key| (key, 1e6 + f64::from(key)))
            .collect();
        records.push(absorbed(shard, SeriesKind::Counter, &entries));
        records.push(Record::UnlinkDurable {
            identity: identity(shard),
        });
    }
    let storage = Simulated::new();
    let settings = Settings {
        backlog_len_max_bytes: 1 << 30,
        ..Settings::default()
    };
    let (mut archive, _) = Archive::open(storage.clone(), settings, "b", 0.0).unwrap();
    for record in records {
        archive.append(record).unwrap();
    }
    archive.sync().unwrap();
    let kept = archive.state().ledger().absorptions().len();
    assert!(0 < kept && kept < shard_count, "{kept}");
    archive.checkpoint(0.0).unwrap();
    let expected = archive.state().clone();
    let names = storage.list().unwrap();
    let checkpoint = names.iter().find(|name| name.ends_with(".bin")).unwrap();
    let len = storage.read(checkpoint, u64::MAX).unwrap().len();
    let keys = expected.keys().byte_count();
    assert!(len < keys + 2 * ABSORPTIONS_LEN_MAX_BYTES, "{len}");
    drop(archive);
    assert_eq!(load(&storage.power_cut(0)).unwrap().0, expected);
}

#[test]
fn a_reset_drops_totals_and_gauges_of_the_ended_and_moves_starts() {
    let reset = |at_unix_seconds| Record::TotalsReset {
        at_unix_seconds,
        dropped: vec![("a".into(), Exact::from(12.0))],
    };
    let high_water = |shard, kind, key, value| Record::HighWater {
        identity: identity(shard),
        origin: Some(origin(shard, kind)),
        entries: vec![Entry {
            key: KeyId(key),
            value,
            timestamp: 0.0,
        }],
    };
    let records = [
        define(0, SeriesKind::Counter),
        define(1, SeriesKind::GaugeAll),
        define(2, SeriesKind::GaugeMax),
        define(3, SeriesKind::Counter),
        Record::StartTimestamp {
            keys: vec![KeyId(0)],
            unix_seconds: 500.0,
        },
        absorbed(1, SeriesKind::Counter, &[(0, 5.0)]),
        high_water(2, SeriesKind::Counter, 0, 7.0),
        absorbed(3, SeriesKind::GaugeAll, &[(1, 1.0)]),
        absorbed(4, SeriesKind::GaugeMax, &[(2, 9.0)]),
        Record::UnlinkDurable {
            identity: identity(4),
        },
        high_water(5, SeriesKind::GaugeMax, 2, 3.0),
        reset(2000.0),
    ];
    let state = state_after(&records);
    assert!(state.totals().iter().all(Exact::is_zero));
    assert_eq!(state.start_unix_seconds(KeyId(0)), Some(2000.0));
    assert_eq!(state.start_unix_seconds(KeyId(3)), Some(2000.0));
    assert_eq!(state.start_unix_seconds(KeyId(1)), None, "a gauge");
    assert_eq!(state.ended_gauges().iter().count(), 0);
    let gauges = |shard| state.shard(&identity(shard)).unwrap().gauges().count();
    assert_eq!(
        (gauges(3), gauges(5)),
        (0, 1),
        "of the ended and of the living"
    );
    // A living counter goes on from zero.
    let exposed = |value: f64| {
        let files = [(&identity(2), Exact::from(value))];
        state.exposed(KeyId(0), files).value()
    };
    assert_eq!((exposed(7.0), exposed(10.0)), (0.0, 3.0));
    let ledger = state.ledger();
    assert_eq!(ledger.absorbed_count(), 0);
    let [told] = ledger.resets() else {
        panic!("{ledger:?}")
    };
    assert_eq!((told.series_count, told.absorbed_count), (2, 3));
    assert_eq!(told.since_unix_seconds, Some(500.0));
    assert_eq!(ledger.untold_reset_count(), 2);
    // A clock that was set back moves no start back, and a start of the daemon has told of it.
    let started = Record::Started {
        boot_id: "b".into(),
        at_unix_seconds: 2001.0,
    };
    let more = [&records[..], &[reset(1000.0), started]].concat();
    let state = state_after(&more);
    assert_eq!(state.start_unix_seconds(KeyId(0)), Some(2000.001));
    assert_eq!(state.ledger().untold_reset_count(), 0);
}

#[test]
fn a_dropped_gauge_is_shown_again_when_it_is_set_anew() {
    let reset = Record::TotalsReset {
        at_unix_seconds: 2000.0,
        dropped: Vec::new(),
    };
    for (kind, shown) in [(SeriesKind::GaugeMax, 1), (SeriesKind::GaugeLiveMax, 0)] {
        let before = [
            define(0, kind),
            absorbed(1, kind, &[(0, 9.0)]),
            reset.clone(),
        ];
        let same = [&before[..], &[absorbed(1, kind, &[(0, 9.0)])]].concat();
        let other = [&before[..], &[absorbed(1, kind, &[(0, 8.0)])]].concat();
        let count = |records: &[Record]| {
            let state = state_after(records);
            state.shard(&identity(1)).unwrap().gauges().count()
        };
        assert_eq!((count(&same), count(&other)), (0, shown), "{kind:?}");
    }
}
