//! `metricsd doctor`: a healthy place passes every check; each fault, caused for real, is found and named with what to do, and
//! nothing else is found because of it.
//!
//! Each test runs in namespaces of its own (mounts and process IDs), so that neither other tests' processes nor this machine's rules
//! are found. Where that is not allowed the tests are skipped.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;
#[path = "common/full.rs"]
mod full;
#[path = "common/outsider.rs"]
mod outsider;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::shards::{counter, key, shard_bytes, write_shard};
use common::{Daemon, eventually, expect_value, metricsd, run, signal};
use full::Small;
use metricsd::doctor::IDS;
use metricsd_shard::file_system_supports_leases;
use outsider::{NOBODY, Outsider, our_writer, skip};
use rustix::process::Signal;
use tempfile::TempDir;

/// Set in the process that runs in namespaces.
const INSIDE: &str = "METRICSD_TEST_INSIDE";

#[test]
fn child() {
    common::child::obey();
}

/// Runs the test in namespaces. True in there; false outside, when it has passed there or cannot be run.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let namespaces = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let probe = Command::new("unshare")
        .args(command.get_args())
        .args(namespaces)
        .arg("true")
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        skip(test, "no namespaces here");
        return false;
    }
    let output = command
        .args(namespaces)
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

/// One line of the report, with what comes next.
#[derive(Debug)]
struct Line {
    outcome: String,
    id: String,
    text: String,
    next: String,
}

/// What the doctor said.
#[derive(Debug)]
struct Report {
    code: i32,
    lines: Vec<Line>,
}

impl Report {
    fn of(command: &mut Command) -> Report {
        let output = run(command);
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines: Vec<Line> = Vec::new();
        for line in text.lines() {
            if let Some(next) = line.strip_prefix("NEXT|") {
                lines.last_mut().unwrap().next = next.to_owned();
                continue;
            }
            let words: Vec<&str> = line.splitn(3, '|').collect();
            lines.push(Line {
                outcome: words[0].to_owned(),
                id: words[1].to_owned(),
                text: words[2].to_owned(),
                next: String::new(),
            });
        }
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        Report {
            code: output.status.code().unwrap(),
            lines,
        }
    }

    fn found(&self) -> Vec<&Line> {
        self.lines
            .iter()
            .filter(|line| line.outcome != "PASS")
            .collect()
    }

    /// Nothing was found but this, and both sentences name the thing.
    #[track_caller]
    fn only(&self, outcome: &str, id: &str, text: &str, next: &str) {
        let found = self.found();
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(
            (found[0].outcome.as_str(), found[0].id.as_str()),
            (outcome, id),
            "{found:#?}"
        );
        self.has(outcome, id, text, next);
        assert_eq!(self.code, i32::from(outcome == "FAIL"));
    }

    #[track_caller]
    fn has(&self, outcome: &str, id: &str, text: &str, next: &str) {
        let is_it = |line: &&Line| {
            line.outcome == outcome
                && line.id == id
                && line.text.contains(text)
                && line.next.contains(next)
        };
        assert!(
            self.lines.iter().any(|line| is_it(&line)),
            "no {outcome}|{id}|{text}|{next} in {:#?}",
            self.found()
        );
    }
}

/// Directories of a daemon, and the daemon.
struct Place {
    daemon: Option<Daemon>,
    shards: PathBuf,
    state: PathBuf,
    folder: TempDir,
}

