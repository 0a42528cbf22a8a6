//! Pages compressed, for whoever asks for that: the same page, the right headers, no more memory.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::read::GzDecoder;
use metricsd_exporter::http::{Bytes, Limits, ScrapeResponse, Server};

use crate::client::{Client, Response, ask, server, server_with, wait_until};

/// Lines like those of a real page.
fn page(line_count: usize) -> String {
    (0..line_count)
        .map(|line| format!("requests_total{{method=\"GET\",path=\"/items/{line}\"}} {line}.0\n"))
        .collect()
}

fn server_of(page: String) -> Server {
    let page = Bytes::from(page);
    server_with(Limits::default(), move |_| {
        ScrapeResponse::text(page.clone())
    })
}

fn ask_for(server: &Server, method: &str, path: &str, accept_encoding: &str) -> Response {
    let mut client = Client::connect(server);
    client.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {accept_encoding}\r\n\r\n"
    ));
    client.receive(method)
}

fn gunzipped(bytes: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(bytes)
        .read_to_string(&mut text)
        .expect("gzip of UTF-8");
    text
}

#[test]
fn whoever_takes_gzip_gets_the_same_page_in_gzip() {
    let text = page(1000);
    let server = server_of(text.clone());
    // What Prometheus sends, and what Python and curl do.
    for accept in ["gzip", "gzip, deflate", "deflate, gzip, br", "*"] {
        let response = ask_for(&server, "GET", "/metrics", accept);
        assert_eq!(response.status, 200);
        assert_eq!(
            response.header("content-encoding"),
            Some("gzip"),
            "{accept}"
        );
        assert_eq!(response.header("vary"), Some("accept-encoding"));
        assert_eq!(
            response.header("content-type"),
            Some("text/plain; version=0.0.4; charset=utf-8")
        );
        let length = response.body.len().to_string();
        assert_eq!(response.header("content-length"), Some(length.as_str()));
        assert!(response.body.len() * 4 < text.len());
        assert!(gunzipped(&response.body) == text);
        let head = ask_for(&server, "HEAD", "/metrics", accept);
        assert_eq!(head.headers, response.headers);
    }
}

#[cfg(feature = "zstd")]
#[test]
fn whoever_takes_zstd_gets_the_same_page_in_zstd() {
    let text = page(1000);
    let server = server_of(text.clone());
    for accept in ["zstd", "gzip, deflate, br, zstd"] {
        let response = ask_for(&server, "GET", "/metrics", accept);
        assert_eq!(
            response.header("content-encoding"),
            Some("zstd"),
            "{accept}"
        );
        let decoded = zstd::decode_all(response.body.as_slice()).expect("zstd");
        assert!(decoded == text.as_bytes());
    }
}

#[test]
fn whoever_does_not_ask_gets_the_page_as_it_is_and_caches_are_told_that_others_do_not() {
    let text = page(1000);
    let server = server_of(text.clone());
    let mut responses = vec![ask(&server, "GET", "/metrics")];
    for accept in [
        "",
        "identity",
        "br",
        "gzip;q=0",
        "gzip;q=0.1, identity;q=0.2",
    ] {
        responses.push(ask_for(&server, "GET", "/metrics", accept));
    }
    for response in responses {
        assert_eq!(response.header("content-encoding"), None);
        assert_eq!(response.header("vary"), Some("accept-encoding"));
        assert!(response.text() == text);
    }
}

#[test]
fn a_short_page_is_sent_as_it_is_unless_that_is_not_acceptable() {
    let server = server(Limits::default());
    let response = ask_for(&server, "GET", "/metrics", "gzip");
    assert_eq!(response.header("content-encoding"), None);
    assert_eq!(response.text(), "up 1.0\n");
    let response = ask_for(&server, "GET", "/metrics", "gzip, identity;q=0");
    assert_eq!(response.header("content-encoding"), Some("gzip"));
    assert_eq!(gunzipped(&response.body), "up 1.0\n");
}

#[test]
fn a_request_that_takes_nothing_there_is_gets_406_and_no_collection_runs() {
    let collections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&collections);
    let server = server_with(Limits::default(), move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        ScrapeResponse::text("up 1.0\n")
    });
    for accept in ["identity;q=0", "*;q=0", "br, *;q=0"] {
        let response = ask_for(&server, "GET", "/metrics", accept);
        assert_eq!(response.status, 406, "{accept}");
        assert_eq!(response.header("vary"), Some("accept-encoding"));
    }
    assert_eq!(collections.load(Ordering::SeqCst), 0);
}

#[test]
fn nothing_but_a_page_of_metrics_is_compressed() {
    let server = server_with(Limits::default(), |_| ScrapeResponse::Unavailable {
        reason: "why ".repeat(2000),
    });
    for (path, status) in [("/", 200), ("/-/healthy", 200), ("/metrics", 503)] {
        let response = ask_for(&server, "GET", path, "gzip");
        assert_eq!(response.status, status, "{path}");
        assert_eq!(response.header("content-encoding"), None, "{path}");
    }
}

/// Text that is counted as long as it is in memory.
struct Counted {
    text: Vec<u8>,
    alive: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Bytes that do not get shorter.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[test]
fn a_slow_reader_of_a_compressed_page_holds_nothing_but_what_it_reads() {
    const LEN_BYTES: usize = 16 << 20;
    let (alive, text) = (Arc::new(AtomicUsize::new(0)), noise(LEN_BYTES));
    let counted = Arc::clone(&alive);
    let server = server_with(Limits::default(), move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        ScrapeResponse::text(Bytes::from_owner(Counted {
            text: text.clone(),
            alive: Arc::clone(&counted),
        }))
    });
    let mut client = Client::connect(&server);
    client.send("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n");
    client.peek_one_byte();
    wait_until("the page itself is freed", || {
        alive.load(Ordering::SeqCst) == 0
    });
    let response = client.receive("GET");
    let mut decoded = Vec::new();
    GzDecoder::new(response.body.as_slice())
        .read_to_end(&mut decoded)
        .expect("gzip");
    assert_eq!(decoded.len(), LEN_BYTES);
}

#[test]
fn slow_readers_of_compressed_pages_together_hold_no_more_memory_than_allowed() {
    const LEN_BYTES: usize = 16 << 20;
    let text = noise(LEN_BYTES);
    let limits = Limits {
        max_unread_bytes: 2 * LEN_BYTES + (1 << 20),
        ..Limits::default()
    };
    let server = server_with(limits, move |_| ScrapeResponse::text(text.clone()));
    let mut readers: Vec<Client> = (0..4)
        .map(|_| {
            let mut client = Client::connect(&server);
            client.send("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n");
            client.peek_one_byte();
            client
        })
        .collect();
    assert!(readers[0].receive_all().len() < LEN_BYTES);
    assert!(readers[3].receive("GET").body.len() >= LEN_BYTES);
}
