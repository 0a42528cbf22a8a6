//! What `metricsd verify mode-b` starts: a session that ends badly or not at all fails its check and every drill, and nothing outlives
//! the verification, whatever way that ends.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{eventually, metricsd, run, signal};
use metricsd::verify::mode_b::DRILLS;
use rustix::process::Signal;

/// A place without a daemon, and a program that stands in for a session.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(script: &str) -> Place {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("shards")).unwrap();
        let place = Place { folder };
        let session = place.path("session");
        fs::write(&session, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&session, fs::Permissions::from_mode(0o755)).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn verify(&self, flags: &[&str]) -> Command {
        let (shards, state, session) = (
            self.path("shards"),
            self.path("state"),
            self.path("session"),
        );
        let mut command = metricsd(&["verify", "mode-b", "--retry-interval", "50ms"]);
        command
            .args(["--url", "http://127.0.0.1:1/metrics", "--multiproc-dir"])
            .arg(shards)
            .arg("--state-dir")
            .arg(state)
            .arg("--session-bin")
            .arg(session)
            .args(flags)
            .env("TMPDIR", self.folder.path());
        command
    }

    /// Starts a verification that waits for its session. Both process IDs' owners run when it returns.
    fn start(&self) -> (Child, u32) {
        let mut verification = self
            .verify(&["--run-session", "--session-time", "10m"])
            .stdout(fs::File::create(self.path("said")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let session = eventually("the session runs", || {
            let ended = verification.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}");
            let text = fs::read_to_string(self.path("pid")).map_err(|err| err.to_string())?;
            text.trim().parse().map_err(|_| "not yet".to_owned())
        });
        (verification, session)
    }
}

#[track_caller]
fn line<'a>(text: &'a str, begin: &str) -> &'a str {
    let found = text.lines().find(|line| line.starts_with(begin));
    found.unwrap_or_else(|| panic!("no {begin} in:\n{text}"))
}

/// A process that has ended and that nobody has reaped yet has no memory any more.
fn is_gone(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.contains("VmSize")
}

/// Says its process ID where the test looks for it, and then lives on.
fn lives_on(first: &str) -> Place {
    Place::new(&format!(
        "{first}\necho $$ > \"$TMPDIR/pid\"\nwhile :; do sleep 0.05; done"
    ))
}

#[test]
fn a_session_that_ends_badly_fails_with_its_last_words() {
    let place = Place::new("echo no such strategy >&2\nexit 3");
    let output = run(&mut place.verify(&["--run-session", "--session-time", "200ms"]));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for check in ["session_started", "session_ended"] {
        let line = line(&text, &format!("FAIL|{check}|"));
        assert!(line.contains("exit status: 3: no such strategy"), "{line}");
    }
    assert_eq!(text.lines().last(), Some("RESULT=FAIL"));
}

#[test]
fn what_others_left_is_not_what_a_session_left_that_wrote_nothing() {
    let place = Place::new("exit 0");
    let shards = place.path("shards");
    let _daemon = common::Daemon::start(&shards);
    let output = run(&mut place.verify(&["--run-session", "--session-time", "200ms"]));
    let text = String::from_utf8(output.stdout).unwrap();
    line(&text, "FAIL|session_started|it ended with exit status: 0");
    line(&text, "PASS|session_ended|");
    line(
        &text,
        "SKIP|still_there_after_end|the session was not seen to write",
    );
    assert_eq!(output.status.code(), Some(1), "{text}");
}

#[test]
fn a_session_that_is_no_program_is_never_started() {
    let place = Place::new("");
    let session = place.path("session");
    fs::set_permissions(&session, fs::Permissions::from_mode(0o644)).unwrap();
    let output = run(&mut place.verify(&["--run-session", "--session-time", "200ms"]));
    let text = String::from_utf8(output.stdout).unwrap();
    let line = line(&text, "FAIL|session_started|");
    let wanted = format!("{}: cannot start: Permission denied", session.display());
    assert!(line.contains(&wanted), "{line}");
    assert!(!text.contains("session_ended"), "{text}");
}

#[test]
fn every_drill_fails_by_a_session_that_ends_at_once() {
    let place = Place::new("echo broken >&2\nexit 4");
    let output = run(&mut place.verify(&["--drill=only"]));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for drill in DRILLS {
        // Without namespaces that one is not made at all.
        if drill == "drill_full_disk" && text.contains(&format!("SKIP|{drill}|")) {
            continue;
        }
        let line = line(&text, &format!("FAIL|{drill}|"));
        assert!(
            line.contains("exit status: 4") && line.contains("broken"),
            "{line}"
        );
    }
    assert!(line(&text, "FAIL|verdict|").contains("0 passed"), "{text}");
    assert_eq!(left_in(place.folder.path()), Vec::<String>::new());
}

#[test]
fn a_session_that_ignores_sigterm_does_not_outlive_an_interrupted_verification() {
    let place = lives_on("trap '' TERM");
    let (mut verification, session) = place.start();
    signal(verification.id(), Signal::TERM);
    let status = verification.wait().unwrap();
    assert!(is_gone(session));
    assert_eq!(status.code(), Some(1));
    let text = fs::read_to_string(place.path("said")).unwrap();
    assert!(
        line(&text, "FAIL|verdict|").contains("interrupted"),
        "{text}"
    );
    assert_eq!(left_in(place.folder.path()), Vec::<String>::new());
}

#[test]
fn a_session_ends_with_a_verification_that_is_killed() {
    let place = lives_on("");
    let (mut verification, session) = place.start();
    assert!(!is_gone(session));
    verification.kill().unwrap();
    verification.wait().unwrap();
    eventually("the session is gone", || match is_gone(session) {
        true => Ok(()),
        false => Err(format!("{session} runs")),
    });
}

#[test]
fn a_guarded_program_is_not_started_for_somebody_who_is_gone() {
    let place = Place::new("");
    let mark = place.path("mark");
    let output = run(metricsd(&["guarded-by", "1", "touch"]).arg(&mark));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("touch: not started"), "{said}");
    assert!(!mark.exists());
    let output = run(&mut metricsd(&["guarded-by", "1"]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("fewer words"), "{said}");
}

/// Scratch directories that were not removed.
fn left_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("metricsd-"))
        .collect()
}
