//! No space and no inodes: what matters goes on in the reserve, nothing durable is lost, and space that returns is used again
//! without a restart.

use super::crash::{History, SETTINGS, Step, live, open, script};
use super::workload::workload;
use crate::archive::storage::Storage;
use crate::archive::testing::{Dice, Simulated};
use crate::archive::{AppendError, Archive, Record, Settings, Space, load};

fn check(storage: &Simulated, history: &History, context: &str) {
    for seed in 0..6 {
        let (state, report) = load(&storage.power_cut(seed)).unwrap();
        assert!(report.losses.is_empty(), "{context}: {report:?}");
        let mut history = history.clone();
        history.cut_to(report.last_sequence as usize, &state, context);
    }
}

#[test]
fn a_disk_that_fills_at_any_byte_or_inode_loses_nothing_and_heals_when_space_returns() {
    let steps = script(&mut Dice(21), 60);
    let capacities = (0..9000).step_by(90).map(|bytes| (bytes, 1000));
    for (bytes, inodes) in capacities.chain((0..8).map(|inodes| (usize::MAX >> 1, inodes))) {
        let context = format!("room for {bytes} bytes and {inodes} files");
        let storage = Simulated::new();
        storage.set_capacity(bytes, inodes);
        let mut history = History::default();
        let (mut archive, _) = open(&storage, 1, &mut history).unwrap();
        live(&mut archive, &steps, &mut history, false);
        check(&storage, &history, &context);
        let durable = archive.durable_sequence() as usize;
        let of_durable = super::records::state_after(&history.records[..durable]);
        assert_eq!(
            *archive.state(),
            of_durable,
            "{context}: only what is durable is shown"
        );

        storage.lift_capacity();
        archive.sync().unwrap();
        history.acknowledged = history.records.len();
        archive.maybe_checkpoint(9e9).unwrap();
        assert_eq!(archive.space(), Space::Ample, "{context}");
        check(&storage, &history, &context);
        assert_eq!(
            *archive.state(),
            super::records::state_after(&history.records),
            "{context}"
        );
    }
}

#[test]
fn the_reserve_keeps_the_journal_writable_when_neither_a_byte_nor_an_inode_is_left() {
    let storage = Simulated::new();
    let mut history = History::default();
    let (mut archive, _) = open(&storage, 1, &mut history).unwrap();
    assert_eq!(archive.space(), Space::Ample);
    storage.set_capacity(storage.used_len_bytes(), storage.list().unwrap().len());
    let mut written = 0;
    for record in workload(&mut Dice(2), 500) {
        history.records.push(record.clone());
        archive.append(record).unwrap();
        let before = archive.waiting_len_bytes();
        if archive.sync().is_err() {
            break;
        }
        written += before;
        history.acknowledged = history.records.len();
    }
    let promised = (SETTINGS.segment_len_bytes + SETTINGS.reserve_len_bytes) as usize;
    assert!(
        written * 2 > promised,
        "{written} bytes of records went into {promised} of room"
    );
    assert_eq!(archive.space(), Space::OnReserve);
    assert!(
        archive.maybe_checkpoint(1e9).is_err(),
        "the reserve cannot be made again"
    );
    check(&storage, &history, "full");

    storage.lift_capacity();
    archive.sync().unwrap();
    assert!(!archive.maybe_checkpoint(1e9 + 1.0).unwrap(), "not at once");
    assert_eq!(archive.space(), Space::OnReserve);
    archive.maybe_checkpoint(1e9 + 11.0).unwrap();
    assert_eq!(archive.space(), Space::Ample);
    history.acknowledged = history.records.len();
    check(&storage, &history, "space again");
}

#[test]
fn a_restart_on_a_full_disk_serves_everything_and_finds_its_reserve() {
    let storage = Simulated::new();
    let mut history = History::default();
    let (mut archive, _) = open(&storage, 1, &mut history).unwrap();
    live(&mut archive, &script(&mut Dice(3), 30), &mut history, true);
    let expected = archive.state().totals.clone();
    let after = storage.process_death();
    after.set_capacity(after.used_len_bytes(), after.list().unwrap().len());
    let (archive, report) = open(&after, 2, &mut history).unwrap();
    assert!(
        report.write_failure.is_none(),
        "the start went into the reserve"
    );
    assert_eq!(archive.space(), Space::OnReserve);
    assert_eq!(archive.state().totals, expected);

    let nothing = storage.power_cut(0);
    nothing.remove("reserve").unwrap();
    nothing.set_capacity(nothing.used_len_bytes(), 0);
    let (archive, report) = open(&nothing, 2, &mut history).unwrap();
    assert!(report.write_failure.is_some_and(|error| error.is_full()));
    assert_eq!(
        archive.state().totals,
        expected,
        "nowhere to write, everything to read"
    );
}

#[test]
fn a_reserve_that_a_power_cut_left_with_content_is_made_anew() {
    let storage = Simulated::new();
    let mut history = History::default();
    drop(open(&storage, 1, &mut history).unwrap());
    storage.overwrite(
        "reserve",
        b"half of a segment whose renaming was undone".to_vec(),
    );
    let (mut archive, _) = open(&storage, 2, &mut history).unwrap();
    assert_eq!(archive.space(), Space::Ample);
    storage.set_capacity(storage.used_len_bytes(), storage.names().len());
    while archive.space() == Space::Ample {
        live(&mut archive, &script(&mut Dice(3), 5), &mut history, true);
    }
    let (_, report) = load(&storage.power_cut(1)).unwrap();
    assert!(
        report.scars.is_empty() && report.cuts.is_empty(),
        "{report:?}"
    );
    check(&storage, &history, "on the reserve");
}

#[test]
fn a_broken_disk_takes_no_more_memory_than_agreed() {
    let storage = Simulated::new();
    let settings = Settings {
        backlog_len_max_bytes: 3000,
        ..SETTINGS
    };
    let (mut archive, _) = Archive::open(storage.clone(), settings, "b", 1.0).unwrap();
    storage.stop_before(storage.operations().len());
    let mut refused = 0;
    for record in workload(&mut Dice(2), 500) {
        refused += usize::from(matches!(
            archive.append(record),
            Err(AppendError::Backlog { .. })
        ));
        assert!(archive.sync().is_err() || archive.waiting_len_bytes() == 0);
        assert!(archive.waiting_len_bytes() < 4000);
    }
    assert!(refused > 100);
    assert!(
        archive
            .append(Record::CleanStop {
                at_unix_seconds: 1.0
            })
            .is_err()
    );
}

#[test]
fn a_file_system_that_cannot_reserve_is_worked_with_and_told_of() {
    let storage = Simulated::new();
    storage.forbid_preallocation();
    let mut history = History::default();
    let (mut archive, report) = open(&storage, 1, &mut history).unwrap();
    assert!(report.write_failure.is_none());
    assert_eq!(archive.space(), Space::Unreservable);
    live(&mut archive, &script(&mut Dice(3), 30), &mut history, true);
    assert_eq!(history.acknowledged, history.records.len());
    assert!(!storage.list().unwrap().contains(&"reserve".to_owned()));
    check(&storage, &history, "no reserve");
    let steps = [Step::Sync];
    live(&mut archive, &steps, &mut history, true);
}