impl Place {
    /// Below `target`, on the disk that the project is on; none where that one does not last.
    fn new(test: &str) -> Option<Place> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        if let Err(kind) = file_system_supports_leases(File::open(folder.path()).unwrap().as_fd()) {
            skip(test, &format!("the project is on {kind}"));
            return None;
        }
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let place = Place {
            daemon: None,
            shards: folder.path().join("shards"),
            state: folder.path().join("state"),
            folder,
        };
        fs::create_dir(&place.shards).unwrap();
        Some(place)
    }

    /// With a running daemon.
    fn served(test: &str) -> Option<Place> {
        let mut place = Place::new(test)?;
        place.serve();
        Some(place)
    }

    fn serve(&mut self) {
        self.daemon = Some(Daemon::start_with(
            &self.shards,
            &["--state-dir", self.state.to_str().unwrap()],
        ));
    }

    fn command(&self) -> Command {
        let (shards, state) = (self.shards.to_str().unwrap(), self.state.to_str().unwrap());
        metricsd(&["doctor", "--multiproc-dir", shards, "--state-dir", state])
    }

    fn examine(&self) -> Report {
        Report::of(&mut self.command())
    }

    fn session(&self, directory: &Path) -> Outsider {
        let mut command = Command::new("env");
        command.arg(format!(
            "PROMETHEUS_MULTIPROC_DIR={}",
            self.shards.display()
        ));
        our_writer(command, directory, "a-session")
    }

    /// A program that only has variables and a working directory.
    fn program(&self, variables: &[(&str, &str)], working_directory: &Path) -> Outsider {
        sleeper("exec sleep 600", variables, working_directory)
    }
}

/// A program other than a shell; it has become that when this returns.
fn sleeper(script: &str, variables: &[(&str, &str)], working_directory: &Path) -> Outsider {
    let program = Outsider::start(
        Command::new("sh")
            .args(["-c", script])
            .current_dir(working_directory)
            .envs(variables.iter().copied()),
    );
    eventually("another program", || {
        let name = fs::read_to_string(format!("/proc/{}/comm", program.id())).unwrap();
        match name.trim() {
            "sleep" => Ok(()),
            _ => Err(name),
        }
    });
    program
}

#[test]
fn a_healthy_place_passes_every_check() {
    let test = "a_healthy_place_passes_every_check";
    if !inside(test) {
        return;
    }
    let Some(place) = Place::served(test) else {
        return;
    };
    let mut session = place.session(&place.shards);
    session.tell("add 1");
    let report = place.examine();
    assert!(report.found().is_empty(), "{:#?}", report.found());
    let ids: Vec<&str> = report.lines.iter().map(|line| line.id.as_str()).collect();
    assert_eq!(ids, IDS);
    assert_eq!(report.code, 0);
    let daemon = format!("process {} serves", place.daemon.as_ref().unwrap().id());
    report.has("PASS", "daemon", &daemon, "");
    report.has("PASS", "processes", "1 name this shard directory", "");

    let names = |directory: &Path| {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let before = (names(&place.shards), names(&place.state));
    let output = run(place.command().arg("--json"));
    assert_eq!(output.status.code(), Some(0));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&document["command"], &document["outcome"]),
        (&"doctor".into(), &"pass".into())
    );
    assert_eq!(document["checks"].as_array().unwrap().len(), IDS.len());
    assert_eq!(
        (names(&place.shards), names(&place.state)),
        before,
        "nothing is made or removed"
    );
    let output = run(&mut metricsd(&["doctor", "--loud"]));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_directory_that_is_missing_or_closed_is_named() {
    let test = "a_directory_that_is_missing_or_closed_is_named";
    if !inside(test) {
        return;
    }
    let Some(place) = Place::new(test) else {
        return;
    };
    fs::remove_dir(&place.shards).unwrap();
    let report = place.examine();
    report.has("FAIL", "shard_directory", "does not exist", "mkdir -p");
    report.has(
        "WARN",
        "daemon",
        "no daemon",
        "metricsd serve --multiproc-dir",
    );
    assert_eq!((report.found().len(), report.code), (2, 1), "{report:#?}");
    let mut by_default = metricsd(&["doctor"]);
    let report = Report::of(by_default.current_dir(place.folder.path()));
    report.has(
        "FAIL",
        "shard_directory",
        "default below the working directory",
        "--multiproc-dir",
    );
    fs::write(&place.shards, "").unwrap();
    place.examine().has(
        "FAIL",
        "shard_directory",
        "not a directory",
        "name the directory that the programs use",
    );
}

