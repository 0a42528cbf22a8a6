//! Writers that are killed in the middle of an append, or whose disk is full.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Child;

use serde_json::Value;

use super::child::{ACKNOWLEDGED, FAILED, READY, command};
use super::program::replay;

const ROUNDS: i64 = 25;

/// Ended when the test is, however it is.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn report(directory: &Path) -> (i32, Value) {
    let output = replay(&[directory.to_str().unwrap(), "--json"]);
    let report = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code().unwrap(), report)
}

#[test]
fn whatever_was_acknowledged_before_a_kill_is_there_and_is_reproduced() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("state/audit");
    let (mut acknowledged, mut from) = (0_u64, 0);
    for round in 0..ROUNDS {
        let mut child = Ended(command("", &directory, from).spawn().unwrap());
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        while lines.next().unwrap().unwrap() != READY {}
        // A different number each round, and then at once: in the middle of the next line.
        let wanted = 1 + (round * 7) % 11;
        for _ in 0..wanted {
            while lines.next().unwrap().unwrap() != ACKNOWLEDGED {}
            acknowledged += 1;
        }
        if round % 5 == 0 {
            // While it is written to.
            let (status, report) = report(&directory);
            assert_eq!(status, 0, "{report}");
        }
        child.0.kill().unwrap();
        let rest = lines.map_while(Result::ok);
        acknowledged += rest.filter(|line| line == ACKNOWLEDGED).count() as u64;
        child.0.wait().unwrap();
        let (status, report) = report(&directory);
        assert_eq!(status, 0, "round {round}: {report}");
        let decisions = report["decisions"].as_u64().unwrap();
        // Each round may leave one that was written and not acknowledged any more.
        let expected = acknowledged..=acknowledged + round as u64 + 1;
        assert!(expected.contains(&decisions), "{decisions}, {expected:?}");
        assert_eq!(report["reproduced"], report["decisions"]);
        assert!(report["outcomes"].as_u64().unwrap() >= acknowledged);
        from += 1_000;
    }
}

#[test]
fn without_space_a_decision_is_an_error_that_says_so_and_what_was_acknowledged_is_there() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("audit");
    // No file may be longer than 64 blocks of 512 bytes: what a full disk is to a writer.
    let starved = command("trap '' XFSZ; ulimit -f 64;", &directory, 0);
    let mut child = Ended({ starved }.spawn().unwrap());
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let lines: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(child.0.wait().unwrap().success(), "{lines:?}");
    let failures: Vec<_> = lines
        .iter()
        .filter_map(|line| line.strip_prefix(FAILED))
        .collect();
    assert_eq!(failures.len(), 2, "{lines:?}");
    for failure in failures {
        // Full, and in one sentence which file, what was done to it and why it failed.
        let sentence = failure.strip_prefix("true audit-").unwrap();
        assert!(
            sentence.ends_with(".jsonl: cannot append to the audit: File too large (os error 27)"),
            "{sentence}"
        );
    }
    let acknowledged = lines.iter().filter(|line| *line == ACKNOWLEDGED).count();
    assert!(acknowledged >= 4, "{acknowledged}");
    let (status, report) = report(&directory);
    assert_eq!(status, 0, "{report}");
    assert!(report["reproduced"].as_u64().unwrap() >= acknowledged as u64);
    assert_eq!(report["findings"], Value::Array(Vec::new()));
}

#[test]
fn a_second_writer_is_refused_and_a_reader_is_not() {
    let temporary = tempfile::tempdir().unwrap();
    let start = super::made::start();
    let audit = sentinel::audit::Audit::open(temporary.path(), &start).unwrap();
    let error = sentinel::audit::Audit::open(temporary.path(), &start).unwrap_err();
    let path = temporary.path().display();
    assert_eq!(
        error.to_string(),
        format!("{path}: the audit belongs to another running process, one process may have it")
    );
    assert_eq!(report(temporary.path()).0, 0);
    drop(audit);
    sentinel::audit::Audit::open(temporary.path(), &start).unwrap();
}
