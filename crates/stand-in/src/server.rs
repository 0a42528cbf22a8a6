//! One HTTP/1.1 server for all stand-ins: a thread per connection, one request each, the answer or the fault that is on order.
//!
//! Invariant: a dropped server has no thread and no socket left; what hangs, hangs on a condition that the drop fulfils.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::fault::{Fault, RowFault};

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// `GET`, `POST`.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// Names and values of the query, percent signs decoded, in order.
    pub query: Vec<(String, String)>,
    /// Header names in lower case and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Recorded {
    /// The first value of that name in the query.
    pub fn query_value(&self, name: &str) -> Option<&str> {
        first(&self.query, name)
    }

    /// The first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        first(&self.headers, name)
    }
}

fn first<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut pairs = pairs.iter();
    pairs
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.as_str())
}

/// An answer that is as it should be.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
}

type Answering = dyn Fn(&Recorded, Option<RowFault>) -> Answer + Send + Sync;

struct Shared {
    answering: Box<Answering>,
    state: Mutex<State>,
    stopped: Condvar,
}

#[derive(Default)]
struct State {
    stop: bool,
    always: Option<Fault>,
    script: VecDeque<Fault>,
    scripts_on: Vec<(String, Fault)>,
    requests: Vec<Recorded>,
    connections: Vec<JoinHandle<()>>,
}

/// A running server; ended when dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Any server: the function makes the right answer (the body of a 200, JSON) to each request.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn answering(
        listen: SocketAddr,
        body: impl Fn(&Recorded) -> Vec<u8> + Send + Sync + 'static,
    ) -> io::Result<Server> {
        Server::start(listen, move |request, _| Answer {
            status: 200,
            content_type: "application/json",
            body: body(request),
        })
    }

    pub(crate) fn start(
        listen: SocketAddr,
        answering: impl Fn(&Recorded, Option<RowFault>) -> Answer + Send + Sync + 'static,
    ) -> io::Result<Server> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            answering: Box::new(answering),
            state: Mutex::default(),
            stopped: Condvar::new(),
        });
        let accepting = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Server {
            address,
            shared,
            accepting: Some(accepting),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What every request from now on is answered with, those of the script apart; `None`: the right answer.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.shared.state().always = fault;
    }

    /// What the next requests are answered with, one each; then what [`Server::set_fault`] says.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.state().script.extend(faults);
    }

    /// What the next request of this path (without the query) is answered with, before what the others say.
    pub fn script_on(&self, path: &str, fault: Fault) {
        self.shared
            .state()
            .scripts_on
            .push((path.to_owned(), fault));
    }

    /// Takes back what [`Server::script_on`] ordered and no request has met; how many those are.
    pub fn withdraw(&self) -> usize {
        std::mem::take(&mut self.shared.state().scripts_on).len()
    }

    /// The requests so far, oldest first.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.state().requests.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.stopped.notify_all();
        // The accepting thread sees the flag when it gets a connection; so it gets one.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        let connections = std::mem::take(&mut self.shared.state().connections);
        for connection in connections {
            let _ = connection.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits; true when the server is to end.
    fn pause(&self, length: Duration) -> bool {
        let (state, _) = self
            .stopped
            .wait_timeout_while(self.state(), length, |state| !state.stop)
            .unwrap_or_else(PoisonError::into_inner);
        state.stop
    }

    fn hang(&self) {
        while !self.pause(Duration::from_secs(60)) {}
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let mut state = shared.state();
        if state.stop {
            return;
        }
        let Ok(stream) = stream else { continue };
        state.connections.retain(|thread| !thread.is_finished());
        let shared = Arc::clone(shared);
        state.connections.push(std::thread::spawn(move || {
            // A peer that goes away in the middle is what many tests are about.
            let _ = converse(stream, &shared);
        }));
    }
}

fn converse(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    // So that a client which never sends, or never reads, cannot keep the thread for ever.
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_millis(200)))?;
    let request = read_request(&stream)?;
    let fault = {
        let mut state = shared.state();
        state.requests.push(request.clone());
        let on_path = state
            .scripts_on
            .iter()
            .position(|(path, _)| *path == request.path);
        let next = match on_path {
            Some(index) => Some(state.scripts_on.remove(index).1),
            None => state.script.pop_front(),
        };
        next.or_else(|| state.always.clone())
            .unwrap_or(Fault::Nothing)
    };
    let rows = match fault {
        Fault::Rows(fault) => Some(fault),
        _ => None,
    };
    let answer = match is_answered(&fault) {
        true => (shared.answering)(&request, rows),
        false => Answer {
            status: 200,
            content_type: "text/plain",
            body: Vec::new(),
        },
    };
    misbehave(&mut stream, shared, fault, answer)
}

/// Whether a peer with this fault does what it was asked before it misbehaves. One that sends nothing of the right answer did not.
fn is_answered(fault: &Fault) -> bool {
    !matches!(
        fault,
        Fault::Hang
            | Fault::Reset
            | Fault::Close
            | Fault::Garbage
            | Fault::EndlessHead
            | Fault::SlowHead(_)
            | Fault::Empty
            | Fault::Body(_)
            | Fault::Status(_)
            | Fault::RetryAfter(..)
            | Fault::Redirect(_)
    )
}

