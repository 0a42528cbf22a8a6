//! What has been taken in and not delivered yet, in memory and on disk.
//!
//! Invariant: what [`Queue::accept`] acknowledged is on disk and stays in the queue until [`Queue::delivered`]; alerts of a target leave in
//! the order in which they came. Nothing is dropped: a queue that is full, or whose disk is, refuses what comes; what this program itself has
//! to say it takes always ([`Queue::keep`]). Must not touch: network, configuration.

mod journal;
mod known;
mod record;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{error, info};

use crate::payload::{Alert, Header, Notification, Status};
use crate::telemetry::{JournalOp, Telemetry};

pub use journal::OpenError;
use journal::{FORMAT, Journal};
use known::Known;
use record::Record;

/// Below this a journal is not worth rewriting.
const REWRITE_MIN_BYTES: u64 = 1 << 20;

/// How long the last state of an alert is kept.
const KNOWN_FOR: Duration = Duration::from_secs(7 * 86_400);

/// What a disk has to take before it counts as well again.
const PROBE_MIN_BYTES: u64 = 4 << 10;

/// Attempts that are remembered for each lane: more than any rate allows.
const ATTEMPTS_MAX: usize = 32;

/// Alerts of one notification for one target that were taken in together.
#[derive(Debug, PartialEq)]
pub struct Batch {
    /// When, in Unix seconds.
    pub at: f64,
    /// What the notification says besides.
    pub header: Header,
}

/// An alert that waits.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Grows with each alert of any target.
    pub id: u64,
    /// What it came with.
    pub batch: Arc<Batch>,
    /// The alert.
    pub alert: Arc<Alert>,
    bytes: u64,
}

#[cfg(test)]
impl Waiting {
    /// For tests of what is made of it.
    pub(crate) fn for_tests(id: u64, batch: &Arc<Batch>, alert: Alert) -> Waiting {
        Waiting {
            id,
            batch: Arc::clone(batch),
            bytes: bytes_of(&alert),
            alert: Arc::new(alert),
        }
    }
}

/// Why something was not taken in; it has to come again.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// As much waits as may.
    #[error(
        "{waiting} bytes of alerts wait, {max} may; see what keeps the targets from taking them"
    )]
    Full {
        /// What waits.
        waiting: u64,
        /// What may.
        max: u64,
    },
    /// The disk does not take it.
    #[error("the queue cannot be written")]
    Disk(#[source] io::Error),
}

/// What became of the alerts of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Taken in.
    pub queued: usize,
    /// Known already.
    pub duplicates: usize,
}

/// The queue. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    telemetry: Telemetry,
}

#[derive(Debug)]
struct State {
    journal: Journal,
    waiting: BTreeMap<String, VecDeque<Waiting>>,
    attempts: BTreeMap<String, VecDeque<f64>>,
    known: Known,
    next_id: u64,
    waiting_bytes: u64,
    /// Why the last write failed, and the bytes that would not go.
    trouble: Option<(String, u64)>,
    /// Moves with everything that a waiting thread may wait for.
    version: u64,
}

