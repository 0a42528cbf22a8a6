//! The intent log on a simulated directory, and a few things on a real one.

mod crash;
mod model;
mod orders;
pub(crate) mod simulated;

use super::record::Rejection;
use super::state::{Contradiction, Stage};
use super::*;
use simulated::{Fault, Simulated};

/// Noon of some day, Unix milliseconds.
const NOW: i64 = 1_700_049_600_000;
/// Short enough for a few rotations in a test.
const SMALL: u64 = 2_000;

/// What [`intent`] asks for, executed as a whole.
const FILLED: Outcome = Outcome::Filled {
    volume: Decimal::from_parts(1, 0, 0, false, 2),
};
const FOUND_FILLED: Found = Found::Filled {
    volume: Decimal::from_parts(1, 0, 0, false, 2),
};

fn id(text: &str) -> IntentId {
    IntentId::new(text).unwrap()
}

fn intent(bar: i64) -> Intent {
    Intent {
        id: id(&format!("order-{bar}")),
        idempotency_key: id(&format!("key-{bar}")),
        bar_open_time: bar,
        side: record::Side::Buy,
        symbol: "EURUSD".to_owned(),
        volume: "0.01".parse().unwrap(),
        valid_until_ms: NOW + 5_000,
        decided_at_ms: NOW,
    }
}

fn open(disk: &Simulated) -> (IntentLog<Simulated>, Opened) {
    IntentLog::open_in(disk.process_death(), NOW, ROTATE_LEN_BYTES).unwrap()
}

/// A log with one order that is open and one that is closed.
fn written() -> (Simulated, String) {
    let disk = Simulated::default();
    let (mut log, opened) = IntentLog::open_in(disk.clone(), NOW, ROTATE_LEN_BYTES).unwrap();
    assert!(opened.is_new);
    for bar in [1, 2] {
        log.decided(intent(bar)).unwrap();
        log.sent(&intent(bar).id, NOW).unwrap();
        if bar == 1 {
            log.outcome(&intent(bar).id, FILLED, NOW).unwrap();
        }
    }
    let name = disk.names().pop().unwrap();
    (disk, name)
}

#[test]
fn what_was_recorded_is_there_after_a_restart_and_a_bar_is_decided_once() {
    let (disk, _) = written();
    let (mut log, opened) = open(&disk);
    assert_eq!(
        (opened.is_new, opened.torn, opened.damage),
        (false, false, vec![])
    );
    let state = log.state().unwrap();
    assert_eq!(state.last_decided_bar(), Some(2));
    assert_eq!(
        (state.orders_in_day(NOW), state.orders_in_minute(NOW)),
        (2, 2)
    );
    assert_eq!(state.orders_in_day(NOW + state::DAY_MS), 0);
    assert_eq!(state.orders_in_minute(NOW + 60_000), 0);
    let open: Vec<_> = state
        .open()
        .iter()
        .map(|open| (&open.intent, open.stage))
        .collect();
    assert_eq!(open, [(&intent(2), Stage::Sent)]);
    let refused = |result| match result {
        Err(LogError::Contradiction(contradiction)) => contradiction,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(log.decided(intent(3))), Contradiction::IntentOpen);
    assert_eq!(
        refused(log.sent(&id("x"), NOW)),
        Contradiction::NoSuchIntent
    );
    log.reconciled(&intent(2).id, Found::NeverArrived, NOW)
        .unwrap();
    assert_eq!(refused(log.decided(intent(2))), Contradiction::BarDecided);
    log.considered(3).unwrap();
    assert_eq!(refused(log.decided(intent(3))), Contradiction::BarDecided);
    log.decided(intent(4)).unwrap();
}

