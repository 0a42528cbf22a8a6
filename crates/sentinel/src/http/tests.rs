//! The client against real sockets that do everything wrong. No test asserts how long something took; a call that does not come back
//! is found by the outer limit.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::Ordering;

use stand_in::{Fault, Server};

use super::*;

/// Generous, because the machine may be busy; what needs it runs into [`SHORT`].
const LONG: Duration = Duration::from_secs(20);
/// For calls that are to run out of time.
const SHORT: Duration = Duration::from_millis(300);
/// No call takes this long.
const HANGING: Duration = Duration::from_secs(60);

const BODY: &[u8] = b"{\"fine\": true}";
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn server() -> Server {
    Server::answering(LOOPBACK, |_| BODY.to_vec()).unwrap()
}

fn get(url: &str) -> Request {
    Request {
        method: Method::Get,
        url: url.to_owned(),
        secret: Some(("api_token", Secret::new("top/secret").unwrap())),
        body_max: 100_000,
    }
}

/// The outcome of a call, which must come back at all.
fn call_with(client: &Client, request: Request, budget: Duration) -> Result<Vec<u8>, CallError> {
    let (sender, receiver) = mpsc::channel();
    let client = client.clone();
    thread::spawn(move || sender.send(client.call(request, Instant::now() + budget)));
    let outcome = receiver.recv_timeout(HANGING).expect("the call hangs");
    if let Err(error) = &outcome {
        let text = format!("{error} {error:?}");
        assert!(!text.contains("secret"), "{text}");
        assert!(error.detail.chars().count() <= DETAIL_CHARACTERS);
        assert!(!error.detail.contains(['\n', '\r']), "{text}");
    }
    outcome
}

fn call(url: &str, budget: Duration) -> Result<Vec<u8>, CallError> {
    call_with(&Client::new(), get(url), budget)
}

fn code(url: &str, budget: Duration) -> ErrorCode {
    call(url, budget).expect_err("a failure").code
}

#[test]
fn every_fault_of_a_remote_has_its_reason_and_the_next_call_is_fine() {
    use ErrorCode::{Connect, EmptyResponse, Http4xx, Http5xx, Http429, Malformed, Timeout};
    let drip = Duration::from_millis(20);
    let table = [
        (Fault::Hang, Timeout),
        (Fault::HangInHead, Timeout),
        (Fault::HangInBody, Timeout),
        (Fault::SlowDrip(drip), Timeout),
        (Fault::SlowHead(drip), Timeout),
        (Fault::Reset, Connect),
        (Fault::ResetInBody, Connect),
        (Fault::Close, Connect),
        (Fault::Truncated, Connect),
        (Fault::Garbage, Malformed),
        (Fault::EndlessHead, Malformed),
        (Fault::EndlessBody, Malformed),
        (Fault::BadLength, Malformed),
        (Fault::BadChunks, Malformed),
        (Fault::Empty, EmptyResponse),
        (Fault::Gzip, Malformed),
        (Fault::Redirect("http://127.0.0.1:1/".to_owned()), Http4xx),
        (Fault::Status(400), Http4xx),
        (Fault::Status(401), Http4xx),
        (Fault::Status(404), Http4xx),
        (Fault::Status(429), Http429),
        (Fault::Status(500), Http5xx),
        (Fault::Status(503), Http5xx),
        (Fault::Status(599), Http5xx),
        (Fault::Status(700), Malformed),
    ];
    let server = server();
    let client = Client::new();
    let url = format!("http://{}/path", server.address());
    for (fault, expected) in table {
        server.script([fault.clone()]);
        let budget = if expected == Timeout { SHORT } else { LONG };
        let error = call_with(&client, get(&url), budget).unwrap_err();
        assert_eq!(error.code, expected, "{fault:?}: {error}");
        assert_eq!(
            call_with(&client, get(&url), LONG).as_deref(),
            Ok(BODY),
            "after {fault:?}"
        );
    }
}

#[test]
fn a_body_at_its_cap_is_read_and_one_byte_more_is_not() {
    let server = server();
    let url = format!("http://{}/", server.address());
    for (body_max, fine) in [(BODY.len(), true), (BODY.len() - 1, false)] {
        let request = Request {
            body_max,
            ..get(&url)
        };
        let outcome = call_with(&Client::new(), request, LONG);
        assert_eq!(outcome.is_ok(), fine, "{outcome:?}");
    }
}

