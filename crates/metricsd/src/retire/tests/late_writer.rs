//! A writer that comes back at any step: under the old name, or to the file itself.

use metricsd_shard::{Liveness, UnknownReason};

use super::shelf_double::File;
use super::world::{ORDERS, World};
use crate::archive::Phase;
use crate::retire::{Candidate, Step, Why};

/// Before which question each step lies.
fn is_before_second_question(step: Step) -> bool {
    step < Step::AskedAgain
}

fn is_before_last_question(step: Step) -> bool {
    step < Step::AskedLast
}

/// A writer opens the file itself after `step`, adds 2 and, if it does not stay, closes it.
fn visit(step: Step, stays: bool) {
    let what = format!("{step}, stays: {stays}");
    let mut world = World::with_counters(&[5.0, 70.0]);
    let mut daemon = world.start(false);
    let visited: File = world.candidates()[0].file.clone();
    let (disk, writers) = (world.shards.clone(), world.writers.clone());
    let come = |now: Step| {
        // Reading comes once for each shard: the first time it is the visited one's.
        if now == step && World::value(&disk, &visited) == 5.0 {
            World::store(&disk, &visited, 7.0);
            if stays {
                writers.open(visited.inode);
            }
        }
    };
    world.counted += 2.0;
    let outcome = daemon.retire(world.candidates(), &come);
    assert!(outcome.troubles.is_empty(), "{what}");
    let is_put_off = outcome.put_off.len() == 1;
    if stays && is_before_last_question(step) {
        assert_eq!(outcome.put_off[0].why, Why::Busy, "{what}");
        let phase = daemon.phase(&outcome.put_off[0].candidate.identity);
        let expected = (!is_before_second_question(step)).then_some(Phase::Absorbed);
        assert_eq!(phase, expected, "{what}");
    }
    assert_eq!(is_put_off, world.shards.names().len() == 1, "{what}");

    let mut nameless: Vec<Candidate<File>> = Vec::new();
    nameless.extend(outcome.lingering.iter().map(|it| it.candidate().clone()));
    assert_eq!(world.exposed(&daemon, &nameless), world.counted, "{what}");
    // It is found while the descriptor is kept, if not before.
    let mut after = daemon.linger(outcome.lingering, 1.0, &come);
    let mut all: Vec<_> = after
        .lingering
        .iter()
        .map(|it| it.candidate().clone())
        .collect();
    all.extend(after.handed_back.iter().map(|it| it.candidate.clone()));
    assert_eq!(world.exposed(&daemon, &all), world.counted, "{what}");
    if stays {
        let mut found = outcome.put_off.iter().chain(&after.handed_back);
        // Right after the last question it is found by what it stored.
        let expected = match step {
            Step::AskedLast => Why::Changed,
            _ => Why::Busy,
        };
        assert!(found.any(|it| it.why == expected), "{what}");
        assert_ne!(daemon.known_count(), 0, "{what}");
    }

    // It goes on counting where it is, and then it is gone.
    World::store(&disk, &visited, 8.0);
    world.counted += 1.0;
    writers.close(visited.inode);
    let mut again: Vec<_> = outcome.put_off.into_iter().map(|it| it.candidate).collect();
    again.extend(after.handed_back.drain(..).map(|it| it.candidate));
    let outcome = daemon.retire(again, &|_| {});
    assert!(outcome.put_off.is_empty(), "{what}: {:?}", outcome.put_off);
    let mut lingering = after.lingering;
    lingering.extend(outcome.lingering);
    for after_seconds in [60.0, 120.0, 180.0] {
        lingering = daemon.linger(lingering, after_seconds, &|_| {}).lingering;
    }
    assert!(lingering.is_empty(), "{what}");
    assert_eq!(
        (daemon.known_count(), world.shards.names().len()),
        (0, 0),
        "{what}"
    );
    assert_eq!(world.exposed(&daemon, &[]), world.counted, "{what}");
}

