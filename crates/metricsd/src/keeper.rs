//! The thread that keeps the books: notes what shards hold, retires those of ended processes, and settles what was deleted, moved
//! or came back.
//!
//! Invariant: nothing that it does shows in a total. It takes the locks in the order of [`crate::daemon`], and none of them while
//! it waits for a disk but the books' own. What fails is counted, logged once, and tried again. A scrape that has to
//! discard gauges waits for the books, half a second at most.

mod choose;
mod noting;
mod retiring;
mod sidecars;
mod trouble;

use std::collections::{HashMap, HashSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use metricsd_shard::ShardFile;

use crate::archive::IdentityKey;
use crate::clock::unix_now;
use crate::daemon::{Daemon, SharedBooks, lock};
use crate::liveness::LivenessMode;
use crate::retention::RetirementSettings;
use crate::retire::{Haste, Lingering, Pace, Step};
use crate::state_directory::StateDirectory;
use crate::telemetry::{ObservedState, StateOp};
use program::sentence;

/// How often it looks whether there is something to do.
const TURN_INTERVAL: Duration = Duration::from_millis(250);

/// The same while so many processes end that their shards may not wait: by what ends between two turns the files outnumber those
/// that are tolerated.
const HASTY_INTERVAL: Duration = Duration::from_millis(50);

/// Shards are read at least this often, whether somebody scrapes or not: what nobody has read is not noted. In a turn after names
/// came or went they are read at once, or processes that live for less than this would not be seen before they end.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// How much of what was counted a power cut may take: values that changed are noted, and synced, so often.
const NOTE_INTERVAL: Duration = Duration::from_secs(5);

/// How often expired gauges are looked for.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(10);

/// Groups of one turn. More than this waits for the next one, so that noting and stopping are never far away.
const GROUPS_MAX: usize = 8;

/// Descriptors of deleted shards that are kept for late writers.
const LINGERING_MAX: usize = 4096;

/// How long a shard is left alone that could not be retired for what is in it.
const PUT_OFF: Duration = Duration::from_secs(30);

/// The same for one whose directory or journal failed.
const FAILED_PUT_OFF: Duration = Duration::from_secs(2);

/// How long a shard whose file is somewhere else is waited for before it counts as missing.
const ELSEWHERE_PATIENCE: Duration = Duration::from_secs(10);

/// How long the state directory is left alone after it failed, at first and at most: each attempt makes a file. Where there was
/// no room it stays at the first: nothing is left behind then, and room may be given back at any time.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(30);

/// How long nothing may have failed before that is said: longer than the archive waits until it tries something again.
const WORKS_AGAIN_AFTER: Duration = Duration::from_secs(15);

/// Retired writers whose sidecars are looked for at a time.
const WRITERS_MAX: usize = 10_000;

/// How long a stop waits for the last records.
const STOP_PATIENCE: Duration = Duration::from_millis(700);

/// How often it is looked for shards that have been missing for too long.
const FORGET_INTERVAL: Duration = Duration::from_secs(3600);

/// Different sentences that are remembered as told.
const TOLD_MAX: usize = 256;

/// Called after each step of a retirement, so that a test can stop the process there.
pub type AtStep = Arc<dyn Fn(Step) + Send + Sync>;

/// The running thread.
#[derive(Debug)]
pub struct Keeper {
    stop: Sender<()>,
    is_stopping: Arc<AtomicBool>,
    is_done: Receiver<()>,
}

impl Keeper {
    /// Starts it. The daemon's books are open; whether they are reconciled the keeper finds out.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        daemon: Arc<Daemon>,
        books: SharedBooks,
        state: Arc<StateDirectory>,
        retirement: RetirementSettings,
        at_step: AtStep,
    ) -> io::Result<Keeper> {
        let (stop, stopped) = channel();
        let (done, is_done) = channel();
        let is_stopping = Arc::new(AtomicBool::new(false));
        let mut rounds = Rounds::new(daemon, books, state, retirement, at_step);
        rounds.is_stopping = Arc::clone(&is_stopping);
        std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || {
                while stopped.recv_timeout(rounds.interval()) == Err(RecvTimeoutError::Timeout) {
                    // Whatever it is, a directory without retirement is worse than a turn without an end.
                    if catch_unwind(AssertUnwindSafe(|| rounds.turn())).is_err() {
                        rounds.counts.errors.add(StateOp::Damage);
                        tracing::error!(
                            "a turn of keeping the books failed; the next one begins anew"
                        );
                    }
                }
                rounds.close();
                let _ = done.send(());
            })?;
        Ok(Keeper {
            stop,
            is_stopping,
            is_done,
        })
    }

    /// Notes everything a last time, closes the books and ends the thread. A disk that hangs is not waited for: the next start
    /// takes this stop for a crash.
    pub fn stop(self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        let _ = self.stop.send(());
        if self.is_done.recv_timeout(STOP_PATIENCE).is_err() {
            tracing::error!(
                "the last state was not written in time; the next start takes this stop for a crash"
            );
        }
    }
}

