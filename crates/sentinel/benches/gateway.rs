//! What an exchange with the reference gateway takes over loopback, beside an echo between the same two ends and beside what the disk takes
//! for one record; and how soon a gateway that came back is spoken to.
//!
//! `cargo bench -p sentinel --bench gateway`. Needs a Python with pyzmq (`METRICSD_TEST_GATEWAY_PYTHON`); without one it says so. The echo is
//! a REQ of libzmq to a REP of pyzmq, with a message of the size of an order. All rows are measured in turn, one of each after the other,
//! and printed as median, 99th percentile and greatest value. Nothing is asserted: figures depend on the machine.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use program::secret::Secret;
use sentinel::clock::Clock;
use sentinel::gateway::link::{Ask, Exchange, Gateway as _, Link, LinkSettings, MessageIds};
use sentinel::gateway::protocol::{
    Amount, IdempotencyKey, Key, MessageId, Order, RequestBody, Side, Text,
};
use sentinel::stop::Stop;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const BUDGET: Duration = Duration::from_secs(5);
/// Bytes of an order, and of a record of the peer's journal.
const ORDER_BYTES: usize = 400;

const ECHO: &str = "
import zmq
socket = zmq.Context().socket(zmq.REP)
port = socket.bind_to_random_port('tcp://127.0.0.1')
print(f'listening on tcp://127.0.0.1:{port}', flush=True)
while True:
    socket.send(socket.recv())
";

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    // Without `--bench` it is run as a test: once, to see that it works.
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let (rounds, restarts) = if is_measured { (2_000, 20) } else { (2, 1) };
    let Some(python) = python() else {
        writeln!(
            std::io::stdout().lock(),
            "not measured: no Python with pyzmq (METRICSD_TEST_GATEWAY_PYTHON, target/xtask/gateway/bin/python)"
        )?;
        return Ok(());
    };
    exchanges(&python, rounds)?;
    returns(&python, restarts)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn python() -> Option<PathBuf> {
    let named = std::env::var_os("METRICSD_TEST_GATEWAY_PYTHON").map(PathBuf::from);
    let ours = root().join("target/xtask/gateway/bin/python");
    let works = |python: &PathBuf| {
        let check = Command::new(python).args(["-c", "import zmq"]).output();
        check.is_ok_and(|output| output.status.success())
    };
    named.into_iter().chain([ours]).find(works)
}

/// A process that listens; ended with this one.
struct Listener {
    child: Child,
    port: u16,
}

