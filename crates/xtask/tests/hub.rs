//! `cargo xtask hub` as a process: it passes where everything is as it should be, does not where one thing is not, and leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use xtask::{tools, workspace};

/// Several scrapes at fifteen seconds, an alert there and back, and a busy machine.
const LONG: Duration = Duration::from_secs(900);
const USUAL: [u16; 6] = [9111, 8000, 8060, 9093, 9100, 9090];
const PROGRAMS: [&str; 4] = ["metricsd", "shadow-session", "sentinel", "alertbridge"];

/// None when it was waited for in vain.
fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + LONG;
    while Instant::now() < deadline {
        if let Some(found) = look() {
            return Some(found);
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    None
}

/// Whether the test has to be skipped, which is said.
fn is_skipped(test: &str) -> bool {
    let missing = ["prometheus", tools::NODE_EXPORTER]
        .into_iter()
        .find(|program| tools::prometheus_program(program).is_none());
    let missing = missing.or(tools::alertmanager().is_none().then_some("alertmanager"));
    if let Some(missing) = missing {
        tools::skip(test, &format!("no {missing}"));
    }
    missing.is_some()
}

/// A running `xtask hub`, with a target directory of its own that has the tools.
struct Hub {
    folder: tempfile::TempDir,
    child: Child,
}

impl Hub {
    /// Starts the program `xtask` while all usual ports are taken, so that no two of them want the same. It may be a copy beside other programs than ours.
    fn start(xtask: &Path) -> Hub {
        static TAKEN: OnceLock<[io::Result<TcpListener>; 6]> = OnceLock::new();
        // Whoever has them already keeps them as busy.
        TAKEN.get_or_init(|| USUAL.map(|port| TcpListener::bind(("127.0.0.1", port))));
        let folder = tempfile::tempdir().unwrap();
        symlink(workspace::tool_dir(), folder.path().join("xtask")).unwrap();
        let output = fs::File::create(folder.path().join("output")).unwrap();
        let child = Command::new(xtask)
            .args(["hub", "--once", "--built"])
            .env("CARGO_TARGET_DIR", folder.path())
            .stdin(Stdio::null())
            .stderr(output.try_clone().unwrap())
            .stdout(output)
            .spawn()
            .unwrap();
        Hub { folder, child }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("output")).unwrap()
    }

    fn evidence(&self) -> PathBuf {
        self.folder.path().join("hub/evidence")
    }

    /// Waits for the end.
    fn status(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status = eventually(|| child.try_wait().unwrap());
        status.unwrap_or_else(|| panic!("it does not end: {}", self.said()))
    }

    /// Waits until it has said this, or has ended.
    fn until_it_says(&mut self, words: &str) {
        let path = self.folder.path().join("output");
        let child = &mut self.child;
        eventually(|| {
            let is_said = fs::read_to_string(&path).unwrap().contains(words);
            (is_said || child.try_wait().unwrap().is_some()).then_some(())
        });
        assert!(self.said().contains(words), "{}", self.said());
    }

    /// What it started, as far as it was told.
    fn pids(&self) -> Vec<i32> {
        let said = self.said();
        let digits =
            |rest: &str| -> String { rest.chars().take_while(char::is_ascii_digit).collect() };
        let started = said.split("== Prometheus scrapes").next().unwrap();
        let found = started.split(" pid ").skip(1);
        found.map(|rest| digits(rest).parse().unwrap()).collect()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // What it started ends with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Still a process, and not a zombie that nobody has reaped yet. Another one that got the number has another folder on its command line.
fn is_alive(pid: i32, folder: &Path) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let is_ours = String::from_utf8_lossy(&words).contains(folder.to_str().unwrap());
    // node_exporter has no folder, only a port.
    is_ours || String::from_utf8_lossy(&words).contains("node-exporter")
}

fn all_have_ended(hub: &Hub, pids: &[i32]) {
    let alive = || -> Vec<i32> {
        let pids = pids.iter().copied();
        pids.filter(|pid| is_alive(*pid, hub.folder.path()))
            .collect()
    };
    let ended = eventually(|| alive().is_empty().then_some(()));
    assert!(ended.is_some(), "{:?} live: {}", alive(), hub.said());
}

/// A copy of `xtask` beside our programs, with a script in place of metricsd's verifications.
fn beside(folder: &Path, verify: Option<&str>) -> PathBuf {
    let own = Path::new(env!("CARGO_BIN_EXE_xtask"));
    for program in PROGRAMS {
        let from = own.with_file_name(program);
        symlink(from, folder.join(program)).unwrap();
    }
    if let Some(verify) = verify {
        let metricsd = folder.join("metricsd");
        fs::remove_file(&metricsd).unwrap();
        let real = own.with_file_name("metricsd");
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" != verify ]; then exec '{}' \"$@\"; fi\n{verify}\n",
            real.display()
        );
        fs::write(&metricsd, script).unwrap();
        fs::set_permissions(&metricsd, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let copy = folder.join("xtask");
    fs::copy(own, &copy).unwrap();
    copy
}

#[test]
fn all_targets_come_up_and_all_verifications_pass_on_other_ports_than_the_usual() {
    if is_skipped("all_targets_come_up_and_all_verifications_pass_on_other_ports_than_the_usual") {
        return;
    }
    let mut hub = Hub::start(Path::new(env!("CARGO_BIN_EXE_xtask")));
    let status = hub.status();
    let said = hub.said();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("checked: 6 targets, all up"), "{said}");
    assert_eq!(said.matches("   RESULT=PASS\n").count(), 3, "{said}");
    assert!(!said.contains("FAIL|"), "{said}");
    for port in USUAL {
        assert!(
            said.contains(&format!("port {port} is taken, using ")),
            "{said}"
        );
        assert!(
            !said.contains(&format!("127.0.0.1:{port}")),
            "{port}: {said}"
        );
    }
    for name in ["mode-b-", "inf-", "hub-"] {
        let reports = fs::read_dir(hub.evidence()).unwrap().flatten();
        let mine: Vec<_> = reports
            .filter(|entry| entry.file_name().to_str().unwrap().starts_with(name))
            .collect();
        assert_eq!(mine.len(), 1, "{name}: {said}");
        assert!(mine[0].path().join("report.md").is_file(), "{name}: {said}");
    }
    assert!(said.contains("firing now    Watchdog\n"), "{said}");
    let pids = hub.pids();
    assert_eq!(pids.len(), 8, "{said}");
    all_have_ended(&hub, &pids);
}

#[test]
fn a_verification_that_does_not_pass_is_named_and_the_next_one_is_made() {
    if is_skipped("a_verification_that_does_not_pass_is_named_and_the_next_one_is_made") {
        return;
    }
    let programs = tempfile::tempdir().unwrap();
    let verify = "case \"$2\" in mode-b) exit 0;; inf) echo 'FAIL|health|not true'; exit 1;; *) kill -9 $$;; esac";
    let mut hub = Hub::start(&beside(programs.path(), Some(verify)));
    let status = hub.status();
    let said = hub.said();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("   FAIL|health|not true\n"), "{said}");
    let last = said.lines().last().unwrap();
    assert!(
        last.starts_with(
            "xtask: 2 of 3 verifications did not pass (inf, hub), the evidence is in "
        ),
        "{said}"
    );
    all_have_ended(&hub, &hub.pids());
}

