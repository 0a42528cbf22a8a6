//! The rounds of retirement: groups of shards that are due, and the deleted ones of which a descriptor is kept.
//!
//! Invariant: the work of a turn is bounded, and nothing is retired while the journal has no room but its reserve.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use metricsd_shard::{ShardFile, ShardName, original_of_retiring};

use super::{FAILED_PUT_OFF, GROUPS_MAX, LINGERING_MAX, PUT_OFF, Rounds, WRITERS_MAX};
use crate::archive::{IdentityKey, Operation, Space};
use crate::clock::unix_now;
use crate::daemon::lock;
use crate::retire::{Candidate, PutOff, Shelf, Why, linger, retire_group};
use crate::telemetry::StateOp;

impl Rounds {
    pub(super) fn retire(&mut self) {
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
    pub(super) fn has_room(&mut self) -> bool {
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

    pub(super) fn retire_group<H: Shelf<File = Arc<ShardFile>>>(
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
    pub(super) fn ask_lingering(&mut self) {
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

    pub(super) fn put_off(&mut self, shards: Vec<PutOff<Arc<ShardFile>>>) {
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
}
