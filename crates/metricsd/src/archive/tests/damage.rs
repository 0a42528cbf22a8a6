//! Damage to any file at any byte: opening never panics and never refuses, takes no record that was not appended, and says
//! what is missing.

use super::crash::{History, SETTINGS, Step, live, open, script};
use super::records::state_after;
use super::workload::{raw_key, workload};
use crate::archive::format::segment_name;
use crate::archive::frame::{Place, put_frame, scan};
use crate::archive::model::{KeyId, SeriesKey, SeriesKind};
use crate::archive::record::Record;
use crate::archive::storage::Storage;
use crate::archive::testing::{Dice, Simulated};
use crate::archive::{AppendError, Archive, Loss, OpenError, OpenReport, State, load};

/// A directory and the records that were made durable in it.
fn recorded(steps: &[Step], closes: bool) -> (Simulated, Vec<Record>) {
    let storage = Simulated::new();
    let mut history = History::default();
    let (mut archive, _) = open(&storage, 1, &mut history).unwrap();
    live(&mut archive, steps, &mut history, true);
    if closes {
        history.records.push(Record::CleanStop {
            at_unix_seconds: 9.0,
        });
        archive.close(9.0).unwrap();
    }
    (storage.power_cut(1), history.records)
}

fn without_checkpoints(dice: &mut Dice, count: usize) -> Vec<Step> {
    let mut steps = script(dice, count);
    steps.retain(|step| matches!(step, Step::Append(_) | Step::Sync));
    steps
}

fn names(storage: &Simulated, prefix: &str) -> Vec<String> {
    let mut names = storage.list().unwrap();
    names.retain(|name| name.starts_with(prefix));
    names
}

fn content(storage: &Simulated, name: &str) -> Vec<u8> {
    storage.read(name, u64::MAX).unwrap()
}

/// The records that stand, as the report tells.
fn survivors(records: &[Record], report: &OpenReport) -> Vec<Record> {
    let is_lost = |sequence: u64| {
        report.losses.iter().any(|loss| match loss {
            Loss::Records { first, last } => (*first..=*last).contains(&sequence),
            _ => false,
        })
    };
    let numbered = (1..).zip(records);
    let standing =
        numbered.filter(|(sequence, _)| *sequence <= report.last_sequence && !is_lost(*sequence));
    standing.map(|(_, record)| record.clone()).collect()
}

/// Opens what is damaged. What stands is what the report says, and nothing else.
fn check(storage: &Simulated, records: &[Record], context: &str) -> (State, OpenReport, usize) {
    let (state, report) = load(storage).unwrap_or_else(|error| panic!("{context}: {error}"));
    let standing = survivors(records, &report);
    assert_eq!(state_after(&standing), state, "{context}: {report:?}");
    let lost = records.len() - standing.len();
    (state, report, lost)
}

#[test]
fn a_journal_cut_at_any_byte_stands_up_to_there() {
    let (storage, records) = recorded(&without_checkpoints(&mut Dice(3), 40), false);
    let segments = names(&storage, "journal-");
    assert!(segments.len() > 2);
    let last = segments.last().unwrap();
    let whole = content(&storage, last);
    let groups = group_ends(&whole);
    let mut stood_before = 0;
    for len in 0..=whole.len() {
        let cut = storage.process_death();
        cut.overwrite(last, whole[..len].to_vec());
        let context = format!("cut at {len}");
        let (_, report, lost) = check(&cut, &records, &context);
        assert!(
            report.losses.is_empty(),
            "{context}: a torn tail is no loss: {report:?}"
        );
        // A whole group that is gone leaves no trace: it may never have been there.
        let leaves_no_trace = groups.contains(&len);
        assert_eq!(
            report.cuts.is_empty(),
            leaves_no_trace,
            "{context}: {report:?}"
        );
        let stood = records.len() - lost;
        assert!(stood >= stood_before, "{context}");
        stood_before = stood;
        if len % 5 == 0 {
            goes_on(&cut, &context);
        }
    }
    assert_eq!(stood_before, records.len());
}

