//! Clients that hold on: silent, slow, gone, or many. None of them keeps another one from its answer.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metricsd_exporter::http::{Bytes, Limits, ScrapeResponse};

use crate::client::{Client, ask, server, server_with, wait_until};

const SHORT: Duration = Duration::from_millis(50);

/// Longer than any test waits: what happens before it happens for another reason.
const NEVER: Duration = Duration::from_secs(3600);

#[test]
fn six_hundred_silent_clients_do_not_keep_a_scrape_waiting() {
    raise_descriptor_limit();
    let server = server(Limits {
        head_timeout: NEVER,
        ..Limits::default()
    });
    let silent: Vec<Client> = (0..600).map(|_| Client::connect(&server)).collect();
    for _ in 0..10 {
        assert_eq!(ask(&server, "GET", "/metrics").text(), "up 1.0\n");
    }
    drop(silent);
}

#[test]
fn six_hundred_idle_kept_connections_do_not_either() {
    raise_descriptor_limit();
    let server = server(Limits::default());
    let mut first = Client::connect(&server);
    assert_eq!(first.ask("GET", "/-/healthy").status, 200);
    let idle: Vec<Client> = (0..600)
        .map(|_| {
            let mut client = Client::connect(&server);
            assert_eq!(client.ask("GET", "/-/healthy").status, 200);
            client
        })
        .collect();
    assert_eq!(ask(&server, "GET", "/metrics").text(), "up 1.0\n");
    assert!(first.is_closed(), "the one longest idle makes room");
    drop(idle);
}

/// Not a test: the body of the process that the test below starts.
#[test]
#[ignore = "run as a child process"]
fn serve_with_few_descriptors() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(64),
            maximum: Some(64),
        },
    )
    .expect("lowering is allowed");
    let server = server(Limits {
        head_timeout: NEVER,
        ..Limits::default()
    });
    println!("\nserving {}", server.addresses()[0]);
    std::io::stdin()
        .read_to_end(&mut Vec::new())
        .expect("the parent closes it");
    server.stop();
}

#[test]
fn clients_that_use_up_the_descriptors_do_not_keep_a_scrape_waiting() {
    let mut child = Command::new(std::env::current_exe().expect("a path"))
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "hostile::serve_with_few_descriptors",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test program starts again");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let address = lines
        .find_map(|line| Some(line.ok()?.strip_prefix("serving ")?.to_string()))
        .expect("the child serves");
    let address: SocketAddr = address.parse().expect("an address");
    let silent: Vec<Client> = (0..200).map(|_| Client::connect_to(address)).collect();
    assert_eq!(
        Client::connect_to(address).ask("GET", "/metrics").text(),
        "up 1.0\n"
    );
    drop(silent);
    drop(child.stdin.take());
    assert!(
        child
            .wait()
            .expect("the child ends when its input does")
            .success()
    );
}

#[test]
fn slow_readers_in_all_places_make_room() {
    let page = Bytes::from(vec![b'\n'; PAGE_LEN_BYTES]);
    let server = server_with(
        Limits {
            max_connections: 2,
            write_timeout: NEVER,
            ..Limits::default()
        },
        move |_| ScrapeResponse::text(page.clone()),
    );
    let slow: Vec<Client> = (0..2)
        .map(|_| {
            let mut client = Client::connect(&server);
            begin_to_read(&mut client);
            client
        })
        .collect();
    wait_until("a newcomer is answered", || {
        let mut client = Client::connect(&server);
        client.send_as_much_as_goes("GET /-/healthy HTTP/1.0\r\n\r\n");
        client.receive_all().starts_with(b"HTTP/1.0 200")
    });
    drop(slow);
}

/// Some 1,200 sockets live in this process at once.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )
    .expect("raising to the maximum is allowed");
}

#[test]
fn a_silent_client_is_dropped() {
    let server = server(Limits {
        head_timeout: SHORT,
        ..Limits::default()
    });
    assert!(Client::connect(&server).is_closed());
}

#[test]
fn a_head_that_drips_is_dropped_however_lively() {
    let server = server(Limits {
        head_timeout: SHORT,
        ..Limits::default()
    });
    let mut client = Client::connect(&server);
    client.send("GET /metrics HTTP/1.1\r\n");
    // Each byte comes well within the timeout; their sum does not.
    wait_until("the server gives up", || {
        client.send_as_much_as_goes("A");
        client.has_been_closed()
    });
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let server = server(Limits {
        head_timeout: SHORT,
        ..Limits::default()
    });
    let mut client = Client::connect(&server);
    client.send("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhal");
    assert!(client.is_closed());
}