#[test]
fn cut_at_any_byte_of_the_last_record_the_log_opens_without_it_and_is_not_halted() {
    let (disk, name) = written();
    let whole = disk.contents(&name);
    let last = whole[..whole.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap()
        + 1;
    for end in last..=whole.len() {
        disk.overwrite(&name, whole[..end].to_vec());
        let (log, opened) = open(&disk);
        let state = log.state().unwrap();
        // Without nothing but its end the record is all there.
        let is_there = end + 1 >= whole.len();
        assert_eq!(opened.torn, end > last && !is_there, "{end}");
        assert_eq!(opened.damage, [], "{end}");
        assert_eq!(state.trading(), TradingState::Active);
        let stage = if is_there {
            Stage::Sent
        } else {
            Stage::Decided
        };
        assert_eq!(state.open()[0].stage, stage, "{end}");
    }
}

#[test]
fn a_changed_byte_anywhere_halts_and_loses_no_record_behind_it() {
    let (disk, name) = written();
    let whole = disk.contents(&name);
    for place in 0..whole.len() - 1 {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        disk.overwrite(&name, damaged);
        let (mut log, opened) = open(&disk);
        assert!(!opened.damage.is_empty(), "byte {place}");
        let state = log.state().unwrap();
        assert_eq!(
            state.reason(),
            Some((HaltReason::LogDamaged, NOW)),
            "byte {place}"
        );
        assert!(matches!(
            log.decided(intent(9)),
            Err(LogError::Contradiction(Contradiction::Halted))
        ));
        // Order 2 was decided and sent in two records: one of them is always left.
        let state = log.state().unwrap();
        let found = state
            .open()
            .iter()
            .any(|open| open.intent.id == intent(2).id)
            || state.orphans().any(|orphan| *orphan == intent(2).id);
        let lines_left = whole[..place].iter().filter(|byte| **byte == b'\n').count();
        let is_line_end = whole[place] == b'\n';
        // A lost end takes the next line along: of records 4 and 5 then both are gone, and the halt is what is left.
        assert!(found || (is_line_end && lines_left == 4), "byte {place}");
        // Also at the start after: the damage is gone from sight and the halt is not.
        let (log, opened) = IntentLog::open_in(log.storage, NOW + 1, SMALL).unwrap();
        assert_eq!(opened.damage, [], "byte {place}");
        assert_eq!(
            log.state().unwrap().reason(),
            Some((HaltReason::LogDamaged, NOW))
        );
    }
}

#[test]
fn a_record_that_is_missing_halts() {
    let (disk, name) = written();
    let whole = disk.contents(&name);
    let lines: Vec<_> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    for missing in 0..lines.len() - 1 {
        let rest: Vec<_> = (0..lines.len())
            .filter(|at| *at != missing)
            .map(|at| lines[at])
            .collect();
        disk.overwrite(&name, rest.concat());
        let (log, opened) = open(&disk);
        assert!(!opened.damage.is_empty(), "line {missing}");
        assert_eq!(log.state().unwrap().trading(), TradingState::Halted);
    }
}

#[test]
fn the_file_before_makes_up_for_a_snapshot_that_rots() {
    let (disk, _) = written();
    let (mut log, _) = IntentLog::open_in(disk.clone(), NOW, ROTATE_LEN_BYTES).unwrap();
    log.reconciled(&intent(2).id, FOUND_FILLED, NOW).unwrap();
    log.decided(intent(3)).unwrap();
    assert_eq!(disk.names().len(), 2);
    let name = disk.names().pop().unwrap();
    let mut bytes = disk.contents(&name);
    bytes[20] ^= 1;
    disk.overwrite(&name, bytes);
    let (log, _) = open(&disk);
    let state = log.state().unwrap();
    assert_eq!(state.trading(), TradingState::Halted);
    assert_eq!(state.open().len(), 1);
    assert_eq!(state.open()[0].intent, intent(3));
    assert_eq!(
        (state.orders_in_day(NOW), state.last_decided_bar()),
        (3, Some(3))
    );
}

#[test]
fn files_stay_few_and_short_however_much_is_recorded() {
    let disk = Simulated::default();
    let (mut log, _) = IntentLog::open_in(disk.clone(), NOW, SMALL).unwrap();
    for bar in 1..=300 {
        log.decided(intent(bar)).unwrap();
        log.outcome(&intent(bar).id, FILLED, NOW).unwrap();
        assert!(disk.names().len() <= 2, "{:?}", disk.names());
    }
    for name in disk.names() {
        let len = disk.contents(&name).len() as u64;
        // The recent orders of the minute are in the snapshot.
        assert!(len < SMALL + 8_000, "{name}: {len}");
    }
    assert_eq!(log.state().unwrap().orders_in_day(NOW), 300);
}

#[test]
fn halted_latches_over_restarts_and_a_halt_that_could_not_be_written_holds_from_the_reopening() {
    let disk = Simulated::default();
    let (mut log, _) = IntentLog::open_in(disk.clone(), NOW, SMALL).unwrap();
    log.tighten(TradingState::Reducing, HaltReason::Operator, NOW)
        .unwrap();
    log.relax(NOW).unwrap();
    disk.fail_at(disk.operations() + 1, Fault::Io);
    assert!(
        log.tighten(TradingState::Halted, HaltReason::KillSwitch, NOW)
            .is_err()
    );
    assert!(log.state().is_none());
    log.reopen(NOW).unwrap();
    assert_eq!(
        log.state().unwrap().reason(),
        Some((HaltReason::KillSwitch, NOW))
    );
    assert!(log.relax(NOW).is_err());
    assert!(
        log.tighten(TradingState::Reducing, HaltReason::Operator, NOW)
            .is_err()
    );
    let (log, _) = open(&disk);
    assert_eq!(
        log.state().unwrap().reason(),
        Some((HaltReason::KillSwitch, NOW))
    );
}

#[test]
fn a_directory_belongs_to_one_log_at_a_time_and_keeps_what_it_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = IntentLog::open(directory.path(), NOW).unwrap();
    log.decided(intent(1)).unwrap();
    let second = IntentLog::open(directory.path(), NOW);
    assert!(matches!(second, Err(LogError::Locked { .. })));
    drop(log);
    let (mut log, opened) = IntentLog::open(directory.path(), NOW).unwrap();
    assert!(!opened.is_new);
    assert_eq!(log.state().unwrap().open()[0].intent, intent(1));
    log.reopen(NOW).unwrap();
    assert_eq!(log.state().unwrap().open().len(), 1);
    assert!(IntentLog::open(&directory.path().join("none"), NOW).is_err());
}

