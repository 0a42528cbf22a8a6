//! Which shards are retired next.
//!
//! Invariant: none that a lease did not say nobody writes, none that is damaged, and none while the path leads nowhere. Must not
//! change anything.

use std::sync::Arc;
use std::time::Instant;

use metricsd_shard::{Identity, Liveness, ShardFile};

use super::Rounds;
use crate::clock::unix_now;
use crate::collect::{Place, Shard};
use crate::liveness::{LivenessMode, LivenessWatch};
use crate::retire::{Candidate, ShardShelf, Shelf};

impl Rounds {
    /// The next group and the directory that it is in; none if nothing is due.
    #[allow(clippy::type_complexity, reason = "one caller takes it apart at once")]
    pub(super) fn choose(
        &mut self,
    ) -> Option<(
        impl Shelf<File = Arc<ShardFile>> + use<>,
        Vec<Candidate<Arc<ShardFile>>>,
    )> {
        self.retirement.after?;
        let now = Instant::now();
        self.put_off.retain(|_, until| *until > now);
        let work = self.daemon.work();
        if work.liveness.mode() != LivenessMode::Leases || !work.collector.is_at_home() {
            return None;
        }
        let answers = work.liveness.answers();
        let (mut live_count, mut ended) = (0, Vec::new());
        for shard in work.collector.shards() {
            let identity = shard.identity();
            match answers.get(&identity).map(|answer| answer.liveness) {
                Some(Liveness::Busy) => live_count += 1,
                Some(Liveness::Idle) if self.may_be_retired(shard) => {
                    let since = answers.idle_since(&identity).unwrap_or(now);
                    ended.push((since, shard));
                }
                _ => {}
            }
        }
        ended.sort_by_key(|(since, _)| *since);
        let time = unix_now();
        let ended_at: Vec<f64> = ended
            .iter()
            .map(|(since, _)| time - now.duration_since(*since).as_secs_f64())
            .collect();
        let due_count = self.pace.due_count(live_count, &ended_at, time);
        let candidates: Vec<_> = ended
            .iter()
            .take(due_count)
            .filter_map(|(_, shard)| {
                Some(Candidate {
                    identity: shard.identity_key().clone(),
                    file: work.collector.file(shard)?,
                    file_name: shard.file_name().to_owned(),
                    origin: work.collector.origin(shard),
                    birth_unix_seconds: shard.birth_unix_seconds(),
                })
            })
            .collect();
        if candidates.is_empty() {
            return None;
        }
        let liveness = Arc::clone(&work.liveness);
        let shelf = ShardShelf::open(work.collector.directory(), asks(liveness)).ok()?;
        drop(work);
        Some((shelf, candidates))
    }

    /// The directory, for shards that have left it.
    pub(super) fn open_shelf(&self) -> Option<impl Shelf<File = Arc<ShardFile>> + use<>> {
        let work = self.daemon.work();
        let liveness = Arc::clone(&work.liveness);
        ShardShelf::open(work.collector.directory(), asks(liveness)).ok()
    }

    fn may_be_retired(&self, shard: &Shard) -> bool {
        matches!(shard.place(), Place::Named | Place::Deleted)
            && shard.defect_reason().is_none()
            && !self.put_off.contains_key(shard.identity_key())
    }
}

fn asks(
    liveness: Arc<LivenessWatch>,
) -> impl FnMut(&[(Identity, Arc<ShardFile>)]) -> Vec<Liveness> {
    move |files| {
        let answers = liveness.ask(files);
        answers.into_iter().map(|answer| answer.liveness).collect()
    }
}
