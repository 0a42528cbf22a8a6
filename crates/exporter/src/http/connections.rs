//! The places of the server: which connections there are, what each is doing, and who goes when there are too many.
//!
//! Invariant: at most `max_connections` places, and a new connection gets one unless all are busy with a request. Every phase
//! but computing an answer ends by itself, so no client holds a place for ever. Must not touch: sockets; it ends tasks.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Limits;

/// A reader gets this long before it may be dropped for somebody else: a page takes milliseconds over a sound connection.
const READER_GRACE: Duration = Duration::from_secs(1);

/// A computed answer gets this long before its connection may be dropped for somebody else. Scrapers give up after 10 s.
const ANSWER_GRACE: Duration = Duration::from_secs(30);

/// How long a finished connection is read on, so that its last response is not lost to a reset.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(1);

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// A request's headers or body are awaited or arriving.
    Reading,
    /// An answer is being computed.
    Serving,
    /// A response is on its way to the client.
    Writing,
    /// Between two requests.
    Idle,
    /// No more requests; what the client still sends is discarded.
    Closing,
}

#[derive(Debug)]
pub(super) struct Connections {
    state: Mutex<State>,
    emptied: Notify,
    limits: Limits,
}

#[derive(Debug, Default)]
struct State {
    places: HashMap<u64, Entry>,
    next_id: u64,
    draining: bool,
}

#[derive(Debug)]
struct Entry {
    phase: Phase,
    since: Instant,
    task: Option<AbortHandle>,
    /// The body being written: where it lies and its length in bytes.
    unread: (usize, usize),
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Arc<Connections> {
        Arc::new(Connections {
            state: Mutex::default(),
            emptied: Notify::new(),
            limits,
        })
    }