#[test]
fn tight_permissions_and_other_owners_are_named() {
    let test = "tight_permissions_and_other_owners_are_named";
    if !inside(test) {
        return;
    }
    if fs::read_to_string("/proc/self/uid_map")
        .unwrap()
        .split_whitespace()
        .nth(2)
        == Some("1")
    {
        return skip(test, "only root can start a process of another user");
    }
    // The folder of the project may be closed to that user.
    let small = PathBuf::from("/mnt");
    let Ok(_mount) = Small::mount(&small, 256 << 20, 1000) else {
        return skip(test, "nothing can be mounted");
    };
    let Some(mut place) = Place::new(test) else {
        return;
    };
    (place.shards, place.state) = (small.join("shards"), small.join("state"));
    for path in [&place.shards, &place.state] {
        fs::create_dir(path).unwrap();
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let program = small.join("metricsd");
    fs::copy(env!("CARGO_BIN_EXE_metricsd"), &program).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new(&program);
    command
        .args(["serve", "--multiproc-dir"])
        .arg(&place.shards)
        .arg("--state-dir")
        .arg(&place.state);
    command
        .args(["--web.listen-address", "127.0.0.1:0"])
        .env_clear()
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY);
    place.daemon = Some(Daemon::spawn(command.stderr(Stdio::piped())));
    // On a tmpfs, so its state does not last; apart from that:
    let examine = || {
        let mut report = place.examine();
        report.lines.retain(|line| line.id != "state_durable");
        report.code = i32::from(report.lines.iter().any(|line| line.outcome == "FAIL"));
        report
    };
    assert!(examine().found().is_empty(), "{:#?}", examine().found());

    let shard = write_shard(&place.shards, "counter_1.db", &[(counter("a"), 1.0)]);
    let other = "counter_1.db (uid 0)";
    examine().only("FAIL", "shard_owner", other, "CAP_LEASE");
    fs::set_permissions(&shard, PermissionsExt::from_mode(0o600)).unwrap();
    let report = examine();
    report.has(
        "FAIL",
        "shard_access",
        "counter_1.db (uid 0, gid 0, mode 0600)",
        "umask",
    );
    assert_eq!(report.found().len(), 2, "{report:#?}");
    chown(&shard, Some(NOBODY), Some(NOBODY)).unwrap();
    assert!(examine().found().is_empty());

    chown(&place.shards, Some(0), Some(0)).unwrap();
    examine().only(
        "FAIL",
        "directory_access",
        "may not read, write and enter",
        "chown 65534",
    );
    fs::set_permissions(&place.shards, PermissionsExt::from_mode(0o1777)).unwrap();
    write_shard(&place.shards, "counter_2.db", &[]);
    let report = examine();
    report.has("FAIL", "shard_owner", "is sticky", "chmod -t");
    fs::remove_file(place.shards.join("counter_2.db")).unwrap();
    fs::set_permissions(&place.shards, PermissionsExt::from_mode(0o777)).unwrap();
    assert!(examine().found().is_empty());

    // A writer of a third user, and a state that is not the daemon's any more.
    chown(&place.shards, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(&place.shards, PermissionsExt::from_mode(0o755)).unwrap();
    let directory = place.shards.to_str().unwrap();
    let mut command = Command::new("sleep");
    command
        .arg("600")
        .env_clear()
        .env("PROMETHEUS_MULTIPROC_DIR", directory)
        .current_dir("/")
        .uid(1234)
        .gid(1234);
    let writer = Outsider::start(&mut command);
    examine().only(
        "FAIL",
        "writer_access",
        &format!("process {}", writer.id()),
        "chmod 2770",
    );
    drop(writer);
    chown(&place.state, Some(0), Some(0)).unwrap();
    examine().only("FAIL", "state_access", "uid 0", "chown -R 65534");
}

#[test]
fn overlays_and_small_file_systems_are_named() {
    let test = "overlays_and_small_file_systems_are_named";
    if !inside(test) {
        return;
    }
    let Some(mut place) = Place::new(test) else {
        return;
    };
    {
        let Ok(_small) = Small::mount(&place.shards, 64 << 10, 100) else {
            return skip(test, "nothing can be mounted");
        };
        place.serve();
        place.examine().only(
            "FAIL",
            "shard_room",
            "65536 bytes are free",
            "remount,size=",
        );
        place.daemon = None;
    }
    {
        let _small = Small::mount(&place.shards, 64 << 20, 4).unwrap();
        place.serve();
        place
            .examine()
            .only("FAIL", "shard_room", "inodes are free", "nr_inodes=0");
        place.daemon = None;
    }
    {
        // A shard as Python makes one: with holes that need more than there is.
        let _small = Small::mount(&place.shards, 1 << 20, 100).unwrap();
        let shard = write_shard(&place.shards, "counter_1.db", &[]);
        File::options()
            .write(true)
            .open(&shard)
            .unwrap()
            .set_len(1 << 20)
            .unwrap();
        let _writer = File::options().write(true).open(&shard).unwrap();
        place.serve();
        place
            .examine()
            .only("FAIL", "shard_room", "claimed by holes", "remount,size=");
        place.daemon = None;
    }
    let base = place.folder.path().join("overlay");
    for name in ["lower", "upper", "work"] {
        fs::create_dir_all(base.join(name)).unwrap();
    }
    let mounted = Command::new("mount")
        .args([
            "-t",
            "overlay",
            "overlay",
            "-o",
            "lowerdir=lower,upperdir=upper,workdir=work",
        ])
        .arg(&place.shards)
        .current_dir(&base)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        return skip(test, "overlayfs cannot be mounted");
    }
    place.serve();
    place
        .examine()
        .only("FAIL", "file_system", "overlayfs", "docker run --tmpfs");
    place.daemon = None;
    // The state on such a layer does not last either.
    let apart = place.folder.path().join("apart");
    fs::create_dir(&apart).unwrap();
    (place.state, place.shards) = (place.shards.join("state"), apart);
    place.serve();
    place.examine().only(
        "FAIL",
        "state_durable",
        "container's own layer",
        "--state-dir /var/lib/metricsd",
    );
}