#[test]
fn a_remote_that_wants_a_pause_is_heard() {
    let server = server();
    let url = format!("http://{}/", server.address());
    for (status, value, expected) in [
        (429, "17", Some(17)),
        (503, "18", Some(18)),
        (429, "Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
        (429, "later", None),
    ] {
        server.script([Fault::RetryAfter(status, value.to_owned())]);
        let error = call(&url, LONG).unwrap_err();
        let found = error.retry_after.map(|wait| wait.as_secs());
        assert_eq!(found, expected, "{value}");
    }
}

#[test]
fn what_is_sent_is_what_was_asked_and_nothing_of_the_environment() {
    let server = server();
    let url = format!("http://{}/a/b?c=d", server.address());
    assert!(call(&url, LONG).is_ok());
    let post = Request {
        method: Method::PostJson(b"[1]".to_vec()),
        secret: None,
        ..get(&url)
    };
    assert!(call_with(&Client::new(), post, LONG).is_ok());
    let requests = server.requests();
    assert_eq!(requests[0].path, "/a/b");
    assert_eq!(requests[0].query_value("c"), Some("d"));
    assert_eq!(requests[0].query_value("api_token"), Some("top/secret"));
    assert_eq!(requests[0].header("connection"), Some("close"));
    assert_eq!(requests[1].method, "POST");
    assert_eq!(requests[1].body, b"[1]");
    assert_eq!(requests[1].header("content-type"), Some("application/json"));
    assert_eq!(requests[1].query_value("api_token"), None);
}

#[test]
fn a_secret_that_the_remote_says_back_is_hidden() {
    let body = "<p>the token top/secret (top%2Fsecret) is not valid</p>";
    let server = stand_in_status(401, body);
    let error = call(&format!("http://{}/", server.address()), LONG).unwrap_err();
    assert_eq!(
        error.detail,
        "status 401: <p>the token *** (***) is not valid</p>"
    );
}

/// A server that answers everything with one status and one body, by hand.
fn stand_in_status(status: u16, body: &'static str) -> Raw {
    Raw::start(move |stream| {
        use std::io::{Read as _, Write as _};
        let _ = stream.read(&mut [0; 4_096]);
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(body.as_bytes());
    })
}

/// A listener whose one connection is handled by a function.
struct Raw(SocketAddr);

impl Raw {
    fn start(handle: impl Fn(&mut std::net::TcpStream) + Send + 'static) -> Raw {
        let listener = TcpListener::bind(LOOPBACK).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            if let Ok((mut stream, _)) = listener.accept() {
                handle(&mut stream);
            }
        });
        Raw(address)
    }

    fn address(&self) -> SocketAddr {
        self.0
    }
}

#[test]
fn a_remote_that_is_not_there_is_a_failure_to_connect() {
    // Bound and dropped: nobody listens there.
    let address = TcpListener::bind(LOOPBACK).unwrap().local_addr().unwrap();
    assert_eq!(
        code(&format!("http://{address}/"), LONG),
        ErrorCode::Connect
    );
}

#[test]
fn a_remote_that_accepts_no_connection_runs_into_the_deadline() {
    // A queue of one place which is full: the kernel answers no further connection.
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    rustix::net::bind(&socket, &LOOPBACK).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    for _ in 0..8 {
        let filler = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100));
        let Ok(filler) = filler else { break };
        fillers.push(filler);
    }
    assert!(fillers.len() < 8, "the queue never fills");
    assert_eq!(
        code(&format!("http://{address}/"), SHORT),
        ErrorCode::Timeout
    );
}

#[test]
fn a_name_that_does_not_exist_is_a_failure_to_connect_or_runs_out_of_time() {
    let found = code("http://no-such-host.invalid/", LONG);
    // Where no name server answers, the deadline ends it.
    assert!(
        matches!(found, ErrorCode::Connect | ErrorCode::Timeout),
        "{found}"
    );
}

#[test]
fn what_is_no_url_is_refused_without_showing_it() {
    for url in ["", "no url", "ftp://127.0.0.1/", "http://", "http://[::1/"] {
        let error = call(url, LONG).unwrap_err();
        assert!(
            matches!(error.code, ErrorCode::Other | ErrorCode::Malformed),
            "{url}: {error}"
        );
    }
}

