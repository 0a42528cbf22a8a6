//! How requests may arrive: versions, keep-alive, pipelines, bodies, and bytes that are no requests.

use metricsd_exporter::http::Limits;
use proptest::prelude::*;

use crate::client::{Client, ask, server};

#[test]
fn http_1_0_closes_unless_asked_to_keep() {
    let server = server(Limits::default());
    let mut client = Client::connect(&server);
    client.send("GET /metrics HTTP/1.0\r\n\r\n");
    let response = client.receive("GET");
    assert_eq!(
        (response.version.as_str(), response.status, response.text()),
        ("HTTP/1.0", 200, "up 1.0\n")
    );
    assert!(client.is_closed());

    let mut client = Client::connect(&server);
    for _ in 0..2 {
        client.send("GET /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(client.receive("GET").text(), "up 1.0\n");
    }
}

#[test]
fn http_1_1_keeps_the_connection_until_told_to_close() {
    let server = server(Limits::default());
    let mut client = Client::connect(&server);
    for _ in 0..10 {
        assert_eq!(client.ask("GET", "/metrics").status, 200);
    }
    client.send("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(client.receive("GET").header("connection"), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = server(Limits::default());
    let mut client = Client::connect(&server);
    let requests: String = ["/-/healthy", "/metrics", "/nowhere", "/-/ready"]
        .iter()
        .map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .collect();
    client.send(requests.repeat(20));
    for _ in 0..20 {
        let statuses: Vec<u16> = (0..4).map(|_| client.receive("GET").status).collect();
        assert_eq!(statuses, [200, 200, 404, 200]);
    }
}

#[test]
fn a_request_in_single_bytes_is_answered() {
    let server = server(Limits::default());
    let mut client = Client::connect(&server);
    for byte in b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.receive("GET").text(), "up 1.0\n");
}

#[test]
fn request_bodies_are_read_and_ignored() {
    let server = server(Limits::default());
    let mut client = Client::connect(&server);
    client.send("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.receive("POST").status, 405);
    client.send("GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(client.receive("GET").status, 200);
    client.send(format!(
        "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{}",
        "x".repeat(60_000)
    ));
    assert_eq!(client.receive("PUT").status, 405);
    assert_eq!(client.ask("GET", "/metrics").text(), "up 1.0\n");
}

#[test]
fn a_body_that_is_too_long_gets_its_answer_and_ends_the_connection() {
    let server = server(Limits::default());
    let declared = format!(
        "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        200 << 10
    );
    let chunked =
        "POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n32000\r\n"
            .to_string();
    for head in [declared, chunked] {
        let mut client = Client::connect(&server);
        client.send_as_much_as_goes(head + &"x".repeat(200 << 10));
        let response = client.receive("POST");
        assert_eq!(
            (response.status, response.header("connection")),
            (405, Some("close"))
        );
        assert!(client.is_closed_in_order());
    }
}

#[test]
fn a_client_may_finish_sending_after_it_was_refused() {
    let server = server(Limits::default());
    let mut client = Client::connect(&server);
    client.send(format!(
        "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        100 << 10
    ));
    assert_eq!(client.receive("POST").status, 405);
    // Many clients read the answer only after the last byte is sent, and not at all if sending fails.
    for _ in 0..100 {
        client.send([b'x'; 1 << 10]);
    }
    assert!(client.is_closed_in_order());
}

#[test]
fn bytes_that_are_no_request_are_refused_and_the_server_goes_on() {
    let server = server(Limits::default());
    let requests: &[&[u8]] = &[
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /metrics\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET  /metrics HTTP/1.1\r\n\r\n",
        b"GET /met rics HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHo st: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\0\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\xff\xfe\xfd /\xf0 HTTP/1.1\r\n\r\n",
    ];
    for request in requests {
        let mut client = Client::connect(&server);
        client.send_as_much_as_goes(request);
        client.stop_sending();
        let answer = String::from_utf8_lossy(&client.receive_all()).into_owned();
        let refused = answer.is_empty()
            || answer.starts_with("HTTP/1.1 400 ")
            || answer.starts_with("HTTP/1.0 400 ");
        assert!(
            refused,
            "{:?} got {answer:?}",
            String::from_utf8_lossy(request)
        );
        assert_eq!(ask(&server, "GET", "/metrics").status, 200);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_end_with_an_answer_or_a_closed_connection(bytes: Vec<u8>, line in "(GET|POST|) ?(/metrics)? ?(HTTP/1.[01])?") {
        let server = server(Limits::default());
        for request in [bytes.clone(), [line.as_bytes(), b"\r\n", &bytes, b"\r\n\r\n"].concat()] {
            let mut client = Client::connect(&server);
            client.send_as_much_as_goes(&request);
            client.stop_sending();
            client.receive_all();
        }
        prop_assert_eq!(ask(&server, "GET", "/metrics").status, 200);
    }
}

#[test]
fn heads_beyond_the_bounds_get_431() {
    let server = server(Limits {
        max_head_bytes: 1024,
        max_headers: 8,
        ..Limits::default()
    });
    let within = format!(
        "GET /metrics HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
        "a".repeat(900)
    );
    let long = format!(
        "GET /metrics HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
        "a".repeat(1100)
    );
    let endless = format!(
        "GET /metrics HTTP/1.1\r\nHost: x\r\nA: {}",
        "a".repeat(200 << 10)
    );
    let target = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1100));
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: a\r\n".repeat(9));
    for (request, status) in [
        (within, 200),
        (long, 431),
        (endless, 431),
        (target, 431),
        (many, 431),
    ] {
        let mut client = Client::connect(&server);
        client.send_as_much_as_goes(&request);
        assert_eq!(client.receive("GET").status, status, "{}", &request[..60]);
        assert!(
            status == 200 || client.is_closed_in_order(),
            "{}",
            &request[..60]
        );
    }
}