    /// A place for a new connection, if need be that of another one; `None` if all are busy.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Arc<Place>> {
        let mut state = self.lock();
        if state.draining
            || (state.places.len() >= self.limits.max_connections.max(1) && !state.evict())
        {
            return None;
        }
        let id = state.next_id;
        state.next_id += 1;
        let entry = Entry {
            phase: Phase::Reading,
            since: Instant::now(),
            task: None,
            unread: (0, 0),
        };
        state.places.insert(id, entry);
        Some(Arc::new(Place {
            connections: Arc::clone(self),
            id,
        }))
    }

    /// Drop the connection longest without a request; whether there was one.
    pub(super) fn evict(&self) -> bool {
        self.lock().evict()
    }

    /// End every connection that has no request under way; the others end with their response.
    pub(super) fn drain(&self) {
        let mut state = self.lock();
        state.draining = true;
        let waiting = |entry: &Entry| !matches!(entry.phase, Phase::Serving | Phase::Writing);
        for (_, entry) in state.places.extract_if(|_, entry| waiting(entry)) {
            entry.end();
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.lock().draining
    }

    /// Wait until the last place is free.
    pub(super) async fn emptied(&self) {
        loop {
            let notified = self.emptied.notified();
            if self.lock().places.is_empty() {
                return;
            }
            notified.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing here can panic half way; were it otherwise, a server with a stale entry beats none.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Free one place, if there is one to be had.
    fn evict(&mut self) -> bool {
        let now = Instant::now();
        let candidate = |entry: &Entry| {
            let (rank, grace) = match entry.phase {
                Phase::Reading | Phase::Idle | Phase::Closing => (0, Duration::ZERO),
                Phase::Writing => (1, READER_GRACE),
                Phase::Serving => (2, ANSWER_GRACE),
            };
            (now.duration_since(entry.since) >= grace).then_some((rank, entry.since))
        };
        // Whoever sent a request just now is the last to go, so a crowd of silent clients cannot push out a scraper.
        let places = self.places.iter();
        let oldest = places
            .filter_map(|(&id, entry)| Some((candidate(entry)?, id)))
            .min();
        oldest
            .and_then(|(_, id)| self.places.remove(&id))
            .map(Entry::end)
            .is_some()
    }

    fn unread_bytes(&self) -> usize {
        // Scrapes that share a collection share its body: it is in memory once.
        let bodies: HashSet<(usize, usize)> =
            self.places.values().map(|entry| entry.unread).collect();
        bodies.iter().map(|(_, len)| len).sum()
    }

    fn oldest_reader(&self, spared: u64) -> Option<u64> {
        let readers = self
            .places
            .iter()
            .filter(|(id, entry)| **id != spared && entry.unread.1 > 0);
        readers
            .min_by_key(|(id, entry)| (entry.since, **id))
            .map(|(&id, _)| id)
    }
}

impl Entry {
    fn end(self) {
        if let Some(task) = self.task {
            task.abort();
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = Instant::now();
    }
}

/// One connection's place; dropping the last handle frees it.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    id: u64,
}

impl Place {
    /// The task that ends when the place is taken away.
    pub(super) fn set_task(&self, task: AbortHandle) {
        self.with(|entry| entry.task = Some(task));
    }

    /// Bytes came in: on an idle connection they begin a request.
    pub(super) fn received(&self) {
        self.with(|entry| {
            if entry.phase == Phase::Idle {
                entry.enter(Phase::Reading);
            }
        });
    }

    /// A request's head is there, its body is awaited. The time runs on from the head's begin.
    pub(super) fn reading_body(&self) {
        self.with(|entry| {
            if entry.phase != Phase::Reading {
                entry.enter(Phase::Reading);
            }
        });
    }

    /// The request is complete.
    pub(super) fn serving(&self) {
        self.with(|entry| entry.enter(Phase::Serving));
    }

    /// The response begins; `body` is what the client has to take. Slower readers go if too much memory waits for them.
    pub(super) fn writing(&self, body: &[u8]) {
        let mut state = self.connections.lock();
        if let Some(entry) = state.places.get_mut(&self.id) {
            entry.enter(Phase::Writing);
            entry.unread = (body.as_ptr().addr(), body.len());
        }
        while state.unread_bytes() > self.connections.limits.max_unread_bytes {
            match state
                .oldest_reader(self.id)
                .and_then(|id| state.places.remove(&id))
            {
                Some(entry) => entry.end(),
                None => break,
            }
        }
    }

    /// Everything is with the kernel: hyper takes a body that is in one piece together with its head, and flushes after.
    pub(super) fn flushed(&self) {
        self.with(|entry| {
            if entry.phase == Phase::Writing {
                entry.enter(Phase::Idle);
                entry.unread = (0, 0);
            }
        });
    }

    /// No further request will be read, nothing more written.
    pub(super) fn closing(&self) {
        self.with(|entry| {
            entry.enter(Phase::Closing);
            entry.unread = (0, 0);
        });
    }

    /// When the connection is to be dropped if nothing changes; `None` while an answer is being computed.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let state = self.connections.lock();
        let limits = &self.connections.limits;
        let Some(entry) = state.places.get(&self.id) else {
            return Some(Instant::now());
        };
        let timeout = match entry.phase {
            Phase::Serving => return None,
            Phase::Idle if state.draining => Duration::ZERO,
            Phase::Idle => limits.idle_timeout,
            Phase::Reading => limits.head_timeout,
            Phase::Writing => limits.write_timeout,
            Phase::Closing => CLOSING_TIMEOUT,
        };
        Some(entry.since + timeout)
    }

    fn with(&self, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.connections.lock().places.get_mut(&self.id) {
            change(entry);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.connections.lock();
        state.places.remove(&self.id);
        if state.places.is_empty() {
            self.connections.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A full house: each place's phase and how long it has been in it.
    fn full(phases: &[(Phase, Duration)]) -> (Arc<Connections>, Vec<Arc<Place>>) {
        let connections = Connections::new(Limits {
            max_connections: phases.len(),
            ..Limits::default()
        });
        let places = phases.iter().map(|&(phase, age)| {
            let place = connections.admit().expect("there is room");
            place.with(|entry| {
                entry.phase = phase;
                entry.since = Instant::now() - age;
            });
            place
        });
        let places = places.collect();
        (connections, places)
    }

    /// Which of them goes when one more comes.
    fn evicted(phases: &[(Phase, Duration)]) -> Option<usize> {
        let (connections, places) = full(phases);
        let newcomer = connections.admit();
        let gone: Vec<usize> = (0..places.len())
            .filter(|&at| !connections.lock().places.contains_key(&places[at].id))
            .collect();
        assert_eq!(gone.len(), usize::from(newcomer.is_some()));
        gone.first().copied()
    }

    #[test]
    fn the_longest_without_a_request_goes_first_then_slow_readers_then_stuck_answers() {
        use Phase::{Closing, Idle, Reading, Serving, Writing};
        assert_eq!(
            evicted(&[
                (Reading, MINUTE / 2),
                (Idle, MINUTE),
                (Closing, Duration::ZERO)
            ]),
            Some(1)
        );
        assert_eq!(
            evicted(&[
                (Writing, MINUTE),
                (Serving, MINUTE),
                (Reading, Duration::ZERO)
            ]),
            Some(2)
        );
        assert_eq!(
            evicted(&[
                (Writing, Duration::ZERO),
                (Writing, READER_GRACE * 2),
                (Serving, MINUTE)
            ]),
            Some(1)
        );
        assert_eq!(
            evicted(&[
                (Serving, MINUTE),
                (Serving, ANSWER_GRACE),
                (Writing, Duration::ZERO)
            ]),
            Some(0)
        );
        assert_eq!(
            evicted(&[(Serving, Duration::ZERO), (Writing, Duration::ZERO)]),
            None
        );
    }

    #[test]
    fn a_place_that_was_taken_away_stays_away_and_is_overdue() {
        let (connections, places) = full(&[(Phase::Idle, MINUTE)]);
        assert!(connections.evict());
        places[0].serving();
        assert!(connections.lock().places.is_empty());
        assert!(
            places[0]
                .deadline()
                .is_some_and(|deadline| deadline <= Instant::now())
        );
        assert!(!connections.evict());
    }

    #[test]
    fn nobody_is_admitted_while_draining_and_idle_places_end_at_once() {
        let (connections, places) = full(&[
            (Phase::Serving, MINUTE),
            (Phase::Idle, MINUTE),
            (Phase::Reading, MINUTE),
        ]);
        connections.drain();
        assert!(connections.is_draining() && connections.admit().is_none());
        assert_eq!(
            connections.lock().places.keys().collect::<Vec<_>>(),
            [&places[0].id]
        );
        assert_eq!(places[0].deadline(), None);
        places[0].writing(b"");
        places[0].flushed();
        assert!(
            places[0]
                .deadline()
                .is_some_and(|deadline| deadline <= Instant::now())
        );
    }
}
