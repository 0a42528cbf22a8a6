//! What happens to shards: rules that delete them, deleted ones, damage, and what may not be read.

use std::fs;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::shards::{counter, key, shard_bytes, write_shard};
use crate::common::{Daemon, eventually, expect_value, metricsd, run};
use crate::full::Small;
use crate::outsider::{NOBODY, Outsider, skip};
use crate::place::{Line, Place, Report, inside};
use rustix::process::Signal;

#[test]
fn rules_and_hooks_that_delete_shards_are_named() {
    let test = "shards::rules_and_hooks_that_delete_shards_are_named";
    if !inside(test) {
        return;
    }
    let Some(place) = Place::served(test) else {
        return;
    };
    let mut mounts = Vec::new();
    for place in ["/etc/tmpfiles.d", "/etc/cron.d", "/etc/systemd/system"] {
        match Small::mount(Path::new(place), 1 << 20, 100) {
            Ok(mount) => mounts.push(mount),
            Err(why) => return skip(test, &why),
        }
    }
    let shards = place.shards.display().to_string();
    let above = place.folder.path().display().to_string();
    let with = |file: &str, text: String, outcome: &str, found: &str, next: &str| {
        fs::write(file, text).unwrap();
        place.examine().only(outcome, "cleanup_rules", found, next);
        fs::remove_file(file).unwrap();
    };
    with(
        "/etc/tmpfiles.d/a.conf",
        format!("e {above}/* - - - 10d\n"),
        "FAIL",
        "/etc/tmpfiles.d/a.conf:1",
        &format!("printf 'x %s\\nx %s/*\\n' '{shards}'"),
    );
    with(
        "/etc/tmpfiles.d/a.conf",
        format!("R {above}\n"),
        "WARN",
        "at each boot",
        "/dev/shm",
    );
    with(
        "/etc/cron.d/a",
        format!("# a comment\n0 4 * * * root tmpreaper 7d {above}\n"),
        "FAIL",
        "/etc/cron.d/a:2",
        "remove that line",
    );
    with(
        "/etc/systemd/system/a.service",
        format!("[Service]\nExecStartPre=/bin/rm -rf {shards}\n"),
        "FAIL",
        "a.service:2",
        "remove that line",
    );
    fs::write(
        "/etc/tmpfiles.d/a.conf",
        format!("e {above}/* - - - 10d\nx {shards}\nx {shards}/*\n"),
    )
    .unwrap();
    assert!(place.examine().found().is_empty(), "the fix is one");

    // A script that started a program of this directory, and the hook of its server.
    let script = place.folder.path().join("start.sh");
    fs::write(
        &script,
        "#!/bin/sh\nrm -rf \"$PROMETHEUS_MULTIPROC_DIR\"/old\necho ready\nsleep 600 &\nwait\n",
    )
    .unwrap();
    let started = |script: &Path| {
        let mut program = Outsider::start(
            Command::new("sh")
                .arg(script)
                .env("PROMETHEUS_MULTIPROC_DIR", &shards)
                .process_group(0),
        );
        program.expect("ready");
        program
    };
    let end = |program: Outsider| {
        let group = rustix::process::Pid::from_raw(program.id() as i32).unwrap();
        rustix::process::kill_process_group(group, Signal::KILL).unwrap();
        drop(program);
    };
    let program = started(&script);
    place.examine().only(
        "FAIL",
        "cleanup_rules",
        "start.sh:2: rm -rf",
        "remove that line",
    );
    end(program);
    fs::write(
        &script,
        "echo ready\n: 'multiprocess.mark_process_dead(worker.pid)'\nsleep 600 &\nwait\n",
    )
    .unwrap();
    let program = started(&script);
    place
        .examine()
        .only("WARN", "mark_process_dead", "start.sh:2", "child_exit");
    end(program);
}

