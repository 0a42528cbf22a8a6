//! The thread that keeps the books: notes what shards hold, retires those of ended processes, and settles what was deleted, moved
//! or came back.
//!
//! Invariant: nothing that it does shows in a total. It takes the locks in the order of [`crate::daemon`], and none of them while
//! it waits for a disk but the books' own. What fails is counted, logged once, and tried again; a scrape never waits for it.

mod choose;
mod sidecars;

use std::collections::{HashMap, HashSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use metricsd_shard::{Liveness, ShardFile, ShardName, original_of_retiring};

use crate::archive::{AppendError, IdentityKey, Operation, Phase, Space, StorageError};
use crate::clock::unix_now;
use crate::collect::{Collector, Place, Shard};
use crate::daemon::{Daemon, SharedBooks, lock};
use crate::liveness::LivenessMode;
use crate::retention::RetirementSettings;
use crate::retire::{
    Candidate, Lingering, Pace, PutOff, Shelf, ShelfOperation, Step, Trouble, Why, linger,
    retire_group,
};
use crate::sentence::one_sentence;
use crate::telemetry::{ObservedState, StateOp};

/// How often it looks whether there is something to do.
const TURN_INTERVAL: Duration = Duration::from_millis(250);

/// Shards are read at least this often, whether somebody scrapes or not: what nobody has read is not noted.
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
        retirement: RetirementSettings,
        at_step: AtStep,
    ) -> io::Result<Keeper> {
        let (stop, stopped) = channel();
        let (done, is_done) = channel();
        let is_stopping = Arc::new(AtomicBool::new(false));
        let mut rounds = Rounds::new(daemon, books, retirement, at_step);
        rounds.is_stopping = Arc::clone(&is_stopping);
        std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || {
                while stopped.recv_timeout(TURN_INTERVAL) == Err(RecvTimeoutError::Timeout) {
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
    retirement: RetirementSettings,
    pace: Pace,
    at_step: AtStep,
    lingering: Vec<Lingering<Arc<ShardFile>>>,
    put_off: HashMap<IdentityKey, Instant>,
    /// IDs of writers of ours some of whose shards were retired.
    retired_writers: HashSet<String>,
    /// Since when shards are somewhere else.
    elsewhere: HashMap<IdentityKey, Instant>,
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
            retirement,
            pace: Pace {
                delay_seconds: delay.as_secs_f64(),
                ..Pace::default()
            },
            at_step,
            lingering: Vec::new(),
            put_off: HashMap::new(),
            retired_writers: HashSet::new(),
            elsewhere: HashMap::new(),
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

    fn turn(&mut self) {
        if !self.is_reconciled() {
            return;
        }
        if self.is_resting() {
            self.look();
        } else {
            let mut sync_wanted = self.look_and_note();
            sync_wanted |= self.settle_lost();
            if sync_wanted {
                self.sync();
            }
            self.retire();
            self.ask_lingering();
            self.expire();
            self.sweep_sidecars();
            self.tend();
        }
        self.publish();
    }

    /// Whether the state directory failed just now.
    fn is_resting(&self) -> bool {
        self.rest.is_some_and(|(until, _)| Instant::now() < until)
    }

    /// Reads the shards if nobody did lately.
    fn look(&self) {
        let mut work = self.daemon.work();
        if work.refreshed_at.elapsed() >= REFRESH_INTERVAL {
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

    /// Reads the shards if nobody did lately, and notes what changed. True if anything was noted.
    fn look_and_note(&mut self) -> bool {
        self.look();
        let daemon = Arc::clone(&self.daemon);
        let mut work = daemon.work();
        let everything = self.noted_at.elapsed() >= NOTE_INTERVAL;
        let noted = self.note(&mut work.collector, !everything);
        if everything {
            self.counts.swallowed_increments = work.collector.swallowing_count() as u64;
            self.noted_at = Instant::now();
        }
        noted
    }

    /// Notes changed values: of all shards, or only of those that the archive never heard of.
    fn note(&mut self, collector: &mut Collector, only_new: bool) -> bool {
        let (mut noted, mut resets, mut trouble) = (false, 0, None);
        let now = unix_now();
        {
            let mut books = lock(&self.books);
            collector.tell_changes(only_new, |sighting, changed| {
                match books.note(sighting, changed, now) {
                    Ok(done) => {
                        noted = true;
                        resets += done.resets as u64;
                        true
                    }
                    Err(err) => {
                        trouble = Some(err);
                        false
                    }
                }
            });
        }
        self.counts.writer_resets += resets;
        if let Some(err) = trouble {
            self.append_failed(&err);
        }
        noted
    }

    /// Shards that nobody can read any more, that are somewhere else, or whose process was declared dead: what was last read of
    /// them goes to the archive. True if anything did.
    fn settle_lost(&mut self) -> bool {
        let daemon = Arc::clone(&self.daemon);
        let mut work = daemon.work();
        let marked_dead = work.collector.take_marked_dead();
        let answers = work.liveness.answers();
        let is_idle = |shard: &Shard| {
            answers
                .get(&shard.identity())
                .is_some_and(|answer| answer.liveness == Liveness::Idle)
        };
        let now = Instant::now();
        let away: HashSet<IdentityKey> = work
            .collector
            .shards()
            .iter()
            .filter(|shard| shard.place() == Place::Elsewhere && is_idle(shard))
            .map(|shard| shard.identity_key().clone())
            .collect();
        self.elsewhere.retain(|identity, _| away.contains(identity));
        for identity in away {
            self.elsewhere.entry(identity).or_insert(now);
        }
        let elsewhere = &self.elsewhere;
        let is_given_up = |shard: &Shard| {
            elsewhere
                .get(shard.identity_key())
                .is_some_and(|since| now.duration_since(*since) >= ELSEWHERE_PATIENCE)
        };
        let collector = &work.collector;
        let shards = collector.shards().iter();
        // Of a deleted file that is damaged nothing more will ever be read.
        let is_wreck = |shard: &Shard| {
            shard.place() == Place::Deleted && shard.defect_reason().is_some() && is_idle(shard)
        };
        let lost = shards
            .filter(|shard| shard.place() == Place::Lost || is_given_up(shard) || is_wreck(shard));
        let mut settled = false;
        let mut trouble = None;
        let time = unix_now();
        let mut books = lock(&self.books);
        let state = books.shared_state();
        for shard in lost.chain(&marked_dead) {
            let is_settled = state
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .shard(shard.identity_key())
                .is_some_and(|known| known.phase() != Phase::Seen);
            if is_settled {
                continue;
            }
            match collector.sight(shard, |sighting| books.missing(sighting, time)) {
                Ok(_) => settled = true,
                Err(err) => trouble = Some(err),
            }
        }
        for shard in &marked_dead {
            // It was deleted by name and is not open here any more: it does not come back.
            if let Err(err) = books.unlinked(shard.identity_key()) {
                trouble = Some(err);
            }
        }
        drop(books);
        drop(work);
        if let Some(err) = trouble {
            self.append_failed(&err);
        }
        settled
    }

    fn retire(&mut self) {
        if !self.has_room() {
            return;
        }
        for _ in 0..GROUPS_MAX {
            if self.is_stopping.load(Ordering::Relaxed) {
                return;
            }
            let Some((mut shelf, candidates)) = self.choose() else {
                return;
            };
            let count = candidates.len();
            let entries = self.retire_group(&mut shelf, candidates);
            self.counts.absorbed_entries += entries;
            // The index learns of the names before the next group is chosen.
            drop(self.daemon.work().refresh());
            if count < self.pace.group_len_max {
                return;
            }
        }
    }

    /// Whether the journal has room for more than what must be in it.
    fn has_room(&mut self) -> bool {
        let space = lock(&self.books).space();
        if space == Space::OnReserve {
            self.failed_at = Some(Instant::now());
            self.counts
                .errors
                .add(StateOp::Storage(Operation::Preallocate));
            self.tell_once(
                "on reserve".to_owned(),
                "no room is left in the state directory but what was reserved: No space left",
            );
        }
        space != Space::OnReserve
    }

    fn retire_group<H: Shelf<File = Arc<ShardFile>>>(
        &mut self,
        shelf: &mut H,
        candidates: Vec<Candidate<Arc<ShardFile>>>,
    ) -> u64 {
        let entries: HashMap<IdentityKey, u64> = {
            let work = self.daemon.work();
            let shards = work.collector.shards().iter();
            shards
                .map(|shard| (shard.identity_key().clone(), shard.entry_count() as u64))
                .collect()
        };
        let at_step = Arc::clone(&self.at_step);
        let outcome = retire_group(shelf, &self.books, candidates, unix_now(), at_step.as_ref());
        self.report(&outcome.troubles);
        self.put_off(outcome.put_off);
        let retired = outcome.lingering.iter();
        let absorbed = retired
            .filter_map(|one| entries.get(&one.candidate().identity))
            .sum();
        self.counts.retired_shards += outcome.lingering.len() as u64;
        for one in &outcome.lingering {
            let candidate = one.candidate();
            let original =
                original_of_retiring(&candidate.file_name).unwrap_or(&candidate.file_name);
            let writer = ShardName::parse(original)
                .ok()
                .and_then(|name| name.writer_id());
            // Python's have no sidecar.
            if let Some(writer) = writer.filter(|_| self.retired_writers.len() < WRITERS_MAX) {
                self.retired_writers.insert(writer.to_string());
            }
        }
        self.lingering.extend(outcome.lingering);
        absorbed
    }

    /// Deleted shards of which a descriptor is kept: is there a late writer?
    fn ask_lingering(&mut self) {
        if self.lingering.is_empty() {
            return;
        }
        let Some(mut shelf) = self.open_shelf() else {
            return;
        };
        let at_step = Arc::clone(&self.at_step);
        let outcome = linger(
            &mut shelf,
            &self.books,
            std::mem::take(&mut self.lingering),
            LINGERING_MAX,
            unix_now(),
            at_step.as_ref(),
        );
        self.lingering = outcome.lingering;
        self.report(&outcome.troubles);
        let mut work = self.daemon.work();
        for PutOff { candidate, .. } in outcome.handed_back {
            let file_name = candidate.file_name;
            let original = original_of_retiring(&file_name).unwrap_or(&file_name);
            if let Ok(name) = ShardName::parse(original) {
                work.collector
                    .adopt(name, file_name.clone(), candidate.file);
            }
        }
    }

    fn expire(&mut self) {
        if self.expired_at.elapsed() < EXPIRE_INTERVAL {
            return;
        }
        self.expired_at = Instant::now();
        let until = unix_now() - self.retirement.retain_ended.as_secs_f64();
        let expired = lock(&self.books).expire(until);
        match expired {
            Ok(0) => {}
            Ok(count) => {
                if self.sync() {
                    self.counts.expired_gauges += count as u64;
                }
            }
            Err(err) => self.append_failed(&err),
        }
    }

    fn tend(&mut self) {
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

    /// Makes what was noted durable. False: it could not, and is tried again.
    fn sync(&mut self) -> bool {
        let synced = lock(&self.books).sync();
        match synced {
            Ok(()) => {
                self.rest = None;
                true
            }
            Err(err) => {
                self.storage_failed(&err);
                false
            }
        }
    }

    /// One success says little: on a full disk notes still go to the reserve, and a checkpoint is tried only now and then.
    fn say_if_it_works_again(&mut self) {
        let is_quiet = self
            .failed_at
            .is_some_and(|at| at.elapsed() >= WORKS_AGAIN_AFTER);
        if is_quiet && self.rest.is_none() {
            self.failed_at = None;
            self.told.clear();
            tracing::info!("the state directory can be written again");
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
                self.note(&mut work.collector, false);
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
            tracing::error!(error = %one_sentence(&err), "the last state cannot be written; the next start takes this stop for a crash");
        }
    }

    fn put_off(&mut self, shards: Vec<PutOff<Arc<ShardFile>>>) {
        let until = Instant::now() + PUT_OFF;
        for PutOff { candidate, why } in shards {
            match why {
                // These are found out about anew by the next question or listing.
                Why::Busy | Why::Unknown | Why::Changed | Why::Renamed => {}
                // For a moment, so that others have their turn.
                Why::Failed => {
                    let until = Instant::now() + FAILED_PUT_OFF;
                    self.put_off.insert(candidate.identity, until);
                }
                Why::Damaged(_) | Why::Linked | Why::Discarded => {
                    tracing::debug!(
                        shard = candidate.file_name,
                        why = why.as_str(),
                        "not retired"
                    );
                    self.put_off.insert(candidate.identity, until);
                }
            }
        }
    }

    fn report(&mut self, troubles: &[Trouble]) {
        for trouble in troubles {
            match trouble {
                Trouble::State(err) => self.storage_failed(err),
                Trouble::Append { source, .. } => self.append_failed(source),
                Trouble::Shelf(err) => {
                    self.counts.errors.add(match err.operation {
                        ShelfOperation::Rename => StateOp::RetireRename,
                        ShelfOperation::Look | ShelfOperation::Read => StateOp::RetireRead,
                        ShelfOperation::Unlink => StateOp::RetireUnlink,
                        ShelfOperation::SyncDirectory => StateOp::RetireSync,
                    });
                    let cause = format!("{:?} {}", err.operation, err.source);
                    self.tell_once(cause, &one_sentence(err));
                }
            }
        }
    }

    fn storage_failed(&mut self, err: &StorageError) {
        let pause = match self.rest {
            Some((_, pause)) if !err.is_full() => (pause * 2).min(REST_MAX),
            _ => REST_MIN,
        };
        self.failed_at = Some(Instant::now());
        self.rest = Some((Instant::now() + pause, pause));
        self.counts.errors.add(StateOp::Storage(err.operation));
        // Not by the file, which is another one at each attempt.
        let cause = format!("{:?} {}", err.operation, err.source);
        self.tell_once(cause, &one_sentence(err));
    }

    fn append_failed(&mut self, err: &AppendError) {
        self.counts.errors.add(StateOp::Storage(Operation::Append));
        let sentence = one_sentence(err);
        self.tell_once(sentence.clone(), &sentence);
    }

    fn tell_once(&mut self, cause: String, sentence: &str) {
        if self.told.len() < TOLD_MAX && self.told.insert(cause) {
            tracing::error!(
                sentence,
                "the state cannot be kept; totals stay exact, retirement waits, and it is tried again"
            );
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
