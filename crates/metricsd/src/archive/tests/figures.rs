//! How long and how large. Ignored: run with `cargo test --release figures -- --ignored --nocapture --test-threads 1`.
//! Prints; asserts nothing about time.

use std::time::Instant;

use super::workload::{identity, origin};
use crate::archive::exact::Exact;
use crate::archive::model::{KeyId, SeriesKey, SeriesKind};
use crate::archive::record::{Entry, Record};
use crate::archive::state::State;
use crate::archive::testing::Dice;
use crate::archive::{Archive, Disk, Settings, checkpoint, load};

const KEY_COUNT: usize = 1_000_000;

/// About 100 bytes, as sessions write them; labels vary in the middle.
fn key(number: usize) -> SeriesKey {
    let raw = format!(
        r#"["app_requests", "app_requests_total", {{"handler": "/api/v1/item/{:06}", "worker": "w{:02}"}}, "Requests."]"#,
        number / 10,
        number % 10,
    );
    SeriesKey {
        kind: SeriesKind::Counter,
        raw: raw.into_bytes().into(),
    }
}

/// A field of `/proc/self/status`, in MiB.
fn memory_mib(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        / 1024
}

/// Time that this thread was on a processor: what counts when others are busy too.
fn busy_ms() -> f64 {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    line.split_whitespace()
        .next()
        .unwrap()
        .parse::<f64>()
        .unwrap()
        / 1e6
}

#[test]
#[ignore = "prints figures"]
fn a_million_counters() {
    let directory = tempfile::tempdir().unwrap();
    let disk = || Disk::open(directory.path()).unwrap();
    let mut dice = Dice(1);
    let key_bytes: usize = (0..KEY_COUNT).map(|number| key(number).raw.len()).sum();
    println!(
        "{KEY_COUNT} counter keys of {} bytes on average",
        key_bytes / KEY_COUNT
    );

    let (mut archive, _) = Archive::open(disk(), Settings::default(), "b", 0.0).unwrap();
    let begun = Instant::now();
    for shard in 0..KEY_COUNT / 1000 {
        let keys = (shard * 1000..(shard + 1) * 1000).map(|number| KeyId(number as u32));
        for key_id in keys.clone() {
            archive
                .append(Record::KeyDefined {
                    key: key_id,
                    series: key(key_id.index()),
                })
                .unwrap();
        }
        let value = |dice: &mut Dice| match dice.below(10) {
            0 => dice.below(1 << 40) as f64 / 1e3,
            _ => dice.below(1 << 20) as f64,
        };
        let entries = keys.clone().map(|key| Entry {
            key,
            value: value(&mut dice),
            timestamp: 0.0,
        });
        let entries = entries.collect();
        let record = Record::Absorbed {
            identity: identity(shard),
            origin: origin(shard, SeriesKind::Counter),
            at_unix_seconds: 1.0,
            entries,
        };
        archive.append(record).unwrap();
        archive
            .append(Record::UnlinkDurable {
                identity: identity(shard),
            })
            .unwrap();
        let unix_seconds = 1.7e9 + shard as f64;
        archive
            .append(Record::StartTimestamp {
                keys: keys.collect(),
                unix_seconds,
            })
            .unwrap();
        archive.sync().unwrap();
    }
    println!(
        "journalled with {} syncs in {:?}",
        KEY_COUNT / 1000,
        begun.elapsed()
    );
    drop(archive);

    let (begun, busy) = (Instant::now(), busy_ms());
    let (_, report) = load(&disk()).unwrap();
    let (elapsed, busy) = (begun.elapsed(), busy_ms() - busy);
    let count = report.replayed_count;
    println!(
        "load from the journal alone: {elapsed:?}, {busy:.0} ms on a processor, {count} records"
    );

    let (mut archive, _) = Archive::open(disk(), Settings::default(), "b", 0.0).unwrap();
    let begun = Instant::now();
    archive.checkpoint(0.0).unwrap();
    println!("checkpoint written in {:?}", begun.elapsed());
    drop(archive);
    let len = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .find(|entry| entry.file_name().to_string_lossy().ends_with(".bin"))
        .map(|entry| entry.metadata().unwrap().len())
        .unwrap();
    println!(
        "checkpoint: {} bytes a key on disk",
        len as f64 / KEY_COUNT as f64
    );
    // The journal is what a restart has to read besides; here it is the whole million again, as it stays until the next one.
    for name in std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap())
    {
        if name.file_name().to_string_lossy().starts_with("journal-") {
            std::fs::remove_file(name.path()).unwrap();
        }
    }
    for _ in 0..3 {
        let before = memory_mib("VmRSS");
        let (begun, busy) = (Instant::now(), busy_ms());
        let (state, _) = load(&disk()).unwrap();
        let (elapsed, busy) = (begun.elapsed(), busy_ms() - busy);
        let after = memory_mib("VmRSS");
        println!(
            "load from the checkpoint: {elapsed:?}, {busy:.0} ms on a processor; resident before {before}, after {after}, peak {} MiB",
            memory_mib("VmHWM")
        );
        assert_eq!(state.keys().defined_count(), KEY_COUNT);
        drop(state);
    }
    without_ledger(&load(&disk()).unwrap().0);
}

