//! Gauges of ended processes: folded by their mode, discarded and expired for good, through restarts and checkpoints.

use super::crash::SETTINGS;
use super::workload::{identity, origin, raw_key};
use crate::archive::gauges::Ended;
use crate::archive::model::{KeyId, SeriesKey, SeriesKind};
use crate::archive::record::{Entry, Record};
use crate::archive::testing::Simulated;
use crate::archive::{Archive, Oddity, State};

struct Ledger {
    storage: Simulated,
    archive: Archive<Simulated>,
    life: u32,
}

impl Ledger {
    /// Series 0 has this kind.
    fn new(kind: SeriesKind) -> Ledger {
        let storage = Simulated::new();
        let (archive, _) = Archive::open(storage.clone(), SETTINGS, "b", 0.0).unwrap();
        let mut ledger = Ledger {
            storage,
            archive,
            life: 0,
        };
        ledger.record(Record::KeyDefined {
            key: KeyId(0),
            series: SeriesKey {
                kind,
                raw: raw_key(0),
            },
        });
        ledger
    }

    /// Every record goes through the journal, and sometimes through a checkpoint, before the next one.
    fn record(&mut self, record: Record) {
        self.archive.append(record).unwrap();
        self.archive.sync().unwrap();
        self.life += 1;
        if self.life.is_multiple_of(3) {
            self.archive.checkpoint(0.0).unwrap();
        }
        let before = State {
            run: None,
            ..self.archive.state().clone()
        };
        let storage = self.storage.power_cut(0);
        let (archive, _) = Archive::open(storage.clone(), SETTINGS, "b", 0.0).unwrap();
        (self.storage, self.archive) = (storage, archive);
        assert_eq!(
            State {
                run: None,
                ..self.archive.state().clone()
            },
            before
        );
    }

    fn ends(&mut self, shard: usize, value: f64, timestamp: f64, at_unix_seconds: f64) {
        let kind = self.archive.state().keys().kind(KeyId(0)).unwrap();
        let entries = vec![Entry {
            key: KeyId(0),
            value,
            timestamp,
        }];
        self.record(Record::Absorbed {
            identity: identity(shard),
            origin: origin(shard, kind),
            at_unix_seconds,
            entries,
        });
    }

    fn forget(&mut self, shard: usize) {
        self.record(Record::UnlinkDurable {
            identity: identity(shard),
        });
    }

    fn folded(&self) -> Option<Ended> {
        self.archive.state().ended_gauges().get(KeyId(0)).cloned()
    }

    /// Values that are kept one by one: writer and value.
    fn each(&self) -> Vec<(String, f64)> {
        match self.folded() {
            None => Vec::new(),
            Some(Ended::Each(values)) => values
                .iter()
                .map(|value| (value.writer.to_string(), value.value))
                .collect(),
            Some(other) => panic!("{other:?}"),
        }
    }
}

fn fold(kind: SeriesKind, values: &[(f64, f64)]) -> Option<Ended> {
    let mut ledger = Ledger::new(kind);
    for (shard, (value, timestamp)) in values.iter().enumerate() {
        ledger.ends(shard, *value, *timestamp, 1.0);
        ledger.forget(shard);
    }
    ledger.folded()
}

#[test]
fn modes_fold_as_python_does() {
    let three = [(2.0, 5.0), (-1.5, 9.0), (7.25, 5.0)];
    assert_eq!(fold(SeriesKind::GaugeMin, &three), Some(Ended::Min(-1.5)));
    assert_eq!(fold(SeriesKind::GaugeMax, &three), Some(Ended::Max(7.25)));
    let Some(Ended::Sum(sum)) = fold(SeriesKind::GaugeSum, &three) else {
        panic!()
    };
    assert_eq!(sum.value(), 7.75);
    let recent = Some(Ended::MostRecent {
        value: -1.5,
        timestamp: 9.0,
    });
    assert_eq!(fold(SeriesKind::GaugeMostRecent, &three), recent);
    let tie = Some(Ended::MostRecent {
        value: 1.0,
        timestamp: 3.0,
    });
    assert_eq!(
        fold(SeriesKind::GaugeMostRecent, &[(1.0, 3.0), (2.0, 3.0)]),
        tie
    );
    assert_eq!(
        fold(SeriesKind::GaugeMostRecent, &[(1.0, 0.0)]),
        None,
        "never set"
    );
    let Some(Ended::Min(first)) = fold(SeriesKind::GaugeMin, &[(f64::NAN, 0.0), (1.0, 0.0)]) else {
        panic!()
    };
    assert!(first.is_nan(), "a NaN that comes first stays");
    assert_eq!(
        fold(SeriesKind::GaugeMax, &[(-0.0, 0.0), (0.0, 0.0)]),
        Some(Ended::Max(-0.0))
    );
    assert_eq!(
        fold(SeriesKind::GaugeMin, &[(1.0, 0.0), (f64::NAN, 0.0)]),
        Some(Ended::Min(1.0))
    );
}

#[test]
fn a_gauge_stays_with_its_shard_until_the_shard_is_forgotten() {
    let mut ledger = Ledger::new(SeriesKind::GaugeMax);
    ledger.ends(1, 5.0, 0.0, 1.0);
    assert_eq!(ledger.folded(), None);
    {
        let state = ledger.archive.state();
        let known = state.shard(&identity(1)).unwrap();
        assert_eq!(known.gauges().collect::<Vec<_>>(), [(KeyId(0), 5.0, 0.0)]);
        assert_eq!(known.ended_at_unix_seconds(), Some(1.0));
    }
    // It was alive after all, and ends with a smaller value.
    ledger.ends(1, 3.0, 0.0, 2.0);
    ledger.forget(1);
    assert_eq!(ledger.folded(), Some(Ended::Max(3.0)));
}

