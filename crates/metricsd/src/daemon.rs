//! One scrape of the daemon: collect, merge, render, own metrics last; shared by all who asked before it began.
//!
//! Invariant: whatever the state of the shard directory, a scrape has an answer with the daemon's own metrics in it, and no total
//! is shown before what is known and what is there were brought together. Must not change anything in the directory.
//!
//! Locks are taken in this order: the work of collections, the books, the archive's state.

use std::collections::{HashMap, HashSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use metricsd_exporter::http::{PageMemory, ScrapeBody, ScrapeRequest, ScrapeResponse};
use metricsd_exporter::{Family, NameFilter, write_text, write_text_filtered};
use metricsd_shard::{FileKind, Identity, Liveness};
use thiserror::Error;

use crate::archive::{AppendError, Disk, IdentityKey};
use crate::books::{Books, Reconciled};
use crate::clock::{unix_now, unix_seconds};
use crate::collect::{Collected, Collector, Place, Process, Shard, Superseded, Terms};
use crate::liveness::{Answers, Claim, LivenessWatch, Looked, Outlook, is_live, look};
use crate::merge::Standing;
use crate::procfs_view::SystemFacts;
use crate::retention::DeadGauges;
use crate::rounds::Rounds;
use crate::sessions::Sessions;
use crate::state_directory::boot_id;
use crate::telemetry::{Observed, ObservedState, ShardState, ShardTally, Telemetry};
use program::sentence;

/// How long a collection waits for the first answer about new shards. Asking takes microseconds; a thread that is stuck costs a
/// scrape no more than this, and shows those shards as unknown.
const LIVENESS_PATIENCE: Duration = Duration::from_millis(200);

/// How long a start waits for the first collection. Only archives of hundreds of thousands of series take longer.
const FIRST_PATIENCE: Duration = Duration::from_millis(100);

/// Why nothing merged is shown.
const NOT_RECONCILED: &str =
    "the state directory cannot be written yet, so totals would be shown lower than they are";

/// A collection ended by a defect of this program.
const COLLECTION_PANICKED: &str = "the last collection failed, which is a defect of metricsd";

/// How long a scrape waits until it is durable that gauges are no longer shown.
const DISCARD_PATIENCE: Duration = Duration::from_millis(500);

/// What could not be brought together.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// Not everything that is there is known.
    #[error("{trouble}")]
    Directory {
        /// Why.
        trouble: String,
    },
    /// Too much waits because storage fails.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Collects on demand.
#[derive(Debug)]
pub struct Daemon {
    rounds: Rounds<ScrapeBody>,
    work: Mutex<Work>,
    /// Why the last collection did not work; none if it did. Before the first one there is a reason as well.
    trouble: Mutex<Option<String>>,
}

/// The books. Whoever keeps them holds the only lasting reference, so that he can close them.
pub type SharedBooks = Arc<Mutex<Books<Disk>>>;

/// What is known of the run before, for [`Work::reconcile`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unreconciled {
    /// Files may have gone back to what was synced.
    pub(crate) lost_power: bool,
    /// There was a run before.
    pub(crate) follows_a_run: bool,
}

/// What collections work on, one at a time.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) collector: Collector,
    pub(crate) liveness: Arc<LivenessWatch>,
    books: Weak<Mutex<Books<Disk>>>,
    dead_gauges: DeadGauges,
    outlook: Outlook,
    boot_id: String,
    /// Counts of the keeper, and what it found of the state directory.
    pub(crate) kept: ObservedState<'static>,
    /// Whether totals may be shown: what was known and what was there at the start are brought together, durably.
    pub(crate) is_reconciled: bool,
    /// What [`Work::reconcile`] has to be told, until it could tell the books.
    unreconciled: Option<Unreconciled>,
    /// What the reading for that found, until the first collection takes it: to read everything once more would show nothing else.
    unmerged: Option<Collected>,
    /// When processes ended, unix seconds, by their shards: as far as was seen, or by their files.
    pub(crate) ended_at: HashMap<Identity, f64>,
    /// A discard is on its way to the disk, longer than a scrape waits.
    is_discarding: Arc<AtomicBool>,
    /// When the shards were read last.
    pub(crate) refreshed_at: Instant,
    sessions: Sessions,
    telemetry: Telemetry,
    system: SystemFacts,
    /// The daemon's own families of the last collection.
    own_families: Vec<Family>,
    page_memory: PageMemory,
    /// The first collection knows no earlier values, so it cannot tell what moved.
    is_first: bool,
}

