//! The main property: after a stop at any operation, opening gives the state after some number of the records, in order, that
//! is at least the number at the last successful sync.
//!
//! Recorded workloads are stopped before every single operation; each time the process dies or the power fails in several
//! ways (nothing, everything, names without data, data without names, torn at random); the opening after it is stopped
//! before every operation of its own, and the power fails again.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::workload::workload;
use crate::archive::model::KeyId;
use crate::archive::record::Record;
use crate::archive::state::State;
use crate::archive::testing::{Dice, Fault, Simulated};
use crate::archive::{Archive, OpenReport, Settings, load};

/// Small, so that a short workload goes through many segments and checkpoints.
pub(super) const SETTINGS: Settings = Settings {
    segment_len_bytes: 900,
    reserve_len_bytes: 1500,
    checkpoint_after_len_bytes: 1200,
    checkpoint_after_seconds: 1e9,
    backlog_len_max_bytes: 1 << 20,
};

/// One step of a daemon.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Append(Record),
    Sync,
    Tend,
    Checkpoint,
}

/// A daemon's life: groups of records of all sizes, checkpoints now and then.
pub(super) fn script(dice: &mut Dice, record_count: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    for record in workload(dice, record_count) {
        steps.push(Step::Append(record));
        match dice.below(12) {
            0..=4 => steps.push(Step::Sync),
            5 => steps.extend([Step::Sync, Step::Tend]),
            6 => steps.push(Step::Checkpoint),
            _ => {}
        }
    }
    steps.push(Step::Sync);
    steps
}

/// What was appended in all lives so far, and how much of it must stand.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) records: Vec<Record>,
    pub(super) acknowledged: usize,
}

impl History {
    /// The state after the first `count` records.
    fn state(&self, count: usize) -> State {
        super::records::state_after(&self.records[..count])
    }

    /// The later life goes on from the first `count` records, which `state` holds.
    pub(super) fn cut_to(&mut self, count: usize, state: &State, context: &str) {
        let range = self.acknowledged..=self.records.len();
        assert!(
            range.contains(&count),
            "{context}: {count} records stand, not one of {range:?}"
        );
        assert_eq!(
            self.state(count),
            *state,
            "{context}: not the state after {count} records"
        );
        self.records.truncate(count);
    }
}

fn started(life: usize) -> (String, f64) {
    (format!("boot-{life}"), 1e9 + life as f64)
}

/// Opens, for the `life`th time. `history` gets the record of the start.
pub(super) fn open(
    storage: &Simulated,
    life: usize,
    history: &mut History,
) -> Option<(Archive<Simulated>, OpenReport)> {
    let (boot_id, at_unix_seconds) = started(life);
    let (archive, report) =
        Archive::open(storage.clone(), SETTINGS, &boot_id, at_unix_seconds).ok()?;
    history.records.push(Record::Started {
        boot_id: boot_id.into(),
        at_unix_seconds,
    });
    history.acknowledged = history
        .acknowledged
        .max(archive.durable_sequence() as usize);
    Some((archive, report))
}

/// Lives through the steps, whatever fails. Stops at the first failure if `gives_up`.
pub(super) fn live(
    archive: &mut Archive<Simulated>,
    steps: &[Step],
    history: &mut History,
    gives_up: bool,
) {
    for (number, step) in steps.iter().enumerate() {
        let now = 2e9 + 100.0 * number as f64;
        let result = match step {
            Step::Append(record) => {
                archive.append(record.clone()).unwrap();
                history.records.push(record.clone());
                Ok(())
            }
            Step::Sync => archive.sync(),
            Step::Tend => archive.maybe_checkpoint(now).map(drop),
            Step::Checkpoint => archive.checkpoint(now),
        };
        // Less than what stands from earlier lives, as long as nothing could be written in this one.
        history.acknowledged = history
            .acknowledged
            .max(archive.durable_sequence() as usize);
        if result.is_err() && gives_up {
            return;
        }
    }
}

/// Everything in one go, from what `storage` holds; as far as it gets.
fn run(storage: &Simulated, steps: &[Step], life: usize, history: &mut History) {
    if let Some((mut archive, _)) = open(storage, life, history) {
        live(&mut archive, steps, history, true);
    }
}

/// All ways in which a stop leaves the directory.
fn remains(
    storage: &Simulated,
    seeds: std::ops::Range<u64>,
) -> impl Iterator<Item = (String, Simulated)> {
    let death = ("process death".to_owned(), storage.process_death());
    let storage = storage.clone();
    std::iter::once(death)
        .chain(seeds.map(move |seed| (format!("power cut {seed}"), storage.power_cut(seed))))
}