#[test]
fn a_kept_connection_is_closed_when_idle_too_long() {
    let server = server(Limits {
        idle_timeout: SHORT,
        ..Limits::default()
    });
    let mut client = Client::connect(&server);
    assert_eq!(client.ask("GET", "/metrics").status, 200);
    assert!(client.is_closed());
}

#[test]
fn a_kept_connection_outlives_the_timeout_of_heads() {
    let server = server(Limits {
        head_timeout: SHORT,
        ..Limits::default()
    });
    let mut client = Client::connect(&server);
    assert_eq!(client.ask("GET", "/metrics").status, 200);
    // A client that came later and stayed silent is dropped meanwhile, so that timeout has passed.
    assert!(Client::connect(&server).is_closed());
    assert_eq!(client.ask("GET", "/metrics").status, 200);
}

/// A page too large for the socket buffers, which counts how many of its copies are in memory.
struct Page {
    bytes: Vec<u8>,
    alive: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

const PAGE_LEN_BYTES: usize = 32 << 20;

fn server_of_large_pages(limits: Limits) -> (metricsd_exporter::http::Server, Arc<AtomicUsize>) {
    let alive = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&alive);
    let server = server_with(limits, move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        ScrapeResponse::text(Bytes::from_owner(Page {
            bytes: vec![b'\n'; PAGE_LEN_BYTES],
            alive: Arc::clone(&counted),
        }))
    });
    (server, alive)
}

fn begin_to_read(client: &mut Client) {
    client.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    client.peek_one_byte();
}

#[test]
fn a_reader_that_stops_reading_loses_its_place_and_its_page() {
    let (server, alive) = server_of_large_pages(Limits {
        write_timeout: SHORT,
        ..Limits::default()
    });
    let mut client = Client::connect(&server);
    begin_to_read(&mut client);
    wait_until("the page is freed", || alive.load(Ordering::SeqCst) == 0);
    assert!(client.receive_all().len() < PAGE_LEN_BYTES);
}

#[test]
fn a_reader_that_reads_gets_a_large_page_whole() {
    let (server, alive) = server_of_large_pages(Limits::default());
    let mut client = Client::connect(&server);
    for _ in 0..2 {
        assert_eq!(client.ask("GET", "/metrics").body.len(), PAGE_LEN_BYTES);
    }
    wait_until("the pages are freed", || alive.load(Ordering::SeqCst) == 0);
}

#[test]
fn slow_readers_together_hold_no_more_memory_than_allowed() {
    let (server, alive) = server_of_large_pages(Limits {
        max_unread_bytes: 3 * PAGE_LEN_BYTES,
        write_timeout: NEVER,
        ..Limits::default()
    });
    let mut readers: Vec<Client> = (0..6)
        .map(|_| {
            let mut client = Client::connect(&server);
            begin_to_read(&mut client);
            client
        })
        .collect();
    wait_until("the oldest readers are dropped", || {
        alive.load(Ordering::SeqCst) <= 3
    });
    assert!(readers[0].receive_all().len() < PAGE_LEN_BYTES);
    assert_eq!(readers[5].receive("GET").body.len(), PAGE_LEN_BYTES);
}

#[test]
fn a_page_shared_by_slow_readers_counts_once() {
    let page = Bytes::from(vec![b'\n'; PAGE_LEN_BYTES]);
    let limits = Limits {
        max_unread_bytes: PAGE_LEN_BYTES + 1024,
        write_timeout: NEVER,
        ..Limits::default()
    };
    let server = server_with(limits, move |_| ScrapeResponse::text(page.clone()));
    let mut readers: Vec<Client> = (0..4)
        .map(|_| {
            let mut client = Client::connect(&server);
            begin_to_read(&mut client);
            client
        })
        .collect();
    for reader in &mut readers {
        assert_eq!(reader.receive("GET").body.len(), PAGE_LEN_BYTES);
    }
}

#[test]
fn pipelining_without_reading_piles_up_one_page_only() {
    let (server, alive) = server_of_large_pages(Limits {
        write_timeout: NEVER,
        ..Limits::default()
    });
    let mut client = Client::connect(&server);
    client.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50));
    client.peek_one_byte();
    // Each of these comes after the server has had every chance to begin with the second request.
    for _ in 0..20 {
        assert_eq!(ask(&server, "GET", "/-/healthy").status, 200);
        assert_eq!(alive.load(Ordering::SeqCst), 1);
    }
}
