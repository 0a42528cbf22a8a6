//! A raw client, a server to aim it at, and waiting for conditions.
//!
//! Invariant: nothing waits for ever: sockets have a timeout, conditions a deadline, and either one fails the test.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use metricsd_exporter::http::{
    Endpoint, Limits, ScrapeRequest, ScrapeResponse, Server, Site, bind, spawn,
};

/// Far beyond anything that works; only a hang reaches it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A server on a free port of loopback with this scrape, and always ready.
pub(crate) fn server_with(
    limits: Limits,
    metrics: impl Fn(&ScrapeRequest) -> ScrapeResponse + Send + Sync + 'static,
) -> Server {
    serve(
        Endpoint {
            site: Site::default(),
            metrics: Arc::new(metrics),
            ready: Arc::new(|| Ok(())),
            health: None,
            pages: None,
        },
        limits,
    )
}

/// A server that serves one line.
pub(crate) fn server(limits: Limits) -> Server {
    server_with(limits, |_| ScrapeResponse::text("up 1.0\n"))
}

pub(crate) fn serve(endpoint: Endpoint, limits: Limits) -> Server {
    let listeners =
        bind(&[SocketAddr::from(([127, 0, 0, 1], 0))]).expect("loopback has a free port");
    spawn(listeners, endpoint, limits).expect("the server starts")
}

/// A server that serves one line on these.
pub(crate) fn serve_on(listeners: Vec<TcpListener>) -> Server {
    let metrics = Arc::new(|_: &ScrapeRequest| ScrapeResponse::text("up 1.0\n"));
    spawn(
        listeners,
        Endpoint {
            site: Site::default(),
            metrics,
            ready: Arc::new(|| Ok(())),
            health: None,
            pages: None,
        },
        Limits::default(),
    )
    .expect("the server starts")
}

/// A connection; several requests may go over it.
pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) version: String,
    pub(crate) status: u16,
    /// Names in lower case, in the order of arrival, without `date`.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("bodies are UTF-8")
    }
}

impl Client {
    pub(crate) fn connect(server: &Server) -> Client {
        Client::connect_to(server.addresses()[0])
    }

    pub(crate) fn connect_to(address: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("the server listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        Client {
            stream,
            unread: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .expect("the server takes it");
    }

    /// Send what may be refused half way, because the server answers before it has read all.
    pub(crate) fn send_as_much_as_goes(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    pub(crate) fn stop_sending(&self) {
        // The server may have been quicker to end the connection.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// The next response; `method` decides whether a body follows.
    pub(crate) fn receive(&mut self, method: &str) -> Response {
        let head_len = loop {
            if let Some(at) = self
                .unread
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                break at + 4;
            }
            assert!(
                self.fill() > 0,
                "no response: {:?}",
                String::from_utf8_lossy(&self.unread)
            );
        };
        let head: Vec<u8> = self.unread.drain(..head_len).collect();
        let head = String::from_utf8(head).expect("an ASCII head");
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next().expect("a status line");
        let headers = lines
            .map(|line| line.split_once(": ").expect("a header"))
            .filter(|(name, _)| *name != "date");
        let mut response = Response {
            version: status_line[..8].to_string(),
            status: status_line[9..12].parse().expect("a status"),
            headers: headers
                .map(|(name, value)| (name.to_lowercase(), value.to_string()))
                .collect(),
            body: Vec::new(),
        };
        let length = response
            .header("content-length")
            .map_or(0, |length| length.parse().expect("a length"));
        let length = if method == "HEAD" { 0 } else { length };
        while self.unread.len() < length {
            assert!(
                self.fill() > 0,
                "the body is cut: {} of {length} bytes",
                self.unread.len()
            );
        }
        response.body = self.unread.drain(..length).collect();
        response
    }

    /// Whether the server has closed the connection, cleanly or not, with nothing more to read.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.unread.is_empty() && self.fill() == 0
    }

    /// Whether the server closed in order: a reset could have overtaken its last response.
    pub(crate) fn is_closed_in_order(&mut self) -> bool {
        self.unread.is_empty() && matches!(self.stream.read(&mut [0]), Ok(0))
    }

    /// Whether the connection is closed by now; what has arrived is kept.
    pub(crate) fn has_been_closed(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket");
        let mut byte = [0];
        let peeked = self.stream.peek(&mut byte);
        self.stream.set_nonblocking(false).expect("a socket");
        match peeked {
            Ok(len) => len == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Wait until a response has begun to arrive, and take nothing of it.
    pub(crate) fn peek_one_byte(&self) {
        let len = self.stream.peek(&mut [0]).expect("the server answers");
        assert_eq!(len, 1, "the server closed instead of answering");
    }

    /// Everything up to the end of the connection.
    pub(crate) fn receive_all(&mut self) -> Vec<u8> {
        while self.fill() > 0 {}
        std::mem::take(&mut self.unread)
    }

    fn fill(&mut self) -> usize {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(len) => {
                self.unread.extend_from_slice(&buffer[..len]);
                len
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("the server neither answers nor closes: {error}"),
        }
    }

    pub(crate) fn ask(&mut self, method: &str, target: &str) -> Response {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        self.receive(method)
    }
}

/// One request over a connection of its own.
pub(crate) fn ask(server: &Server, method: &str, target: &str) -> Response {
    Client::connect(server).ask(method, target)
}

/// Wait until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < DEADLINE, "still not: {what}");
        thread::yield_now();
    }
}
