//! Stopping: in time whatever clients do, with a last answer for those who wait for one.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use metricsd_exporter::http::{Bytes, Limits, ScrapeResponse, Server, bind};

use crate::client::{Client, DEADLINE, server, server_with, wait_until};
use crate::scrapes::Gate;

/// Stop on another thread, so that a stop that hangs fails the test rather than hang it too.
fn stop(server: Server) {
    let (done, stopped) = mpsc::channel();
    thread::spawn(move || {
        server.stop();
        done.send(()).expect("the test waits");
    });
    stopped.recv_timeout(DEADLINE).expect("stop returns");
}

#[test]
fn stop_returns_although_clients_are_silent_slow_idle_and_a_scrape_hangs() {
    let gate = Arc::new(Gate::default());
    let hanging = Arc::clone(&gate);
    let large = Bytes::from(vec![b'\n'; 32 << 20]);
    let server = server_with(Limits::default(), move |request| {
        if request.names.is_all() {
            hanging.pass();
        }
        ScrapeResponse::text(large.clone())
    });
    let silent = Client::connect(&server);
    let mut dripping = Client::connect(&server);
    dripping.send("GET /metr");
    let mut idle = Client::connect(&server);
    assert_eq!(idle.ask("GET", "/-/healthy").status, 200);
    let mut slow = Client::connect(&server);
    slow.send("GET /metrics?name[]=x HTTP/1.1\r\nHost: x\r\n\r\n");
    slow.peek_one_byte();
    let mut waiting = Client::connect(&server);
    waiting.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    gate.wait_for(1);
    stop(server);
    for mut client in [silent, dripping, idle, waiting] {
        assert!(client.is_closed());
    }
    assert!(slow.receive_all().len() < 32 << 20);
    gate.open();
}

#[test]
fn a_scrape_under_way_is_still_answered() {
    let gate = Arc::new(Gate::default());
    let passed = Arc::clone(&gate);
    let server = server_with(Limits::default(), move |_| {
        passed.pass();
        ScrapeResponse::text("up 1.0\n")
    });
    let address = server.addresses()[0];
    let mut client = Client::connect(&server);
    client.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    gate.wait_for(1);
    let mut idle = Client::connect(&server);
    assert_eq!(idle.ask("GET", "/-/healthy").status, 200);
    let stopping = thread::spawn(move || server.stop());
    // Idle connections go first.
    assert!(idle.is_closed());
    gate.open();
    let response = client.receive("GET");
    assert_eq!(
        (response.status, response.header("connection")),
        (200, Some("close"))
    );
    assert!(client.is_closed());
    stopping.join().expect("stop returns");
    wait_until("nobody listens", || TcpStream::connect(address).is_err());
}

#[test]
fn the_port_is_free_at_once() {
    // Somebody else may take the port in between, but not every time.
    wait_until("the port of a stopped server is free", || {
        let server = server(Limits::default());
        let addresses = server.addresses().to_vec();
        let mut client = Client::connect(&server);
        assert_eq!(client.ask("GET", "/metrics").status, 200);
        stop(server);
        bind(&addresses).is_ok()
    });
}

#[test]
fn a_dropped_server_stops() {
    let server = server(Limits::default());
    let mut client = Client::connect(&server);
    assert_eq!(client.ask("GET", "/metrics").status, 200);
    drop(server);
    assert!(client.is_closed());
}
