//! The call itself, on its own thread. Invariant: no text of an error holds the secret or the query.

use std::io::{self, Read as _};
use std::time::{Duration, Instant};

use program::secret::percent_encoded;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;

use super::resolver::OnThisThread;
use super::{Answer, CallError, Method, Request, reply};
use crate::error_code::ErrorCode;

/// Most bytes of the head of an answer.
const HEAD_MAX: usize = 32 * 1024;

/// An agent for [`attempt`]; trusts these roots instead of Mozilla's if there are any, which tests use.
pub(super) fn agent(roots: Option<Vec<Certificate<'static>>>) -> ureq::Agent {
    let mut tls = TlsConfig::builder();
    if let Some(roots) = roots {
        tls = tls.root_certs(RootCerts::new_with_certs(&roots));
    } else {
        tls = tls.root_certs(RootCerts::WebPki);
    }
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .max_idle_connections(0)
        .max_response_header_size(HEAD_MAX)
        .user_agent(concat!("sentinel/", env!("CARGO_PKG_VERSION")))
        .accept("application/json")
        .accept_encoding("identity")
        .tls_config(tls.build())
        .build();
    ureq::Agent::with_parts(config, DefaultConnector::default(), OnThisThread)
}

/// Makes the call.
pub(super) fn attempt(
    agent: &ureq::Agent,
    request: &Request,
    deadline: Instant,
) -> Result<Answer, CallError> {
    let outcome = exchange(agent, request, deadline);
    outcome.map_err(|mut failure| {
        if let Some((_, secret)) = &request.secret {
            // Long texts were cut with room to spare, so that no part of a secret is left at the end of one.
            failure.detail = secret.hidden_in(&failure.detail);
        }
        CallError {
            retry_after: failure.retry_after,
            ..CallError::new(failure.code, &failure.detail)
        }
    })
}

/// A failure before secrets are taken out of its text; never leaves this module.
pub(super) struct Failure {
    pub(super) code: ErrorCode,
    pub(super) detail: String,
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(code: ErrorCode, detail: impl Into<String>) -> Failure {
        Failure {
            code,
            detail: detail.into(),
            retry_after: None,
        }
    }
}

fn exchange(agent: &ureq::Agent, request: &Request, deadline: Instant) -> Result<Answer, Failure> {
    let is_tls = request.url.starts_with("https://");
    let mut url = request.url.clone();
    if let Some((name, secret)) = &request.secret {
        let separator = if url.contains('?') { '&' } else { '?' };
        url.push(separator);
        url.push_str(&format!("{name}={}", percent_encoded(secret.expose())));
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let response = match &request.method {
        Method::Get => {
            let call = agent.get(&url).header("Connection", "close");
            call.config().timeout_global(Some(left)).build().call()
        }
        Method::PostJson(body) => {
            let call = agent.post(&url).header("Connection", "close");
            let call = call.header("Content-Type", "application/json");
            call.config().timeout_global(Some(left)).build().send(body)
        }
    };
    let mut response = response.map_err(|error| failure_of(error, is_tls))?;
    let encoding = response.headers().get("content-encoding");
    if encoding.is_some_and(|value| value != "identity") {
        return Err(Failure::new(
            ErrorCode::Malformed,
            "the answer has a content encoding, which was not asked for",
        ));
    }
    let status = response.status().as_u16();
    let retry_after = reply::retry_after(response.headers());
    let made_at = reply::made_at(response.headers());
    let kept = match status {
        200..=299 => request.body_max,
        _ => reply::ERROR_BODY_MAX,
    };
    let body = read(response.body_mut(), kept, deadline);
    if !(200..=299).contains(&status) {
        // What could be read of the page of an error is enough.
        let body = body.unwrap_or_else(|unread| reply::whole_words(unread.so_far));
        return Err(Failure {
            retry_after,
            ..reply::refusal(status, &body)
        });
    }
    let body = body.map_err(|unread| match unread.reason {
        Reason::TooLong => Failure::new(
            ErrorCode::Malformed,
            format!("the answer is longer than {kept} bytes"),
        ),
        Reason::Failed(error) => failure_of(*error, is_tls),
    })?;
    if body.is_empty() {
        return Err(Failure::new(
            ErrorCode::EmptyResponse,
            format!("status {status} without content"),
        ));
    }
    Ok(Answer { body, made_at })
}

struct Unread {
    so_far: Vec<u8>,
    reason: Reason,
}

enum Reason {
    TooLong,
    Failed(Box<ureq::Error>),
}

/// Reads a body to its end, or one byte further than is accepted.
fn read(body: &mut ureq::Body, max: usize, deadline: Instant) -> Result<Vec<u8>, Unread> {
    let mut so_far = Vec::new();
    let mut reader = body.as_reader();
    let mut block = vec![0; 16 * 1024];
    loop {
        // The socket has the deadline too; this is for a peer that always has one more byte ready.
        if Instant::now() >= deadline {
            let reason = Reason::Failed(Box::new(ureq::Error::Timeout(ureq::Timeout::Global)));
            return Err(Unread { so_far, reason });
        }
        match reader.read(&mut block) {
            Ok(0) => return Ok(so_far),
            Ok(count) => so_far.extend_from_slice(&block[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let reason = Reason::Failed(Box::new(error.into()));
                return Err(Unread { so_far, reason });
            }
        }
        if so_far.len() > max {
            so_far.truncate(max);
            let reason = Reason::TooLong;
            return Err(Unread { so_far, reason });
        }
    }
}

/// The finite reason of an error of the library.
fn failure_of(error: ureq::Error, is_tls: bool) -> Failure {
    use io::ErrorKind as Kind;
    use ureq::Error;
    let text = error.to_string();
    let code = match error {
        Error::Timeout(_) => ErrorCode::Timeout,
        Error::HostNotFound => ErrorCode::Connect,
        Error::ConnectionFailed => ErrorCode::Connect,
        Error::Tls(_) | Error::Rustls(_) | Error::Pem(_) | Error::TlsRequired => ErrorCode::Tls,
        Error::Protocol(_)
        | Error::LargeResponseHeader(..)
        | Error::Http(_)
        | Error::BodyStalled => ErrorCode::Malformed,
        Error::Io(error) => match error.kind() {
            Kind::TimedOut | Kind::WouldBlock => ErrorCode::Timeout,
            // What rustls finds wrong with a peer; a plain connection has no such errors of the socket.
            Kind::InvalidData if is_tls => ErrorCode::Tls,
            Kind::InvalidData => ErrorCode::Malformed,
            Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::NotConnected
            | Kind::BrokenPipe
            | Kind::UnexpectedEof
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
            | Kind::AddrNotAvailable => ErrorCode::Connect,
            _ => ErrorCode::Other,
        },
        // The text would hold the address with its query.
        Error::BadUri(_) => {
            return Failure::new(ErrorCode::Other, "the address of the remote is no URL");
        }
        _ => ErrorCode::Other,
    };
    Failure::new(code, text)
}
