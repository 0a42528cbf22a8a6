//! Files of each format version, byte for byte: what is written today is what was written then, and it is read as it was meant.
//!
//! A change here is a change of the format: it needs a new version, new files beside these, and a word in
//! `docs/archive-format.md`. `METRICSD_WRITE_GOLDEN=1` writes the files of the current version.

use std::fs;
use std::path::PathBuf;

use super::crash::SETTINGS;
use super::workload::{identity, origin, raw_key};
use crate::archive::exact::Exact;
use crate::archive::model::{KeyId, SeriesKey, SeriesKind};
use crate::archive::record::{Entry, Record, Shortfall};
use crate::archive::storage::Storage;
use crate::archive::testing::Simulated;
use crate::archive::{Archive, Settings, load};

/// One of each kind, with every form of a number.
fn records() -> Vec<Record> {
    let define = |number: u32, kind| Record::KeyDefined {
        key: KeyId(number),
        series: SeriesKey {
            kind,
            raw: raw_key(number as usize),
        },
    };
    let entry = |key, value, timestamp| Entry {
        key: KeyId(key),
        value,
        timestamp,
    };
    let counts = vec![
        entry(0, 41.0, 0.0),
        entry(0, 0.1, 0.0),
        entry(1, 1e300, 0.0),
    ];
    let more = vec![
        entry(0, 43.0, 0.0),
        entry(0, 0.1, 0.0),
        entry(1, f64::INFINITY, 0.0),
    ];
    let shortfall = |file: f64, missing: [f64; 2]| Shortfall {
        key: KeyId(0),
        file: Exact::from(file),
        missing: missing.into_iter().collect(),
    };
    vec![
        define(0, SeriesKind::Counter),
        define(1, SeriesKind::Histogram),
        define(2, SeriesKind::GaugeLiveAll),
        define(3, SeriesKind::GaugeMostRecent),
        define(4, SeriesKind::GaugeSum),
        Record::HighWater {
            identity: identity(1),
            origin: Some(origin(1, SeriesKind::Counter)),
            entries: counts.clone(),
        },
        Record::Absorbed {
            identity: identity(2),
            origin: origin(2, SeriesKind::Counter),
            at_unix_seconds: 1_700_000_000.25,
            entries: more,
        },
        Record::HighWater {
            identity: identity(3),
            origin: None,
            entries: counts,
        },
        Record::Rebased {
            identity: identity(1),
            shortfalls: vec![shortfall(40.0, [1.0, 0.1])],
        },
        Record::Missing {
            identity: identity(3),
            at_unix_seconds: 1_700_000_001.0,
        },
        Record::Returned {
            identity: identity(3),
            shortfalls: vec![shortfall(41.0, [0.0, 0.1])],
        },
        Record::Missing {
            identity: identity(3),
            at_unix_seconds: 1_700_000_002.0,
        },
        Record::Absorbed {
            identity: identity(4),
            origin: origin(4, SeriesKind::GaugeLiveAll),
            at_unix_seconds: 1_700_000_003.0,
            entries: vec![
                entry(2, -0.0, 0.0),
                entry(3, 2.5, 1_699_999_999.5),
                entry(4, 0.3, 0.0),
            ],
        },
        Record::UnlinkDurable {
            identity: identity(4),
        },
        Record::HighWater {
            identity: identity(5),
            origin: Some(origin(5, SeriesKind::GaugeLiveAll)),
            entries: vec![entry(2, 7.0, 0.0)],
        },
        Record::GaugeDiscarded {
            identity: identity(5),
            keys: vec![KeyId(2)],
        },
        Record::GaugeExpired {
            ended_until_unix_seconds: 1_600_000_000.0,
        },
        Record::StartTimestamp {
            keys: vec![KeyId(0), KeyId(1)],
            unix_seconds: 1_699_999_000.5,
        },
        Record::ResetDeclared {
            keys: vec![KeyId(1)],
            unix_seconds: 1_700_000_004.0,
        },
        Record::CleanStop {
            at_unix_seconds: 1_700_000_005.0,
        },
    ]
}