#[test]
fn what_a_live_process_has_superseded_stays_gone() {
    let mut ledger = Ledger::new(SeriesKind::GaugeLiveMax);
    for shard in 0..3 {
        ledger.ends(shard, shard as f64, 0.0, 1.0);
    }
    ledger.forget(0);
    ledger.forget(1);
    let discard = |shard| Record::GaugeDiscarded {
        identity: identity(shard),
        keys: vec![KeyId(0)],
    };
    ledger.record(discard(0));
    assert_eq!(
        ledger.each(),
        [("1".to_owned(), 1.0)],
        "of forgotten ones the value goes"
    );
    ledger.record(discard(2));
    assert!(
        ledger
            .archive
            .state()
            .shard(&identity(2))
            .unwrap()
            .is_discarded(KeyId(0))
    );
    // The same file is read once more; a shard that was never heard of can lose its gauge before it is absorbed.
    ledger.ends(2, 9.0, 0.0, 5.0);
    ledger.record(discard(7));
    ledger.ends(7, 8.0, 0.0, 6.0);
    ledger.forget(2);
    ledger.forget(7);
    assert_eq!(ledger.each(), [("1".to_owned(), 1.0)]);
}

#[test]
fn only_live_gauges_are_discarded() {
    let mut ledger = Ledger::new(SeriesKind::GaugeMax);
    ledger.ends(1, 5.0, 0.0, 1.0);
    let keys = vec![KeyId(0), KeyId(4)];
    ledger
        .archive
        .append(Record::GaugeDiscarded {
            identity: identity(1),
            keys,
        })
        .unwrap();
    ledger.archive.sync().unwrap();
    let expected = [
        Oddity::NotALiveGauge { key: KeyId(0) },
        Oddity::UnknownKey { key: KeyId(4) },
    ];
    assert_eq!(ledger.archive.take_oddities(), expected);
    ledger.forget(1);
    assert_eq!(ledger.folded(), Some(Ended::Max(5.0)));
}

#[test]
fn gauges_shown_by_process_expire_and_the_later_of_one_name_is_shown() {
    for kind in [SeriesKind::GaugeAll, SeriesKind::GaugeLiveAll] {
        let mut ledger = Ledger::new(kind);
        for (shard, ended) in [(1, 10.0), (2, 20.0), (3, 30.0), (4, 40.0)] {
            ledger.ends(shard, shard as f64, 0.0, ended);
            if shard != 3 {
                ledger.forget(shard);
            }
        }
        ledger.record(Record::GaugeExpired {
            ended_until_unix_seconds: 20.0,
        });
        assert_eq!(ledger.each(), [("4".to_owned(), 4.0)]);
        ledger.record(Record::GaugeExpired {
            ended_until_unix_seconds: 30.0,
        });
        ledger.forget(3);
        assert_eq!(
            ledger.each(),
            [("4".to_owned(), 4.0)],
            "expired while it was still known"
        );

        let entries = vec![Entry {
            key: KeyId(0),
            value: 44.0,
            timestamp: 0.0,
        }];
        let reused = origin(4, kind);
        let record = Record::Absorbed {
            identity: identity(99),
            origin: reused,
            at_unix_seconds: 50.0,
            entries,
        };
        ledger.record(record);
        ledger.forget(99);
        assert_eq!(
            ledger.each(),
            [("4".to_owned(), 44.0)],
            "process 4 again, later"
        );
    }
}

#[test]
fn gauges_of_the_mode_max_do_not_expire() {
    let mut ledger = Ledger::new(SeriesKind::GaugeMax);
    ledger.ends(1, 5.0, 0.0, 1.0);
    ledger.record(Record::GaugeExpired {
        ended_until_unix_seconds: 1e18,
    });
    ledger.forget(1);
    assert_eq!(ledger.folded(), Some(Ended::Max(5.0)));
}

#[test]
fn a_start_is_frozen_until_a_reset_is_declared() {
    let mut ledger = Ledger::new(SeriesKind::Counter);
    let start = |ledger: &Ledger| ledger.archive.state().start_unix_seconds(KeyId(0));
    assert_eq!(start(&ledger), None);
    let keys = vec![KeyId(0)];
    ledger.record(Record::StartTimestamp {
        keys: keys.clone(),
        unix_seconds: 100.5,
    });
    ledger
        .archive
        .append(Record::StartTimestamp {
            keys: keys.clone(),
            unix_seconds: 50.0,
        })
        .unwrap();
    ledger.archive.sync().unwrap();
    assert_eq!(
        ledger.archive.take_oddities(),
        [Oddity::StartFrozen { key: KeyId(0) }]
    );
    assert_eq!(start(&ledger), Some(100.5));
    ledger.record(Record::ResetDeclared {
        keys,
        unix_seconds: 300.0,
    });
    assert_eq!(start(&ledger), Some(300.0));
}

#[test]
fn gauges_of_a_shard_that_was_never_noted_are_discarded_in_any_order() {
    const SERIES: u32 = 1000;
    let mut state = State::default();
    let mut oddities = Vec::new();
    for number in 0..SERIES {
        let series = SeriesKey {
            kind: SeriesKind::GaugeLiveSum,
            raw: raw_key(number as usize),
        };
        let key = KeyId(number);
        state.apply(&Record::KeyDefined { key, series }, &mut oddities);
    }
    let discarded = Record::GaugeDiscarded {
        identity: identity(1),
        keys: (0..SERIES).rev().map(KeyId).chain([KeyId(5)]).collect(),
    };
    state.apply(&discarded, &mut oddities);
    let known = state.shard(&identity(1)).unwrap();
    assert!((0..SERIES).all(|number| known.is_discarded(KeyId(number))));
    assert_eq!(oddities, []);
}
