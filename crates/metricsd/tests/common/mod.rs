//! What the tests share: a running daemon, plain HTTP, Python, waiting for a condition.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses its own part"
)]

pub mod child;
pub mod shards;

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a condition may take before it counts as not met.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Everything that the daemon reads from the environment.
const VARIABLES: [&str; 7] = [
    "STATE_DIRECTORY",
    "PEAKTRADE_METRICS_MULTIPROC_DIR",
    "PROMETHEUS_MULTIPROC_DIR",
    "prometheus_multiproc_dir",
    "PEAK_TRADE_METRICSD_PORT",
    "PEAKTRADE_METRICS_PORT",
    "NOTIFY_SOCKET",
];

/// Waits until `check` gives a value; panics with its last complaint after the deadline.
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match check() {
            Ok(value) => return value,
            Err(complaint) if Instant::now() > deadline => {
                panic!("{what}: not within {DEADLINE:?}: {complaint}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

thread_local! {
    /// Where the daemons of one test keep their state; gone with the test's thread.
    static STATE_HOME: tempfile::TempDir = tempfile::tempdir().expect("a temporary directory");
}

/// The program, with an environment that says nothing but where this test's state is.
pub fn metricsd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_metricsd"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    STATE_HOME.with(|home| command.env("XDG_STATE_HOME", home.path()));
    command
}

/// Runs the program to its end.
pub fn run(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    address: SocketAddr,
}

impl Daemon {
    /// Starts it on a directory and a free port.
    pub fn start(directory: &Path) -> Daemon {
        Daemon::start_with(directory, &[])
    }

    /// The same with further arguments.
    pub fn start_with(directory: &Path, arguments: &[&str]) -> Daemon {
        let directory = directory.to_str().expect("a temporary path in UTF-8");
        let mut all = vec![
            "serve",
            "--multiproc-dir",
            directory,
            "--web.listen-address",
            "127.0.0.1:0",
        ];
        all.extend(arguments);
        Daemon::spawn(&mut metricsd(&all))
    }

    /// Starts a command that serves.
    pub fn spawn(command: &mut Command) -> Daemon {
        let mut child = command
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::new(Mutex::new(String::new()));
        let for_reader = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = for_reader.lock().expect("no reader panics");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let address = eventually("the daemon serves", || {
            let text = log.lock().expect("no reader panics").clone();
            let found = text
                .lines()
                .find_map(|line| line.split_once("serving /metrics address="))
                .map(|(_, rest)| rest.trim().to_owned());
            match found {
                Some(address) => Ok(address.parse().expect("an address in the log")),
                None => Err(format!("{:?}, log: {text}", child.try_wait())),
            }
        });
        Daemon {
            child,
            log,
            reader: Some(reader),
            address,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("no reader panics").clone()
    }

    /// The body of `/metrics`.
    pub fn scrape(&self) -> String {
        let response = self.get("/metrics");
        assert_eq!(response.status, 200, "{response:?}");
        response.body
    }

    pub fn get(&self, path: &str) -> Response {
        request(self.address, "GET", path)
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(mut self) -> ExitStatus {
        signal(self.child.id(), rustix::process::Signal::TERM);
        self.child.wait().expect("a child that was started")
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(mut self) {
        self.child.kill().expect("a child that runs");
        self.child.wait().expect("a child that was started");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid as i32).expect("a pid above 0");
    rustix::process::kill_process(pid, signal).expect("a process of ours");
}

/// An HTTP response.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// One request on a connection of its own.
pub fn request(address: SocketAddr, method: &str, path: &str) -> Response {
    let mut stream = TcpStream::connect(address).expect("the daemon listens");
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("a valid timeout");
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    )
    .expect("the daemon reads");
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).expect("the daemon answers");
    let raw = String::from_utf8(raw).expect("an answer in UTF-8");
    let (head, body) = raw.split_once("\r\n\r\n").expect("a head and a body");
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status line");
    Response {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// The value of a series by its text (`name{labels}`).
pub fn value_of(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| {
        line.strip_prefix(series)
            .is_some_and(|rest| rest.starts_with(' '))
    })?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// The value of a series that must be there.
#[track_caller]
pub fn expect_value(text: &str, series: &str) -> f64 {
    value_of(text, series).unwrap_or_else(|| panic!("no {series} in:\n{text}"))
}

/// Python with prometheus_client, or none: the skip is printed and noted then.
#[allow(
    clippy::print_stderr,
    reason = "whoever runs the tests has to see what was skipped"
)]
pub fn python(test: &str) -> Option<PathBuf> {
    let in_workspace =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/xtask/venv/bin/python");
    let named = std::env::var_os("METRICSD_TEST_PYTHON").map(PathBuf::from);
    let found = named.into_iter().chain([in_workspace]).find(|python| {
        let probe = Command::new(python)
            .args(["-c", "import prometheus_client"])
            .stderr(Stdio::null())
            .status();
        probe.is_ok_and(|status| status.success())
    });
    if found.is_none() {
        let why = "no Python with prometheus_client";
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
    found
}

/// A script of `tests/python`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/python")
        .join(name)
}