#[test]
fn rules_and_hooks_that_delete_shards_are_named() {
    let test = "rules_and_hooks_that_delete_shards_are_named";
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
    let test = "shards_that_somebody_deleted_are_known_from_the_archive";
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
    let test = "what_an_earlier_daemon_had_retired_was_not_deleted_by_somebody_else";
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
    let test = "names_damage_and_contradictions_are_named";
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
fn a_writer_in_trouble_and_limits_that_are_near_are_named() {
    let test = "a_writer_in_trouble_and_limits_that_are_near_are_named";
    if !inside(test) {
        return;
    }
    let Some(mut place) = Place::served(test) else {
        return;
    };
    let shards = place.shards.to_str().unwrap().to_owned();
    let variables = [("PROMETHEUS_MULTIPROC_DIR", shards.as_str())];
    // As many as it has open: what it inherits from this process differs.
    let program = place.program(&variables, Path::new("/"));
    let open_count = fs::read_dir(format!("/proc/{}/fd", program.id()))
        .unwrap()
        .count();
    let limited = Command::new("prlimit")
        .arg(format!("--nofile={open_count}:"))
        .args(["--pid", &program.id().to_string()])
        .status();
    assert!(limited.unwrap().success());
    let near = format!("{open_count} of {open_count} files open");
    place
        .examine()
        .only("FAIL", "open_files", &near, "LimitNOFILE");
    drop(program);

    if let Some(python) = common::python(test) {
        let script = "import mmap\nmaps = [mmap.mmap(-1, 4096) for _ in range(60000)]\nprint('ready', flush=True)\ninput()";
        let mut mapping =
            Outsider::start(Command::new(python).args(["-c", script]).envs(variables));
        mapping.expect("ready");
        let limit = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
        if limit.trim().parse::<u32>().unwrap() < 66_000 {
            place.examine().only(
                "FAIL",
                "memory_maps",
                &format!("of {} mappings", limit.trim()),
                "sysctl -w vm.max_map_count=",
            );
        }
    }

    // The daemon: fewer descriptors than shards.
    place.daemon = None;
    let mut command = Command::new("prlimit");
    command.args([
        "--nofile=64:64",
        env!("CARGO_BIN_EXE_metricsd"),
        "serve",
        "--web.listen-address",
        "127.0.0.1:0",
    ]);
    command
        .arg("--multiproc-dir")
        .arg(&place.shards)
        .arg("--state-dir")
        .arg(&place.state)
        .stderr(Stdio::piped());
    let daemon = Daemon::spawn(&mut command);
    let open: Vec<File> = (0..20)
        .map(|number| {
            let path = write_shard(
                &place.shards,
                &format!("counter_{number}.db"),
                &[(counter("a"), 1.0)],
            );
            File::options().write(true).open(path).unwrap()
        })
        .collect();
    place.examine().only(
        "WARN",
        "open_files",
        "keeps 16 of 20 shards open",
        "LimitNOFILE",
    );
    drop((daemon, open));
}

#[test]
fn programs_that_do_not_meet_are_named() {
    let test = "programs_that_do_not_meet_are_named";
    if !inside(test) {
        return;
    }
    let Some(place) = Place::served(test) else {
        return;
    };
    let shards = place.shards.to_str().unwrap();
    let (variable, ours) = (
        "PROMETHEUS_MULTIPROC_DIR",
        "PEAKTRADE_METRICS_MULTIPROC_DIR",
    );
    let elsewhere = place.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let id = "same_directory";
    {
        let program = place.program(&[(variable, "shards")], &elsewhere);
        let named = format!("process {}", program.id());
        place
            .examine()
            .only("FAIL", id, &named, &format!("{variable}={shards}"));
    }
    {
        let _program = place.program(&[("PEAKTRADE_METRICS_MODE", "B")], &elsewhere);
        place.examine().only(
            "FAIL",
            id,
            ".ops_local/prom_multiproc",
            &format!("{ours}={shards}"),
        );
    }
    {
        let _program = place.program(&[(variable, elsewhere.to_str().unwrap())], Path::new("/"));
        place
            .examine()
            .only("WARN", id, "elsewhere", &format!("{variable}={shards}"));
        let state = place.folder.path().join("other_state");
        let _other = Daemon::start_with(&elsewhere, &["--state-dir", state.to_str().unwrap()]);
        assert!(
            place.examine().found().is_empty(),
            "another daemon serves it"
        );
    }
    {
        // Relative, and right.
        let _program = place.program(&[(variable, "shards")], place.folder.path());
        assert!(
            place.examine().found().is_empty(),
            "{:#?}",
            place.examine().found()
        );
    }
    let id = "variable_spelling";
    {
        let program = place.program(&[("prometheus_multiproc_dir", shards)], Path::new("/"));
        place
            .examine()
            .only("WARN", id, &format!("process {}", program.id()), variable);
    }
    let report = Report::of(place.command().env("prometheus_multiproc_dir", shards));
    report.only("WARN", id, "this command", variable);
}

#[test]
fn other_daemons_and_collectors_are_named() {
    let test = "other_daemons_and_collectors_are_named";
    if !inside(test) {
        return;
    }
    let Some(mut place) = Place::served(test) else {
        return;
    };
    let pid = place.daemon.as_ref().unwrap().id();
    // The daemon keeps its state elsewhere.
    let real = place.state.clone();
    place.state = place.folder.path().join("not_this");
    fs::create_dir(&place.state).unwrap();
    place.examine().has(
        "FAIL",
        "state_lock",
        &format!("process {pid}"),
        real.to_str().unwrap(),
    );
    // Another daemon has the state.
    let other = place.folder.path().join("other");
    fs::create_dir(&other).unwrap();
    place.state = real;
    place.daemon = None;
    let second = Daemon::start_with(&other, &["--state-dir", place.state.to_str().unwrap()]);
    let report = place.examine();
    report.has(
        "FAIL",
        "state_lock",
        &format!("process {}", second.id()),
        "of its own",
    );
    report.has("WARN", "daemon", other.to_str().unwrap(), "metricsd serve");
    assert_eq!(report.found().len(), 2, "{report:#?}");
    drop(second);

    place.serve();
    let shard = write_shard(&place.shards, "counter_1.db", &[(counter("a"), 1.0)]);
    let _writer = File::options().write(true).open(&shard).unwrap();
    {
        let mut reader = Outsider::start(
            Command::new("sh")
                .args(["-c", "exec 3<\"$1\"; echo ready; read -r line", "sh"])
                .arg(&shard),
        );
        reader.expect("ready");
        place.examine().only(
            "FAIL",
            "second_collector",
            &format!("process {}", reader.id()),
            "--retire-after off",
        );
    }
    let Some(python) = common::python(test) else {
        return;
    };
    let endpoint = "from prometheus_client import CollectorRegistry, start_http_server\n\
                    from prometheus_client.multiprocess import MultiProcessCollector\n\
                    registry = CollectorRegistry()\nMultiProcessCollector(registry)\n\
                    start_http_server(0, addr='127.0.0.1', registry=registry)\nprint('ready', flush=True)\ninput()";
    let mut command = Command::new(python);
    command
        .args(["-c", endpoint])
        .env("PROMETHEUS_MULTIPROC_DIR", &place.shards);
    let mut collector = Outsider::start(&mut command);
    collector.expect("ready");
    place.examine().only(
        "WARN",
        "second_collector",
        &format!("process {}", collector.id()),
        "MultiProcessCollector",
    );
    place.daemon = None;
    place.daemon = Some(Daemon::start_with(
        &place.shards,
        &[
            "--state-dir",
            place.state.to_str().unwrap(),
            "--retire-after",
            "off",
        ],
    ));
    assert!(place.examine().found().is_empty(), "nothing is retired");
    // The file says it as well, seen from the daemon's own working directory.
    fs::write(
        place.folder.path().join("off.toml"),
        "[retire]\nafter = \"off\"\n",
    )
    .unwrap();
    for (flags, retires) in [
        (["--config.file", "off.toml"].as_slice(), false),
        (&["--config.file=off.toml", "--retire-after=1h"], true),
    ] {
        place.daemon = None;
        let mut command = metricsd(&["serve", "--web.listen-address", "127.0.0.1:0"]);
        command
            .args(["--multiproc-dir", place.shards.to_str().unwrap()])
            .args(["--state-dir", place.state.to_str().unwrap()])
            .args(flags)
            .current_dir(place.folder.path());
        place.daemon = Some(Daemon::spawn(&mut command));
        assert_eq!(place.examine().found().is_empty(), !retires, "{flags:?}");
    }
}

#[test]
fn what_only_the_doctors_user_may_not_read_is_no_damage() {
    let test = "what_only_the_doctors_user_may_not_read_is_no_damage";
    if !inside(test) {
        return;
    }
    // The folder of the project may be closed to that user.
    let small = PathBuf::from("/mnt");
    let Ok(_mount) = Small::mount(&small, 128 << 20, 1000) else {
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

#[test]
fn a_clock_that_jumped_is_named() {
    let test = "a_clock_that_jumped_is_named";
    if !inside(test) {
        return;
    }
    let Some(place) = Place::served(test) else {
        return;
    };
    let shard = write_shard(&place.shards, "counter_1.db", &[(counter("a"), 1.0)]);
    let _writer = File::options().write(true).open(&shard).unwrap();
    assert!(
        Command::new("touch")
            .args(["-d", "+2 days"])
            .arg(&shard)
            .status()
            .unwrap()
            .success()
    );
    place
        .examine()
        .only("FAIL", "clock", "counter_1.db is 172", "timedatectl");
    assert!(
        Command::new("touch")
            .arg(&shard)
            .status()
            .unwrap()
            .success()
    );
    // A writer's own word, of before the clock was set forward and of after it was set back.
    let session = place.session(&place.shards);
    let mut names = fs::read_dir(&place.shards)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let sidecar = names
        .find(|path| path.extension().is_some_and(|it| it == "json"))
        .unwrap();
    let mut said: serde_json::Value = serde_json::from_slice(&fs::read(&sidecar).unwrap()).unwrap();
    let started = said["started_at_unix_seconds"].as_f64().unwrap();
    for (change, outcome, text) in [
        (-3600.0, "WARN", "seconds before its process"),
        (7200.0, "FAIL", "the start in process_"),
    ] {
        said["started_at_unix_seconds"] = (started + change).into();
        fs::write(&sidecar, serde_json::to_vec(&said).unwrap()).unwrap();
        place.examine().only(outcome, "clock", text, "timedatectl");
    }
    said["started_at_unix_seconds"] = started.into();
    said["degraded"] = true.into();
    fs::write(&sidecar, serde_json::to_vec(&said).unwrap()).unwrap();
    place
        .examine()
        .only("FAIL", "degraded_writers", "a-session", "shard_room");
    drop(session);
}

#[test]
fn a_state_that_does_not_last_is_full_or_damaged_is_named() {
    let test = "a_state_that_does_not_last_is_full_or_damaged_is_named";
    if !inside(test) {
        return;
    }
    let Some(mut place) = Place::new(test) else {
        return;
    };
    let warned = place.examine();
    warned.has(
        "WARN",
        "state_directory",
        "does not exist",
        "metricsd serve",
    );
    assert_eq!(
        (warned.found().len(), warned.code),
        (2, 0),
        "no daemon, no state: {warned:#?}"
    );
    let disk = place.state.clone();
    place.state = place.shards.join("state");
    place.serve();
    place.examine().only(
        "FAIL",
        "state_durable",
        "inside the shard directory",
        "/var/lib/metricsd",
    );
    place.daemon = None;
    fs::remove_dir_all(&place.state).unwrap();
    place.state = place.shards.clone();
    place.examine().has(
        "FAIL",
        "state_directory",
        "the shard directory itself",
        "--state-dir",
    );

    place.state = place.folder.path().join("memory");
    {
        let Ok(_small) = Small::mount(&place.state, 32 << 20, 1000) else {
            return skip(test, "nothing can be mounted");
        };
        place.serve();
        place.examine().only(
            "FAIL",
            "state_durable",
            "in memory",
            "StateDirectory=metricsd",
        );
        full::fill(&place.state);
        let report = place.examine();
        report.has("FAIL", "state_room", "0 bytes are free", "df -h");
        assert_eq!(report.found().len(), 2, "{report:#?}");
        place.daemon = None;
    }

    place.state = disk;
    place.serve();
    let mut session = place.session(&place.shards);
    session.tell("add 7");
    place.daemon.take().unwrap().terminate();
    let whole = place.examine();
    whole.only("WARN", "daemon", "no daemon", "metricsd serve");
    // One byte in the middle of what was durable.
    let longest = fs::read_dir(&place.state)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap() != "reserve")
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&longest).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let at = end / 2;
    bytes[at] ^= 0xff;
    fs::write(&longest, bytes).unwrap();
    let report = place.examine();
    report.has("FAIL", "state_whole", "is damaged", "backup");
    signal(session.id(), Signal::KILL);
}

#[test]
fn a_directory_of_a_hundred_thousand_strangers_is_survived() {
    let test = "a_directory_of_a_hundred_thousand_strangers_is_survived";
    if !inside(test) {
        return;
    }
    let Some(mut place) = Place::new(test) else {
        return;
    };
    let Ok(_small) = Small::mount(&place.shards, 512 << 20, 200_000) else {
        return skip(test, "nothing can be mounted");
    };
    place.serve();
    place.daemon = None;
    for number in 0..100_000 {
        fs::write(place.shards.join(format!("counter_{number}.db")), b"x").unwrap();
    }
    let report = place.examine();
    report.has("FAIL", "shard_files", "and ", "restart");
    assert_eq!(report.code, 1);
}