/// What version 2 has and version 1 has not: a reset, and a ledger with something in it after that.
fn records_of_version_2() -> Vec<Record> {
    let reset = Record::TotalsReset {
        at_unix_seconds: 1_700_000_006.0,
        dropped: vec![
            ("peaktrade_orders_total".into(), Exact::from(43.0)),
            (
                "peaktrade_seconds_sum".into(),
                [0.1, 0.2].into_iter().collect(),
            ),
        ],
    };
    let entry = Entry {
        key: KeyId(0),
        value: 12.5,
        timestamp: 0.0,
    };
    let absorbed = Record::Absorbed {
        identity: identity(6),
        origin: origin(6, SeriesKind::Counter),
        at_unix_seconds: 1_700_000_007.0,
        entries: vec![entry],
    };
    vec![reset, absorbed]
}

fn path(version: u16, name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/archive/tests/golden");
    PathBuf::from(folder)
        .join(format!("v{version}"))
        .join(format!("{name}.golden"))
}

/// A directory with nothing in it but this file.
fn alone(name: &str, bytes: Vec<u8>) -> Simulated {
    let alone = Simulated::new();
    alone.create(name).unwrap();
    alone.overwrite(name, bytes);
    alone
}

#[test]
fn files_are_written_as_version_2_says_and_read_as_they_were_meant() {
    let storage = Simulated::new();
    let settings = Settings {
        segment_len_bytes: 1 << 16,
        ..SETTINGS
    };
    let (mut archive, _) = Archive::open(storage.clone(), settings, "boot-1", 1.7e9).unwrap();
    let all = records().into_iter().chain(records_of_version_2());
    for (number, record) in all.enumerate() {
        archive.append(record).unwrap();
        if number % 4 == 3 {
            archive.sync().unwrap();
        }
    }
    archive.checkpoint(0.0).unwrap();
    let expected = archive.state().clone();
    let mut names = storage.list().unwrap();
    names.retain(|name| name != "reserve");
    assert_eq!(
        names,
        [
            "checkpoint-00000000000000000023.bin",
            "journal-00000000000000000001.log"
        ]
    );
    for name in &names {
        let written = storage.read(name, u64::MAX).unwrap();
        let path = path(2, name);
        if std::env::var_os("METRICSD_WRITE_GOLDEN").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &written).unwrap();
        }
        let golden = fs::read(path).unwrap();
        assert!(written == golden, "{name}: other bytes than version 2 has");
        // Each of the two alone holds everything.
        let (state, report) = load(&alone(name, golden)).unwrap();
        assert!(
            report.losses.is_empty() && report.damaged.is_empty(),
            "{report:?}"
        );
        assert_eq!(state, expected, "{name}");
    }
}

#[test]
fn files_of_version_1_are_read_and_have_no_ledger_but_what_their_journal_tells() {
    let started = Record::Started {
        boot_id: "boot-1".into(),
        at_unix_seconds: 1.7e9,
    };
    let all: Vec<Record> = std::iter::once(started).chain(records()).collect();
    let expected = super::records::state_after(&all);
    for (name, has_ledger) in [
        ("checkpoint-00000000000000000021.bin", false),
        ("journal-00000000000000000001.log", true),
    ] {
        let golden = fs::read(path(1, name)).unwrap();
        let (state, report) = load(&alone(name, golden)).unwrap();
        assert!(
            report.losses.is_empty() && report.damaged.is_empty(),
            "{report:?}"
        );
        assert_eq!(state.ledger().absorbed_count() > 0, has_ledger);
        let mut expected = expected.clone();
        if !has_ledger {
            expected.ledger = Default::default();
        }
        assert_eq!(state, expected, "{name}");
    }
}
