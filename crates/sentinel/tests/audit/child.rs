//! This test binary again as a process that writes an audit, and is ended or starved.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sentinel::audit::Audit;

use super::made;

/// Set in the child only: the directory that it writes to.
const DIRECTORY: &str = "SENTINEL_TEST_AUDIT";
/// Set in the child only: the first decision.
const FROM: &str = "SENTINEL_TEST_FROM";
/// Behind what the test harness prints.
pub(crate) const READY: &str = "ready";
/// What was acknowledged: a decision and an outcome.
pub(crate) const ACKNOWLEDGED: &str = "acknowledged";
/// After which a writer ends, so that whoever waits for it does not wait for ever.
const DEADLINE: Duration = Duration::from_secs(120);
/// Begins the sentence of a failure.
pub(crate) const FAILED: &str = "failed: ";

/// A child that writes from this decision on, after `before` in a shell.
pub(crate) fn command(before: &str, directory: &Path, from: i64) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{before} exec \"$@\""), "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child::writer", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(FROM, from.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

#[test]
#[ignore = "a process of other tests"]
fn writer() {
    std::thread::spawn(|| {
        std::thread::sleep(DEADLINE);
        std::process::exit(3);
    });
    let directory: Option<OsString> = std::env::var_os(DIRECTORY);
    let directory = PathBuf::from(directory.expect("run by other tests"));
    let from: i64 = std::env::var(FROM).unwrap().parse().unwrap();
    let say = |text: &str| {
        let mut out = std::io::stdout().lock();
        out.write_all(format!("\n{text}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    };
    let mut audit = Audit::open(&directory, &made::start()).unwrap();
    say(READY);
    let mut failures = 0;
    for index in from..from + 100_000 {
        let written = made::decide_and_write(&mut audit, index)
            .and_then(|()| made::write_outcome(&mut audit, index));
        match written {
            Ok(()) => say(ACKNOWLEDGED),
            Err(error) => {
                say(&format!("{FAILED}{} {error}", error.is_full()));
                failures += 1;
            }
        }
        if failures == 2 {
            return;
        }
    }
}
