//! Processes that are not as others: in namespaces of their own, of another user, or writing in ways that our writer does not.
//!
//! Invariant: where the system does not allow one, the test says so and the skip is counted; each is killed when dropped.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses its own part"
)]

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A user without any privilege.
pub const NOBODY: u32 = 65534;

/// Holds the file `$1` open for writing, without a mapping. Says its process ID when it does.
pub const DESCRIPTOR_WRITER: &str = r#"exec 3<>"$1"; echo "ready $$"; read -r line"#;

/// The same with a child that has inherited the descriptor. Says the child's process ID.
pub const FORKING_WRITER: &str =
    r#"exec 3<>"$1"; sleep 60 </dev/null >/dev/null 2>&1 & echo "ready $!"; read -r line"#;

/// Maps the file for writing and closes every descriptor of it, the one that the mapping object keeps among them.
pub const MAP_ONLY_WRITER: &str = r#"
import mmap, os, sys
path = os.path.realpath(sys.argv[1])
descriptor = os.open(path, os.O_RDWR)
mapping = mmap.mmap(descriptor, 0)
for number in os.listdir("/proc/self/fd"):
    try:
        if os.readlink("/proc/self/fd/" + number) == path:
            os.close(int(number))
    except OSError:
        pass
assert path in open("/proc/self/maps").read()
print("ready", os.getpid(), flush=True)
sys.stdin.readline()
"#;

/// Tells whoever runs the tests that this one proves nothing here.
#[allow(
    clippy::print_stderr,
    reason = "whoever runs the tests has to see what was skipped"
)]
pub fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED: {why}");
    if let Some(path) = std::env::var_os("METRICSD_TEST_SKIPS") {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .expect("the file for skips");
        writeln!(file, "{test}: {why}").expect("the file for skips");
    }
}

/// A command that runs what is added to it in new namespaces; none, after the skip was counted, where that is not allowed.
pub fn unshare(test: &str, namespaces: &[&str]) -> Option<Command> {
    let command = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--fork", "--kill-child"]);
        command.args(namespaces);
        command
    };
    match command().arg("true").output() {
        Ok(output) if output.status.success() => Some(command()),
        answer => {
            skip(
                test,
                &format!("no namespaces {namespaces:?} here: {answer:?}"),
            );
            None
        }
    }
}

/// Runs one ignored test of this program by a command that ends with it, such as [`unshare`]'s, and sees it pass.
#[track_caller]
pub fn run_test(command: &mut Command, test: &str) {
    let output = command
        .arg(std::env::current_exe().expect("a running program has a path"))
        .args([test, "--exact", "--ignored", "--nocapture"])
        .output()
        .expect("this program starts again");
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Our own writer as [`super::child::obey`] has it, started by a command that ends with it.
pub fn our_writer(mut command: Command, directory: &Path, program: &str) -> Outsider {
    command
        .arg(std::env::current_exe().expect("a running program has a path"))
        .args(["child", "--exact", "--nocapture"])
        .env("METRICSD_TEST_CHILD_DIRECTORY", directory)
        .env("METRICSD_TEST_CHILD_PROGRAM", program);
    let mut outsider = Outsider::start(&mut command);
    outsider.expect("answer ready");
    outsider
}

/// A shell or Python that runs a script on a file, ready. Also the process ID that it said.
pub fn script_writer(interpreter: &Path, script: &str, file: &Path) -> (Outsider, u32) {
    let mut command = Command::new(interpreter);
    command.args(["-c", script]);
    if interpreter.ends_with("sh") {
        command.arg("writer");
    }
    let mut outsider = Outsider::start(command.arg(file));
    let pid = outsider.expect("ready ").parse().expect("a process ID");
    (outsider, pid)
}

/// One that talks; killed when dropped.
#[derive(Debug)]
pub struct Outsider {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Outsider {
    pub fn start(command: &mut Command) -> Outsider {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Outsider {
            child,
            input,
            output,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads on to a line that begins with these words, and gives the rest of it.
    pub fn expect(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            let length = self
                .output
                .read_line(&mut line)
                .expect("the child writes text");
            assert_ne!(length, 0, "the child ended before it said {words:?}");
            if let Some(rest) = line.trim_end().strip_prefix(words) {
                return rest.to_owned();
            }
        }
    }

    /// Has our own writer do something; it is done when this returns.
    pub fn tell(&mut self, command: &str) {
        writeln!(self.input, "{command}").expect("the child reads");
        self.expect(&format!("answer {command}"));
    }

    /// `kill -9`; gone when this returns.
    pub fn kill(mut self) {
        self.child.kill().expect("a child that runs");
        self.child.wait().expect("a child that was started");
    }
}

impl Drop for Outsider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
