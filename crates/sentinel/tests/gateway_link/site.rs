//! What the tests start: the reference peer as a process, a link, and the messages that are sent over it.

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use program::secret::Secret;
use rustix::process::{Pid, Signal, kill_process};
use sentinel::clock::Clock;
use sentinel::gateway::link::{Ask, Exchange, Gateway as _, Link, LinkSettings, MessageIds};
use sentinel::gateway::protocol::{
    Amount, IdempotencyKey, Key, Order, Reply, ReplyBody, RequestBody, Side, Text,
};
use sentinel::stop::Stop;
use tempfile::TempDir;

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// More than any exchange with somebody who answers takes.
pub(crate) const LONG: Duration = Duration::from_secs(20);
/// What an exchange that cannot be answered costs a test.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The interpreter with pyzmq; without one the test is reported as skipped.
pub(crate) fn python(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("METRICSD_TEST_GATEWAY_PYTHON").map(PathBuf::from);
    let ours = root().join("target/xtask/gateway/bin/python");
    let works = |python: &PathBuf| {
        let check = Command::new(python).args(["-c", "import zmq"]).output();
        check.is_ok_and(|output| output.status.success())
    };
    let found = named.into_iter().chain([ours]).find(works);
    if found.is_none() {
        let why =
            "no Python with pyzmq (METRICSD_TEST_GATEWAY_PYTHON, target/xtask/gateway/bin/python)";
        skip(test, why);
    }
    found
}

/// Says that a test is skipped, and leaves a line for the closing counts.
pub(crate) fn skip(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
    if let Some(path) = std::env::var_os("METRICSD_TEST_SKIPS") {
        let file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path);
        let _ = file.and_then(|mut file| writeln!(file, "{test}: {why}"));
    }
}

/// Waits until something is there.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited for {what} in vain");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A port where nobody listens.
pub(crate) fn free_port() -> u16 {
    stand_in::free_port().unwrap()
}

/// A process that is ended with the test.
pub(crate) struct Process(Child);

impl Process {
    /// Starts it and waits for its first line.
    pub(crate) fn start(command: &mut Command) -> (Process, String, impl BufRead + use<>) {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        (Process(child), line, stdout)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Ends it with SIGKILL, frozen or not.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The reference peer, its journal and its port, which stay when it is killed.
pub(crate) struct Site {
    python: PathBuf,
    folder: TempDir,
    pub(crate) host: &'static str,
    pub(crate) port: u16,
    /// More options of the peer.
    pub(crate) options: Vec<String>,
    pub(crate) peer: Option<Process>,
}

impl Site {
    /// One that runs; none where there is no Python for it.
    pub(crate) fn start(test: &str) -> Option<Site> {
        let mut site = Site::absent(test, "127.0.0.1", 0)?;
        site.run();
        Some(site)
    }

    /// One that does not run yet.
    pub(crate) fn absent(test: &str, host: &'static str, port: u16) -> Option<Site> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        Some(Site {
            python: python(test)?,
            folder,
            host,
            port,
            options: Vec::new(),
            peer: None,
        })
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.python);
        command.arg("-B").arg(root().join("ops/gateway/peer.py"));
        command
            .arg("--journal")
            .arg(self.folder.path().join("journal"));
        command
            .arg("--secret-file")
            .arg(self.folder.path().join("secret"));
        command
    }

    /// Starts it, on the port of the last time.
    pub(crate) fn run(&mut self) {
        let port = match self.port {
            0 => "*".to_owned(),
            port => port.to_string(),
        };
        let mut command = self.command();
        command.args(["--bind", &format!("tcp://{}:{port}", self.host)]);
        command.args(&self.options);
        let (peer, line, _) = Process::start(&mut command);
        self.port = line.trim().rsplit(':').next().unwrap().parse().unwrap();
        self.peer = Some(peer);
    }

    pub(crate) fn kill(&mut self) {
        self.peer.take().unwrap().kill();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.peer.as_ref().unwrap().signal(signal);
    }

    /// Ids of what was executed, and of every order that has a verdict.
    pub(crate) fn ledger(&self) -> (Vec<String>, Vec<String>) {
        let output = self.command().args(["--book", "-"]).output().unwrap();
        let ledger: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let ids = |list: &str, field: &str| {
            let list = ledger[list].as_array().unwrap();
            let id = |entry: &serde_json::Value| entry[field].as_str().unwrap().to_owned();
            list.iter().map(id).collect()
        };
        (ids("fills", "order_id"), ids("orders", "id"))
    }

    pub(crate) fn link(&self) -> Link {
        link(self.host, self.port, SECRET)
    }
}

/// A link whose heartbeats come ten times a second.
pub(crate) fn link(host: &str, port: u16, secret: &str) -> Link {
    let settings = settings(host, port, secret);
    Link::start(settings, Clock::system(), Stop::default(), || {}).unwrap()
}

pub(crate) fn settings(host: &str, port: u16, secret: &str) -> LinkSettings {
    LinkSettings {
        host: host.to_owned(),
        port,
        key: key(secret),
        heartbeat_every: Duration::from_millis(100),
        timeout: Duration::from_millis(500),
    }
}

pub(crate) fn key(secret: &str) -> Key {
    Key::new(&Secret::new(secret).unwrap()).unwrap()
}

pub(crate) fn now_ms() -> i64 {
    (Clock::system().now().unix * 1e3) as i64
}

/// A message that is valid for so long.
pub(crate) fn ask(ids: &mut MessageIds, body: RequestBody, valid_for: Duration) -> Ask {
    let id = ids.fresh();
    Ask {
        idempotency_key: IdempotencyKey::new(id.as_str()).unwrap(),
        id,
        valid_until_ms: now_ms() + i64::try_from(valid_for.as_millis()).unwrap(),
        body,
    }
}

/// A message that is valid for a long time.
pub(crate) fn question(ids: &mut MessageIds, body: RequestBody) -> Ask {
    ask(ids, body, LONG)
}

pub(crate) fn order() -> RequestBody {
    RequestBody::Order(Order {
        account: Text::name("1000001").unwrap(),
        symbol: Text::name("EURUSD").unwrap(),
        side: Side::Buy,
        volume: Amount::parse("0.10").unwrap(),
        worst_price: None,
        magic: 7,
    })
}

/// Asks until somebody answers; each time with a message of its own.
pub(crate) fn answer(link: &mut Link, ids: &mut MessageIds, body: &RequestBody) -> ReplyBody {
    eventually("an answer", || {
        match link.exchange(question(ids, body.clone()), LONG) {
            Exchange::Answered { reply, .. } => Some(reply.body),
            Exchange::NotSent(_) => None,
            other => panic!("{other:?}"),
        }
    })
}

pub(crate) fn answered(exchange: Exchange) -> Reply {
    match exchange {
        Exchange::Answered { reply, .. } => *reply,
        other => panic!("{other:?}"),
    }
}

/// Waits until the gateway was heard, by a process that was not heard before.
pub(crate) fn heard(link: &Link, not: Option<i64>) -> i64 {
    eventually("a heartbeat", || {
        let seen = link.state().seen?;
        (Some(seen.heartbeat.started_at) != not).then_some(seen.heartbeat.started_at)
    })
}
