//! A start, case by case: what is there and what is known.

use super::{Desk, Shard};
use crate::archive::{Phase, SeriesKind};
use crate::books::{Reconciled, TOMBSTONE_SECONDS};

fn counter(number: usize, value: f64) -> Shard {
    Shard::new(number, SeriesKind::Counter, &[("a", value)])
}

/// A desk whose daemon noted a shard that holds 10, and was killed.
fn noted(shard: &Shard) -> Desk {
    let mut desk = Desk::new();
    desk.note(shard);
    desk.books.sync().unwrap();
    desk
}

#[test]
fn after_a_power_cut_what_a_file_lacks_stays_counted_and_a_second_start_finds_no_more() {
    let mut shard = counter(1, 10.0);
    let mut desk = noted(&shard);
    shard.set(0, 4.0);
    assert!(desk.loses_power().may_have_lost_power());
    let found = desk.reconcile(&[&shard], true);
    let expected = Reconciled {
        rebased: 1,
        declared: 1,
        ..Reconciled::default()
    };
    assert_eq!(found, expected);
    assert_eq!(desk.exposed("a", &[&shard]), 10.0);
    shard.set(0, 5.0);
    assert_eq!(desk.exposed("a", &[&shard]), 11.0);
    desk.loses_power();
    assert_eq!(desk.reconcile(&[&shard], true).rebased, 0);
    assert_eq!(desk.exposed("a", &[&shard]), 11.0);
}

#[test]
fn in_the_same_boot_a_file_that_holds_less_is_followed_and_counted_as_a_reset_once() {
    let mut shard = counter(1, 10.0);
    let mut desk = noted(&shard);
    shard.set(0, 4.0);
    assert!(!desk.is_killed().may_have_lost_power());
    let found = desk.reconcile(&[&shard], false);
    let expected = Reconciled {
        resets: 1,
        ..Reconciled::default()
    };
    assert_eq!(found, expected);
    assert_eq!(desk.exposed("a", &[&shard]), 4.0);
    assert_eq!(desk.note(&shard), 0);
    // The next power cut is not blamed for it.
    desk.loses_power();
    assert_eq!(desk.reconcile(&[&shard], true).rebased, 0);
    assert_eq!(desk.exposed("a", &[&shard]), 4.0);
}

#[test]
fn a_wiped_shard_stays_counted_as_it_was_noted_and_adds_only_what_is_beyond_when_it_returns() {
    let mut shard = counter(1, 10.0);
    let mut desk = noted(&shard);
    desk.is_killed();
    let found = desk.reconcile(&[], false);
    let expected = Reconciled {
        missing: 1,
        ..Reconciled::default()
    };
    assert_eq!(found, expected);
    assert_eq!(desk.exposed("a", &[]), 10.0);
    shard.set(0, 13.0);
    desk.is_killed();
    assert_eq!(desk.reconcile(&[&shard], false).returned, 1);
    assert_eq!(desk.exposed("a", &[&shard]), 13.0);
}

#[test]
fn a_missing_shard_that_returns_with_less_adds_nothing_and_takes_nothing() {
    let mut shard = counter(1, 10.0);
    let mut desk = noted(&shard);
    desk.is_killed();
    desk.reconcile(&[], false);
    shard.set(0, 3.0);
    desk.is_killed();
    assert_eq!(desk.reconcile(&[&shard], false).returned, 1);
    assert_eq!(desk.exposed("a", &[&shard]), 10.0);
    shard.set(0, 4.0);
    assert_eq!(desk.exposed("a", &[&shard]), 11.0);
}

#[test]
fn an_absorbed_shard_counts_nothing_while_it_is_there_nor_when_it_was_away_and_is_back() {
    let shard = counter(1, 10.0);
    let mut desk = Desk::new();
    shard
        .seen(|it| desk.books.absorb(it, 1000.0))
        .map(drop)
        .unwrap();
    desk.books.sync().unwrap();
    assert_eq!(desk.exposed("a", &[&shard]), 10.0);
    desk.is_killed();
    assert_eq!(desk.reconcile(&[&shard], false), Reconciled::default());
    assert_eq!(desk.exposed("a", &[&shard]), 10.0);
    assert_ne!(
        desk.known(&shard, |known| known.map(|known| known.revision())),
        Some(0)
    );
    desk.is_killed();
    // Deleted by the last daemon, or with a directory that is not mounted just now.
    assert_eq!(desk.reconcile(&[], false).entombed, 1);
    assert_eq!(desk.exposed("a", &[]), 10.0);
    desk.is_killed();
    assert_eq!(desk.reconcile(&[&shard], false).returned, 1);
    assert_eq!(desk.exposed("a", &[&shard]), 10.0);
}

