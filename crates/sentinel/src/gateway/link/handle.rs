//! What the loop holds of the link: it puts a message on the desk of the link's thread and waits for what came of it.
//!
//! Invariant: a wait ends at the budget, at a result or at the end of the program, whatever that thread does; a message that the thread has
//! not taken by then is taken back. Ending waits for nobody. Must not touch: the socket.

use std::fmt;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::dealer::{Dealer, Endpoint};
use super::worker::Worker;
use super::{Ask, Exchange, Gateway, LinkState, NotSent};
use crate::clock::Clock;
use crate::gateway::protocol::Key;
use crate::pulse::BEAT;
use crate::stop::Stop;

/// Nobody waits longer for a reply.
const BUDGET_MAX: Duration = Duration::from_secs(3_600);
/// What the link's thread may be late.
const MARGIN: Duration = Duration::from_millis(250);
/// How long the end of the link waits for its thread, which closes the socket; then it is left to itself.
const END: Duration = Duration::from_millis(200);

/// Where the gateway is and how it is spoken to.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// A name or an address; an address of IPv6 with or without brackets. A name is looked up for IPv4 only.
    pub host: String,
    /// From 1.
    pub port: u16,
    /// The shared secret.
    pub key: Key,
    /// From one heartbeat to the next, while no exchange is under way; at most an hour.
    pub heartbeat_every: Duration,
    /// The budget of a heartbeat's reply; at most an hour.
    pub timeout: Duration,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Host and port name no place.
    #[error(
        "{host}:{port}: no place to connect to, accepted: a name or an address, and a port from 1"
    )]
    Host {
        /// As given.
        host: String,
        /// As given.
        port: u16,
    },
    /// libzmq has no socket.
    #[error("{endpoint}: no socket: {source}")]
    Socket {
        /// What would have been connected to.
        endpoint: String,
        /// Why.
        source: zmq::Error,
    },
    /// The system has no thread or no pair of sockets to wake it.
    #[error("no thread for the link to the gateway: {0}")]
    Thread(#[from] std::io::Error),
}

/// A message for the link's thread, and when it was put down.
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) ask: Ask,
    pub(super) begun: Instant,
    pub(super) budget: Duration,
}

/// What the two threads share.
#[derive(Default)]
pub(super) struct Desk {
    /// Put down and not taken.
    pub(super) job: Option<Job>,
    /// The job that is waited for; a result of another one is of no use.
    pub(super) awaited: u64,
    pub(super) result: Option<Exchange>,
    pub(super) state: LinkState,
    /// The link is dropped.
    pub(super) has_ended: bool,
}

/// A lock that a panic does not take away: each critical section leaves the desk whole.
pub(super) fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The link.
pub struct Link {
    desk: Arc<Mutex<Desk>>,
    wake: UnixStream,
    /// Never holds anything; its sender is dropped by the thread as its last act.
    thread_end: Receiver<()>,
    stop: Stop,
    beat: Box<dyn Fn() + Send>,
}

impl Link {
    /// Opens the socket and starts its thread; whether a gateway is there is not waited for. `beat` is called by whoever waits in
    /// [`Gateway::exchange`], once a second. `clock` stamps messages and sightings; budgets are real time.
    ///
    /// # Errors
    /// Host or port name no place, or the system has no socket or no thread.
    pub fn start(
        settings: LinkSettings,
        clock: Clock,
        stop: Stop,
        beat: impl Fn() + Send + 'static,
    ) -> Result<Link, LinkError> {
        let endpoint =
            Endpoint::new(&settings.host, settings.port).ok_or_else(|| LinkError::Host {
                host: settings.host.clone(),
                port: settings.port,
            })?;
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let settings = LinkSettings {
            heartbeat_every: settings.heartbeat_every.min(BUDGET_MAX),
            timeout: settings.timeout.min(BUDGET_MAX),
            ..settings
        };
        let dealer = Dealer::open(&endpoint).map_err(|source| LinkError::Socket {
            endpoint: endpoint.url,
            source,
        })?;
        let desk: Arc<Mutex<Desk>> = Arc::default();
        let (last_act, thread_end) = channel();
        let worker = Worker::new(settings, dealer, woken, desk.clone(), clock, stop.clone());
        std::thread::Builder::new()
            .name("gateway-link".to_owned())
            .spawn(move || {
                worker.run();
                drop(last_act);
            })?;
        Ok(Link {
            desk,
            wake,
            thread_end,
            stop,
            beat: Box::new(beat),
        })
    }

    fn wake(&self) {
        // Full means that enough is there to wake the thread.
        let _ = (&self.wake).write(&[0]);
    }

    /// The result, or what is true without one when the wait is over.
    fn give_up(&self, without: Exchange) -> Exchange {
        let mut desk = lock(&self.desk);
        desk.awaited += 1;
        match (desk.job.take(), desk.result.take()) {
            // The thread never had it.
            (Some(_), _) => Exchange::NotSent(NotSent::Closed),
            (None, Some(result)) => result,
            (None, None) => without,
        }
    }
}

impl Gateway for Link {
    fn exchange(&mut self, ask: Ask, budget: Duration) -> Exchange {
        if self.stop.is_requested() {
            return Exchange::NotSent(NotSent::Closed);
        }
        // Whatever is asked for, it can be added to an instant.
        let budget = budget.min(BUDGET_MAX);
        let begun = Instant::now();
        {
            let mut desk = lock(&self.desk);
            desk.awaited += 1;
            desk.result = None;
            desk.job = Some(Job {
                number: desk.awaited,
                ask,
                begun,
                budget,
            });
        }
        self.wake();
        loop {
            let left = (budget + MARGIN).saturating_sub(begun.elapsed());
            let is_over = || lock(&self.desk).result.is_some();
            self.stop.wait(left.min(BEAT), is_over);
            if is_over() || self.stop.is_requested() {
                return self.give_up(Exchange::Stopped);
            }
            let has_thread = self.thread_end.try_recv() != Err(TryRecvError::Disconnected);
            if left.is_zero() || !has_thread {
                tracing::error!(has_thread, "the link to the gateway does not work");
                return self.give_up(Exchange::Unknown {
                    was_malformed: false,
                });
            }
            (self.beat)();
        }
    }

    fn state(&self) -> LinkState {
        lock(&self.desk).state.clone()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        lock(&self.desk).has_ended = true;
        self.wake();
        // libzmq may hold the thread, while it looks up a name for instance.
        let _ = self.thread_end.recv_timeout(END);
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