impl Daemon {
    /// Ready to be reconciled, and then to collect.
    pub fn new(
        collector: Collector,
        liveness: Arc<LivenessWatch>,
        books: &SharedBooks,
        dead_gauges: DeadGauges,
        telemetry: Telemetry,
    ) -> Daemon {
        let work = Work {
            collector,
            liveness,
            books: Arc::downgrade(books),
            dead_gauges,
            outlook: Outlook::of_this_process(),
            boot_id: boot_id(),
            kept: ObservedState::default(),
            is_reconciled: false,
            unreconciled: None,
            unmerged: None,
            ended_at: HashMap::new(),
            is_discarding: Arc::default(),
            refreshed_at: Instant::now(),
            sessions: Sessions::default(),
            telemetry,
            system: SystemFacts::read(),
            own_families: Vec::new(),
            page_memory: PageMemory::default(),
            is_first: true,
        };
        Daemon {
            rounds: Rounds::default(),
            work: Mutex::new(work),
            trouble: Mutex::new(Some("no collection yet".to_owned())),
        }
    }

    /// Answers a scrape with what a collection shows that begins after this call.
    pub fn scrape(&self, request: &ScrapeRequest) -> ScrapeResponse {
        let page = self.rounds.join(|| self.collect());
        if request.names.is_all() {
            return ScrapeResponse::text(page);
        }
        // A later collection may have run by now; its numbers are only newer.
        let mut work = self.work();
        let mut filtered = Vec::new();
        work.collector.write_text(&request.names, &mut filtered);
        write_text_filtered(&work.own_families, &request.names, &mut filtered);
        ScrapeResponse::text(filtered)
    }

