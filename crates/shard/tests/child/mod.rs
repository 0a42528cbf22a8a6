//! This test binary again as a child process: because what is tested kills, forks, starves or outlives processes, and because
//! writers live until theirs ends.
#![allow(dead_code, reason = "not every test binary uses all of it")]

use std::io::BufRead;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use metricsd_shard::Key;

/// Set in the child only: what it is to do.
pub(crate) const ROLE: &str = "METRICSD_TEST_ROLE";

/// Longer than anything here takes on a busy machine; after it a test fails instead of hanging.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// The first line of a child that the test harness did not write.
pub(crate) const READY: &str = "metricsd test child is ready";

/// Starts this test binary again as a child that runs only the ignored test `test`, in the given role.
pub(crate) fn child_command(executable: &Path, test: &str, role: &str) -> Command {
    let mut command = Command::new(executable);
    command
        .args([
            "--ignored",
            "--exact",
            test,
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Reads what the harness prints before the child's own first line.
pub(crate) fn skip_to_ready(output: &mut impl BufRead) {
    let mut line = String::new();
    while !line.ends_with(&format!("{READY}\n")) {
        line.clear();
        assert_ne!(
            output.read_line(&mut line).unwrap(),
            0,
            "the child has gone"
        );
    }
}

/// Polls until `condition` gives something.
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn key(sample: &str) -> Key {
    Key {
        family: sample.trim_end_matches("_total").to_owned(),
        sample: sample.to_owned(),
        labels: Vec::new(),
        help: "of a test".to_owned(),
    }
}

/// Kills a child that takes too long, unless `done` is set before.
pub(crate) fn kill_after_deadline(child: &Child, done: Arc<AtomicBool>) {
    let pid = rustix::process::Pid::from_child(child);
    std::thread::spawn(move || {
        let deadline = Instant::now() + DEADLINE;
        while !done.load(Ordering::Relaxed) {
            if Instant::now() > deadline {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}
