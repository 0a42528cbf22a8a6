//! The peer in `ops/gateway`, driven in one long-lived interpreter. It is ended by its own handle.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::messages::SECRET;
use crate::process::DEADLINE;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// An interpreter that works, with `module`; without one the test is reported as skipped.
fn interpreter(test: &str, module: &str) -> Option<PathBuf> {
    let named = std::env::var_os("METRICSD_TEST_GATEWAY_PYTHON").map(PathBuf::from);
    let ours = root().join("target/xtask/gateway/bin/python");
    let works = |python: &PathBuf| {
        let check = Command::new(python)
            .args(["-c", &format!("import {module}")])
            .output();
        check.is_ok_and(|output| output.status.success())
    };
    let found = named
        .into_iter()
        .chain([ours, PathBuf::from("python3")])
        .find(works);
    if found.is_none() {
        let why =
            format!("no Python with the module {module} (METRICSD_TEST_GATEWAY_PYTHON, python3)");
        let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
        if let Some(path) = std::env::var_os("METRICSD_TEST_SKIPS") {
            let file = std::fs::File::options()
                .append(true)
                .create(true)
                .open(path);
            let _ = file.and_then(|mut file| writeln!(file, "{test}: {why}"));
        }
    }
    found
}

/// A folder in memory where there is one: thousands of syncs are not what these tests are about.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

pub(crate) struct Python {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Python {
    /// None, and a word about it, if there is no Python.
    pub(crate) fn start(test: &str) -> Option<Python> {
        let python = interpreter(test, "json")?;
        let mut child = Command::new(python)
            .arg("-B")
            .arg(root().join("crates/sentinel/tests/gateway_peer/drive.py"))
            .arg(root().join("ops/gateway"))
            .arg(SECRET)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Some(Python {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    fn ask(&mut self, command: &Value) -> Result<Value, String> {
        writeln!(self.input, "{command}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let answer: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("the driver ended at {command}"));
        match answer["refused"].as_str() {
            Some(why) => Err(why.to_owned()),
            None => Ok(answer["answer"].clone()),
        }
    }

    /// Goes on with a journal; as [`crate::rust::journal`] it waits for a lock that was just let go of.
    pub(crate) fn open(&mut self, journal: &Path, book: &Value, now: i64) {
        let deadline = Instant::now() + DEADLINE;
        while let Err(why) = self.try_open(journal, book, now) {
            assert!(why.contains("in use") && Instant::now() < deadline, "{why}");
        }
    }

    pub(crate) fn try_open(
        &mut self,
        journal: &Path,
        book: &Value,
        now: i64,
    ) -> Result<(), String> {
        self.ask(&json!({"do": "start", "journal": journal, "book": book, "now": now}))
            .map(|_| ())
    }

    pub(crate) fn stop(&mut self) {
        self.ask(&json!({"do": "stop"})).unwrap();
    }

    pub(crate) fn release(&mut self, journal: &Path, now: i64) {
        self.ask(&json!({"do": "release", "journal": journal, "now": now}))
            .unwrap();
    }

    pub(crate) fn report(&mut self, now: i64) -> Value {
        self.ask(&json!({"do": "report", "now": now})).unwrap()
    }

    /// The answers to frames, each at its time.
    pub(crate) fn handle(&mut self, frames: &[(i64, Vec<u8>)]) -> Vec<Option<Vec<u8>>> {
        let hex = |bytes: &[u8]| {
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        let frames: Vec<_> = frames
            .iter()
            .map(|(now, frame)| json!([now, hex(frame)]))
            .collect();
        let answers = self
            .ask(&json!({"do": "frames", "frames": frames}))
            .unwrap();
        let answers = answers.as_array().unwrap().iter();
        answers
            .map(|answer| answer.as_str().map(|text| text.as_bytes().to_vec()))
            .collect()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
