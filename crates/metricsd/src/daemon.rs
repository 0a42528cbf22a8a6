//! One scrape of the daemon: collect, merge, render, own metrics last; shared by all who asked before it began.
//!
//! Invariant: whatever the state of the shard directory, a scrape has an answer with the daemon's own metrics in it, and no total
//! is shown before what is known and what is there were brought together. Must not change anything in the directory.
//!
//! Locks are taken in this order: the work of collections, the books, the archive's state.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use metricsd_exporter::http::{Bytes, ScrapeRequest, ScrapeResponse};
use metricsd_exporter::{Family, write_text, write_text_filtered};
use metricsd_shard::Liveness;

use crate::archive::{AppendError, Disk};
use crate::books::{Books, Reconciled};
use crate::clock::unix_now;
use crate::collect::{Collected, Collector, Place, Process, Shard, Superseded, Terms};
use crate::liveness::{Answers, Claim, LivenessWatch, Outlook, is_live, look};
use crate::merge::Standing;
use crate::procfs_view::SystemFacts;
use crate::retention::DeadGauges;
use crate::rounds::Rounds;
use crate::sentence::one_sentence;
use crate::sessions::Sessions;
use crate::state_directory::boot_id;
use crate::telemetry::{Observed, ObservedState, ShardState, ShardTally, Telemetry};

/// How long a collection waits for the first answer about new shards. Asking takes microseconds; a thread that is stuck costs a
/// scrape no more than this, and shows those shards as unknown.
const LIVENESS_PATIENCE: Duration = Duration::from_millis(200);

/// Why nothing merged is shown.
const NOT_RECONCILED: &str =
    "the state directory cannot be written yet, so totals would be shown lower than they are";

/// Collects on demand.
#[derive(Debug)]
pub struct Daemon {
    rounds: Rounds<Bytes>,
    work: Mutex<Work>,
    /// Why the last collection did not work; none if it did. Before the first one there is a reason as well.
    trouble: Mutex<Option<String>>,
}

/// The books. Whoever keeps them holds the only lasting reference, so that he can close them.
pub type SharedBooks = Arc<Mutex<Books<Disk>>>;

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
    /// When the shards were read last.
    pub(crate) refreshed_at: Instant,
    sessions: Sessions,
    telemetry: Telemetry,
    system: SystemFacts,
    /// The daemon's own families of the last collection.
    own_families: Vec<Family>,
    /// Length of the last page, for the next one's memory.
    page_len_bytes: usize,
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
            refreshed_at: Instant::now(),
            sessions: Sessions::default(),
            telemetry,
            system: SystemFacts::read(),
            own_families: Vec::new(),
            page_len_bytes: 0,
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
        let work = self.work();
        let mut filtered = Vec::new();
        write_text_filtered(work.collector.families(), &request.names, &mut filtered);
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

    fn collect(&self) -> Bytes {
        let (page, trouble) = self.work().collect();
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
        page
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
        (collected, outcome.err().map(|err| one_sentence(&err)))
    }

    /// Brings together what the books know and what is there. It counts after the next sync of the books.
    ///
    /// # Errors
    /// Too much waits for storage that fails.
    pub(crate) fn reconcile(
        &mut self,
        lost_power: bool,
        follows_a_run: bool,
        now_unix_seconds: f64,
    ) -> Result<Reconciled, AppendError> {
        // What is listed is there to stay, and what is not is gone for good, power cut or not.
        if let Err(err) = self.collector.directory().sync() {
            tracing::warn!(error = %err, "the names in the shard directory cannot be made durable");
        }
        drop(self.refresh());
        // An empty directory has to be tested as well.
        self.follow();
        let Some(books) = self.books.upgrade() else {
            return Ok(Reconciled::default());
        };
        let mut books = lock(&books);
        if follows_a_run {
            let state = books.shared_state();
            let state = state.read().unwrap_or_else(PoisonError::into_inner);
            self.collector
                .mark_news(|identity| state.shard(identity).is_some());
        }
        self.collector
            .sight_all(|present| books.reconcile(present, lost_power, now_unix_seconds))
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
    fn collect(&mut self) -> (Bytes, Option<String>) {
        let started = Instant::now();
        let (mut collected, mut trouble) = self.refresh();
        if self.is_reconciled {
            self.merge(&mut collected);
        } else {
            trouble.get_or_insert_with(|| NOT_RECONCILED.to_owned());
        }
        self.telemetry
            .collected(&collected, started.elapsed().as_secs_f64());
        let mut page = Vec::with_capacity(self.page_len_bytes + self.page_len_bytes / 8);
        let written = write_text(self.collector.families(), &mut page);
        self.own_families = self.observe(written.samples, page.len());
        write_text(&self.own_families, &mut page);
        self.page_len_bytes = page.len();
        self.is_first = false;
        (page.into(), trouble)
    }

    fn merge(&mut self, collected: &mut Collected) {
        let terms = Terms {
            dead_gauges: self.dead_gauges,
            now_unix_seconds: unix_now(),
        };
        let answers = self.liveness.answers();
        let shards = self.collector.shards().iter();
        let standings: Vec<Standing> = shards
            .map(|shard| self.standing(shard, &answers, terms))
            .collect();
        let books = self.books.upgrade();
        self.collector
            .merge(collected, &standings, terms, &mut |superseded| {
                books
                    .as_ref()
                    .is_some_and(|books| discard(books, superseded))
            });
    }

    fn standing(&self, shard: &Shard, answers: &Answers, terms: Terms) -> Standing {
        let Some(answer) = answers.get(&shard.identity()) else {
            return Standing::Unknown;
        };
        let hides_live_gauges = answers
            .idle_since(&shard.identity())
            .is_some_and(|since| terms.hide(since.elapsed()));
        match answer.liveness {
            Liveness::Idle => Standing::Ended { hides_live_gauges },
            Liveness::Unknown(_) => Standing::Unknown,
            Liveness::Busy => {
                let process = self.collector.process_of(shard.name());
                let claim = process.map(|process| Claim::new(process, process.pid_namespace));
                match is_live(answer.liveness, claim.as_ref(), &self.outlook, look) {
                    true => Standing::Live,
                    false => Standing::Ended {
                        hides_live_gauges: false,
                    },
                }
            }
        }
    }

    /// The shards or sidecars are others than before.
    fn follow(&mut self) {
        let shards = self.collector.shards().iter();
        let shards = shards.map(|shard| (shard.name(), shard.identity().birth));
        self.sessions = Sessions::new(shards, self.collector.processes());
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

    fn observe(&mut self, series_count: usize, exposition_len_bytes: usize) -> Vec<Family> {
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
        telemetry.families(&Observed {
            shards: tally,
            programs,
            series_count,
            exposition_len_bytes,
            own_process,
            state,
        })
    }
}

pub(crate) fn lock(books: &SharedBooks) -> MutexGuard<'_, Books<Disk>> {
    // Records are appended whole, and count only when they are durable.
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes durable that gauges are no longer shown. False: it could not.
fn discard(books: &SharedBooks, superseded: &[Superseded]) -> bool {
    let mut books = lock(books);
    let is_taken = superseded.iter().all(|gauge| {
        books
            .discard(&gauge.identity, gauge.kind.into(), &[&gauge.key])
            .is_ok()
    });
    is_taken && books.sync().is_ok()
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
