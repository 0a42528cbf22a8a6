//! The scrape closure: bounded in number, off the server's thread, its panics contained, its client free to leave.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use metricsd_exporter::http::{Endpoint, Limits, ScrapeResponse, Site};

use crate::client::{Client, DEADLINE, ask, serve, server_with, wait_until};

/// Scrapes wait here until the test lets them go.
#[derive(Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    /// Scrapes waiting now.
    pub(crate) waiting: AtomicUsize,
}

impl Gate {
    pub(crate) fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let open = self.open.lock().expect("no panic");
        let (open, _) = self
            .opened
            .wait_timeout_while(open, DEADLINE, |open| !*open)
            .expect("no panic");
        assert!(*open, "nobody opened the gate");
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn open(&self) {
        *self.open.lock().expect("no panic") = true;
        self.opened.notify_all();
    }

    pub(crate) fn wait_for(&self, count: usize) {
        wait_until("so many scrapes wait", || {
            self.waiting.load(Ordering::SeqCst) == count
        });
    }
}

fn gated(limits: Limits) -> (metricsd_exporter::http::Server, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let passed = Arc::clone(&gate);
    let server = server_with(limits, move |_| {
        passed.pass();
        ScrapeResponse::text("up 1.0\n")
    });
    (server, gate)
}

fn begin(client: &mut Client) {
    client.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
}

#[test]
fn scrapes_beyond_the_limit_get_503_and_the_others_their_page() {
    let (server, gate) = gated(Limits {
        max_requests: 3,
        ..Limits::default()
    });
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(&server)).collect();
    clients.iter_mut().for_each(begin);
    gate.wait_for(3);
    for method in ["GET", "HEAD"] {
        let refused = ask(&server, method, "/metrics");
        assert_eq!(
            (refused.status, refused.header("retry-after")),
            (503, Some("1"))
        );
    }
    // Everything else is answered meanwhile.
    for path in ["/", "/-/healthy", "/-/ready"] {
        assert_eq!(ask(&server, "GET", path).status, 200);
    }
    gate.open();
    for client in &mut clients {
        assert_eq!(client.receive("GET").text(), "up 1.0\n");
    }
    assert_eq!(ask(&server, "GET", "/metrics").status, 200);
}

#[test]
fn without_a_limit_every_scrape_runs_at_once() {
    let (server, gate) = gated(Limits {
        max_requests: 0,
        ..Limits::default()
    });
    let mut clients: Vec<Client> = (0..60).map(|_| Client::connect(&server)).collect();
    clients.iter_mut().for_each(begin);
    gate.wait_for(60);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.receive("GET").status, 200);
    }
}

#[test]
fn a_client_that_hangs_up_keeps_its_place_no_longer_than_its_scrape() {
    let (server, gate) = gated(Limits {
        max_connections: 1,
        max_requests: 1,
        ..Limits::default()
    });
    let mut client = Client::connect(&server);
    begin(&mut client);
    gate.wait_for(1);
    // The only place is busy, so a newcomer is turned away at once.
    assert!(Client::connect(&server).is_closed());
    // Whether it hung up or only has no more to say is not to be told before something is sent to it.
    drop(client);
    gate.open();
    gate.wait_for(0);
    wait_until("there is a place again", || {
        let mut client = Client::connect(&server);
        client.send_as_much_as_goes("GET /-/healthy HTTP/1.0\r\n\r\n");
        client.receive_all().starts_with(b"HTTP/1.0 200")
    });
    wait_until("the limit is free again", || {
        ask(&server, "GET", "/metrics").status == 200
    });
}

#[test]
fn a_panic_answers_500_and_the_server_goes_on() {
    let calls = AtomicUsize::new(0);
    let metrics = move |_: &_| {
        assert!(
            calls.fetch_add(1, Ordering::SeqCst) % 2 == 1,
            "the first of two scrapes fails on purpose"
        );
        ScrapeResponse::text("up 1.0\n")
    };
    let endpoint = Endpoint {
        site: Site::default(),
        metrics: Arc::new(metrics),
        ready: Arc::new(|| panic!("on purpose, too")),
        health: None,
        pages: None,
    };
    let server = serve(
        endpoint,
        Limits {
            max_requests: 1,
            ..Limits::default()
        },
    );
    let mut client = Client::connect(&server);
    // More often than there are permits and threads: a panic costs neither.
    for _ in 0..5 {
        assert_eq!(client.ask("GET", "/metrics").status, 500);
        assert_eq!(client.ask("GET", "/metrics").status, 200);
        assert_eq!(client.ask("GET", "/-/ready").status, 500);
    }
}