#[test]
fn a_full_disk_is_told_as_such_and_nothing_is_recorded() {
    let disk = Simulated::default();
    let (mut log, _) = IntentLog::open_in(disk.clone(), NOW, SMALL).unwrap();
    disk.fail_at(disk.operations(), Fault::Full);
    let error = log.decided(intent(1)).unwrap_err();
    assert!(error.is_full(), "{error}");
    assert!(matches!(log.decided(intent(1)), Err(LogError::Broken)));
    let opened = log.reopen(NOW).unwrap();
    assert!(opened.torn);
    assert!(!log.state().unwrap().has_open());
    log.decided(intent(1)).unwrap();
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_is_in_the_files_the_log_opens_and_says_so(
        garbage in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        at in 0_usize..2_000,
        is_inserted in proptest::prelude::any::<bool>(),
    ) {
        let (disk, name) = written();
        let whole = disk.contents(&name);
        let at = at % whole.len();
        let end = if is_inserted { at } else { whole.len().min(at + garbage.len()) };
        let changed = [&whole[..at], &garbage, &whole[end..]].concat();
        let is_same = changed == whole;
        disk.overwrite(&name, changed);
        let (log, opened) = open(&disk);
        let state = log.state().unwrap();
        let told = opened.torn || !opened.damage.is_empty();
        // The order is open, or it is told that something is missing.
        proptest::prop_assert!(is_same || told || state.has_open());
        proptest::prop_assert_eq!(state.trading() == TradingState::Halted, !opened.damage.is_empty());
    }
}