#[test]
fn a_tombstone_is_forgotten_after_seven_days_and_not_before() {
    let shard = counter(1, 10.0);
    let mut desk = noted(&shard);
    desk.reconcile(&[], false);
    desk.now += TOMBSTONE_SECONDS - 60.0;
    desk.is_killed();
    assert_eq!(desk.reconcile(&[], false).forgotten, 0);
    desk.now += 60.0;
    desk.is_killed();
    assert_eq!(desk.reconcile(&[], false).forgotten, 1);
    assert_eq!(desk.exposed("a", &[]), 10.0);
    assert!(desk.known(&shard, |known| known.is_none()));
}

#[test]
fn live_gauges_go_with_their_file_and_the_others_stay() {
    for kind in SeriesKind::ALL.into_iter().filter(|kind| kind.is_gauge()) {
        let shard = Shard::new(1, kind, &[("g", 2.5)]);
        let mut desk = noted(&shard);
        desk.is_killed();
        let found = desk.reconcile(&[], false);
        assert_eq!(found.missing, 1);
        assert_eq!(found.discarded, usize::from(kind.is_live_gauge()));
        let values = desk.known(&shard, |known| known.unwrap().gauges().count());
        assert_eq!(values, usize::from(!kind.is_live_gauge()), "{kind:?}");
    }
}

#[test]
fn after_a_crash_and_a_power_cut_the_start_of_series_of_shards_moves_and_of_no_other() {
    let (live, ended) = (
        counter(1, 10.0),
        Shard::new(2, SeriesKind::Counter, &[("b", 1.0)]),
    );
    let mut desk = noted(&live);
    ended
        .seen(|it| desk.books.absorb(it, 1000.0))
        .map(drop)
        .unwrap();
    desk.books.unlinked(&ended.identity).unwrap();
    desk.books.sync().unwrap();
    assert_eq!(
        (desk.start("a"), desk.start("b")),
        (Some(101.0), Some(102.0))
    );
    desk.loses_power();
    assert_eq!(desk.reconcile(&[&live], true).declared, 1);
    assert_eq!(
        (desk.start("a"), desk.start("b")),
        (Some(desk.now), Some(102.0))
    );
    // A clock that was set back moves it forward all the same.
    desk.now = 50.0;
    let before = desk.start("a");
    desk.loses_power();
    desk.reconcile(&[&live], true);
    assert!(desk.start("a") > before);
}

#[test]
fn after_a_clean_stop_nothing_was_shown_that_is_not_noted_so_no_reset_is_declared() {
    let mut shard = counter(1, 10.0);
    let desk = noted(&shard);
    let storage = desk.storage.clone();
    desk.books.close(desk.now).unwrap();
    let mut desk = Desk::new();
    (desk.storage, desk.boot) = (storage, 1);
    desk.open(desk.storage.power_cut(0));
    shard.set(0, 2.0);
    let found = desk.reconcile(&[&shard], true);
    assert_eq!((found.rebased, found.declared), (1, 0));
    assert_eq!(desk.exposed("a", &[&shard]), 10.0);
    assert_eq!(desk.start("a"), Some(101.0));
}

#[test]
fn a_daemon_that_is_killed_before_it_reconciled_finds_the_power_cut_again() {
    let mut shard = counter(1, 10.0);
    let mut desk = noted(&shard);
    shard.set(0, 4.0);
    desk.loses_power();
    assert!(desk.is_killed().may_have_lost_power());
    assert_eq!(desk.reconcile(&[&shard], true).rebased, 1);
    assert!(!desk.is_killed().may_have_lost_power());
    assert_eq!(desk.exposed("a", &[&shard]), 10.0);
}

#[test]
fn reconciling_twice_before_the_sync_changes_nothing_more() {
    let mut shard = counter(1, 10.0);
    let gone = counter(2, 5.0);
    let mut desk = noted(&shard);
    desk.note(&gone);
    desk.books.sync().unwrap();
    shard.set(0, 4.0);
    desk.loses_power();
    let now = desk.now;
    let first = shard.seen(|it| desk.books.reconcile(&[*it], true, now));
    assert_eq!(first.map(|it| (it.rebased, it.missing)), Ok((1, 1)));
    let second = desk.reconcile(&[&shard], true);
    assert_eq!((second.rebased, second.missing), (0, 0));
    assert_eq!(desk.exposed("a", &[&shard]), 15.0);
    let phase = desk.known(&gone, |known| known.map(|known| known.phase()));
    assert_eq!(phase, Some(Phase::Missing));
}
