//! The way to the gateway: a TCP proxy between the sentinel and the Python peer that reads what passes and spoils it on order.
//!
//! Invariant: what is not on order passes unchanged and in order; every order that the sentinel sent is noted before anything happens to it,
//! so that the notes are a witness of what left the sentinel. A dropped proxy has no thread and no socket left.

mod fault;
mod frame;
mod pass;
mod spoil;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use fault::{Act, Hit, WireFault};
use rustix::process::{Pid, Signal, kill_process};

/// Longest wait for a connection to the peer, on loopback.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// An order that left the sentinel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenOrder {
    /// Its id.
    pub id: String,
    /// Its idempotency key.
    pub key: String,
    /// `BUY` or `SELL`.
    pub side: String,
    /// Unix milliseconds by the sentinel's clock.
    pub sent_at: i64,
    /// Unix milliseconds.
    pub valid_until: i64,
    /// Unix milliseconds when it passed here.
    pub at_ms: i64,
}

/// What passed.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The orders, as they came.
    pub orders: Vec<SeenOrder>,
    /// Messages by type.
    pub requests: HashMap<String, u64>,
    /// Connections that were made.
    pub connections: u64,
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    now_ms: Box<dyn Fn() -> i64 + Send + Sync>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

#[derive(Default)]
struct State {
    stop: bool,
    /// Where the peer listens, and its process; none while it is away.
    peer: Option<(SocketAddr, Pid)>,
    armed: Vec<WireFault>,
    seen: Seen,
    /// What the ids of requests asked for.
    kinds: HashMap<String, String>,
    /// The last order, and the one before it.
    orders: [Option<Vec<u8>>; 2],
    /// An order that was taken out, to come behind the next question for a status.
    overtaken: Option<Vec<u8>>,
    streams: Vec<TcpStream>,
    threads: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on loopback. `now_ms` is the time that is noted.
    ///
    /// # Errors
    /// No port can be had.
    pub fn start(now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> io::Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            now_ms: Box::new(now_ms),
        });
        let accepting = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Proxy {
            address,
            shared,
            accepting: Some(accepting),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the peer is from now on; none while it is away. Connections to the one before end.
    pub fn set_peer(&self, peer: Option<(SocketAddr, Pid)>) {
        let mut state = self.shared.state();
        state.peer = peer;
        cut(&mut state);
    }

    /// Orders a fault for the next message that it is about.
    pub fn arm(&self, fault: WireFault) {
        self.shared.state().armed.push(fault);
    }

    /// Takes back the faults whose message did not come.
    pub fn disarm(&self) -> Vec<WireFault> {
        std::mem::take(&mut self.shared.state().armed)
    }

    /// What passed so far.
    pub fn seen(&self) -> Seen {
        self.shared.state().seen.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            state.stop = true;
            cut(&mut state);
        }
        self.shared.changed.notify_all();
        // The accepting thread sees the flag when it gets a connection; so it gets one.
        let _ = TcpStream::connect_timeout(&self.address, CONNECT_TIMEOUT);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        let threads = std::mem::take(&mut self.shared.state().threads);
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits that long; false when the proxy ends.
    fn pause(&self, length: Duration) -> bool {
        let (state, _) = self
            .changed
            .wait_timeout_while(self.state(), length, |state| !state.stop)
            .unwrap_or_else(PoisonError::into_inner);
        !state.stop
    }

    /// A signal for the peer. A process that has ended and that nobody waited for takes it as well; it is never another's.
    fn signal(&self, signal: Signal) {
        if let Some((_, pid)) = self.state().peer {
            let _ = kill_process(pid, signal);
        }
    }
}

/// Ends all connections.
fn cut(state: &mut State) {
    for stream in state.streams.drain(..) {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let peer = {
            let state = shared.state();
            if state.stop {
                return;
            }
            state.peer
        };
        // Nobody there: the connection ends at once, as a port that is closed does a moment earlier.
        let (Ok(client), Some((address, _))) = (client, peer) else {
            continue;
        };
        let Ok(peer) = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) else {
            continue;
        };
        if let Err(error) = connect(client, peer, shared) {
            tracing::warn!(%error, "a connection could not be passed on");
        }
    }
}

fn connect(client: TcpStream, peer: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    client.set_nodelay(true)?;
    peer.set_nodelay(true)?;
    let ends = pass::Ends {
        client: client.try_clone()?,
        peer: peer.try_clone()?,
    };
    let back = pass::Ends {
        client: client.try_clone()?,
        peer: peer.try_clone()?,
    };
    let mut state = shared.state();
    state.threads.retain(|thread| !thread.is_finished());
    state.streams.extend([client, peer]);
    state.seen.connections += 1;
    for (ends, is_reply) in [(ends, false), (back, true)] {
        let shared = Arc::clone(shared);
        state.threads.push(std::thread::spawn(move || {
            // That an end goes away is what this is about.
            let _ = pass::pass(&ends, is_reply, &shared);
            ends.cut();
        }));
    }
    Ok(())
}