#[test]
fn shards_that_somebody_deleted_are_known_from_the_archive() {
    let test = "shards::shards_that_somebody_deleted_are_known_from_the_archive";
    if !inside(test) {
        return;
    }
    let Some(mut place) = Place::served(test) else {
        return;
    };
    let mut session = place.session(&place.shards);
    session.tell("add 5");
    session.tell("set 5");
    let gauge = || {
        let mut names = fs::read_dir(&place.shards)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        names
            .find(|path| path.to_string_lossy().contains("gauge_livemax"))
            .unwrap()
    };
    // The daemon has noted them when it has stopped.
    place.daemon.take().unwrap().terminate();
    fs::remove_file(gauge()).unwrap();
    session.kill();
    let restart = |place: &mut Place| {
        let arguments = [
            "--state-dir",
            place.state.to_str().unwrap(),
            "--retire-after",
            "off",
        ];
        place.daemon = Some(Daemon::start_with(&place.shards, &arguments));
    };
    restart(&mut place);
    place
        .examine()
        .only("WARN", "mark_process_dead", "gauge_livemax", "child_exit");
    place.daemon.take().unwrap().terminate();
    fs::remove_dir_all(&place.shards).unwrap();
    fs::create_dir(&place.shards).unwrap();
    restart(&mut place);
    place
        .examine()
        .only("FAIL", "deleted_shards", "1 shards were deleted", "rm -rf");
}