/// Lengths at which a segment holds whole groups only.
fn group_ends(segment: &[u8]) -> Vec<usize> {
    let (mut at, mut ends) = (0, vec![0]);
    while at < segment.len() {
        let len = u32::from_le_bytes(segment[at + 8..at + 12].try_into().unwrap()) as usize;
        let is_last = segment[at + 15] & 0x80 != 0;
        at += 24 + len;
        if is_last {
            ends.push(at);
        }
    }
    ends
}

#[test]
fn any_changed_byte_of_a_journal_costs_one_record_at_most() {
    for closes in [false, true] {
        let (storage, records) = recorded(&without_checkpoints(&mut Dice(4), 40), closes);
        for name in names(&storage, "journal-") {
            let whole = content(&storage, &name);
            for at in 0..whole.len() {
                for change in [1 << (at % 8), 0xff] {
                    let damaged = storage.process_death();
                    let mut bytes = whole.clone();
                    bytes[at] ^= change;
                    damaged.overwrite(&name, bytes);
                    let context = format!("{name}: byte {at} changed by {change:#x}");
                    let (_, report, lost) = check(&damaged, &records, &context);
                    let stretches = report.cuts.iter().chain(&report.scars);
                    let told = report.damaged.iter().map(|file| &file.name);
                    let told: Vec<_> = told.chain(stretches.map(|it| &it.name)).collect();
                    // Damage is what costs something, and nothing else.
                    assert_eq!(lost > 0, !report.losses.is_empty(), "{context}: {report:?}");
                    assert_eq!(
                        lost > 0,
                        !report.damaged.is_empty(),
                        "{context}: {report:?}"
                    );
                    assert!(told.contains(&&name), "{context}: {report:?}");
                    assert!(lost <= 1, "{context}: {lost} records lost");
                    if at % 41 == 0 {
                        goes_on(&damaged, &context);
                    }
                }
            }
        }
    }
}

/// A damaged directory is worked with as any other, and a checkpoint mends it.
fn goes_on(storage: &Simulated, context: &str) {
    let (mut archive, report) = Archive::open(storage.clone(), SETTINGS, "b", 5.0).unwrap();
    assert!(report.write_failure.is_none(), "{context}");
    let key = archive.state().next_key();
    let series = SeriesKey {
        kind: SeriesKind::Counter,
        raw: raw_key(4_000 + key.index()),
    };
    archive.append(Record::KeyDefined { key, series }).unwrap();
    archive.sync().unwrap();
    archive.checkpoint(6.0).unwrap();
    let after = archive.state().clone();
    drop(archive);
    let (state, report) = load(&storage.power_cut(0)).unwrap();
    assert_eq!(state, after, "{context}");
    assert!(report.losses.is_empty(), "{context}: {report:?}");
}

#[test]
fn any_changed_byte_of_the_newest_checkpoint_costs_nothing() {
    let steps = script(&mut Dice(12), 40);
    let (storage, records) = recorded(&steps, false);
    let expected = state_after(&records);
    let checkpoints = names(&storage, "checkpoint-");
    assert_eq!(checkpoints.len(), 2);
    let newest = checkpoints.last().unwrap();
    let whole = content(&storage, newest);
    for at in 0..whole.len() {
        let damaged = storage.process_death();
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        damaged.overwrite(newest, bytes);
        let (state, report) = load(&damaged).unwrap();
        assert_eq!(state, expected, "byte {at}");
        assert!(
            report.losses.is_empty() && report.damaged[0].name == *newest,
            "{report:?}"
        );
        assert!(!report.earlier_totals_lost);
        if at % 97 == 0 {
            is_set_aside(&damaged, newest, &expected);
        }
    }
    let short = storage.process_death();
    for len in 0..whole.len() {
        short.overwrite(newest, whole[..len].to_vec());
        assert_eq!(load(&short).unwrap().0, expected, "cut at {len}");
    }
}

