//! The death of the daemon after any step, and what an earlier daemon left half done.

use std::cell::Cell;

use super::shelf_double::Stopped;
use super::world::{ORDERS, World, is_stopped};
use crate::archive::{Ended, Phase, SeriesKind};
use crate::retire::{Candidate, Step, Why};

const COUNTERS: [f64; 4] = [5.0, 0.5, 7.0, 1e15];

#[test]
fn steps_happen_in_their_order_once_for_a_group() {
    let mut world = World::with_counters(&[1.0]);
    let mut daemon = world.start(false);
    let steps = std::cell::RefCell::new(Vec::new());
    let note = |step| steps.borrow_mut().push(step);
    let outcome = daemon.retire(world.candidates(), &note);
    daemon.linger(outcome.lingering, 60.0, &note);
    assert_eq!(*steps.borrow(), Step::ALL);
    for step in Step::ALL {
        assert_eq!(Step::from_name(step.as_str()), Some(step));
    }
}

#[test]
fn a_group_costs_two_syncs_of_the_directory_and_one_of_the_journal() {
    let mut world = World::with_counters(&[1.0; 50]);
    let mut daemon = world.start(false);
    let count = |disk: &crate::archive::testing::Simulated, name| {
        let operations = disk.operations();
        operations
            .iter()
            .filter(|operation| **operation == name)
            .count()
    };
    let before = (
        count(&world.shards, "sync_dir"),
        count(&world.state, "sync_file"),
    );
    let outcome = daemon.retire(world.candidates(), &|_| {});
    assert_eq!(outcome.lingering.len(), 50);
    let after = (
        count(&world.shards, "sync_dir"),
        count(&world.state, "sync_file"),
    );
    assert_eq!(after, (before.0 + 2, before.1 + 1));
}

#[test]
fn death_after_any_step_loses_and_doubles_nothing() {
    for step in Step::ALL {
        // The step of reading comes once for each shard: stop at each of them.
        for nth in 0..if step == Step::Read {
            COUNTERS.len()
        } else {
            1
        } {
            let mut world = World::with_counters(&COUNTERS);
            let mut daemon = world.start(false);
            let seen = Cell::new(0);
            let stop = |now: Step| {
                if now == step && seen.replace(seen.get() + 1) == nth {
                    std::panic::resume_unwind(Box::new(Stopped));
                }
            };
            let stopped = is_stopped(|| {
                let outcome = daemon.retire(world.candidates(), &stop);
                daemon.linger(outcome.lingering, 60.0, &stop);
            });
            assert!(stopped, "{step}");
            world.after_process_death().finish(false, step.as_str());
        }
    }
}

#[test]
fn a_shard_that_is_absorbed_already_is_not_absorbed_again() {
    let mut world = World::with_counters(&[5.0]);
    let mut daemon = world.start(false);
    let stop = |now: Step| {
        if now == Step::Absorbed {
            std::panic::resume_unwind(Box::new(Stopped));
        }
    };
    assert!(is_stopped(|| drop(
        daemon.retire(world.candidates(), &stop)
    )));
    let mut world = world.after_process_death();
    let mut daemon = world.start(false);
    let before = daemon.books.lock().unwrap().durable_sequence();
    let outcome = daemon.retire(world.candidates(), &|_| {});
    assert_eq!(outcome.lingering.len(), 1);
    let after = daemon.books.lock().unwrap().durable_sequence();
    assert_eq!(after, before, "nothing was left to be said of it");
}

#[test]
fn a_shard_that_somebody_deleted_is_absorbed_from_its_descriptor() {
    for step in [
        None,
        Some(Step::Renamed),
        Some(Step::Absorbed),
        Some(Step::AskedLast),
    ] {
        let mut world = World::with_counters(&[5.0, 6.0]);
        let mut daemon = world.start(false);
        let candidates = world.candidates();
        let disk = world.shards.clone();
        let delete = || {
            let name = disk.names()[0].clone();
            crate::archive::Storage::remove(&disk, &name).unwrap();
        };
        if step.is_none() {
            delete();
        }
        let outcome = daemon.retire(candidates, &|now| {
            if Some(now) == step {
                delete();
            }
        });
        assert!(
            outcome.put_off.is_empty() && outcome.troubles.is_empty(),
            "{outcome:?}"
        );
        assert_eq!(world.exposed(&daemon, &[]), 11.0, "{step:?}");
        let after = daemon.linger(outcome.lingering, 60.0, &|_| {});
        assert_eq!((after.forgotten.len(), daemon.known_count()), (2, 0));
        assert_eq!(world.exposed(&daemon, &[]), 11.0, "{step:?}");
    }
}

#[test]
fn a_live_gauge_that_somebody_deleted_is_handed_back_as_discarded() {
    let mut world = World::new();
    world.add("gauge_livesum_1.db", ORDERS, 3.0, 0.0);
    world.add("gauge_sum_1.db", ORDERS, 3.0, 0.0);
    let mut daemon = world.start(false);
    let candidates = world.candidates();
    for name in world.shards.names() {
        crate::archive::Storage::remove(&world.shards, &name).unwrap();
    }
    let outcome = daemon.retire(candidates, &|_| {});
    assert_eq!(outcome.lingering.len(), 1);
    assert_eq!(
        outcome.lingering[0].candidate().origin.kind,
        SeriesKind::GaugeSum
    );
    assert_eq!(outcome.put_off[0].why, Why::Discarded);
}