/// What the thread works on.
struct Rounds {
    is_stopping: Arc<AtomicBool>,
    daemon: Arc<Daemon>,
    books: SharedBooks,
    state: Arc<StateDirectory>,
    /// Whether the state would survive a power cut if it is where its path leads.
    is_durable_in_place: bool,
    retirement: RetirementSettings,
    pace: Pace,
    /// Whether the next turn may not wait, as of the last one that came to choose whom to retire.
    is_hasty: bool,
    haste: Haste,
    /// Something was noted that is not durable yet.
    is_sync_wanted: bool,
    at_step: AtStep,
    lingering: Vec<Lingering<Arc<ShardFile>>>,
    put_off: HashMap<IdentityKey, Instant>,
    /// IDs of writers of ours some of whose shards were retired.
    retired_writers: HashSet<String>,
    /// Since when shards are somewhere else.
    elsewhere: HashMap<IdentityKey, Instant>,
    /// The last turn that did more than to note and to retire.
    looked_after_at: Instant,
    noted_at: Instant,
    expired_at: Instant,
    swept_at: Instant,
    forgot_at: Instant,
    /// The state directory failed: it is left alone until then.
    rest: Option<(Instant, Duration)>,
    /// When the state directory failed last, until that is taken back.
    failed_at: Option<Instant>,
    /// What was logged and is still true.
    told: HashSet<String>,
    counts: ObservedState<'static>,
}

impl Rounds {
    fn new(
        daemon: Arc<Daemon>,
        books: SharedBooks,
        state: Arc<StateDirectory>,
        retirement: RetirementSettings,
        at_step: AtStep,
    ) -> Rounds {
        let counts = daemon.work().kept;
        let now = Instant::now();
        let delay = retirement.after.unwrap_or_default();
        Rounds {
            is_stopping: Arc::default(),
            daemon,
            books,
            state,
            is_durable_in_place: counts.is_durable,
            retirement,
            pace: Pace {
                delay_seconds: delay.as_secs_f64(),
                ..Pace::default()
            },
            is_hasty: false,
            haste: Haste::default(),
            is_sync_wanted: false,
            at_step,
            lingering: Vec::new(),
            put_off: HashMap::new(),
            retired_writers: HashSet::new(),
            elsewhere: HashMap::new(),
            looked_after_at: now,
            noted_at: now,
            expired_at: now,
            swept_at: now,
            forgot_at: now,
            rest: None,
            failed_at: None,
            told: HashSet::new(),
            counts,
        }
    }

    /// How long to wait for the next turn.
    fn interval(&self) -> Duration {
        match self.is_hasty {
            true => HASTY_INTERVAL,
            false => TURN_INTERVAL,
        }
    }

    fn turn(&mut self) {
        self.is_hasty = false;
        if !self.is_reconciled() {
            return;
        }
        if self.is_resting() {
            self.look();
        } else {
            // Not forgotten when anything in between panics.
            self.is_sync_wanted |= self.look_and_note();
            self.is_sync_wanted |= self.settle_lost();
            // What is retired takes the notes along to the disk.
            self.retire();
            if std::mem::take(&mut self.is_sync_wanted) {
                self.sync();
            }
            // None of this is in haste, and it may sync once more.
            if self.looked_after_at.elapsed() >= TURN_INTERVAL {
                self.looked_after_at = Instant::now();
                self.ask_lingering();
                self.expire();
                self.sweep_sidecars();
                self.tend();
            }
        }
        self.publish();
    }

    /// Whether the state directory failed just now.
    fn is_resting(&self) -> bool {
        self.rest.is_some_and(|(until, _)| Instant::now() < until)
    }

    /// Reads the shards if nobody did lately, or if there may be others.
    fn look(&self) {
        let mut work = self.daemon.work();
        if work.refreshed_at.elapsed() >= REFRESH_INTERVAL || work.collector.may_have_new_names() {
            drop(work.refresh());
        }
    }

    /// Tries again to make the reconciliation durable, without which nothing is shown.
    fn is_reconciled(&mut self) -> bool {
        if self.daemon.work().is_reconciled {
            return true;
        }
        let is_told = !self.is_resting() && self.daemon.work().reconcile_again(unix_now());
        let is_synced = is_told && self.sync();
        self.daemon.work().is_reconciled = is_synced;
        self.publish();
        is_synced
    }

    fn tend(&mut self) {
        self.check_place();
        let tended = lock(&self.books).tend(unix_now());
        match tended {
            Ok(_) => self.say_if_it_works_again(),
            Err(err) => self.storage_failed(&err),
        }
        if self.forgot_at.elapsed() >= FORGET_INTERVAL {
            self.forgot_at = Instant::now();
            let forgotten = lock(&self.books).forget_old(unix_now());
            if let Err(err) = forgotten {
                self.append_failed(&err);
            }
        }
        let oddities = lock(&self.books).take_oddities();
        for oddity in oddities {
            self.counts.errors.add(StateOp::Damage);
            tracing::warn!(%oddity, "the state says something that does not fit; the least harm was done");
        }
    }

    /// Stops in good order: everything that was shown is noted.
    fn close(mut self) {
        let is_reconciled = {
            let daemon = Arc::clone(&self.daemon);
            let mut work = daemon.work();
            let is_reconciled = work.is_reconciled;
            if is_reconciled {
                drop(work.refresh());
                self.note_all(&mut work.collector);
            }
            is_reconciled
        };
        let Some(books) = Arc::into_inner(self.books) else {
            return;
        };
        let books = books.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Err(err) = books.close(unix_now())
            && is_reconciled
        {
            tracing::error!(error = %sentence(&err), "the last state cannot be written; the next start takes this stop for a crash");
        }
    }

    /// Gives the daemon's own metrics what was counted.
    fn publish(&mut self) {
        {
            let books = lock(&self.books);
            let state = books.shared_state();
            let state = state.read().unwrap_or_else(PoisonError::into_inner);
            self.counts.archived_series = state.keys().len() as u64;
            self.counts.journal_len_bytes = books.journal_len_bytes();
        }
        let mut work = self.daemon.work();
        let mode = work.liveness.mode();
        self.counts.is_retirement_enabled =
            self.retirement.after.is_some() && mode == LivenessMode::Leases;
        work.kept = self.counts;
    }
}
