//! A Python writer that does what it is told; the Rust one is `common::child`.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses its own part"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// The writer, as its parent sees it; killed when dropped.
#[derive(Debug)]
pub struct PythonChild {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl PythonChild {
    /// Starts it; it has made its series when this returns.
    pub fn start(python: &Path, directory: &Path) -> PythonChild {
        let mut child = Command::new(python)
            .arg(super::common::script("obedient_writer.py"))
            .env("PROMETHEUS_MULTIPROC_DIR", directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut child = PythonChild { child, output };
        child.expect("ready");
        child
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has it do something; it is done when this returns.
    pub fn tell(&mut self, command: &str) {
        writeln!(self.child.stdin.as_mut().expect("piped"), "{command}").expect("Python reads");
        self.expect(command);
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("a child that runs");
        self.child.wait().expect("a child that was started");
    }

    fn expect(&mut self, words: &str) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("Python answers");
        assert_eq!(line.trim(), words);
    }
}

impl Drop for PythonChild {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