impl Queue {
    /// Opens the queue of a directory.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(directory: &Path, telemetry: Telemetry) -> Result<Queue, OpenError> {
        let (journal, found) = Journal::open(directory)?;
        if found.damaged_bytes > 0 {
            telemetry.record_journal_error(JournalOp::Damage);
            error!(
                bytes = found.damaged_bytes,
                directory = %directory.display(),
                "the queue is damaged; alerts in these bytes may be lost, a copy of the file is kept beside it as queue.journal.damaged"
            );
        }
        let mut state = State {
            journal,
            waiting: BTreeMap::new(),
            attempts: BTreeMap::new(),
            known: Known::default(),
            next_id: 0,
            waiting_bytes: 0,
            trouble: None,
            version: 0,
        };
        for record in found.records {
            state.replay(record);
        }
        let count: usize = state.waiting.values().map(VecDeque::len).sum();
        if count > 0 {
            info!(alerts = count, "alerts wait from before the start");
        }
        let queue = Queue(Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            telemetry,
        }));
        queue.show(&queue.lock());
        Ok(queue)
    }

    /// Takes in what is new of a notification: when this returns, it is on disk. An alert whose last known state is the one that
    /// comes, and that came less than `window` before, is the same message again.
    ///
    /// # Errors
    /// Nothing of it was taken in, and it may come again.
    pub fn accept(
        &self,
        target: &str,
        notification: Notification,
        now: f64,
        window: Duration,
        max_bytes: u64,
    ) -> Result<Accepted, AcceptError> {
        let mut state = self.lock();
        let Notification { header, alerts } = notification;
        let count = alerts.len();
        let mut seen: Vec<(String, Status, String)> = Vec::new();
        let alerts: Vec<Alert> = alerts
            .into_iter()
            .filter(|alert| {
                let key = known::key(target, &header.group_key, &alert.fingerprint);
                let is_new = !state.known.has(&key, alert, now, window);
                if is_new {
                    seen.push((key, alert.status, alert.starts_at.clone()));
                }
                is_new
            })
            .collect();
        let accepted = Accepted {
            queued: alerts.len(),
            duplicates: count - alerts.len(),
        };
        if alerts.is_empty() {
            return Ok(accepted);
        }
        let record = Record::Accepted {
            at: now,
            target: target.to_owned(),
            first_id: state.next_id,
            header,
            alerts,
        };
        let bytes = record.encoded().len() as u64;
        if state.waiting_bytes + bytes > max_bytes {
            return Err(AcceptError::Full {
                waiting: state.waiting_bytes,
                max: max_bytes,
            });
        }
        if let Err(error) = state.journal.append(&record, true) {
            self.failed(&mut state, JournalOp::Append, &error, bytes);
            return Err(AcceptError::Disk(error));
        }
        // That a short record goes says nothing about a longer one that was refused; for that the disk is asked.
        if state
            .trouble
            .as_ref()
            .is_none_or(|(_, refused)| bytes >= *refused)
        {
            self.works_again(&mut state);
        }
        for (key, status, starts_at) in seen {
            state.known.note(key, status, starts_at, now);
        }
        state.replay(record);
        self.moved(state);
        Ok(accepted)
    }

    /// Takes in what this program itself has to say, however much waits. What the disk refuses waits in memory: nobody would send it again, and it may
    /// be about the disk.
    pub fn keep(&self, target: &str, notification: Notification, now: f64) -> Accepted {
        let accepted = self.accept(target, notification.clone(), now, Duration::ZERO, u64::MAX);
        if let Ok(accepted) = accepted {
            return accepted;
        }
        let mut state = self.lock();
        let queued = notification.alerts.len();
        let record = Record::Accepted {
            at: now,
            target: target.to_owned(),
            first_id: state.next_id,
            header: notification.header,
            alerts: notification.alerts,
        };
        state.replay(record);
        self.moved(state);
        Accepted {
            queued,
            duplicates: 0,
        }
    }

    /// The oldest alerts that wait for a target, at most `max` of them, and how many wait in all.
    pub fn waiting(&self, target: &str, max: usize) -> (Vec<Waiting>, usize) {
        let state = self.lock();
        let Some(waiting) = state.waiting.get(target) else {
            return (Vec::new(), 0);
        };
        (waiting.iter().take(max).cloned().collect(), waiting.len())
    }

    /// A message is about to be sent on a lane: noted, so that a restart does not exceed its rate.
    pub fn attempted(&self, lane: &str, now: f64) {
        let mut state = self.lock();
        let record = Record::Attempted {
            at: now,
            lane: lane.to_owned(),
        };
        // A kill of the process loses nothing that was written, and a power cut takes longer than a rate's time.
        if let Err(error) = state.journal.append(&record, false) {
            self.failed(&mut state, JournalOp::Append, &error, 0);
        }
        state.replay(record);
    }

    /// When the last messages were sent on a lane, oldest first, in Unix seconds.
    pub fn attempts(&self, lane: &str) -> Vec<f64> {
        let state = self.lock();
        let attempts = state.attempts.get(lane);
        attempts.map_or_else(Vec::new, |attempts| attempts.iter().copied().collect())
    }

    /// Everything for a target up to this identity has been delivered. If the disk does not take the note, it is delivered once more after
    /// a restart.
    pub fn delivered(&self, target: &str, through: u64) {
        let mut state = self.lock();
        let record = Record::Delivered {
            target: target.to_owned(),
            through,
        };
        // That so short a record goes says nothing about those that were refused.
        if let Err(error) = state.journal.append(&record, true) {
            self.failed(&mut state, JournalOp::Append, &error, 0);
        }
        state.replay(record);
        if state.journal.len() > REWRITE_MIN_BYTES + 2 * state.waiting_bytes {
            let records = state.snapshot();
            match state.journal.replace(&records) {
                Ok(()) => {}
                Err(error) => self.failed(&mut state, JournalOp::Rewrite, &error, 0),
            }
        }
        self.moved(state);
    }

    /// Whether something can be taken in; after a failure the disk is asked again.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn ready(&self, max_bytes: u64) -> Result<(), String> {
        let mut state = self.lock();
        if let Some((_, bytes)) = state.trouble {
            match state.journal.probe(bytes) {
                Ok(()) => self.works_again(&mut state),
                Err(error) => self.failed(&mut state, JournalOp::Append, &error, bytes),
            }
        }
        match &state.trouble {
            Some((trouble, _)) => Err(format!("the queue cannot be written: {trouble}")),
            None if state.waiting_bytes >= max_bytes => Err(format!(
                "the queue is full: {} bytes of alerts wait",
                state.waiting_bytes
            )),
            None => Ok(()),
        }
    }

    /// What was last taken in of an alert of a target, and the start time that came with it.
    pub fn last(
        &self,
        target: &str,
        group_key: &str,
        fingerprint: &str,
    ) -> Option<(Status, String)> {
        let key = known::key(target, group_key, fingerprint);
        self.lock().known.last(&key)
    }

    /// Names of targets for which something waits.
    pub fn targets(&self) -> Vec<(String, usize)> {
        let state = self.lock();
        let waiting = state.waiting.iter();
        waiting
            .filter(|(_, alerts)| !alerts.is_empty())
            .map(|(name, alerts)| (name.clone(), alerts.len()))
            .collect()
    }

    /// Forgets alerts that have not come for a week, the longest time for which they may count as the same message.
    pub fn forget(&self, now: f64) {
        self.lock().known.forget(now, KNOWN_FOR);
    }

    /// A number that moves with every change; see [`Queue::wait`].
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// Waits until something has changed since `version` was asked for, or for that long.
    pub fn wait(&self, version: u64, time: Duration) {
        let waited = self
            .0
            .changed
            .wait_timeout_while(self.lock(), time, |state| state.version == version);
        drop(waited);
    }

    /// Wakes whoever waits, to look at what else may have changed.
    pub fn wake(&self) {
        self.moved(self.lock());
    }

    fn moved(&self, mut state: MutexGuard<'_, State>) {
        state.version += 1;
        self.show(&state);
        drop(state);
        self.0.changed.notify_all();
    }

    fn show(&self, state: &State) {
        let alerts = state.waiting.values().map(VecDeque::len).sum();
        let oldest = state
            .waiting
            .values()
            .filter_map(|waiting| waiting.front())
            .map(|waiting| waiting.batch.at)
            .reduce(f64::min);
        let bytes = (state.waiting_bytes, state.journal.len());
        self.0.telemetry.record_queue(alerts, bytes, oldest);
        self.0
            .telemetry
            .record_queue_writable(state.trouble.is_none());
    }

    fn failed(&self, state: &mut State, op: JournalOp, error: &io::Error, bytes: u64) {
        self.0.telemetry.record_journal_error(op);
        // A file that cannot be rewritten can still be appended to.
        if op == JournalOp::Rewrite {
            error!(%error, "the queue's file cannot be rewritten; it goes on growing");
            return;
        }
        if state.trouble.is_none() {
            error!(%error, "the queue cannot be written: alerts are refused with 503, so that they come again, until it can");
        }
        let bytes = state
            .trouble
            .take()
            .map_or(bytes, |(_, other)| other.max(bytes));
        state.trouble = Some((error.to_string(), bytes.max(PROBE_MIN_BYTES)));
        self.show(state);
    }

    fn works_again(&self, state: &mut State) {
        if state.trouble.take().is_some() {
            info!("the queue can be written again");
            self.show(state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What a record means, whether it was just written or read at the start.
    fn replay(&mut self, record: Record) {
        match record {
            Record::Begin { next_id, .. } => self.next_id = self.next_id.max(next_id),
            Record::Accepted {
                at,
                target,
                first_id,
                header,
                alerts,
            } => self.wait_for(&target, at, first_id, header, alerts),
            Record::Attempted { at, lane } => {
                let attempts = self.attempts.entry(lane).or_default();
                attempts.push_back(at);
                if attempts.len() > ATTEMPTS_MAX {
                    attempts.pop_front();
                }
            }
            Record::Delivered { target, through } => {
                let Some(waiting) = self.waiting.get_mut(&target) else {
                    return;
                };
                while let Some(alert) = waiting.front()
                    && alert.id <= through
                {
                    self.waiting_bytes = self.waiting_bytes.saturating_sub(alert.bytes);
                    waiting.pop_front();
                }
            }
            Record::Known { alerts } => {
                for alert in alerts {
                    self.known
                        .note(alert.key, alert.status, alert.starts_at, alert.at);
                }
            }
        }
    }

    fn wait_for(
        &mut self,
        target: &str,
        at: f64,
        first_id: u64,
        header: Header,
        alerts: Vec<Alert>,
    ) {
        let batch = Arc::new(Batch { at, header });
        let waiting = self.waiting.entry(target.to_owned()).or_default();
        for (id, alert) in (first_id..).zip(alerts) {
            let key = known::key(target, &batch.header.group_key, &alert.fingerprint);
            self.known
                .note(key, alert.status, alert.starts_at.clone(), at);
            let bytes = bytes_of(&alert);
            self.waiting_bytes += bytes;
            self.next_id = self.next_id.max(id + 1);
            waiting.push_back(Waiting {
                id,
                batch: Arc::clone(&batch),
                alert: Arc::new(alert),
                bytes,
            });
        }
    }

    /// Records that say all that this state does.
    fn snapshot(&self) -> Vec<Record> {
        let mut records = vec![
            Record::Begin {
                format: FORMAT,
                next_id: self.next_id,
            },
            Record::Known {
                alerts: self.known.all(),
            },
        ];
        for (lane, attempts) in &self.attempts {
            records.extend(attempts.iter().map(|at| Record::Attempted {
                at: *at,
                lane: lane.clone(),
            }));
        }
        for (target, waiting) in &self.waiting {
            let waiting: Vec<&Waiting> = waiting.iter().collect();
            for batch in waiting.chunk_by(|a, b| Arc::ptr_eq(&a.batch, &b.batch)) {
                let [first, ..] = batch else { continue };
                records.push(Record::Accepted {
                    at: first.batch.at,
                    target: target.clone(),
                    first_id: first.id,
                    header: first.batch.header.clone(),
                    alerts: batch.iter().map(|one| (*one.alert).clone()).collect(),
                });
            }
        }
        records
    }
}

/// About what an alert takes in memory and on disk.
fn bytes_of(alert: &Alert) -> u64 {
    const OVERHEAD: usize = 100;
    let pairs = alert.labels.iter().chain(&alert.annotations);
    let texts: usize = pairs.map(|(name, value)| name.len() + value.len()).sum();
    (texts + alert.generator_url.len() + OVERHEAD) as u64
}
