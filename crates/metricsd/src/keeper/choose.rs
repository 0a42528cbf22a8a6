//! Which shards are retired next.
//!
//! Invariant: none that a lease did not say nobody writes, none that is damaged (one that was never begun is not), and none while
//! the path leads nowhere. Must not change anything.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use metricsd_shard::{Damage, Identity, Liveness, ShardFile};

use super::Rounds;
use crate::clock::unix_now;
use crate::collect::{Place, Shard};
use crate::daemon::lock;
use crate::liveness::{LivenessMode, LivenessWatch};
use crate::retire::{Candidate, ShardShelf, Shelf};

/// The one defect that is no reason to keep a file.
const EMPTY: Damage = Damage::Empty;

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
        let is_near_pressure = self.pace.is_near_pressure(live_count, ended_at.len());
        self.is_hasty = self.haste.looks(is_near_pressure, ended_at.len(), now);
        let candidates: Vec<_> = ended
            .iter()
            .take(due_count)
            .filter_map(|(since, shard)| {
                let seen = time - now.duration_since(*since).as_secs_f64();
                let ended_at = work.ended_at.get(&shard.identity()).copied();
                Some(Candidate {
                    ended_at_unix_seconds: ended_at.unwrap_or(seen),
                    is_adopted: shard.is_adopted(),
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
            && !shard.is_spent()
            && (shard.defect_reason().is_none() || self.never_began(shard))
            && !self.put_off.contains_key(shard.identity_key())
    }

    /// Whether its writer died before it had written anything. What was emptied later is another matter: what it held is known.
    fn never_began(&self, shard: &Shard) -> bool {
        if shard.defect_reason() != Some(EMPTY.reason()) {
            return false;
        }
        let state = lock(&self.books).shared_state();
        let state = state.read().unwrap_or_else(PoisonError::into_inner);
        state.shard(shard.identity_key()).is_none_or(|known| {
            known.last_known().next().is_none() && known.gauges().next().is_none()
        })
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
