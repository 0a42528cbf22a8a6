//! One scrape of the daemon: collect, merge, render, own metrics last; shared by all who asked before it began.
//!
//! Invariant: whatever the state of the shard directory, a scrape has an answer with the daemon's own metrics in it. Must not
//! change anything in the directory.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use metricsd_exporter::http::{Bytes, ScrapeRequest, ScrapeResponse};
use metricsd_exporter::{Family, write_text, write_text_filtered};
use metricsd_shard::Liveness;

use crate::collect::{Collector, Shard};
use crate::liveness::LivenessWatch;
use crate::procfs_view::SystemFacts;
use crate::rounds::Rounds;
use crate::sentence::one_sentence;
use crate::sessions::Sessions;
use crate::telemetry::{Observed, ShardState, ShardTally, Telemetry};

/// How long a collection waits for the first answer about new shards. Asking takes microseconds; a thread that is stuck costs a
/// scrape no more than this, and shows those shards as unknown.
const LIVENESS_PATIENCE: Duration = Duration::from_millis(200);

/// Collects on demand.
#[derive(Debug)]
pub struct Daemon {
    rounds: Rounds<Bytes>,
    work: Mutex<Work>,
    /// Why the last collection did not work; none if it did. Before the first one there is a reason as well.
    trouble: Mutex<Option<String>>,
}

/// What collections work on, one at a time.
#[derive(Debug)]
struct Work {
    collector: Collector,
    liveness: LivenessWatch,
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
    /// Ready to collect.
    pub fn new(collector: Collector, liveness: LivenessWatch, telemetry: Telemetry) -> Daemon {
        let work = Work {
            collector,
            liveness,
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

    fn work(&self) -> MutexGuard<'_, Work> {
        // A collection that panicked left values of two readings side by side at worst; the next one reads them all again.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    /// The page, and what is wrong with the directory.
    fn collect(&mut self) -> (Bytes, Option<String>) {
        let started = Instant::now();
        let (collected, outcome) = self.collector.collect(&self.liveness.answers());
        self.telemetry
            .collected(&collected, started.elapsed().as_secs_f64());
        if collected.sources_changed {
            self.follow();
        }
        let mut page = Vec::with_capacity(self.page_len_bytes + self.page_len_bytes / 8);
        let written = write_text(self.collector.families(), &mut page);
        self.own_families = self.observe(written.samples, page.len());
        write_text(&self.own_families, &mut page);
        self.page_len_bytes = page.len();
        self.is_first = false;
        (page.into(), outcome.err().map(|err| one_sentence(&err)))
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
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0.0, |now| now.as_secs_f64());
        telemetry.moved(&programs, now);
        let own_process = system.own_process();
        telemetry.families(&Observed {
            shards: tally,
            programs,
            series_count,
            exposition_len_bytes,
            own_process,
        })
    }
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