#[test]
fn a_signal_to_the_hub_ends_everything_that_it_started() {
    if is_skipped("a_signal_to_the_hub_ends_everything_that_it_started") {
        return;
    }
    for (signal, code) in [
        (Signal::INT, Some(1)),
        (Signal::TERM, Some(1)),
        (Signal::KILL, None),
    ] {
        let mut hub = Hub::start(Path::new(env!("CARGO_BIN_EXE_xtask")));
        hub.until_it_says("prometheus: pid ");
        let pids = hub.pids();
        assert_eq!(pids.len(), 8, "{}", hub.said());
        hub.signal(signal);
        assert_eq!(hub.status().code(), code, "{signal:?}: {}", hub.said());
        let is_said = hub.said().ends_with("xtask: interrupted\n");
        assert_eq!(is_said, code.is_some(), "{signal:?}: {}", hub.said());
        all_have_ended(&hub, &pids);
    }
}

#[test]
fn a_program_that_ends_is_the_end_of_the_hub_which_says_so() {
    if is_skipped("a_program_that_ends_is_the_end_of_the_hub_which_says_so") {
        return;
    }
    let mut hub = Hub::start(Path::new(env!("CARGO_BIN_EXE_xtask")));
    hub.until_it_says("prometheus: pid ");
    let said = hub.said();
    let line = said.split("alertbridge: pid ").nth(1).unwrap();
    let pid: i32 = line.split(' ').next().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    assert_eq!(hub.status().code(), Some(1), "{}", hub.said());
    let said = hub.said();
    assert!(
        said.contains("xtask: alertbridge ended with signal: 9"),
        "{said}"
    );
    all_have_ended(&hub, &hub.pids());
}

#[test]
fn what_is_missing_is_said_in_one_sentence_and_nothing_is_started() {
    let (alone, complete, empty) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let without_programs = alone.path().join("xtask");
    fs::copy(env!("CARGO_BIN_EXE_xtask"), &without_programs).unwrap();
    let without_tools = beside(complete.path(), None);
    for (xtask, words) in [
        (without_programs, "xtask: metricsd is not built beside "),
        (without_tools, "xtask: Prometheus with Alertmanager: "),
    ] {
        // No tools have been unpacked, there are none on the path, and nothing that could get them.
        let output = Command::new(&xtask)
            .args(["hub", "--once", "--built"])
            .env("CARGO_TARGET_DIR", empty.path())
            .env("PATH", empty.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with(words), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(output.stdout.is_empty(), "{words}");
    }
}