fn is_set_aside(storage: &Simulated, name: &str, expected: &State) {
    let (mut archive, _) = Archive::open(storage.clone(), SETTINGS, "b", 5.0).unwrap();
    assert_eq!(archive.state().keys(), expected.keys());
    assert!(
        archive.maybe_checkpoint(6.0).unwrap(),
        "damage is reason enough"
    );
    let names = storage.list().unwrap();
    assert!(names.contains(&format!("{name}.damaged")), "{names:?}");
    assert_eq!(
        names.iter().filter(|name| name.ends_with(".bin")).count(),
        2
    );
}

#[test]
fn the_only_checkpoint_damaged_is_made_up_for_by_the_journal_from_its_beginning() {
    let mut steps = without_checkpoints(&mut Dice(5), 20);
    steps.push(Step::Checkpoint);
    let (storage, records) = recorded(&steps, false);
    let name = names(&storage, "checkpoint-").remove(0);
    let whole = content(&storage, &name);
    for remains in [
        vec![7; 300],
        whole[..whole.len() - 1].to_vec(),
        whole[..50].to_vec(),
    ] {
        storage.overwrite(&name, remains);
        let (state, report) = load(&storage).unwrap();
        assert_eq!(state, state_after(&records));
        assert!(
            report.losses.is_empty() && report.damaged.len() == 1,
            "{report:?}"
        );
    }
}

#[test]
fn nothing_whole_left_is_salvaged_and_said() {
    // Long enough that the journal does not reach back to its beginning any more.
    let is_cut = |storage: &Simulated| !names(storage, "journal-").contains(&segment_name(1));
    let (storage, records) = (12..)
        .map(|seed| recorded(&script(&mut Dice(seed), 60), false))
        .find(|(storage, _)| is_cut(storage))
        .unwrap();
    let expected = state_after(&records);
    for name in names(&storage, "checkpoint-") {
        let mut bytes = content(&storage, &name);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        storage.overwrite(&name, bytes);
    }
    let (state, report) = load(&storage).unwrap();
    assert!(
        matches!(report.losses[..], [Loss::Salvaged { .. }]),
        "{report:?}"
    );
    assert_eq!(
        state.keys(),
        expected.keys(),
        "only the last block was damaged"
    );
    for name in names(&storage, "checkpoint-") {
        storage.overwrite(&name, b"nothing".to_vec());
    }
    let (_, report) = load(&storage).unwrap();
    assert!(report.earlier_totals_lost, "{report:?}");
    assert!(
        matches!(report.losses[0], Loss::Records { first: 1, .. }),
        "{report:?}"
    );
}

#[test]
fn a_missing_segment_is_a_loss_with_its_numbers() {
    let (storage, records) = recorded(&without_checkpoints(&mut Dice(8), 40), false);
    let segments = names(&storage, "journal-");
    for (number, name) in segments.iter().enumerate().take(segments.len() - 1) {
        let less = storage.process_death();
        less.remove(name).unwrap();
        let (_, report, lost) = check(&less, &records, name);
        assert!(lost > 0, "{name}");
        assert_eq!(report.earlier_totals_lost, number == 0);
    }
}

#[test]
fn a_damaged_segment_is_kept_aside_when_it_is_no_longer_needed() {
    let (storage, records) = recorded(&without_checkpoints(&mut Dice(8), 40), true);
    // In a segment with several groups, so that the first one is known to have been durable.
    let mut segments = names(&storage, "journal-");
    segments.retain(|name| group_ends(&content(&storage, name)).len() > 5);
    let name = segments.remove(0);
    let mut bytes = content(&storage, &name);
    bytes[60] ^= 1;
    storage.overwrite(&name, bytes.clone());
    let (_, report, lost) = check(&storage, &records, "one byte");
    assert!(lost == 1 && report.damaged[0].name == name, "{report:?}");
    goes_on(&storage, "first checkpoint");
    assert!(
        names(&storage, &name).contains(&name),
        "the only checkpoint may be damaged too"
    );
    goes_on(&storage, "second checkpoint");
    let kept = format!("{name}.damaged");
    assert_eq!(names(&storage, &name), std::slice::from_ref(&kept));
    assert_eq!(content(&storage, &kept), bytes);
    let (_, report) = load(&storage).unwrap();
    assert_eq!(report.set_aside, [kept]);
}