    /// Whether the last collection worked.
    ///
    /// # Errors
    /// Why it did not.
    pub fn ready(&self) -> Result<(), String> {
        match &*self.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(trouble) => Err(trouble.clone()),
        }
    }

    /// Runs the first collection on a thread of its own, and waits for it, but not for long: how many series the archive may have is
    /// not limited, and nothing that can go wrong depends on them. What can is known when this returns. Scrapes come after it.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start_collecting(self: &Arc<Self>) -> io::Result<()> {
        let daemon = Arc::clone(self);
        let (report, reports) = channel();
        std::thread::Builder::new()
            .name("first collection".into())
            .spawn(move || {
                daemon.noticing_panics(|| {
                    let mut work = daemon.work();
                    let started = Instant::now();
                    let (collected, trouble) = match work.unmerged.take() {
                        Some(collected) if work.is_reconciled => (collected, None),
                        _ => work.read_all(),
                    };
                    daemon.note_trouble(trouble);
                    let _ = report.send(());
                    work.merge_all(collected, started);
                    // Nobody reads a page of it, so none is written.
                    work.own_families = work.observe(0, 0, false);
                    work.is_first = false;
                });
                drop(daemon);
                let _ = report.send(());
            })?;
        // A panic ends both of these as well.
        if reports.recv().is_ok() {
            let _ = reports.recv_timeout(FIRST_PATIENCE);
        }
        Ok(())
    }

    /// Waits until the collection that runs has ended, at most so long. False: it still runs.
    pub(crate) fn wait_for_collection(self: &Arc<Self>, patience: Duration) -> bool {
        let daemon = Arc::clone(self);
        let (report, reports) = sync_channel(1);
        let asked = std::thread::Builder::new()
            .name("end of collection".into())
            .spawn(move || {
                drop(daemon.work());
                drop(daemon);
                let _ = report.send(());
            });
        asked.is_ok() && reports.recv_timeout(patience).is_ok()
    }

    fn collect(&self) -> ScrapeBody {
        let (page, trouble) = self.noticing_panics(|| self.work().collect());
        self.note_trouble(trouble);
        page
    }

    /// Whoever panics in a collection has shown nothing, so this daemon is not ready before one has worked.
    pub(crate) fn noticing_panics<T>(&self, collection: impl FnOnce() -> T) -> T {
        catch_unwind(AssertUnwindSafe(collection)).unwrap_or_else(|panic| {
            self.note_trouble(Some(COLLECTION_PANICKED.to_owned()));
            resume_unwind(panic)
        })
    }

    fn note_trouble(&self, trouble: Option<String>) {
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trouble) = trouble
            .as_ref()
            .filter(|trouble| Some(*trouble) != known.as_ref())
        {
            tracing::error!(
                trouble,
                "the shard directory cannot be served; what is missing is not lost, but not shown"
            );
        }
        *known = trouble;
    }

    pub(crate) fn work(&self) -> MutexGuard<'_, Work> {
        // A collection that panicked left values of two readings side by side at worst; the next one reads them all again.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    /// Reads what is there and follows it.
    pub(crate) fn refresh(&mut self) -> (Collected, Option<String>) {
        self.refreshed_at = Instant::now();
        let (collected, outcome) = self.collector.refresh(&self.liveness.answers());
        if collected.sources_changed {
            self.follow();
        }
        (collected, outcome.err().map(|err| sentence(&err)))
    }

    /// Brings together what the books know and what is there, unless that has been done. It counts after the next sync of the books.
    ///
    /// # Errors
    /// The directory cannot be listed, or too much waits for storage that fails; to be tried again.
    pub(crate) fn reconcile(
        &mut self,
        known: Unreconciled,
        now_unix_seconds: f64,
    ) -> Result<Reconciled, ReconcileError> {
        self.unreconciled = Some(known);
        // What is listed is there to stay, and what is not is gone for good, power cut or not.
        if let Err(err) = self.collector.directory().sync() {
            tracing::warn!(error = %err, "the names in the shard directory cannot be made durable");
        }
        let (collected, trouble) = self.refresh();
        if let Some(trouble) = trouble {
            return Err(ReconcileError::Directory { trouble });
        }
        // An empty directory has to be tested as well.
        self.follow();
        self.note_ends(now_unix_seconds);
        let Some(books) = self.books.upgrade() else {
            return Ok(Reconciled::default());
        };
        let mut books = lock(&books);
        let state = books.shared_state();
        let is_known = |identity: &IdentityKey| {
            let state = state.read().unwrap_or_else(PoisonError::into_inner);
            state.shard(identity).is_some()
        };
        if known.follows_a_run {
            self.collector.mark_news(is_known);
        }
        // Of shards that nobody knows there is nothing to bring together, but for series that may have been shown with them.
        let is_wanted = |identity: &IdentityKey| known.lost_power || is_known(identity);
        let found = self.collector.sight_all(is_wanted, |present| {
            books.reconcile(present, known.lost_power, now_unix_seconds)
        })?;
        self.unreconciled = None;
        self.unmerged = Some(collected);
        Ok(found)
    }

    /// Tries again what could not be reconciled. True if nothing is left to tell the books.
    pub(crate) fn reconcile_again(&mut self, now_unix_seconds: f64) -> bool {
        let Some(known) = self.unreconciled else {
            return true;
        };
        self.reconcile(known, now_unix_seconds).is_ok()
    }

    /// Shards without a writer at the start: their processes ended at the last change of their files, or later.
    fn note_ends(&mut self, now_unix_seconds: f64) {
        let answers = self.liveness.answers();
        for shard in self.collector.shards() {
            let identity = shard.identity();
            let answer = answers.get(&identity);
            let Some(times) = answer.and_then(|answer| answer.times) else {
                continue;
            };
            let modified = unix_seconds(times.modified).min(now_unix_seconds);
            self.ended_at.insert(identity, modified);
        }
    }

    /// IDs of process files without a shard whose process is dead: procfs says so, it was in another boot, or its shards were
    /// `retired`.
    pub(crate) fn ended_sidecars(&self, retired: &HashSet<String>) -> Vec<String> {
        let shards = self.collector.shards().iter();
        let writers: HashSet<String> = shards
            .filter_map(|shard| Some(shard.name().writer_id()?.to_string()))
            .collect();
        let is_dead = |process: &Process| {
            let claim = Claim::new(process, process.pid_namespace);
            !is_live(Liveness::Busy, Some(&claim), &self.outlook, look)
        };
        self.collector
            .processes()
            .filter(|(id, process)| {
                !writers.contains(*id)
                    && (retired.contains(*id)
                        || self.is_of_another_boot(process)
                        || is_dead(process))
            })
            .map(|(id, _)| id.to_owned())
            .collect()
    }

    fn is_of_another_boot(&self, process: &Process) -> bool {
        !self.boot_id.is_empty() && !process.boot_id.is_empty() && process.boot_id != self.boot_id
    }

    /// The page, and what is wrong with the directory or the state.
    fn collect(&mut self) -> (ScrapeBody, Option<String>) {
        let started = Instant::now();
        let (collected, trouble) = self.read_all();
        self.merge_all(collected, started);
        let mut page = self.page_memory.take();
        let written = self.collector.write_text(&NameFilter::all(), &mut page);
        self.own_families = self.observe(written.samples, page.len(), trouble.is_none());
        write_text(&self.own_families, &mut page);
        self.is_first = false;
        (self.page_memory.page(page).into(), trouble)
    }

    /// Reads everything. Says what is wrong with the directory or the state.
    fn read_all(&mut self) -> (Collected, Option<String>) {
        let (collected, mut trouble) = self.refresh();
        if !self.is_reconciled {
            trouble.get_or_insert_with(|| NOT_RECONCILED.to_owned());
        }
        (collected, trouble)
    }

    /// Merges what was read since `started`, if that may be shown.
    fn merge_all(&mut self, mut collected: Collected, started: Instant) {
        if self.is_reconciled {
            self.merge(&mut collected);
        }
        self.telemetry
            .collected(&collected, started.elapsed().as_secs_f64());
    }

    fn merge(&mut self, collected: &mut Collected) {
        let terms = Terms {
            dead_gauges: self.dead_gauges,
            now_unix_seconds: unix_now(),
        };
        let answers = self.liveness.answers();
        let mut ended_at = std::mem::take(&mut self.ended_at);
        let shards = self.collector.shards().iter();
        // A process has a shard for each kind and mode that it uses; it is looked up once.
        let mut looked_up: HashMap<u32, Looked> = HashMap::new();
        let mut look = |pid: u32| *looked_up.entry(pid).or_insert_with(|| look(pid));
        let standings: Vec<Standing> = shards
            .map(|shard| self.standing(shard, &answers, terms, &mut ended_at, &mut look))
            .collect();
        self.ended_at = ended_at;
        let (books, is_discarding) = (self.books.clone(), Arc::clone(&self.is_discarding));
        self.collector
            .merge(collected, &standings, terms, &mut |superseded| {
                discard(&books, &is_discarding, superseded)
            });
    }

    fn standing(
        &self,
        shard: &Shard,
        answers: &Answers,
        terms: Terms,
        ended_at: &mut HashMap<Identity, f64>,
        look: &mut impl FnMut(u32) -> Looked,
    ) -> Standing {
        let identity = shard.identity();
        match answers.get(&identity).map(|answer| answer.liveness) {
            Some(Liveness::Idle) => {
                let seen = || {
                    let since = answers.idle_since(&identity);
                    let ago = since.map_or(Duration::ZERO, |since| since.elapsed());
                    terms.now_unix_seconds - ago.as_secs_f64()
                };
                let ended_at = *ended_at.entry(identity).or_insert_with(seen);
                Standing::Ended {
                    hides_live_gauges: terms.hide_ended_at(ended_at),
                }
            }
            Some(Liveness::Busy) => {
                ended_at.remove(&identity);
                // Nothing that adds up asks whether its process lives, and procfs is slow.
                if !matches!(shard.name().kind, FileKind::Gauge(_)) {
                    return Standing::Live;
                }
                let process = self.collector.process_of(shard.name());
                let claim = process.map(|process| Claim::new(process, process.pid_namespace));
                match is_live(Liveness::Busy, claim.as_ref(), &self.outlook, look) {
                    true => Standing::Live,
                    false => Standing::Ended {
                        hides_live_gauges: false,
                    },
                }
            }
            Some(Liveness::Unknown(_)) | None => Standing::Unknown,
        }
    }

    /// The shards or sidecars are others than before.
    fn follow(&mut self) {
        let shards = self.collector.shards().iter();
        let shards = shards.map(|shard| (shard.name(), shard.identity().birth));
        self.sessions = Sessions::new(shards, self.collector.processes());
        let shards = self.collector.shards().iter();
        let present: HashSet<Identity> = shards.map(Shard::identity).collect();
        self.ended_at
            .retain(|identity, _| present.contains(identity));
        match self
            .liveness
            .follow(self.collector.directory(), self.collector.shards())
        {
            Ok(()) => drop(self.liveness.settle(LIVENESS_PATIENCE)),
            Err(err) => {
                tracing::warn!(error = %err, "new shards cannot be watched; they are shown as unknown")
            }
        }
    }

    fn observe(
        &mut self,
        series_count: usize,
        exposition_len_bytes: usize,
        is_ready: bool,
    ) -> Vec<Family> {
        let Work {
            collector,
            liveness,
            sessions,
            telemetry,
            system,
            is_first,
            kept,
            ..
        } = self;
        let shards = collector.shards();
        let answers = liveness.answers();
        let answers: Vec<Option<Liveness>> = shards
            .iter()
            .map(|shard| answers.get(&shard.identity()).map(|answer| answer.liveness))
            .collect();
        let mut tally = tally_shards(shards, &answers);
        let moved = |shard: usize| !*is_first && shards[shard].has_moved();
        let programs = sessions.tally(&answers, moved, |session| system.lives(session));
        collector
            .refused_names()
            .for_each(|reason| tally.add_unreadable(reason));
        telemetry.moved(&programs, unix_now());
        let own_process = system.own_process();
        let count = |place| shards.iter().filter(|shard| shard.place() == place).count() as u64;
        let state = ObservedState {
            liveness: liveness.mode().into(),
            orphaned_shards: count(Place::Deleted) + count(Place::Elsewhere) + count(Place::Lost),
            ..*kept
        };
        let families = telemetry.families(&Observed {
            is_ready,
            shards: tally,
            programs,
            series_count,
            exposition_len_bytes,
            own_process,
            state,
        });
        collector.forget_moves();
        families
    }
}