#[test]
fn a_writer_that_comes_to_the_file_and_stays_is_served_and_nothing_is_lost() {
    for step in Step::ALL
        .into_iter()
        .filter(|step| *step != Step::Forgotten)
    {
        visit(step, true);
    }
}

#[test]
fn a_writer_that_comes_to_the_file_and_goes_between_two_questions_loses_nothing() {
    for step in Step::ALL
        .into_iter()
        .filter(|step| *step != Step::Forgotten)
    {
        visit(step, false);
    }
}

/// What changed after the absorption is never deleted before it is absorbed, although nobody has it open any more: else a
/// daemon that dies now would lose it.
#[test]
fn a_visit_between_absorption_and_the_last_question_keeps_the_file() {
    let mut world = World::with_counters(&[5.0]);
    let mut daemon = world.start(false);
    let visited = world.candidates()[0].file.clone();
    let disk = world.shards.clone();
    let outcome = daemon.retire(world.candidates(), &|now| {
        if now == Step::Absorbed {
            World::store(&disk, &visited, 6.0);
        }
    });
    assert_eq!(outcome.put_off[0].why, Why::Changed);
    world.counted = 6.0;
    drop(daemon);
    world.after_process_death().finish(false, "visited");
}

#[test]
fn a_writer_that_opens_the_old_name_begins_a_new_file_and_both_count() {
    for step in Step::ALL
        .into_iter()
        .filter(|step| *step != Step::Forgotten)
    {
        let mut world = World::with_counters(&[5.0]);
        let mut daemon = world.start(false);
        let disk = &world;
        let outcome = daemon.retire(world.candidates(), &|now| {
            if now == step {
                disk.add("counter_1.db", ORDERS, 4.0, 0.0);
            }
        });
        assert_eq!(outcome.lingering.len(), 1, "{step}");
        assert_eq!(world.exposed(&daemon, &[]), 9.0, "{step}");
        daemon.linger(outcome.lingering, 60.0, &|_| {});
        world.counted = 9.0;
        assert_eq!(world.shards.names(), ["counter_1.db"], "{step}");
        drop(daemon);
        world.after_process_death().finish(false, step.as_str());
    }
}

#[test]
fn what_a_visitor_left_in_a_deleted_file_is_durable_once_it_was_found() {
    let mut world = World::with_counters(&[5.0]);
    let mut daemon = world.start(false);
    let visited = world.candidates()[0].file.clone();
    let disk = world.shards.clone();
    let outcome = daemon.retire(world.candidates(), &|now| {
        if now == Step::Unlinked {
            World::store(&disk, &visited, 6.0);
        }
    });
    let after = daemon.linger(outcome.lingering, 1.0, &|_| {});
    assert_eq!((after.absorbed_again_count, after.lingering.len()), (1, 1));
    world.counted = 6.0;
    world
        .after_process_death()
        .finish(false, "found at the first question");
}

#[test]
fn only_an_answer_that_says_idle_means_idle() {
    let unknown = Liveness::Unknown(UnknownReason::NotOwner);
    for (answer, why) in [
        (Some(unknown), Why::Unknown),
        (Some(Liveness::Busy), Why::Busy),
        (None, Why::Unknown),
    ] {
        let mut world = World::with_counters(&[5.0]);
        let mut daemon = world.start(false);
        daemon.shelf.answer.set(Some(answer));
        let outcome = daemon.retire(world.candidates(), &|_| {});
        assert_eq!(outcome.put_off[0].why, why);
        assert_eq!((world.shards.names().len(), daemon.known_count()), (1, 0));

        daemon.shelf.answer.set(None);
        let outcome = daemon.retire(world.candidates(), &|_| {});
        daemon.shelf.answer.set(Some(answer));
        let after = daemon.linger(outcome.lingering, 60.0, &|_| {});
        assert_eq!(after.handed_back[0].why, why);
        assert_eq!((after.forgotten.len(), daemon.known_count()), (0, 1));
    }
}
