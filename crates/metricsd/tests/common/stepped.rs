//! A daemon in a process of its own that does something to itself at a named step of retirement: this test program again, as its test
//! `stepped_child`, with the daemon started through the library.
//!
//! Its log goes to a file, so that a test that fails can show the logs of every life.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses its own part"
)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};

use clap::Parser;
use metricsd::cli::Cli;
use metricsd::retire::Step;
use metricsd::serve::Running;
use metricsd::settings::ServeSettings;

use super::common::{DEADLINE, Response};

/// The daemon's arguments, one a line; set in the child only.
const ARGUMENTS_VARIABLE: &str = "METRICSD_TEST_STEPPED_ARGUMENTS";
/// Step, how many times it is passed, and what is done then.
const ORDER_VARIABLE: &str = "METRICSD_TEST_STEPPED_ORDER";
/// Begins the line that says where it serves.
const SERVING: &str = "serving ";

/// What the daemon does at a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// `kill -9` of itself.
    Die,
    /// Fills the file system of a directory.
    Fill(PathBuf),
}

/// Do this when that step is reached for the `time`th time, 1 being the first.
#[derive(Debug, Clone)]
pub struct Order {
    pub step: Step,
    pub time: u32,
    pub deed: Deed,
}

/// In the child: serves until standard input ends. In any other process: nothing.
pub fn serve_as_child() {
    let Ok(arguments) = std::env::var(ARGUMENTS_VARIABLE) else {
        return;
    };
    metricsd_shard::ignore_sigio().expect("a signal that can be ignored");
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    let words = ["metricsd"].into_iter().chain(arguments.lines());
    let settings =
        ServeSettings::resolve(&Cli::parse_from(words).serve, &|_| None).expect("good flags");
    let started = match std::env::var(ORDER_VARIABLE) {
        Ok(order) => Running::start_watched(settings, hook(&order)),
        Err(_) => Running::start(settings),
    };
    let running = started.unwrap_or_else(|err| panic!("cannot start: {err}"));
    let address = running.addresses()[0];
    let mut output = std::io::stdout().lock();
    writeln!(output, "\n{SERVING}{address}").expect("the parent reads");
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()).expect("a pipe");
    running.stop();
}

fn hook(order: &str) -> Arc<dyn Fn(Step) + Send + Sync> {
    let mut words = order.splitn(3, ' ');
    let mut word = || words.next().expect("step, time, deed").to_owned();
    let (step, time, deed) = (word(), word(), word());
    let left = AtomicU32::new(time.parse().expect("a number"));
    Arc::new(move |at| {
        if at.as_str() != step || left.fetch_sub(1, Ordering::Relaxed) != 1 {
            return;
        }
        match deed.strip_prefix("fill ") {
            Some(directory) => super::full::fill(Path::new(directory)),
            None => super::common::signal(std::process::id(), rustix::process::Signal::KILL),
        }
    })
}

/// The daemon, as its parent sees it; killed when dropped.
#[derive(Debug)]
pub struct Stepped {
    child: Child,
    addresses: Receiver<SocketAddr>,
    address: Option<SocketAddr>,
    log: PathBuf,
}

impl Stepped {
    /// Starts it and does not wait.
    pub fn spawn(
        directory: &Path,
        state: &Path,
        more: &[&str],
        order: Option<&Order>,
        log: &Path,
    ) -> Stepped {
        let mut arguments = [
            "--multiproc-dir",
            directory.to_str().expect("a temporary path in UTF-8"),
            "--state-dir",
            state.to_str().expect("a temporary path in UTF-8"),
            "--web.listen-address",
            "127.0.0.1:0",
        ]
        .to_vec();
        arguments.extend(more);
        let log_file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("a writable log");
        let mut command =
            Command::new(std::env::current_exe().expect("a running program has a path"));
        command
            .args([
                "stepped_child",
                "--exact",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(ARGUMENTS_VARIABLE, arguments.join("\n"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file);
        if let Some(Order { step, time, deed }) = order {
            let deed = match deed {
                Deed::Die => "die".to_owned(),
                Deed::Fill(directory) => format!("fill {}", directory.display()),
            };
            command.env(ORDER_VARIABLE, format!("{} {time} {deed}", step.as_str()));
        }
        let mut child = command.spawn().expect("this program starts again");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, addresses) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix(SERVING) {
                    let _ = sender.send(address.parse().expect("an address"));
                }
            }
        });
        Stepped {
            child,
            addresses,
            address: None,
            log: log.to_owned(),
        }
    }

    /// Starts it and waits until it serves.
    pub fn start(
        directory: &Path,
        state: &Path,
        more: &[&str],
        order: Option<&Order>,
        log: &Path,
    ) -> Stepped {
        let mut daemon = Stepped::spawn(directory, state, more, order, log);
        assert!(daemon.address().is_some(), "no daemon:\n{}", daemon.log());
        daemon
    }

    /// Waits until it serves; none when it ended before.
    pub fn address(&mut self) -> Option<SocketAddr> {
        if self.address.is_none() {
            self.address = match self.addresses.recv_timeout(DEADLINE) {
                Ok(address) => Some(address),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    panic!("neither serves nor ends:\n{}", self.log())
                }
            };
        }
        self.address
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("a child that was started")
            .is_some()
    }

    /// Whether it has ended by this signal.
    pub fn died_by_signal(&mut self, signal: i32) -> bool {
        let status = self.child.try_wait().expect("a child that was started");
        status.is_some_and(|status| status.signal() == Some(signal))
    }

    /// The body of `/metrics`.
    pub fn scrape(&mut self) -> String {
        let response = self.get("/metrics");
        assert_eq!(response.status, 200, "{response:?}");
        response.body
    }

    pub fn get(&mut self, path: &str) -> Response {
        let address = self.address().expect("a daemon that serves");
        try_get(address, path).unwrap_or_else(|err| panic!("{path}: {err}:\n{}", self.log()))
    }

    /// The log of this life and those before it.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `kill -9`; it may have ended before.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("a child that was started");
    }

    /// Has it stop as SIGTERM would.
    pub fn stop(mut self) {
        drop(self.child.stdin.take());
        let status = self.child.wait().expect("a child that was started");
        assert!(status.success(), "{status}:\n{}", self.log());
    }
}

impl Drop for Stepped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request; an error when the daemon dies before it has answered in full.
pub fn try_get(address: SocketAddr, path: &str) -> Result<Response, String> {
    let words = |err: std::io::Error| err.to_string();
    let mut stream = TcpStream::connect(address).map_err(words)?;
    stream.set_read_timeout(Some(DEADLINE)).map_err(words)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    )
    .map_err(words)?;
    let mut raw = String::new();
    stream.read_to_string(&mut raw).map_err(words)?;
    let (head, body) = raw
        .split_once("\r\n\r\n")
        .ok_or("an answer without an end")?;
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok());
    let response = Response {
        status: status.ok_or("an answer without a status")?,
        head: head.to_owned(),
        body: body.to_owned(),
    };
    match response.header("content-length") {
        Some(length) if length == body.len().to_string() => Ok(response),
        length => Err(format!("{} bytes of {length:?}", body.len())),
    }
}
