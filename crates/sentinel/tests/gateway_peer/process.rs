//! The gateway as a process, and a client on a raw DEALER. Both are ended by their own handles.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::messages::{SECRET, read};

/// Far beyond anything that works; only a hang reaches it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

const SERVING: [&str; 6] = [
    "--secret-file",
    "secret",
    "--journal",
    "journal",
    "--bind",
    "127.0.0.1:0",
];

/// A folder with a secret and, soon, a journal.
pub(crate) struct Site(TempDir);

impl Site {
    pub(crate) fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), format!("{SECRET}\r\n")).unwrap();
        Site(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sentinel"));
        command
            .arg("paper-gateway")
            .args(arguments)
            .env_clear()
            .current_dir(self.0.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn gateway(&self, arguments: &[&str]) -> Gateway {
        Site::serving(self.command(&[&SERVING[..], arguments].concat()))
    }

    /// A gateway whose files may have so few bytes that the journal is soon full.
    pub(crate) fn gateway_on_a_small_disk(&self) -> Gateway {
        let mut command = Command::new("/bin/sh");
        // Without the signal a file that is too large is an error like that of a full disk.
        let limited = "trap '' XFSZ; ulimit -f 4; exec \"$0\" paper-gateway \"$@\"";
        command
            .args(["-c", limited, env!("CARGO_BIN_EXE_sentinel")])
            .args(SERVING)
            .env_clear()
            .current_dir(self.0.path())
            .stdin(Stdio::null());
        Site::serving(command)
    }

    fn serving(mut command: Command) -> Gateway {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let (sender, first) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(output).read_line(&mut line);
            let _ = sender.send(line);
        });
        let line = first.recv_timeout(DEADLINE).unwrap();
        let Some(endpoint) = line
            .strip_prefix("listening on ")
            .map(|rest| rest.trim().to_owned())
        else {
            let _ = child.kill();
            let mut said = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut said)
                .unwrap();
            child.wait().unwrap();
            panic!("it did not start: {said}");
        };
        Gateway { child, endpoint }
    }

    /// What the book says, also beside a running gateway.
    pub(crate) fn book(&self) -> Value {
        let output = self.run(&["--journal", "journal", "--book", "-"]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

pub(crate) struct Gateway {
    child: Child,
    pub(crate) endpoint: String,
}

impl Gateway {
    pub(crate) fn address(&self) -> &str {
        self.endpoint.strip_prefix("tcp://").unwrap()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its status and what it said, once it has ended.
    pub(crate) fn ended(&mut self) -> Option<(ExitStatus, String)> {
        let status = self.child.try_wait().unwrap()?;
        let mut said = String::new();
        let error = self.child.stderr.as_mut().unwrap();
        error.read_to_string(&mut said).unwrap();
        Some((status, said))
    }

    pub(crate) fn end(mut self, signal: rustix::process::Signal) -> ExitStatus {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)
            .unwrap();
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A socket as a client has it.
pub(crate) struct Dealer(pub(crate) zmq::Socket);

impl Dealer {
    pub(crate) fn connect(endpoint: &str, routing_id: Option<&str>) -> Dealer {
        let socket = zmq::Context::new().socket(zmq::DEALER).unwrap();
        socket.set_linger(0).unwrap();
        if let Some(routing_id) = routing_id {
            socket.set_identity(routing_id.as_bytes()).unwrap();
        }
        socket.connect(endpoint).unwrap();
        Dealer(socket)
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        self.0.send(frame, 0).unwrap();
    }

    /// The next reply, if one comes in time.
    pub(crate) fn receive_within(&self, time: Duration) -> Option<Value> {
        let ready = self.0.poll(zmq::POLLIN, time.as_millis() as i64).unwrap();
        (ready > 0).then(|| {
            let frames = self.0.recv_multipart(0).unwrap();
            assert_eq!(frames.len(), 1, "a reply is one frame");
            read(&frames[0])
        })
    }

    pub(crate) fn receive(&self) -> Value {
        self.receive_within(DEADLINE).expect("a reply comes")
    }

    pub(crate) fn ask(&self, frame: &[u8]) -> Value {
        self.send(frame);
        self.receive()
    }
}

pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

pub(crate) fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