/// Loads and compares; gives the history as far as it stands.
fn check(storage: &Simulated, history: &History, context: &str) -> History {
    let (state, report) = load(storage).expect("damage refuses nothing");
    assert!(report.losses.is_empty(), "{context}: {report:?}");
    assert!(
        report.damaged.is_empty(),
        "{context}: a stop is no damage: {report:?}"
    );
    assert!(report.oddities.len() < 10_000);
    let mut history = history.clone();
    history.cut_to(report.last_sequence as usize, &state, context);
    history
}

#[test]
fn a_stop_before_any_operation_loses_nothing_that_was_synced_and_breaks_no_order() {
    for seed in 0..2 {
        let steps = script(&mut Dice(seed), 45);
        let whole = Simulated::new();
        run(&whole, &steps, 1, &mut History::default());
        let operations = whole.operations();
        for name in ["rename", "remove", "create", "sync_dir"] {
            assert!(
                operations.contains(&name),
                "the workload is too small: no {name}"
            );
        }
        for stop in 0..operations.len() {
            let storage = Simulated::new();
            storage.stop_before(stop);
            let mut history = History::default();
            run(&storage, &steps, 1, &mut history);
            for (how, left) in remains(&storage, 0..10) {
                let context = format!("workload {seed}, stop before operation {stop}, {how}");
                let history = check(&left, &history, &context);
                lives_on(&left, history, &context);
            }
        }
    }
}

/// After the stop: opens, appends, syncs, and everything is there.
fn lives_on(storage: &Simulated, mut history: History, context: &str) {
    let more = script(&mut Dice(99), 6);
    let (mut archive, report) = open(storage, 2, &mut history).unwrap();
    assert!(report.write_failure.is_none(), "{context}");
    live(&mut archive, &more, &mut history, true);
    archive.checkpoint(0.0).unwrap();
    assert_eq!(history.acknowledged, history.records.len(), "{context}");
    assert_eq!(
        *archive.state(),
        history.state(history.records.len()),
        "{context}"
    );
    check(&storage.power_cut(0), &history, context);
}

#[test]
fn a_second_stop_while_opening_loses_nothing_either() {
    let steps = script(&mut Dice(7), 30);
    let whole = Simulated::new();
    run(&whole, &steps, 1, &mut History::default());
    for stop in 0..whole.operations().len() {
        let storage = Simulated::new();
        storage.stop_before(stop);
        let mut first = History::default();
        run(&storage, &steps, 1, &mut first);
        for (how, left) in remains(&storage, 0..7) {
            let context = format!("stop before operation {stop}, {how}");
            let first = check(&left, &first, &context);
            second_stops(&left, &first, &context);
        }
    }
}

fn second_stops(left: &Simulated, first: &History, context: &str) {
    let opened = left.process_death();
    open(&opened, 2, &mut first.clone()).unwrap();
    for stop in 0..opened.operations().len() {
        let again = left.process_death();
        again.stop_before(stop);
        let mut second = first.clone();
        if open(&again, 2, &mut second).is_none() {
            let done = &opened.operations()[..stop];
            assert!(
                done.iter().all(|it| ["list", "read"].contains(it)),
                "{context}: {done:?}"
            );
        }
        for seed in [0, 1, 2, 3, 4, 5, 6, 8] {
            let context = format!("{context}, then before {stop} of opening, power cut {seed}");
            let left = again.power_cut(seed);
            let second = check(&left, &second, &context);
            let mut third = second.clone();
            open(&left, 3, &mut third).unwrap();
            check(&left.power_cut(0), &third, &context);
        }
    }
}

#[test]
fn one_failing_operation_costs_no_record_and_heals_by_itself() {
    for seed in 0..2 {
        let (before, after) = (
            script(&mut Dice(seed), 20),
            script(&mut Dice(seed + 50), 25),
        );
        let prepared = Simulated::new();
        let mut first = History::default();
        run(&prepared, &before, 1, &mut first);
        let whole = prepared.process_death();
        run(&whole, &after, 2, &mut first.clone());
        for index in 0..whole.operations().len() {
            for fault in [Fault::Io, Fault::Full] {
                let context = format!("workload {seed}, operation {index} fails: {fault:?}");
                let storage = prepared.process_death();
                storage.fail(index, fault);
                let mut history = first.clone();
                let Some((mut archive, _)) = open(&storage, 2, &mut history) else {
                    assert_eq!(index, 0, "{context}: only an unreadable directory refuses");
                    continue;
                };
                live(&mut archive, &after, &mut history, false);
                archive.sync().unwrap();
                history.acknowledged = history.records.len();
                assert_eq!(
                    *archive.state(),
                    history.state(history.records.len()),
                    "{context}"
                );
                // Whatever the failed write left, nothing was written behind it.
                let (_, report) = load(&storage.process_death()).unwrap();
                assert!(report.scars.is_empty(), "{context}: {report:?}");
                for cut in 0..9 {
                    check(&storage.power_cut(cut), &history, &context);
                }
            }
        }
    }
}