#[test]
fn an_address_of_ipv6_is_called() {
    let Ok(server) = Server::answering("[::1]:0".parse().unwrap(), |_| BODY.to_vec()) else {
        eprintln_skip("an_address_of_ipv6_is_called", "no IPv6 loopback here");
        return;
    };
    assert_eq!(
        call(&format!("http://{}/", server.address()), LONG).as_deref(),
        Ok(BODY)
    );
}

fn eprintln_skip(test: &str, why: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "SKIPPED: {test}: {why}");
    if let Some(file) = std::env::var_os("METRICSD_TEST_SKIPS") {
        let file = std::fs::File::options().append(true).open(file);
        let _ = file.and_then(|mut file| writeln!(file, "{test}: {why}"));
    }
}

#[test]
fn a_deadline_that_has_passed_makes_no_call() {
    let server = server();
    let url = format!("http://{}/", server.address());
    assert_eq!(code(&url, Duration::ZERO), ErrorCode::Timeout);
    assert!(server.requests().is_empty());
}

#[test]
fn calls_that_hang_for_ever_are_bounded_in_number() {
    let client = Client::new();
    let server = server();
    let url = format!("http://{}/", server.address());
    let stuck: Vec<Running> = (0..ABANDONED_MAX)
        .map(|_| Running::start(&client.abandoned))
        .collect();
    let error = call_with(&client, get(&url), LONG).unwrap_err();
    assert_eq!(error.code, ErrorCode::Timeout);
    assert!(server.requests().is_empty());
    drop(stuck);
    assert!(call_with(&client, get(&url), LONG).is_ok());
}

#[test]
fn a_call_that_ran_into_its_deadline_leaves_no_thread() {
    let client = Client::new();
    let server = server();
    server.set_fault(Some(Fault::SlowDrip(Duration::from_millis(10))));
    let url = format!("http://{}/", server.address());
    assert!(call_with(&client, get(&url), SHORT).is_err());
    let limit = Instant::now() + LONG;
    while client.abandoned.load(Ordering::Acquire) > 0 {
        assert!(Instant::now() < limit, "the thread is still there");
        thread::yield_now();
    }
}

/// A TLS server with a certificate for `localhost` that it signed itself; says the certificate.
fn tls_server() -> (Raw, rustls::pki_types::CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let config = std::sync::Arc::new(config);
    let server = Raw::start(move |stream| {
        use std::io::{Read as _, Write as _};
        let mut connection = rustls::ServerConnection::new(config.clone()).unwrap();
        let mut stream = rustls::Stream::new(&mut connection, stream);
        if stream.read(&mut [0; 4_096]).is_ok() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    (server, certificate)
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let (server, _) = tls_server();
    let url = format!("https://localhost:{}/", server.address().port());
    assert_eq!(code(&url, LONG), ErrorCode::Tls);
}

#[test]
fn a_trusted_certificate_is_accepted_for_its_own_name_only() {
    for (host, expected) in [("localhost", None), ("127.0.0.1", Some(ErrorCode::Tls))] {
        let (server, certificate) = tls_server();
        let root = ureq::tls::Certificate::from_der(&certificate).to_owned();
        let client = Client::with_agent(attempt::agent(Some(vec![root])));
        let url = format!("https://{host}:{}/", server.address().port());
        let outcome = call_with(&client, get(&url), LONG);
        assert_eq!(
            outcome.as_ref().err().map(|error| error.code),
            expected,
            "{outcome:?}"
        );
    }
}

#[test]
fn tls_to_a_port_without_tls_is_a_failure_of_tls_or_of_the_connection() {
    let plain = Raw::start(|stream| {
        use std::io::{Read as _, Write as _};
        let _ = stream.read(&mut [0; 4_096]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        // Wait for the peer to close, so that the answer is not overtaken by a reset.
        let _ = stream.read(&mut [0; 4_096]);
    });
    assert_eq!(
        code(&format!("https://{}/", plain.address()), LONG),
        ErrorCode::Tls
    );
}

#[test]
fn a_remote_that_hangs_in_the_tls_handshake_runs_into_the_deadline() {
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    assert_eq!(code(&url, SHORT), ErrorCode::Timeout);
}
