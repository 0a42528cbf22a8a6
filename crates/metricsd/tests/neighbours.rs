//! Who else is there: a daemon that is frozen while writers open, writers and daemons of different users, a second daemon.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;
#[path = "common/counting.rs"]
mod counting;
#[path = "common/watch.rs"]
mod watch;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use common::shards::{counter, write_shard};
use common::{Daemon, eventually, expect_value, metricsd, run, signal};
use counting::{Bounds, Counting};
use rustix::process::Signal;
use watch::{Highest, Random, shard_files, skip};

/// The user that owns nothing.
const NOBODY: u32 = 65534;

#[test]
#[ignore = "a child process of the tests in this file"]
fn counting_child() {
    counting::count_as_child();
}

/// A daemon holds a lease for an instant when it asks who writes a shard. Stopped in that instant, it must not stop a writer.
#[test]
fn writers_open_and_count_while_the_daemon_is_frozen() {
    let folder = tempfile::tempdir().unwrap();
    let (shards, state) = (folder.path().join("shards"), folder.path().join("state"));
    let daemon = start(&shards, &state);
    let mut random = Random::of(watch::seed(), 0);
    let mut expected = Bounds::default();
    let mut highest = Highest::default();
    let mut resting = Vec::new();
    for _ in 0..40 {
        // Ended writers and new ones give the daemon something to ask about.
        for writer in resting.drain(..) {
            expected += Counting::end(writer);
        }
        let spins = random.below(200_000);
        (0..spins).for_each(|_| std::hint::spin_loop());
        signal(daemon.id(), Signal::STOP);
        for lane in 0..2 {
            let mut writer = Counting::rust(&shards, lane, Some(30));
            writer.wait_for(30);
            resting.push(writer);
        }
        signal(daemon.id(), Signal::CONT);
        let mut now = expected;
        resting.iter().for_each(|writer| now += writer.resting());
        let page = daemon.scrape();
        highest.check(&page).unwrap();
        now.check(&page, true).unwrap();
    }
    for writer in resting {
        expected += writer.kill();
    }
    eventually("all are retired", || {
        let page = daemon.scrape();
        highest.check(&page).unwrap();
        expected.check(&page, true).unwrap();
        nothing_is_left(&shards)
    });
}

#[test]
fn shards_of_another_user_are_retired_by_root() {
    let name = "shards_of_another_user_are_retired_by_root";
    if !rustix::process::geteuid().is_root() {
        return skip(name, "needs root, to be another user");
    }
    let folder = tempfile::tempdir().unwrap();
    let (shards, state) = (folder.path().join("shards"), folder.path().join("state"));
    open_to_all(folder.path());
    fs::create_dir(&shards).unwrap();
    open_to_all(&shards);
    if !nobody_can_run(&std::env::current_exe().unwrap()) {
        return skip(name, "another user cannot run the programs of this build");
    }
    let daemon = start(&shards, &state);
    let mut writer = Counting::rust_as(&shards, 0, Some(30), NOBODY);
    writer.wait_for(30);
    writer.resting().check(&daemon.scrape(), true).unwrap();
    assert_eq!(
        expect_value(&daemon.scrape(), "metricsd_shards{state=\"unknown\"}"),
        0.0
    );
    let expected = writer.resting();
    writer.kill();
    eventually("they are retired", || {
        expected.check(&daemon.scrape(), true).unwrap();
        nothing_is_left(&shards)
    });
    expected.check(&daemon.scrape(), true).unwrap();
}

/// The kernel gives no lease on somebody else's file to a daemon without privileges: such shards are served, and stay.
#[test]
fn a_daemon_without_privileges_serves_other_users_shards_and_leaves_them_alone() {
    let name = "a_daemon_without_privileges_serves_other_users_shards_and_leaves_them_alone";
    if !rustix::process::geteuid().is_root() {
        return skip(name, "needs root, to be another user");
    }
    let folder = tempfile::tempdir().unwrap();
    let (shards, state) = (folder.path().join("shards"), folder.path().join("state"));
    open_to_all(folder.path());
    fs::create_dir(&shards).unwrap();
    open_to_all(&shards);
    let program = Path::new(env!("CARGO_BIN_EXE_metricsd"));
    if !nobody_can_run(program) {
        return skip(name, "another user cannot run the programs of this build");
    }
    // Ended, and ours; ended, and the daemon's own.
    let ours = write_shard(&shards, "counter_1.db", &[(counter("a"), 5.0)]);
    let own = write_shard(&shards, "counter_2.db", &[(counter("a"), 20.0)]);
    for path in [&ours, &own] {
        fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    }
    std::os::unix::fs::chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut command = metricsd(&[
        "--multiproc-dir",
        shards.to_str().unwrap(),
        "--state-dir",
        state.to_str().unwrap(),
        "--retire-after",
        "100ms",
        "--web.listen-address",
        "127.0.0.1:0",
    ]);
    command.uid(NOBODY).gid(NOBODY);
    let daemon = Daemon::spawn(&mut command);
    eventually("its own one is retired", || {
        assert_eq!(expect_value(&daemon.scrape(), "a_total"), 25.0);
        if own.exists() {
            Err(daemon.log())
        } else {
            Ok(())
        }
    });
    assert!(ours.exists(), "nobody can tell whether it has a writer");
    let page = daemon.scrape();
    assert_eq!(expect_value(&page, "a_total"), 25.0);
    assert_eq!(
        expect_value(&page, "metricsd_shards{state=\"unknown\"}"),
        1.0
    );
}