pub(crate) fn lock(books: &SharedBooks) -> MutexGuard<'_, Books<Disk>> {
    // Records are appended whole, and count only when they are durable.
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes durable that gauges are no longer shown. False: it could not, or not in time; then they are still shown, and without them once
/// it could. A scrape waits for a disk that is slow, but not for one that hangs.
fn discard(
    books: &Weak<Mutex<Books<Disk>>>,
    is_discarding: &Arc<AtomicBool>,
    superseded: &[Superseded],
) -> bool {
    let Some(books) = books.upgrade() else {
        return false;
    };
    if is_discarding.swap(true, Ordering::AcqRel) {
        return false;
    }
    let (superseded, is_over) = (superseded.to_vec(), Arc::clone(is_discarding));
    let (done, is_done) = sync_channel(1);
    let started = std::thread::Builder::new()
        .name("discard".into())
        .spawn(move || {
            let is_durable = {
                let mut books = lock(&books);
                let is_taken = superseded.iter().all(|gauge| {
                    let keys = [gauge.key.as_slice()];
                    let kind = gauge.kind.into();
                    books.discard(&gauge.identity, kind, &keys).is_ok()
                });
                is_taken && books.sync().is_ok()
            };
            drop(books);
            is_over.store(false, Ordering::Release);
            // Nobody waits any more if it took too long.
            let _ = done.send(is_durable);
        });
    if started.is_err() {
        is_discarding.store(false, Ordering::Release);
    }
    is_done.recv_timeout(DISCARD_PATIENCE).unwrap_or(false)
}

fn tally_shards(shards: &[Shard], answers: &[Option<Liveness>]) -> ShardTally {
    let mut tally = ShardTally::default();
    for (shard, answer) in shards.iter().zip(answers) {
        match (shard.defect_reason(), answer) {
            (Some(reason), _) => tally.add_unreadable(reason),
            (None, Some(Liveness::Busy)) => tally.add(ShardState::Live),
            (None, Some(Liveness::Idle)) => tally.add(ShardState::Ended),
            (None, Some(Liveness::Unknown(_)) | None) => tally.add(ShardState::Unknown),
        }
    }
    tally
}
