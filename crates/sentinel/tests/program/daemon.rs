//! A running sentinel and looks at it. Invariant: it is ended by its own handle, also when the test fails.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sentinel::features::NAMES;
use serde_json::Value;
use stand_in::{Clock, Eodhd, Mlflow, Predict, Replay};
use tempfile::TempDir;

/// Far beyond anything that works; only a hang reaches it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What must never be seen.
pub(crate) const TOKEN: &str = "demo-5f3c9a-token";

pub(crate) fn eodhd() -> Eodhd {
    Eodhd::start(Replay::default()).unwrap()
}

/// A feed whose time stands still, so that no bar closes while a test looks. The forming bar is left out: the daemon's own clock goes on, and
/// would take it for closed in the next minute.
pub(crate) fn frozen_eodhd() -> Eodhd {
    feed_at(Clock::system().0())
}

/// A feed whose time stands still at this Unix time.
pub(crate) fn feed_at(unix: i64) -> Eodhd {
    Eodhd::start(Replay {
        clock: Clock(Arc::new(move || unix)),
        forming: false,
        ..Replay::default()
    })
    .unwrap()
}

pub(crate) fn now() -> i64 {
    Clock::system().0()
}

/// A model that is sure to buy.
pub(crate) fn mlflow() -> Mlflow {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    Mlflow::start(listen, &NAMES, Predict::always([0.05, 0.05, 0.9])).unwrap()
}

pub(crate) fn free_port() -> u16 {
    stand_in::free_port().unwrap()
}

/// A sentinel on one-minute bars of a market that is always open, with a cycle each second.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) port: u16,
    pub(crate) folder: TempDir,
}

pub(crate) struct Start<'a> {
    pub(crate) eodhd: &'a str,
    pub(crate) hub: Option<SocketAddr>,
    pub(crate) extra_config: &'a str,
    pub(crate) variables: &'a [(&'a str, &'a str)],
    pub(crate) arguments: &'a [&'a str],
    pub(crate) port: u16,
}

impl Default for Start<'_> {
    fn default() -> Self {
        Start {
            eodhd: "http://127.0.0.1:1/api",
            hub: None,
            extra_config: "",
            variables: &[],
            arguments: &[],
            port: free_port(),
        }
    }
}

impl Daemon {
    pub(crate) fn start(start: &Start<'_>) -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        let mut config = "[market]\ninterval = \"1m\"\ncalendar = \"always\"\n".to_owned();
        if !start.extra_config.starts_with("stale_after") {
            config.push_str("stale_after = \"3m\"\n");
        }
        if !start.extra_config.contains("[market]") {
            config.push_str("timeout = \"2s\"\n");
        }
        let extra = start.extra_config.replace("[market]\n", "");
        let _ = write!(config, "{extra}\n[schedule]\nevery = \"1s\"\n");
        let path = folder.path().join("sentinel.toml");
        fs::write(&path, config).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sentinel"));
        command
            .args([
                "--config.file",
                path.to_str().unwrap(),
                "--log-level",
                "trace",
            ])
            .args(["--metrics-port", &start.port.to_string()])
            .args(start.arguments)
            .env_clear()
            .env("EODHD_API_TOKEN", TOKEN)
            .env("EODHD_BASE_URL", start.eodhd)
            .envs(start.variables.iter().copied())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        match start.hub {
            Some(hub) => command.args(["--model", "hub", "--hub-port", &hub.port().to_string()]),
            None => command.args(["--model", "embedded"]),
        };
        Daemon {
            child: command.spawn().unwrap(),
            port: start.port,
            folder,
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Status and body.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    pub(crate) fn health(&self) -> Option<Value> {
        serde_json::from_str(&self.get("/health")?.1).ok()
    }

    pub(crate) fn metrics(&self) -> Option<Metrics> {
        Some(Metrics(self.get("/metrics")?.1))
    }

    /// Wait until the condition holds.
    pub(crate) fn eventually<T>(&self, what: &str, look: impl Fn(&Daemon) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "{what} did not come\nhealth: {:?}\nlog:\n{}",
                self.health(),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Metrics once so many cycles are over.
    pub(crate) fn after_cycles(&self, count: f64) -> Metrics {
        self.eventually("cycles", |daemon| {
            let metrics = daemon.metrics()?;
            (metrics.get("sentinel_trading_cycles_total")? >= count).then_some(metrics)
        })
    }

    pub(crate) fn send(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn terminate(&mut self) {
        self.send(Signal::TERM);
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it did not end\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// An orderly end, which says nothing that it must not.
    pub(crate) fn end(mut self) {
        let pages = format!("{:?} {:?}", self.get("/metrics"), self.get("/health"));
        let title = fs::read_to_string(format!("/proc/{}/cmdline", self.id())).unwrap();
        self.terminate();
        let status = self.wait();
        assert_eq!(
            (status.code(), status.signal()),
            (Some(0), None),
            "{}",
            self.log()
        );
        for seen in [pages, title, self.log()] {
            // Nor its first half: a text that is cut somewhere shows no less than that.
            let half = &TOKEN[..TOKEN.len() / 2];
            assert!(!seen.contains(half), "the token is seen:\n{seen}");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A page of metrics.
#[derive(Debug)]
pub(crate) struct Metrics(pub(crate) String);

impl Metrics {
    /// The value of a sample, spelled with its labels.
    pub(crate) fn get(&self, sample: &str) -> Option<f64> {
        let line = self.0.lines().find(|line| {
            line.strip_prefix(sample)
                .is_some_and(|rest| rest.starts_with(' '))
        })?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Whether a family has any sample, of a histogram a bucket.
    pub(crate) fn has_sample(&self, family: &str) -> bool {
        self.0.lines().any(|line| {
            let rest = line.strip_prefix(family);
            rest.is_some_and(|rest| rest.starts_with([' ', '{']) || rest.starts_with("_bucket{"))
        })
    }

    /// BUY and SELL signals together.
    pub(crate) fn signals(&self) -> f64 {
        let of = |action: &str| {
            self.get(&format!(
                "sentinel_trading_signals_total{{action=\"{action}\"}}"
            ))
            .unwrap()
        };
        of("BUY") + of("SELL")
    }
}