#[test]
fn a_newer_format_is_refused_with_the_versions_that_are_understood() {
    let (storage, _) = recorded(&script(&mut Dice(12), 40), false);
    for prefix in ["journal-", "checkpoint-"] {
        let name = names(&storage, prefix).pop().unwrap();
        let newer = storage.process_death();
        let mut bytes = content(&storage, &name);
        make_newer(&mut bytes);
        newer.overwrite(&name, bytes);
        let before = newer.list().unwrap();
        let error = Archive::open(newer.clone(), SETTINGS, "b", 5.0).unwrap_err();
        assert!(matches!(&error, OpenError::NewerVersion { found: 3, .. }));
        let text = error.to_string();
        assert!(
            text.starts_with(&name)
                && text.contains("version 3")
                && text.contains("understands 1 and 2")
        );
        assert_eq!(newer.list().unwrap(), before, "nothing was touched");
    }
}

/// Raises the version in a file's first frame and mends the checksum.
fn make_newer(bytes: &mut [u8]) {
    bytes[25] = 3;
    let len = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    let checksum = crc32fast::hash(&bytes[8..24 + len]);
    bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
}

#[test]
fn random_bytes_in_all_files_never_stop_an_opening() {
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let (storage, _) = recorded(&script(&mut dice, 20), seed % 2 == 0);
        for name in storage.list().unwrap() {
            let mut bytes = content(&storage, &name);
            for _ in 0..dice.below(4) {
                let at = dice.below(bytes.len() + 1);
                match dice.below(4) {
                    0 => bytes.truncate(at),
                    1 => bytes
                        .splice(at..at, (0..dice.below(50)).map(|it| it as u8))
                        .for_each(drop),
                    2 => bytes[at..].fill(0),
                    _ => bytes
                        .iter_mut()
                        .skip(at)
                        .take(9)
                        .for_each(|byte| *byte ^= dice.below(256) as u8),
                }
            }
            storage.overwrite(&name, bytes);
        }
        goes_on(&storage, &format!("seed {seed}"));
    }
}

#[test]
fn what_looks_like_a_frame_inside_a_damaged_one_is_no_record() {
    let place = |sequence| Place {
        sequence,
        index: 0,
        is_last: true,
    };
    for forged in [2, 30, 5000] {
        let mut inner = Vec::new();
        put_frame(&mut inner, place(forged), b"forged");
        let mut bytes = Vec::new();
        put_frame(&mut bytes, place(9), b"before");
        let damaged_at = bytes.len();
        put_frame(&mut bytes, place(10), &inner);
        put_frame(&mut bytes, place(11), b"behind");
        bytes[damaged_at + 1] ^= 1;
        let scanned = scan(&bytes);
        let found: Vec<u64> = scanned
            .frames
            .iter()
            .map(|frame| frame.place.sequence)
            .collect();
        assert_eq!(found, [9, 11], "forged {forged}");
    }
}

#[test]
fn a_key_that_is_no_text_is_not_taken() {
    let (storage, _) = recorded(&[], false);
    let (mut archive, _) = Archive::open(storage, SETTINGS, "b", 5.0).unwrap();
    let series = SeriesKey {
        kind: SeriesKind::Counter,
        raw: vec![0xff, b'm', b'd', 0xfe].into(),
    };
    let refused = archive.append(Record::KeyDefined {
        key: KeyId(0),
        series,
    });
    assert_eq!(refused, Err(AppendError::KeyNotText));
    assert_eq!(workload(&mut Dice(1), 5).len(), 5);
}