/// What the ledger costs, as large as it gets: the same checkpoint with it and without.
fn without_ledger(state: &State) {
    let mut bare = state.clone();
    bare.ledger = Default::default();
    let read = |state: &State| {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let len = checkpoint::write(&disk, state, 1).unwrap();
        let mut busy: Vec<f64> = (0..7)
            .map(|_| {
                let begun = busy_ms();
                drop(load(&disk).unwrap());
                busy_ms() - begun
            })
            .collect();
        busy.sort_by(f64::total_cmp);
        (len, busy[3])
    };
    let count = state.ledger().absorptions().len();
    println!(
        "checkpoint with {count} absorptions in the ledger and with none, bytes and ms on a processor to load: {:?}, {:?}",
        read(state),
        read(&bare)
    );
}

#[test]
#[ignore = "prints figures"]
fn sums() {
    let mut dice = Dice(3);
    let wholes: Vec<f64> = (0..1 << 16).map(|_| dice.below(1 << 30) as f64).collect();
    let fractions: Vec<f64> = wholes.iter().map(|value| value / 1e6).collect();
    for (name, values) in [("whole", &wholes), ("fractional", &fractions)] {
        let mut cells = vec![Exact::default(); 1 << 10];
        let begun = Instant::now();
        for round in 0..100 {
            for (at, value) in values.iter().enumerate() {
                cells[(at + round) & 1023].add(*value);
            }
        }
        let each = begun.elapsed().as_nanos() as f64 / (values.len() * 100) as f64;
        let begun = Instant::now();
        let mut total = 0.0;
        for _ in 0..1000 {
            total += cells.iter().map(Exact::value).sum::<f64>();
        }
        let value = begun.elapsed().as_nanos() as f64 / (1024.0 * 1000.0);
        println!("{name}: add {each:.1} ns, value {value:.1} ns ({total:e})");
    }
}

#[test]
#[ignore = "prints figures"]
fn syncs() {
    for directory in [
        tempfile::tempdir().unwrap(),
        tempfile::tempdir_in("/dev/shm").unwrap(),
    ] {
        let disk = Disk::open(directory.path()).unwrap();
        let (mut archive, _) = Archive::open(disk, Settings::default(), "b", 0.0).unwrap();
        for key_id in 0..200 {
            archive
                .append(Record::KeyDefined {
                    key: KeyId(key_id),
                    series: key(key_id as usize),
                })
                .unwrap();
        }
        let begun = Instant::now();
        for round in 0..300 {
            let entries = (0..200)
                .map(|key| Entry {
                    key: KeyId(key),
                    value: f64::from(round),
                    timestamp: 0.0,
                })
                .collect();
            let identity = identity(1);
            archive
                .append(Record::HighWater {
                    identity,
                    origin: None,
                    entries,
                })
                .unwrap();
            archive.sync().unwrap();
        }
        println!(
            "{}: {:?} a sync of 200 entries",
            directory.path().display(),
            begun.elapsed() / 300
        );
    }
}