impl Listener {
    fn start(command: &mut Command) -> Result<Listener, Failure> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("no output of a piped child")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().rsplit(':').next().unwrap_or_default().parse()?;
        Ok(Listener { child, port })
    }

    /// The reference peer with its journal in a folder; port 0 is any.
    fn peer(python: &Path, folder: &Path, port: u16) -> Result<Listener, Failure> {
        std::fs::write(folder.join("secret"), SECRET)?;
        let port = match port {
            0 => "*".to_owned(),
            port => port.to_string(),
        };
        let mut command = Command::new(python);
        command.arg("-B").arg(root().join("ops/gateway/peer.py"));
        command.arg("--secret-file").arg(folder.join("secret"));
        command.arg("--journal").arg(folder.join("journal"));
        command.args(["--bind", &format!("tcp://127.0.0.1:{port}")]);
        Listener::start(&mut command)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn link(port: u16) -> Result<Link, Failure> {
    let settings = LinkSettings {
        host: "127.0.0.1".to_owned(),
        port,
        key: Key::new(&Secret::new(SECRET).ok_or("no secret")?)?,
        heartbeat_every: BUDGET,
        timeout: BUDGET,
    };
    Ok(Link::start(
        settings,
        Clock::system(),
        Stop::default(),
        || {},
    )?)
}

fn ask(ids: &mut MessageIds, body: RequestBody) -> Ask {
    let id = ids.fresh();
    Ask {
        idempotency_key: IdempotencyKey::new(id.as_str()).expect("each id is a key"),
        id,
        valid_until_ms: (Clock::system().now().unix * 1e3) as i64 + 5_000,
        body,
    }
}

fn order(number: usize) -> Result<RequestBody, Failure> {
    Ok(RequestBody::Order(Order {
        account: Text::name("1000001").ok_or("no name")?,
        symbol: Text::name("EURUSD").ok_or("no name")?,
        // In turn, so that no margin is used up.
        side: [Side::Buy, Side::Sell][number % 2],
        volume: Amount::parse("0.01").ok_or("no amount")?,
        worst_price: None,
        magic: 7,
    }))
}

/// One exchange as the trading path has it: from the call to its end.
fn timed(link: &mut Link, ask: Ask) -> Result<f64, Failure> {
    let begin = Instant::now();
    match link.exchange(ask, BUDGET) {
        Exchange::Answered { .. } => Ok(begin.elapsed().as_secs_f64()),
        other => Err(format!("{other:?}").into()),
    }
}

#[derive(Default)]
struct Row(Vec<f64>);

impl Row {
    /// Seconds at a part of all, from 0 to 1.
    fn at(&mut self, part: f64) -> f64 {
        self.0.sort_by(f64::total_cmp);
        let last = self.0.len() - 1;
        self.0[(last as f64 * part).round() as usize]
    }

    fn print(&mut self, name: &str, base: Option<f64>) -> Result<(), Failure> {
        let [median, high, most] = [0.5, 0.99, 1.0].map(|part| self.at(part));
        let ratio = base.map_or(String::new(), |base| {
            format!(", {:.1} times the echo's median", median / base)
        });
        writeln!(
            std::io::stdout().lock(),
            "{name}: median {:.2} ms, p99 {:.2} ms, greatest {:.2} ms, {} times{ratio}",
            median * 1e3,
            high * 1e3,
            most * 1e3,
            self.0.len()
        )?;
        Ok(())
    }
}

fn exchanges(python: &Path, rounds: usize) -> Result<(), Failure> {
    let echo = Listener::start(Command::new(python).args(["-c", ECHO]))?;
    let request = zmq::Context::new().socket(zmq::REQ)?;
    request.connect(&format!("tcp://127.0.0.1:{}", echo.port))?;
    let on_disk = tempfile::tempdir_in(root().join("target"))?;
    let mut record = File::create(on_disk.path().join("record"))?;
    // Without the disk: what is left is the socket, the two programs and their checks.
    let in_memory = tempfile::tempdir_in("/dev/shm")?;
    let peers = [
        Listener::peer(python, on_disk.path(), 0)?,
        Listener::peer(python, in_memory.path(), 0)?,
    ];
    let [mut link, mut free] = [link(peers[0].port)?, link(peers[1].port)?];
    let mut ids = MessageIds::new(['b', 'e']);
    let mut rows: [Row; 6] = Default::default();
    let mut last: Option<MessageId> = None;
    for round in 0..=rounds {
        let begin = Instant::now();
        request.send([b'x'; ORDER_BYTES].as_slice(), 0)?;
        request.recv_bytes(0)?;
        let echo = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        record.write_all(&[b'x'; ORDER_BYTES])?;
        record.sync_data()?;
        let sync = begin.elapsed().as_secs_f64();
        let heartbeat = timed(&mut link, ask(&mut ids, RequestBody::Heartbeat))?;
        let new = ask(&mut ids, order(round)?);
        let asked = last
            .replace(new.id.clone())
            .unwrap_or_else(|| new.id.clone());
        let status = timed(&mut link, ask(&mut ids, RequestBody::Status(asked)))?;
        let ordered = timed(&mut link, new)?;
        let without = timed(&mut free, ask(&mut ids, order(round)?))?;
        // The first round connects.
        if round > 0 {
            let all = [echo, heartbeat, status, ordered, without, sync];
            rows.iter_mut()
                .zip(all)
                .for_each(|(row, seconds)| row.0.push(seconds));
        }
    }
    let base = rows[0].at(0.5);
    for (row, name) in rows.iter_mut().zip([
        "echo, REQ to REP of pyzmq",
        "HEARTBEAT",
        "STATUS",
        "ORDER, journal on this disk",
        "ORDER, journal in memory",
        "one record of an order appended to this disk with fdatasync",
    ]) {
        row.print(name, (base > 0.0).then_some(base))?;
    }
    Ok(())
}

/// From a gateway that listens again to its first answer.
fn returns(python: &Path, restarts: usize) -> Result<(), Failure> {
    let folder = tempfile::tempdir_in(root().join("target"))?;
    let mut peer = Listener::peer(python, folder.path(), 0)?;
    let port = peer.port;
    let mut link = link(port)?;
    let mut ids = MessageIds::new(['b', 'e']);
    let mut row = Row::default();
    for _ in 0..restarts {
        drop(peer);
        // Away for as long as Python takes to start.
        peer = Listener::peer(python, folder.path(), port)?;
        let begin = Instant::now();
        let short = Duration::from_millis(300);
        while !matches!(
            link.exchange(ask(&mut ids, RequestBody::Account), short),
            Exchange::Answered { .. }
        ) {}
        row.0.push(begin.elapsed().as_secs_f64());
    }
    row.print("a gateway that listens again, until its first answer", None)
}
