//! A directory or a journal that fails at any operation: nothing is lost or double, it is said by operation, and it goes on
//! when it can.

use super::world::{Daemon, World};
use crate::archive::testing::{Fault, Simulated};
use crate::retire::{LingerOutcome, Trouble, Why};

const COUNTERS: [f64; 3] = [5.0, 0.25, 1e15];

fn run(
    world: &World,
    daemon: &mut Daemon,
) -> (Vec<&'static str>, LingerOutcome<super::shelf_double::File>) {
    let outcome = daemon.retire(world.candidates(), &|_| {});
    let mut operations: Vec<_> = outcome.troubles.iter().map(Trouble::operation).collect();
    let whys = outcome.put_off.iter().map(|it| &it.why);
    assert!(
        whys.clone().all(|why| *why == Why::Failed),
        "{:?}",
        outcome.put_off
    );
    let nameless: Vec<_> = outcome
        .lingering
        .iter()
        .map(|it| it.candidate().clone())
        .collect();
    assert_eq!(world.exposed(daemon, &nameless), world.counted);
    let after = daemon.linger(outcome.lingering, 60.0, &|_| {});
    operations.extend(after.troubles.iter().map(Trouble::operation));
    assert_eq!(world.exposed(daemon, &[]), world.counted);
    (operations, after)
}

/// Fails at one operation on one of the two directories, then heals and goes on, then loses power.
fn fail_each(which: impl Fn(&World) -> Simulated, expected: &[&str]) {
    let mut met = std::collections::BTreeSet::new();
    for fault in [Fault::Io, Fault::Full] {
        for index in 0.. {
            let mut world = World::with_counters(&COUNTERS);
            let mut daemon = world.start(false);
            world.note(&daemon);
            let disk = which(&world);
            let target = disk.operations().len() + index;
            disk.fail(target, fault);
            let (operations, _) = run(&world, &mut daemon);
            let was_met = disk.operations().len() > target;
            met.extend(operations);
            disk.heal();
            let (operations, _) = run(&world, &mut daemon);
            assert_eq!(operations, [] as [&str; 0], "{index}");
            assert_eq!(world.shards.names(), [] as [String; 0], "{index}");
            for seed in 0..6 {
                let mut left = world.after_power_cut(seed, seed);
                left.finish(true, &format!("operation {index}, seed {seed}"));
            }
            world.after_process_death().finish(false, "healed");
            if !was_met {
                break;
            }
        }
    }
    assert_eq!(met.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn directory_that_fails_once_at_any_operation_loses_and_doubles_nothing() {
    fail_each(
        |world| world.shards.clone(),
        &["rename", "sync_directory", "unlink"],
    );
}

#[test]
fn journal_that_fails_once_at_any_operation_loses_and_doubles_nothing() {
    // The archive writes the records again, in a new file: nobody notices.
    fail_each(|world| world.state.clone(), &[]);
}

#[test]
fn journal_that_keeps_failing_stops_retirement_before_anything_is_deleted() {
    for operation in ["append", "sync_file", "sync_dir", "create"] {
        let mut world = World::with_counters(&COUNTERS);
        let mut daemon = world.start(false);
        world.note(&daemon);
        for failing in ["append", operation] {
            world.state.fail_all(failing, Fault::Full);
        }
        for _ in 0..3 {
            let (operations, _) = run(&world, &mut daemon);
            assert_eq!(operations, ["journal_sync"], "{operation}");
            assert_eq!(world.shards.names().len(), 3, "{operation}");
            world.after_power_cut(0, 1).finish(true, operation);
        }
        world.state.heal();
        let (operations, _) = run(&world, &mut daemon);
        assert_eq!(operations, [] as [&str; 0], "{operation}");
        assert_eq!((world.shards.names().len(), daemon.known_count()), (0, 0));
    }
}

#[test]
fn deletion_whose_sync_failed_is_not_forgotten_in_this_run() {
    let mut world = World::with_counters(&COUNTERS);
    let mut daemon = world.start(false);
    // The first sync is that of the names.
    let renamed = world.shards.operations().len() + COUNTERS.len();
    world.shards.fail(renamed + 1 + COUNTERS.len(), Fault::Io);
    let (operations, after) = run(&world, &mut daemon);
    assert_eq!(operations, ["sync_directory"]);
    assert_eq!((after.kept.len(), after.forgotten.len()), (3, 0));
    assert_eq!(daemon.known_count(), 3);
    for seed in 0..12 {
        world
            .after_power_cut(seed, 1)
            .finish(true, "the files are back");
    }
}

#[test]
fn read_only_directory_and_unreadable_shards_are_served_on() {
    for operation in ["rename", "remove", "sync_dir"] {
        let mut world = World::with_counters(&COUNTERS);
        let mut daemon = world.start(false);
        world.shards.fail_all(operation, Fault::Io);
        for _ in 0..3 {
            let (operations, _) = run(&world, &mut daemon);
            assert!(!operations.is_empty());
            assert_eq!(world.shards.names().len(), 3);
        }
        world.shards.heal();
        run(&world, &mut daemon);
        // After a sync that failed nothing is forgotten in this run.
        let kept = if operation == "sync_dir" { 3 } else { 0 };
        let left = (world.shards.names().len(), daemon.known_count());
        assert_eq!(left, (0, kept), "{operation}");
    }
    let mut world = World::with_counters(&COUNTERS);
    let mut daemon = world.start(false);
    daemon.shelf.reads_fail.set(true);
    let (operations, _) = run(&world, &mut daemon);
    assert_eq!(operations, ["read"; 3]);
    assert_eq!((world.shards.names().len(), daemon.known_count()), (3, 0));
}