fn head(status: u16, content_type: &str, rest: &str) -> String {
    format!(
        "HTTP/1.1 {status} Stand-In\r\nContent-Type: {content_type}\r\nConnection: close\r\n{rest}\r\n"
    )
}

fn misbehave(
    stream: &mut TcpStream,
    shared: &Shared,
    fault: Fault,
    answer: Answer,
) -> io::Result<()> {
    let length = format!("Content-Length: {}\r\n", answer.body.len());
    let good = head(answer.status, answer.content_type, &length);
    let half = &answer.body[..answer.body.len() / 2];
    let html = "<html>\n<body>stand-in error page</body></html>";
    match fault {
        Fault::Nothing | Fault::Rows(_) => {
            stream.write_all(good.as_bytes())?;
            stream.write_all(&answer.body)?;
        }
        Fault::Hang => shared.hang(),
        Fault::HangInHead => {
            stream.write_all(&good.as_bytes()[..good.len() / 2])?;
            shared.hang();
        }
        Fault::HangInBody => {
            stream.write_all(good.as_bytes())?;
            stream.write_all(half)?;
            shared.hang();
        }
        Fault::SlowDrip(pause) => {
            stream.write_all(head(200, answer.content_type, "").as_bytes())?;
            while !shared.pause(pause) {
                stream.write_all(b" ")?;
            }
        }
        Fault::SlowHead(pause) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX-Slow: ")?;
            while !shared.pause(pause) {
                stream.write_all(b"x")?;
            }
        }
        Fault::Reset => reset(stream)?,
        Fault::ResetInBody => {
            stream.write_all(good.as_bytes())?;
            stream.write_all(half)?;
            reset(stream)?;
        }
        Fault::Close => {}
        Fault::Truncated => {
            stream.write_all(good.as_bytes())?;
            stream.write_all(half)?;
        }
        Fault::Garbage => stream.write_all(b"\x16\x03SSH-2.0-stand-in\r\n\0\xff\r\n\r\n")?,
        Fault::EndlessHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            while !shared.pause(Duration::ZERO) {
                stream.write_all(format!("X-Endless: {}\r\n", "x".repeat(1_000)).as_bytes())?;
            }
        }
        Fault::EndlessBody => {
            stream.write_all(head(200, answer.content_type, "").as_bytes())?;
            while !shared.pause(Duration::ZERO) {
                stream.write_all(&[b' '; 65_536])?;
            }
        }
        Fault::BadLength => {
            stream
                .write_all(head(200, answer.content_type, "Content-Length: many\r\n").as_bytes())?;
            stream.write_all(&answer.body)?;
        }
        Fault::BadChunks => {
            let chunked = "Transfer-Encoding: chunked\r\n";
            stream.write_all(head(200, answer.content_type, chunked).as_bytes())?;
            stream.write_all(b"no size\r\n")?;
            stream.write_all(&answer.body)?;
        }
        Fault::Empty => {
            stream.write_all(head(200, answer.content_type, "Content-Length: 0\r\n").as_bytes())?;
        }
        Fault::Gzip => {
            let rest = format!("{length}Content-Encoding: gzip\r\n");
            stream.write_all(head(200, answer.content_type, &rest).as_bytes())?;
            stream.write_all(&answer.body)?;
        }
        Fault::Body(body) => {
            let length = format!("Content-Length: {}\r\n", body.len());
            stream.write_all(head(200, answer.content_type, &length).as_bytes())?;
            stream.write_all(body.as_bytes())?;
        }
        Fault::Status(status) => {
            let length = format!("Content-Length: {}\r\n", html.len());
            stream.write_all(head(status, "text/html", &length).as_bytes())?;
            stream.write_all(html.as_bytes())?;
        }
        Fault::RetryAfter(status, value) => {
            let rest = format!("Retry-After: {value}\r\nContent-Length: 0\r\n");
            stream.write_all(head(status, "text/plain", &rest).as_bytes())?;
        }
        Fault::Redirect(target) => {
            let rest = format!("Location: {target}\r\nContent-Length: 0\r\n");
            stream.write_all(head(302, "text/plain", &rest).as_bytes())?;
        }
    }
    stream.flush()
}

/// Closes with a reset instead of an orderly end.
fn reset(stream: &TcpStream) -> io::Result<()> {
    // What was written before must have left, or the reset overtakes it.
    std::thread::sleep(Duration::from_millis(20));
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
    Ok(())
}

/// Most bytes of a request: larger than any of ours.
const REQUEST_MAX: u64 = 1 << 20;

fn read_request(stream: &TcpStream) -> io::Result<Recorded> {
    let mut reader = BufReader::new(stream.take(REQUEST_MAX));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut recorded = Recorded {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name.to_owned(), decode(value)))
            .collect(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
        recorded.headers.push((name, value));
    }
    let length = recorded.header("content-length");
    let length: usize = length.and_then(|text| text.parse().ok()).unwrap_or(0);
    recorded.body = vec![0; length.min(1 << 20)];
    reader.read_exact(&mut recorded.body)?;
    Ok(recorded)
}

/// Undoes the percent encoding of a value.
fn decode(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = (byte == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(hex.unwrap_or(byte));
        rest = if hex.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