#[test]
fn a_shard_with_another_link_is_never_deleted_nor_forgotten() {
    let mut world = World::with_counters(&[5.0]);
    let mut daemon = world.start(false);
    let inode = world.candidates()[0].file.inode;
    let links = std::rc::Rc::clone(&daemon.shelf.linked_elsewhere);
    links.borrow_mut().insert(inode);
    let outcome = daemon.retire(world.candidates(), &|_| {});
    assert_eq!(outcome.put_off[0].why, Why::Linked);
    assert_eq!(world.shards.names(), ["counter_1.db"]);

    // A link that is made in the last moment: under its other name it would count again once it was forgotten.
    links.borrow_mut().clear();
    let outcome = daemon.retire(world.candidates(), &|now| {
        if now == Step::AskedLast {
            links.borrow_mut().insert(inode);
        }
    });
    let after = daemon.linger(outcome.lingering, 60.0, &|_| {});
    assert!(after.forgotten.is_empty());
    let back = after.handed_back.into_iter().next().unwrap();
    assert_eq!(back.why, Why::Linked);
    assert_eq!(
        daemon.phase(&back.candidate.identity),
        Some(Phase::Absorbed)
    );
    assert_eq!(world.exposed(&daemon, &[back.candidate]), 5.0);
}

#[test]
fn a_damaged_shard_is_served_on_and_its_neighbours_are_retired() {
    let mut world = World::with_counters(&[5.0, 6.0]);
    let file = world.candidates()[0].file.clone();
    // The header says that more is in use than is there.
    world.shards.store(&file.open, 0, &1024_i32.to_le_bytes());
    let mut daemon = world.start(false);
    let outcome = daemon.retire(world.candidates(), &|_| {});
    assert!(
        matches!(outcome.put_off[0].why, Why::Damaged(_)),
        "{outcome:?}"
    );
    assert_eq!((outcome.put_off.len(), outcome.lingering.len()), (1, 1));
    assert_eq!(daemon.phase(&outcome.put_off[0].candidate.identity), None);
    assert_eq!(world.exposed(&daemon, &[]), 11.0);
    assert_eq!(
        world.shards.names(),
        [outcome.put_off[0].candidate.file_name.clone()]
    );
}

#[test]
fn gauges_go_the_same_way_and_are_kept_by_their_mode() {
    let mut world = World::new();
    let key = br#"["depth", "depth", {}, ""]"#;
    world.add("gauge_max_1.db", key, 3.0, 0.0);
    world.add("gauge_max_2.db", key, f64::NEG_INFINITY, 0.0);
    world.add("gauge_all_1.db", key, f64::NAN, 0.0);
    world.add("gauge_mostrecent_1.db", key, 8.0, 1_799_999_000.0);
    let mut daemon = world.start(false);
    let outcome = daemon.retire(world.candidates(), &|_| {});
    assert!(outcome.put_off.is_empty(), "{:?}", outcome.put_off);
    daemon.linger(outcome.lingering, 60.0, &|_| {});
    assert_eq!((daemon.known_count(), world.shards.names().len()), (0, 0));
    let state = daemon.books.lock().unwrap().shared_state();
    let state = state.read().unwrap();
    let of = |kind| {
        state
            .ended_gauges()
            .get(state.keys().find(kind, key).unwrap())
    };
    assert_eq!(of(SeriesKind::GaugeMax), Some(&Ended::Max(3.0)));
    let Some(Ended::Each(values)) = of(SeriesKind::GaugeAll) else {
        panic!("a value by itself");
    };
    assert!(values[0].value.is_nan() && &*values[0].writer == "1");
    let Some(Ended::MostRecent { value, .. }) = of(SeriesKind::GaugeMostRecent) else {
        panic!("a most recent value");
    };
    assert_eq!(*value, 8.0);
}

#[test]
fn descriptors_are_kept_until_the_last_question_or_the_budget_is_spent() {
    let mut world = World::with_counters(&[1.0; 5]);
    let mut daemon = world.start(false);
    let outcome = daemon.retire(world.candidates(), &|_| {});
    let mut lingering = outcome.lingering;
    for after_seconds in [0.5, 1.0, 9.0, 10.0, 59.9] {
        let after = daemon.linger(lingering, after_seconds, &|_| {});
        lingering = after.lingering;
        assert_eq!(lingering.len(), 5, "{after_seconds} s");
        assert!(daemon.known_count() == 5 && after.forgotten.is_empty());
    }
    let identity = |it: &crate::retire::Lingering<_>| {
        let candidate: &Candidate<_> = it.candidate();
        candidate.identity.clone()
    };
    let oldest: Vec<_> = lingering[..3].iter().map(identity).collect();
    let now = 1_800_000_059.95;
    let (shelf, books) = (&mut daemon.shelf, &daemon.books);
    let after = crate::retire::linger(shelf, books, lingering, 2, now, &|_| {});
    assert_eq!((after.forgotten, after.lingering.len()), (oldest, 2));
    assert_eq!(
        daemon
            .linger(after.lingering, 60.0, &|_| {})
            .forgotten
            .len(),
        2
    );
    assert_eq!(
        (daemon.known_count(), world.exposed(&daemon, &[])),
        (0, 5.0)
    );
}

#[test]
fn an_absorbed_shard_that_came_back_under_its_old_name_is_renamed_before_it_is_deleted() {
    let mut world = World::with_counters(&[5.0]);
    let mut daemon = world.start(false);
    let disk = world.shards.clone();
    let outcome = daemon.retire(world.candidates(), &|now| {
        if now == Step::Absorbed {
            let name = disk.names()[0].clone();
            crate::archive::Storage::rename(&disk, &name, "counter_1.db").unwrap();
        }
    });
    assert_eq!(outcome.put_off[0].why, Why::Renamed);
    assert_eq!(
        daemon.phase(&outcome.put_off[0].candidate.identity),
        Some(Phase::Absorbed)
    );
    assert_eq!(world.exposed(&daemon, &[]), 5.0);
    drop(daemon);
    world.after_process_death().finish(false, "came back");
}
