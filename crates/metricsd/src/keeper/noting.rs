//! What the books are told of shards, besides their retirement: changed values, shards that nobody can read any more, and the age of gauges.
//!
//! Invariant: a shard is told of at least as it was shown last before it is forgotten. Must not touch files.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use metricsd_shard::Liveness;

use super::{ELSEWHERE_PATIENCE, EXPIRE_INTERVAL, NOTE_INTERVAL, Rounds};
use crate::archive::{IdentityKey, Phase};
use crate::clock::unix_now;
use crate::collect::{Collector, Place, Shard, Told};
use crate::daemon::lock;

/// Bytes of notes that wait, beyond which they are made durable before more are made: a directory that is met for the first time would
/// be in memory several times over.
const NOTES_LEN_MAX_BYTES: usize = 1 << 20;

/// What came of noting.
#[derive(Debug, Clone, Copy, Default)]
struct Noted {
    anything: bool,
    /// Nothing is left that changed.
    everything: bool,
}

impl Rounds {
    /// Reads the shards if nobody did lately, and notes what changed. True if anything was noted.
    pub(super) fn look_and_note(&mut self) -> bool {
        self.look();
        let everything = self.noted_at.elapsed() >= NOTE_INTERVAL;
        let mut told = HashSet::new();
        let mut noted_before = false;
        loop {
            let daemon = Arc::clone(&self.daemon);
            let mut work = daemon.work();
            let noted = self.note(&mut work.collector, !everything, &mut told);
            if noted.everything {
                if everything {
                    self.counts.swallowed_increments = work.collector.swallowing_count() as u64;
                    self.noted_at = Instant::now();
                }
                return noted.anything || noted_before;
            }
            noted_before = true;
            // Nobody waits for the disk with the lock of the collections.
            drop(work);
            if !self.sync() || self.is_stopping.load(Ordering::Relaxed) {
                return true;
            }
        }
    }

    /// Notes all that changed, while nobody else wants anything.
    pub(super) fn note_all(&mut self, collector: &mut Collector) {
        let mut told = HashSet::new();
        while !self.note(collector, false, &mut told).everything && self.sync() {}
    }

    /// Notes changed values, until as much waits as may: of all shards, or only of those that the archive never heard of.
    fn note(
        &mut self,
        collector: &mut Collector,
        only_new: bool,
        told: &mut HashSet<IdentityKey>,
    ) -> Noted {
        let (mut noted, mut resets, mut trouble) = (Noted::default(), 0, None);
        let now = unix_now();
        {
            let mut books = lock(&self.books);
            // What waits for a disk that fails must not keep the rest from waiting with it.
            let waiting_max = books
                .waiting_len_bytes()
                .saturating_add(NOTES_LEN_MAX_BYTES);
            noted.everything = collector.tell_changes(only_new, told, |sighting, changed| {
                if books.waiting_len_bytes() > waiting_max {
                    return Told::Later;
                }
                match books.note(sighting, changed, now) {
                    Ok(done) => {
                        noted.anything = true;
                        resets += done.resets as u64;
                        Told::Taken
                    }
                    Err(err) => {
                        trouble = Some(err);
                        Told::Refused
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
    pub(super) fn settle_lost(&mut self) -> bool {
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
            let is_ours = state
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .shard(shard.identity_key())
                .is_some_and(|known| known.phase() == Phase::Absorbed);
            if is_ours {
                continue;
            }
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

    pub(super) fn expire(&mut self) {
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
}