#[test]
fn a_checkpoint_never_holds_more_than_its_name_says() {
    let storage = Simulated::new();
    let mut history = History::default();
    let (mut archive, _) = open(&storage, 1, &mut history).unwrap();
    let steps = script(&mut Dice(17), 40);
    let appends = |step: &&Step| matches!(step, Step::Append(_));
    let appends: Vec<Step> = steps.iter().filter(appends).cloned().collect();
    live(&mut archive, &appends, &mut history, true);
    archive.sync().unwrap();
    // The mark behind the group is gone: what stands is in the state, and not durable by proof.
    let again = storage.power_cut(0);
    again.set_capacity(0, 0);
    let (mut archive, report) = open(&again, 2, &mut history).unwrap();
    assert!(report.write_failure.is_some() && archive.durable_sequence() == 1);
    again.lift_capacity();
    archive.checkpoint(0.0).unwrap();
    live(&mut archive, &[Step::Sync], &mut history, true);
    check(&again.power_cut(0), &history, "checkpoint after a failure");
}

#[test]
fn a_daemon_that_is_killed_again_and_again_leaves_a_bounded_number_of_files() {
    let mut storage = Simulated::new();
    let mut history = History::default();
    for life in 0..100 {
        let (mut archive, _) = open(&storage, life, &mut history).unwrap();
        archive.maybe_checkpoint(1e9 + life as f64).unwrap();
        archive.maybe_checkpoint(1e9 + life as f64).unwrap();
        assert!(storage.names().len() < 40, "{:?}", storage.names());
        storage = storage.process_death();
    }
    check(&storage, &history, "the hundredth life");
}

#[test]
fn short_lives_come_to_a_checkpoint_together() {
    let mut storage = Simulated::new();
    let mut history = History::default();
    let mut written = 0;
    for life in 0..12 {
        let (mut archive, _) = open(&storage, life, &mut history).unwrap();
        let unix_seconds = life as f64;
        for _ in 0..6 {
            archive
                .append(Record::ResetDeclared {
                    keys: vec![KeyId(9); 20],
                    unix_seconds,
                })
                .unwrap();
        }
        written += archive.waiting_len_bytes() as u64;
        archive.sync().unwrap();
        let is_made = archive.maybe_checkpoint(started(life).1).unwrap();
        assert!(
            is_made || written < SETTINGS.checkpoint_after_len_bytes,
            "{written} bytes"
        );
        if is_made {
            return;
        }
        storage = storage.process_death();
    }
    panic!("no checkpoint after {written} bytes");
}

#[test]
fn a_device_that_fails_for_long_leaves_a_bounded_number_of_files() {
    for operation in ["sync_file", "append", "sync_dir"] {
        let storage = Simulated::new();
        let mut history = History::default();
        let (mut archive, _) = open(&storage, 1, &mut history).unwrap();
        storage.fail_all(operation, Fault::Io);
        for record in workload(&mut Dice(5), 60) {
            archive.append(record.clone()).unwrap();
            history.records.push(record);
            let _ = archive.sync();
            assert!(
                storage.names().len() < 16,
                "{operation}: {:?}",
                storage.names()
            );
        }
        storage.heal();
        archive.sync().unwrap();
        history.acknowledged = history.records.len();
        check(&storage.power_cut(4), &history, operation);
        assert!(
            storage.names().len() < 8,
            "{operation}: {:?}",
            storage.names()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(super::cases(800)))]
    #[test]
    fn any_faults_and_stops_in_several_lives_keep_what_was_acknowledged(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let mut storage = Simulated::new();
        let mut history = History::default();
        for life in 1..=4 {
            let count = 1 + dice.below(25);
            let steps = script(&mut dice, count);
            let faults: BTreeSet<usize> = (0..dice.below(4)).map(|_| dice.below(80)).collect();
            for index in &faults {
                storage.fail(*index, [Fault::Io, Fault::Full][dice.below(2)]);
            }
            if dice.below(4) > 0 {
                storage.stop_before(dice.below(120));
            }
            let context = format!("seed {seed}, life {life}");
            let closes = dice.below(3) == 0;
            if let Some((mut archive, _)) = open(&storage, life, &mut history) {
                live(&mut archive, &steps, &mut history, dice.below(2) == 0);
                if closes {
                    let at_unix_seconds = 3e9;
                    history.records.push(Record::CleanStop { at_unix_seconds });
                    if archive.close(at_unix_seconds).is_ok() {
                        history.acknowledged = history.records.len();
                    }
                }
            }
            storage = match dice.below(3) {
                0 => storage.process_death(),
                _ => storage.power_cut(dice.below(1 << 32) as u64),
            };
            history = check(&storage, &history, &context);
        }
    }
}