#[test]
fn what_an_earlier_daemon_had_retired_was_not_deleted_by_somebody_else() {
    let test = "shards::what_an_earlier_daemon_had_retired_was_not_deleted_by_somebody_else";
    if !inside(test) {
        return;
    }
    let Some(mut place) = Place::served(test) else {
        return;
    };
    let arguments = [
        "--state-dir".to_owned(),
        place.state.to_str().unwrap().to_owned(),
        "--retire-after".to_owned(),
        "1s".to_owned(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    place.daemon.take().unwrap().terminate();
    let daemon = Daemon::start_with(&place.shards, &arguments);
    let mut session = place.session(&place.shards);
    session.tell("add 5");
    session.tell("set 5");
    daemon.scrape();
    session.kill();
    eventually("the session's shards are retired", || {
        let page = daemon.scrape();
        let count = expect_value(&page, "metricsd_retired_shards_total");
        (count >= 2.0).then_some(()).ok_or(page)
    });
    // It still watches the deleted files, so the journal does not say yet that they are gone.
    daemon.kill();
    let restart = |place: &mut Place| {
        place.daemon = Some(Daemon::start_with(&place.shards, &arguments));
        let report = place.examine();
        report.has("PASS", "deleted_shards", "no shard", "");
        report.has("PASS", "mark_process_dead", "nobody", "");
    };
    restart(&mut place);
    place.daemon.take().unwrap().terminate();
    let reset = run(&mut metricsd(&[
        "ledger",
        "reset",
        "--yes",
        "--multiproc-dir",
        place.shards.to_str().unwrap(),
        "--state-dir",
        place.state.to_str().unwrap(),
    ]));
    assert!(reset.status.success(), "{reset:?}");
    restart(&mut place);
}

#[test]
fn names_damage_and_contradictions_are_named() {
    let test = "shards::names_damage_and_contradictions_are_named";
    if !inside(test) {
        return;
    }
    // A place for each: the daemon takes note of shards, and what is deleted before the next case would count as that.
    let with = |files: &[(&str, Vec<u8>)], outcome: &str, id: &str, text: &str, next: &str| {
        let Some(place) = Place::served(test) else {
            return;
        };
        let mut open = Vec::new();
        for (name, bytes) in files {
            let path = place.shards.join(name);
            fs::write(&path, bytes).unwrap();
            // As their processes would have them: nothing is retired meanwhile.
            open.push(File::options().write(true).open(&path).unwrap());
        }
        place.examine().only(outcome, id, text, next);
    };
    let plain = |kind: &str| shard_bytes(&[(key("fam", &format!("fam{kind}"), &[]), 1.0)]);
    with(
        &[("counter_web_7.db", plain("_total"))],
        "WARN",
        "identifiers",
        "counter_web_7.db",
        "without",
    );
    with(
        &[("counter.db", vec![])],
        "FAIL",
        "shard_files",
        "counter.db",
        "move them out",
    );
    let mut torn = plain("_total");
    torn[12] = b'!';
    with(
        &[("counter_1.db", torn)],
        "FAIL",
        "shard_files",
        "counter_1.db",
        "restart the program",
    );
    with(
        &[
            ("counter_1.db", plain("_total")),
            (
                "gauge_max_2.db",
                shard_bytes(&[
                    (key("fam_total", "fam_total", &[]), 1.0),
                    (key("fam", "fam", &[]), 2.0),
                ]),
            ),
        ],
        "FAIL",
        "conflicts",
        "type of fam in gauge_max_2.db and in counter_1.db",
        "one version",
    );
    let mut other = key("fam", "fam_total", &[]);
    other.help = "another".to_owned();
    with(
        &[
            ("counter_1.db", plain("_total")),
            ("counter_2.db", shard_bytes(&[(other, 1.0)])),
        ],
        "WARN",
        "conflicts",
        "help of fam in counter_2.db",
        "one help text",
    );
    let histogram = |bounds: &[&str]| {
        let entries: Vec<_> = bounds
            .iter()
            .map(|bound| (key("h", "h_bucket", &[("le", bound)]), 1.0))
            .collect();
        shard_bytes(&entries)
    };
    with(
        &[
            ("histogram_1.db", histogram(&["1.0", "+Inf"])),
            ("histogram_2.db", histogram(&["2.0", "+Inf"])),
        ],
        "FAIL",
        "conflicts",
        "buckets of h in histogram_2.db",
        "one version",
    );
    // A FIFO with a shard's name holds nobody up.
    let Some(place) = Place::served(test) else {
        return;
    };
    let fifo = place.shards.join("counter_9.db");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    place.examine().only(
        "FAIL",
        "shard_files",
        "counter_9.db: no regular file",
        "move them out",
    );
}

#[test]
fn what_only_the_doctors_user_may_not_read_is_no_damage() {
    let test = "shards::what_only_the_doctors_user_may_not_read_is_no_damage";
    if !inside(test) {
        return;
    }
    // The folder of the project may be closed to that user. Room for a program with all its symbols.
    let small = PathBuf::from("/mnt");
    let Ok(_mount) = Small::mount(&small, 1 << 30, 1000) else {
        return skip(test, "nothing can be mounted");
    };
    let Some(mut place) = Place::new(test) else {
        return;
    };
    (place.shards, place.state) = (small.join("shards"), small.join("state"));
    fs::create_dir(&place.shards).unwrap();
    place.serve();
    let shard = write_shard(&place.shards, "counter_1.db", &[(counter("a"), 1.0)]);
    let _writer = File::options().write(true).open(&shard).unwrap();
    let states = fs::read_dir(&place.state).unwrap().flatten();
    for path in states.map(|entry| entry.path()).chain([shard]) {
        fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(&place.state, PermissionsExt::from_mode(0o755)).unwrap();
    let program = small.join("metricsd");
    fs::copy(env!("CARGO_BIN_EXE_metricsd"), &program).unwrap();
    let mut command = Command::new(&program);
    command
        .args(place.command().get_args())
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .env_clear();
    if command.output().is_err() {
        return skip(test, "only root can start a process of another user");
    }
    let report = Report::of(&mut command);
    let by = "as the daemon's user or as root";
    report.has("WARN", "shard_files", "may not read counter_1.db", by);
    report.has("WARN", "state_whole", "may not read", by);
    // On a tmpfs the state does not last; nothing else is wrong.
    let failed = |line: &&&Line| line.outcome == "FAIL" && line.id != "state_durable";
    assert_eq!(
        report.found().iter().find(failed).map(|line| &line.id),
        None
    );
}
