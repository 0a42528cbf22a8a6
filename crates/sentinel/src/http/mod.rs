//! One HTTP call with a deadline over everything: resolving, connecting, TLS, sending, waiting, the whole body.
//!
//! Invariant: a call returns at its deadline at the latest, whatever the remote does, with a typed failure or a complete body below its
//! cap. Must not touch: metrics, logs; what failed is returned.
//!
//! What is decided here:
//!
//! * Each call runs on a thread of its own. The sockets have the deadline too, so the thread ends by itself; only the system's name
//!   resolution cannot be interrupted. A call that hangs in it is abandoned at the deadline, and while [`ABANDONED_MAX`] such threads are still
//!   there, further calls fail at once instead of adding one.
//! * Each call has a connection of its own. There is one an hour to the feed and one to the model; a kept connection that the peer or a
//!   firewall dropped would cost the call that finds out.
//! * Proxies of the environment are not used: the query holds a token, and nobody named a proxy in our configuration. Redirects are not
//!   followed, for the same reason.
//! * No content encoding is asked for, and one that comes is refused: a body is as large as it says.

mod attempt;
mod reply;
mod resolver;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error_code::ErrorCode;
use program::secret::Secret;

/// Most calls whose threads may hang in name resolution after they were given up.
pub const ABANDONED_MAX: usize = 4;

/// Most characters of [`CallError::detail`].
pub const DETAIL_CHARACTERS: usize = 200;

/// Time beyond the deadline in which a call that notices it by itself may say what it was doing, which tells more than that it was given up.
const GRACE: Duration = Duration::from_millis(50);

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct CallError {
    /// The finite reason.
    pub code: ErrorCode,
    /// One line for people, at most [`DETAIL_CHARACTERS`] characters, without secrets.
    pub detail: String,
    /// How long the remote wants not to be asked, if it said so.
    pub retry_after: Option<Duration>,
}

impl CallError {
    /// A failure; the detail is brought into one short line.
    pub fn new(code: ErrorCode, detail: &str) -> CallError {
        CallError {
            code,
            detail: one_line(detail),
            retry_after: None,
        }
    }
}

/// Foreign text as one line of at most [`DETAIL_CHARACTERS`] characters. Of a longer one the beginning and the end are kept: a model server
/// puts the data first and what is wrong with them last.
fn one_line(text: &str) -> String {
    let words = text.split(|character: char| character.is_whitespace() || character.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let line: Vec<char> = words.join(" ").chars().collect();
    if line.len() <= DETAIL_CHARACTERS {
        return line.into_iter().collect();
    }
    const BETWEEN: &str = " ... ";
    let begin = DETAIL_CHARACTERS / 2 - BETWEEN.len();
    let end = line.len() - DETAIL_CHARACTERS / 2;
    let (begin, end) = (line[..begin].iter(), line[end..].iter());
    begin
        .chain(&BETWEEN.chars().collect::<Vec<_>>())
        .chain(end)
        .collect()
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// Ask.
    Get,
    /// Send a body of JSON.
    PostJson(Vec<u8>),
}

/// A call to be made.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is sent.
    pub method: Method,
    /// `http://` or `https://`, host, path and the public part of the query.
    pub url: String,
    /// A name and a secret value that are added to the query.
    pub secret: Option<(&'static str, Secret)>,
    /// Most bytes of the answer; a longer one is [`ErrorCode::Malformed`].
    pub body_max: usize,
}

/// A success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its body, not empty.
    pub body: Vec<u8>,
    /// When the remote made it, in Unix seconds by its own clock (`Date`), if it says so.
    pub made_at: Option<i64>,
}

/// Makes calls. Cloning shares the certificates and the count of abandoned threads.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    abandoned: Arc<AtomicUsize>,
}

impl Default for Client {
    fn default() -> Client {
        Client::new()
    }
}

impl Client {
    /// A client that trusts the certificate authorities of Mozilla's list, which is built in.
    pub fn new() -> Client {
        Client::with_agent(attempt::agent(None))
    }

    fn with_agent(agent: ureq::Agent) -> Client {
        Client {
            agent,
            abandoned: Arc::new(AtomicUsize::new(0)),
        }
    }

    /// Makes one call and returns the body of a success, which is not empty.
    ///
    /// # Errors
    /// [`CallError`], at the deadline at the latest.
    pub fn call(&self, request: Request, deadline: Instant) -> Result<Vec<u8>, CallError> {
        self.answer(request, deadline).map(|answer| answer.body)
    }

    /// Makes one call and returns the success.
    ///
    /// # Errors
    /// [`CallError`], at the deadline at the latest.
    pub fn answer(&self, request: Request, deadline: Instant) -> Result<Answer, CallError> {
        if deadline <= Instant::now() {
            return Err(CallError::new(
                ErrorCode::Timeout,
                "no time was left for the call",
            ));
        }
        if self.abandoned.load(Ordering::Acquire) >= ABANDONED_MAX {
            return Err(CallError::new(
                ErrorCode::Timeout,
                "not called: earlier calls still hang in name resolution",
            ));
        }
        let agent = self.agent.clone();
        let abandoned = Arc::clone(&self.abandoned);
        // Counted while it runs, and by whoever gives it up left counted until it ends.
        let running = Running::start(&abandoned);
        let (sender, receiver) = mpsc::sync_channel(1);
        let spawned = thread::Builder::new()
            .name("http-call".to_owned())
            .spawn(move || {
                let outcome = attempt::attempt(&agent, &request, deadline);
                drop(running);
                // Nobody listens any more after the deadline.
                let _ = sender.send(outcome);
            });
        if let Err(error) = spawned {
            let detail = format!("no thread for the call: {error}");
            return Err(CallError::new(ErrorCode::Other, &detail));
        }
        let left = deadline.saturating_duration_since(Instant::now()) + GRACE;
        match receiver.recv_timeout(left) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => Err(CallError::new(
                ErrorCode::Timeout,
                "given up at the deadline",
            )),
            Err(RecvTimeoutError::Disconnected) => {
                Err(CallError::new(ErrorCode::Other, "the call ended by itself"))
            }
        }
    }
}

/// Counts a running call until it is dropped, also by a panic.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn start(count: &Arc<AtomicUsize>) -> Running {
        count.fetch_add(1, Ordering::AcqRel);
        Running(Arc::clone(count))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
