//! Real processes that are killed while they write, and a real file system that is full.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::workload::{identity, raw_key};
use crate::archive::model::{KeyId, SeriesKey, SeriesKind};
use crate::archive::record::{Entry, Record};
use crate::archive::testing::Dice;
use crate::archive::{Archive, Disk, Settings, Space, load};

const SETTINGS: Settings = Settings {
    segment_len_bytes: 64 << 10,
    reserve_len_bytes: 512 << 10,
    checkpoint_after_len_bytes: 16 << 10,
    checkpoint_after_seconds: 1e9,
    backlog_len_max_bytes: 1 << 20,
};
const DIRECTORY: &str = "METRICSD_TEST_ARCHIVE_DIRECTORY";

/// What the counter was last known to be.
fn known_value(path: &Path) -> f64 {
    let (state, report) = load(&Disk::open(path).unwrap()).unwrap();
    assert!(
        report.losses.is_empty() && report.damaged.is_empty(),
        "{report:?}"
    );
    let known = state
        .shard(&identity(1))
        .and_then(|known| known.last_known().next());
    known.map_or(0.0, |(_, seen)| seen.value())
}

fn seen(value: f64) -> Record {
    let entries = vec![Entry {
        key: KeyId(0),
        value,
        timestamp: 0.0,
    }];
    Record::HighWater {
        identity: identity(1),
        origin: None,
        entries,
    }
}

fn define() -> Record {
    let series = SeriesKey {
        kind: SeriesKind::Counter,
        raw: raw_key(0),
    };
    Record::KeyDefined {
        key: KeyId(0),
        series,
    }
}

/// The child of the test below: counts, makes it durable, then says so.
#[test]
#[ignore = "is run by another test"]
fn child_counts_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let disk = Disk::open(Path::new(&directory)).unwrap();
    let mut value = known_value(Path::new(&directory));
    let (mut archive, _) = Archive::open(disk, SETTINGS, "boot", 0.0).unwrap();
    archive.append(define()).unwrap();
    let mut out = std::io::stdout().lock();
    loop {
        for _ in 0..3 {
            value += 1.0;
            archive.append(seen(value)).unwrap();
        }
        archive.sync().unwrap();
        archive.maybe_checkpoint(1.0).unwrap();
        if writeln!(out, "durable {value}").is_err() {
            return;
        }
    }
}

#[test]
fn a_killed_process_leaves_everything_that_it_said_was_durable() {
    let directory = tempfile::tempdir().unwrap();
    let mut dice = Dice(11);
    for round in 0..25 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--nocapture",
                "child_counts_until_it_is_killed",
            ])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let durable = lines.map_while(Result::ok).filter_map(|line| {
            let (_, value) = line.split_once("durable ")?;
            value.parse::<f64>().ok()
        });
        let wanted = 1 + dice.below(150);
        let mut said = 0.0;
        for (count, value) in durable.enumerate() {
            said = value;
            if count == wanted {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(said > 0.0, "round {round}: the child said nothing");
        // It may have come further than it could say.
        let value = known_value(directory.path());
        assert!(
            value >= said,
            "round {round}: {value} known, {said} said to be durable"
        );
    }
}

/// Run with a directory on a file system of some MiB in `METRICSD_TEST_SMALL_FS`.
#[test]
#[ignore = "needs a small file system"]
fn a_real_full_disk_goes_on_in_the_reserve_and_heals() {
    let Some(path) = std::env::var_os("METRICSD_TEST_SMALL_FS") else {
        return;
    };
    let directory = tempfile::tempdir_in(path).unwrap();
    let open =
        || Archive::open(Disk::open(directory.path()).unwrap(), SETTINGS, "boot", 0.0).unwrap();
    let (mut archive, report) = open();
    assert!(
        report.write_failure.is_none() && archive.space() == Space::Ample,
        "{report:?}"
    );
    archive.append(define()).unwrap();
    let filler = directory.path().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    let mut chunk = vec![7; 64 << 10];
    while !chunk.is_empty() {
        if file.write(&chunk).is_err() {
            chunk.truncate(chunk.len() / 2);
        }
    }
    drop(file);
    let mut value = 0.0;
    // More than the open segment has room for: the rest goes into the reserve.
    for _ in 0..1200 {
        for _ in 0..5 {
            value += 0.1;
            archive.append(seen(value)).unwrap();
        }
        archive.sync().unwrap();
    }
    assert_eq!(archive.space(), Space::OnReserve);
    assert!(
        archive.maybe_checkpoint(100.0).is_err(),
        "no room for a checkpoint or a new reserve"
    );
    drop(archive);
    assert_eq!(known_value(directory.path()), value);

    let (mut archive, report) = open();
    assert!(report.losses.is_empty(), "{report:?}");
    std::fs::remove_file(filler).unwrap();
    archive.sync().unwrap();
    archive.maybe_checkpoint(200.0).unwrap();
    assert_eq!(archive.space(), Space::Ample);
    archive.append(seen(value + 1.0)).unwrap();
    archive.close(300.0).unwrap();
    assert_eq!(known_value(directory.path()), value + 1.0);
}
