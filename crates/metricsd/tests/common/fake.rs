//! A small HTTP server that says what a test wants, and one that serves a real daemon's answers with the text edited.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses its own part"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::common::request;

/// The content type of text 0.0.4.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Status, content type, body.
pub type Said = (u16, String, String);

/// A server; stopped when dropped.
#[derive(Debug)]
pub struct Fake {
    pub address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// Answers each request by its target.
    pub fn start(answer: impl Fn(&str) -> Said + Send + 'static) -> Fake {
        Fake::start_with(String::new, answer)
    }

    /// As [`Fake::start`], with more lines of headers, each with its line end.
    pub fn start_with(
        headers: impl Fn() -> String + Send + 'static,
        answer: impl Fn(&str) -> Said + Send + 'static,
    ) -> Fake {
        Fake::serve(headers, move |target, _| answer(target))
    }

    /// Answers each request by its target and its body.
    pub fn taking(answer: impl Fn(&str, &str) -> Said + Send + 'static) -> Fake {
        Fake::serve(String::new, answer)
    }

    fn serve(
        headers: impl Fn() -> String + Send + 'static,
        answer: impl Fn(&str, &str) -> Said + Send + 'static,
    ) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let is_over = Arc::new(AtomicBool::new(false));
        let for_thread = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if for_thread.load(Ordering::Relaxed) {
                    return;
                }
                // Whoever went away is not answered.
                let _ = stream.and_then(|stream| say(stream, &headers(), &answer));
            }
        });
        Fake {
            address,
            is_over,
            thread: Some(thread),
        }
    }

    /// A real daemon's answers, the page edited.
    pub fn over(daemon: SocketAddr, edit: impl Fn(String) -> String + Send + 'static) -> Fake {
        Fake::start(move |target| {
            let real = request(daemon, "GET", target);
            let content_type = real.header("content-type").unwrap_or_default().to_owned();
            let body = if target == "/metrics" {
                edit(real.body)
            } else {
                real.body
            };
            (real.status, content_type, body)
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}/metrics", self.address)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn say(
    mut stream: TcpStream,
    headers: &str,
    answer: &impl Fn(&str, &str) -> Said,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    let mut length = 0;
    while reader.read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or_default();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body);
    let target = first.split(' ').nth(1).unwrap_or_default();
    let (status, content_type, body) = answer(target, &body);
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