#[test]
fn a_second_daemon_on_the_same_shards_or_state_says_who_is_first_and_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["shards", "other_shards", "other_state"] {
        fs::create_dir(path(name)).unwrap();
    }
    let (shards, state) = (path("shards"), path("state"));
    write_shard(
        &path("other_shards"),
        "counter_1.db",
        &[(counter("b"), 1.0)],
    );
    // Retirement waits for a day: what is there stays as it is, so that a change is the second daemon's doing.
    let later = [
        "--state-dir",
        state.to_str().unwrap(),
        "--retire-after",
        "1d",
    ];
    let writer = write_shard(&shards, "counter_1.db", &[(counter("a"), 5.0)]);
    let daemon = Daemon::start_with(&shards, &later);
    assert_eq!(expect_value(&daemon.scrape(), "a_total"), 5.0);
    assert!(writer.exists());
    for (second_shards, second_state, contested) in [
        ("shards", "other_state", &shards),
        ("other_shards", "state", &state),
        ("shards", "state", &shards),
    ] {
        let names = ["shards", "other_shards", "other_state"];
        let before: Vec<_> = names.iter().map(|name| inventory(&path(name))).collect();
        let state_before = names_in(&state);
        let (second_shards, second_state) = (path(second_shards), path(second_state));
        let second = run(&mut metricsd(&[
            "--multiproc-dir",
            second_shards.to_str().unwrap(),
            "--state-dir",
            second_state.to_str().unwrap(),
            "--retire-after",
            "100ms",
            "--web.listen-address",
            "127.0.0.1:0",
        ]));
        assert_eq!(second.status.code(), Some(1), "{second:?}");
        let said = String::from_utf8(second.stderr).unwrap();
        let refusals: Vec<&str> = said
            .lines()
            .filter(|line| line.starts_with("metricsd: "))
            .collect();
        let [refusal] = refusals.as_slice() else {
            panic!("not one sentence: {said}");
        };
        assert!(
            refusal.contains(&daemon.id().to_string())
                && refusal.contains(contested.to_str().unwrap()),
            "{refusal}"
        );
        let after: Vec<_> = names.iter().map(|name| inventory(&path(name))).collect();
        assert_eq!(after, before, "the second daemon changed something");
        assert_eq!(names_in(&state), state_before);
        assert_eq!(expect_value(&daemon.scrape(), "a_total"), 5.0);
    }
    // The first one is still whole, and so is what it leaves.
    daemon.kill();
    let daemon = Daemon::start_with(&shards, &later);
    assert_eq!(expect_value(&daemon.scrape(), "a_total"), 5.0);
}

fn start(shards: &Path, state: &Path) -> Daemon {
    let state = state.to_str().unwrap();
    Daemon::start_with(shards, &["--state-dir", state, "--retire-after", "100ms"])
}

fn nothing_is_left(shards: &Path) -> Result<(), String> {
    match shard_files(shards) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    }
}

fn open_to_all(directory: &Path) {
    fs::set_permissions(directory, Permissions::from_mode(0o777)).unwrap();
}

/// Whether the program's folders let another user through.
fn nobody_can_run(program: &Path) -> bool {
    let mut command = std::process::Command::new(program);
    command.arg("--help").uid(NOBODY).gid(NOBODY);
    command.output().is_ok_and(|output| output.status.success())
}

fn names_in(directory: &Path) -> Vec<String> {
    inventory(directory).into_keys().collect()
}

/// Name and content of everything in a directory.
fn inventory(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let content = fs::read(&path).unwrap_or_default();
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                content,
            )
        })
        .collect()
}
