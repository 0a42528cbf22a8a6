//! The server's thread: accept, hand over, stop in time.
//!
//! Invariant: `stop` returns within a second whatever clients and closures do, and an accept that fails delays the next one,
//! never ends the loop. Must not touch: requests.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::connection;
use super::connections::Connections;
use super::routes::Routes;
use super::{Endpoint, Limits};

/// How long running requests may take once the server is to stop. Leaves a good part of the promised second for the rest.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(700);

/// Pause after an accept that failed with nobody to make room: it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Threads for readiness checks, besides those of the scrapes.
const READY_THREADS: usize = 2;

/// A running server. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Server {
    /// The addresses it listens on, with the ports the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stop listening, let running requests finish, return within one second whatever the clients do. A closure that is still
    /// running then is left to end by itself; nobody waits for its answer.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            warn!("the server's thread had panicked");
        }
    }
}

/// Serve `endpoint` on a thread of its own. Requests wait in the kernel from `bind` on, so none is refused in between.
///
/// # Errors
/// The listeners cannot be watched or the thread cannot be started: the process is out of descriptors or threads.
pub fn spawn(
    listeners: Vec<TcpListener>,
    endpoint: Endpoint,
    limits: Limits,
) -> io::Result<Server> {
    let scrape_threads = if limits.max_requests == 0 {
        limits.max_connections
    } else {
        limits.max_requests
    };
    let page_threads = endpoint
        .pages
        .as_ref()
        .map_or(0, |pages| pages.requests_max.max(1));
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(scrape_threads + page_threads + READY_THREADS)
        .thread_name("metrics-scrape")
        .build()?;
    let addresses = listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<io::Result<_>>()?;
    let listeners = {
        let _entered = runtime.enter();
        let watched = |listener: TcpListener| {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        };
        listeners
            .into_iter()
            .map(watched)
            .collect::<io::Result<Vec<_>>>()?
    };
    let (stop, stopped) = oneshot::channel();
    let body = move || serve_until(stopped, runtime, listeners, endpoint, limits);
    let thread = thread::Builder::new()
        .name("metrics-http".to_string())
        .spawn(body)?;
    Ok(Server {
        addresses,
        stop,
        thread,
    })
}

fn serve_until(
    stopped: oneshot::Receiver<()>,
    runtime: Runtime,
    listeners: Vec<tokio::net::TcpListener>,
    endpoint: Endpoint,
    limits: Limits,
) {
    let connections = Connections::new(limits.clone());
    let routes = Routes::new(endpoint, &limits, Arc::clone(&connections));
    runtime.block_on(async {
        let accepting: Vec<_> = listeners
            .into_iter()
            .map(|listener| {
                tokio::spawn(accept(
                    listener,
                    Arc::clone(&connections),
                    Arc::clone(&routes),
                    limits.clone(),
                ))
            })
            .collect();
        // The sender is only ever dropped.
        let _ = stopped.await;
        for task in accepting {
            // Its listener closes with it, at the runtime's next turn.
            task.abort();
        }
        connections.drain();
        let _ = timeout(DRAIN_TIMEOUT, connections.emptied()).await;
    });
    runtime.shutdown_background();
}

async fn accept(
    listener: tokio::net::TcpListener,
    connections: Arc<Connections>,
    routes: Arc<Routes>,
    limits: Limits,
) {
    let mut failing = false;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // The client was gone before we came to it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                if !failing {
                    warn!(%error, "cannot accept connections; idle ones are dropped until it works again");
                }
                failing = true;
                // Usually the process is out of descriptors: an idle client's is better used for a new one. It is free once
                // the client's task has had its turn to end.
                match connections.evict() {
                    true => yield_now().await,
                    false => sleep(ACCEPT_PAUSE).await,
                }
                continue;
            }
        };
        failing = false;
        // Without a place the connection is closed at once: every other one is busy with a request.
        if let Some(place) = connections.admit() {
            // A response goes out in one write; waiting for the client's acknowledgement would only delay its end.
            let _ = stream.set_nodelay(true);
            let task = tokio::spawn(connection::serve(
                stream,
                Arc::clone(&place),
                Arc::clone(&routes),
                limits.clone(),
            ));
            place.set_task(task.abort_handle());
        }
    }
}
