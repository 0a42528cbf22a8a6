//! A power cut between any two operations, with the shards and the state on different file systems.

use super::shelf_double::Stopped;
use super::world::{Daemon, World, is_stopped};
use crate::archive::testing::Dice;
use crate::retire::Step;

const COUNTERS: [f64; 3] = [5.0, 0.25, 1e15];

/// More operations than a whole retirement has; a run that is not stopped ends the loop before.
const OPERATIONS_MAX: usize = 64;

/// What a cut leaves of the two media: all pairs of the styles without choices, then by chance.
fn seeds() -> impl Iterator<Item = (u64, u64)> {
    let plain = (0..4).flat_map(|shards| (0..4).map(move |state| (shards, state)));
    plain.chain((4..12).map(|seed| (seed, seed * 7 + 1)))
}

fn retire_all(world: &World, daemon: &mut Daemon) {
    let outcome = daemon.retire(world.candidates(), &|_| {});
    daemon.linger(outcome.lingering, 60.0, &|_| {});
}

/// After the cut: nothing is lost or double, before anything is done and after everything is; and what the archive holds is
/// not found under a name that a writer opens.
fn check(world: &World, what: &str) {
    for (shards_seed, state_seed) in seeds() {
        let what = format!("{what}, seeds {shards_seed} and {state_seed}");
        let mut left = world.after_power_cut(shards_seed, state_seed);
        let daemon = left.start(true);
        left.assert_absorbed_are_renamed(&daemon, &what);
        drop(daemon);
        left.finish(false, &what);
    }
}

#[test]
fn power_cut_at_any_operation_on_the_shards_loses_and_doubles_nothing() {
    for count in 0..OPERATIONS_MAX {
        let mut world = World::with_counters(&COUNTERS);
        let mut daemon = world.start(false);
        world.note(&daemon);
        daemon.shelf.stop_after(count);
        let stopped = is_stopped(|| retire_all(&world, &mut daemon));
        check(&world, &format!("cut after {count} operations"));
        if !stopped {
            assert!(count >= 8, "three renames, a sync, three deletions, a sync");
            return;
        }
    }
    panic!("a run never ended");
}

#[test]
fn power_cut_at_any_operation_on_the_state_loses_and_doubles_nothing() {
    let begin = || {
        let mut world = World::with_counters(&COUNTERS);
        let daemon = world.start(false);
        world.note(&daemon);
        (world, daemon)
    };
    let (world, mut daemon) = begin();
    let before = world.state.operations().len();
    retire_all(&world, &mut daemon);
    let after = world.state.operations().len();
    assert!(after >= before + 4, "two groups of records, each synced");
    for index in before..=after {
        let (world, mut daemon) = begin();
        world.state.stop_before(index);
        retire_all(&world, &mut daemon);
        check(
            &world,
            &format!("cut before operation {index} on the state"),
        );
    }
}

#[test]
fn power_cut_after_any_step_loses_and_doubles_nothing() {
    for step in Step::ALL {
        let mut world = World::with_counters(&COUNTERS);
        let mut daemon = world.start(false);
        world.note(&daemon);
        let stop = |now: Step| {
            if now == step {
                std::panic::resume_unwind(Box::new(Stopped));
            }
        };
        let stopped = is_stopped(|| {
            let outcome = daemon.retire(world.candidates(), &stop);
            daemon.linger(outcome.lingering, 60.0, &stop);
        });
        assert!(stopped, "{step}");
        check(&world, step.as_str());
    }
}

#[test]
fn values_that_never_reached_the_medium_survive_because_they_were_absorbed() {
    for count in 0..OPERATIONS_MAX {
        let mut world = World::with_counters(&COUNTERS);
        for candidate in world.candidates() {
            let value = World::value(&world.shards, &candidate.file);
            World::store(&world.shards, &candidate.file, value + 3.0);
            world.counted += 3.0;
        }
        let mut daemon = world.start(false);
        world.note(&daemon);
        daemon.shelf.stop_after(count);
        let stopped = is_stopped(|| retire_all(&world, &mut daemon));
        for (shards_seed, state_seed) in seeds().take(16) {
            let what = format!("after {count}, seeds {shards_seed} and {state_seed}");
            world
                .after_power_cut(shards_seed, state_seed)
                .finish(true, &what);
        }
        if !stopped {
            return;
        }
    }
    panic!("a run never ended");
}

/// Deaths and power cuts one after the other, at random places, with increments in between.
#[test]
fn many_stops_of_either_kind_in_a_row_lose_and_double_nothing() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut world = World::with_counters(&COUNTERS);
        let mut lost_power = false;
        for round in 0..5 {
            let what = format!("seed {seed}, round {round}");
            let mut daemon = world.start(lost_power);
            assert_eq!(world.exposed(&daemon, &[]), world.counted, "{what}");
            if let Some(candidate) = world.candidates().first() {
                let value = World::value(&world.shards, &candidate.file);
                World::store(&world.shards, &candidate.file, value + 1.0);
                world.counted += 1.0;
            }
            world.note(&daemon);
            daemon.shelf.stop_after(dice.below(10));
            is_stopped(|| retire_all(&world, &mut daemon));
            lost_power = dice.below(2) == 0;
            world = match lost_power {
                // Stores of eight bytes reach the medium whole or not at all: none of the styles that tear.
                true => world.after_power_cut(dice.below(4) as u64, dice.below(100) as u64),
                false => world.after_process_death(),
            };
        }
        world.finish(lost_power, &format!("seed {seed}"));
    }
}
