//! Records and the state, through bytes and back.

use proptest::prelude::*;

use super::workload::{any_record, identity, raw_key, workload};
use crate::archive::checkpoint;
use crate::archive::model::{KeyId, SeriesKey, SeriesKind};
use crate::archive::oddity::Oddity;
use crate::archive::record::{Entry, Record};
use crate::archive::record_codec::{decode, encode};
use crate::archive::state::State;
use crate::archive::storage::Storage;
use crate::archive::testing::{Dice, Simulated};

fn bytes(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(record, &mut bytes);
    bytes
}

/// The state after these records.
pub(super) fn state_after(records: &[Record]) -> State {
    let mut state = State::default();
    records
        .iter()
        .for_each(|record| state.apply(record, &mut Vec::new()));
    state
}

proptest! {
    #[test]
    fn every_record_comes_back_from_its_bytes(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let keys = [0, 1, 127, 1 << 20, u32::MAX].map(KeyId);
        let mut records: Vec<Record> = (0..40).map(|n| any_record(&mut dice, &keys, n)).collect();
        records.push(Record::Started { boot_id: "b".into(), at_unix_seconds: 1.5 });
        records.push(Record::CleanStop { at_unix_seconds: f64::MAX });
        let series = SeriesKey { kind: SeriesKind::GaugeLiveMostRecent, raw: raw_key(3) };
        records.push(Record::KeyDefined { key: KeyId(9), series });
        let odd = [-0.0, f64::NEG_INFINITY, 9_007_199_254_740_993.0, -9_007_199_254_740_992.0, 5e-324];
        let entries = odd.map(|value| Entry { key: KeyId(7), value, timestamp: -value });
        let high_water = Record::HighWater { identity: identity(1), origin: None, entries: entries.into() };
        prop_assert_eq!(format!("{:?}", decode(&bytes(&high_water)).unwrap()), format!("{high_water:?}"));
        for record in records {
            prop_assert_eq!(&decode(&bytes(&record)).unwrap(), &record);
        }
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn a_record_with_a_byte_changed_is_a_record_or_an_error(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let record = any_record(&mut dice, &[KeyId(0), KeyId(200)], 1);
        let whole = bytes(&record);
        for cut in 0..whole.len() {
            prop_assert!(decode(&whole[..cut]).is_err(), "cut at {}", cut);
            let mut changed = whole.clone();
            changed[cut] ^= 1 << dice.below(8);
            let _ = decode(&changed);
        }
    }

    #[test]
    fn the_state_comes_back_from_a_checkpoint(seed in any::<u64>()) {
        let records = workload(&mut Dice(seed), 120);
        let state = state_after(&records);
        let storage = Simulated::new();
        checkpoint::write(&storage, &state, 120).unwrap();
        let name = storage.list().unwrap().remove(0);
        let loaded = checkpoint::load(&storage.read(&name, u64::MAX).unwrap());
        prop_assert_eq!(loaded.defect, None);
        prop_assert_eq!(loaded.sequence, Some(120));
        prop_assert_eq!(&loaded.state, &state);
        for number in 0..state.keys().len() {
            let key = KeyId(number as u32);
            let (kind, raw) = state.keys().get(key).unwrap();
            prop_assert_eq!(loaded.state.keys().find(kind, &raw), Some(key));
        }
    }

    #[test]
    fn any_record_is_taken_by_any_state(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let mut state = state_after(&workload(&mut dice, 30));
        let keys = [KeyId(0), KeyId(5), KeyId(77), KeyId(u32::MAX)];
        let mut oddities = Vec::new();
        for number in 0..60 {
            state.apply(&any_record(&mut dice, &keys, number), &mut oddities);
        }
    }
}

#[test]
fn series_keep_their_numbers_and_misfits_are_reported() {
    let mut state = State::default();
    let mut oddities = Vec::new();
    let series = |kind, number| SeriesKey {
        kind,
        raw: raw_key(number),
    };
    let define = |key: u32, kind, number| Record::KeyDefined {
        key: KeyId(key),
        series: series(kind, number),
    };
    for number in 0..200 {
        state.apply(
            &define(number, SeriesKind::Counter, number as usize),
            &mut oddities,
        );
    }
    state.apply(&define(7, SeriesKind::Counter, 7), &mut oddities);
    assert!(oddities.is_empty(), "the same again says nothing new");
    state.apply(&define(7, SeriesKind::Counter, 999), &mut oddities);
    state.apply(&define(500, SeriesKind::Counter, 7), &mut oddities);
    state.apply(&define(u32::MAX, SeriesKind::Counter, 998), &mut oddities);
    state.apply(&define(203, SeriesKind::Summary, 7), &mut oddities);
    let expected = [
        Oddity::KeyTaken { key: KeyId(7) },
        Oddity::SeriesTwice {
            key: KeyId(500),
            known: KeyId(7),
        },
        Oddity::KeyOutOfReach {
            key: KeyId(u32::MAX),
        },
    ];
    assert_eq!(oddities, expected);
    assert_eq!(
        state.next_key(),
        KeyId(204),
        "numbers between were lost and stay unknown"
    );
    assert_eq!(state.keys().get(KeyId(201)), None);
    assert_eq!(
        state.keys().find(SeriesKind::Summary, &raw_key(7)),
        Some(KeyId(203))
    );
    assert_eq!(
        state.keys().find(SeriesKind::Counter, &raw_key(7)),
        Some(KeyId(7))
    );
    assert_eq!(state.keys().find(SeriesKind::Counter, &raw_key(998)), None);
}
