//! Shards as the archive is told of them: everything that is known of one at its last reading.
//!
//! Invariant: what the archive is told of a shard is what was read of it, never more. Must not touch files.

use std::collections::HashSet;
use std::sync::Arc;

use metricsd_shard::{ShardFile, ShardName};

use super::shard::{Place, Shard};
use super::{Collector, Process};
use crate::archive::{IdentityKey, Origin, SeriesKind};
use crate::books::Sighting;
use crate::sessions::UNNAMED_PROGRAM;

/// What became of telling of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The archive has taken it.
    Taken,
    /// It has not.
    Refused,
    /// It was not asked, and is asked of no further shard: enough waits already.
    Later,
}

impl Collector {
    /// What the archive is told of a shard besides its numbers.
    pub fn origin(&self, shard: &Shard) -> Origin {
        let program = self
            .process_of(shard.name())
            .map_or(UNNAMED_PROGRAM, |process| process.program.as_str());
        Origin {
            file_name: shard.file_name.as_str().into(),
            writer: shard.name.id.as_str().into(),
            program: program.into(),
            kind: shard.name.kind.into(),
        }
    }

    /// What the writer of a shard says of itself, if it is one of ours.
    pub fn process_of(&self, name: &ShardName) -> Option<&Process> {
        let writer = name.writer_id()?;
        self.processes.get(&writer.to_string())
    }

    /// Hands the shard over as it was read last.
    pub fn sight<R>(&self, shard: &Shard, tell: impl FnOnce(&Sighting<'_>) -> R) -> R {
        let origin = self.origin(shard);
        let spellings = shard.spellings(&self.catalog);
        let entries = shard.entries(&spellings);
        tell(&Sighting {
            identity: &shard.identity_key,
            origin: &origin,
            birth_unix_seconds: shard.birth_unix_seconds(),
            entries: &entries,
        })
    }

    /// Hands over every shard that `is_wanted` as it was read last.
    pub fn sight_all<R>(
        &self,
        is_wanted: impl Fn(&IdentityKey) -> bool,
        tell: impl FnOnce(&[Sighting<'_>]) -> R,
    ) -> R {
        let shards = self.index.shards().iter();
        let spelled: Vec<_> = shards
            .filter(|shard| is_wanted(&shard.identity_key))
            .map(|shard| (shard, shard.spellings(&self.catalog)))
            .collect();
        let parts: Vec<_> = spelled
            .iter()
            .map(|(shard, spellings)| (shard, self.origin(shard), shard.entries(spellings)))
            .collect();
        let sightings: Vec<Sighting<'_>> = parts
            .iter()
            .map(|(shard, origin, entries)| Sighting {
                identity: &shard.identity_key,
                origin,
                birth_unix_seconds: shard.birth_unix_seconds(),
                entries,
            })
            .collect();
        tell(&sightings)
    }

    /// Tells of every shard with the entries (by index) that changed since it was told of last, but of none in `told`, where those that
    /// are told of are put. With `only_urgent`, of those alone that the archive never heard of, and of those that have no name any more:
    /// a daemon that is killed would not find them again. False: it has to be called again, with the same `told`.
    pub fn tell_changes(
        &mut self,
        only_urgent: bool,
        told: &mut HashSet<IdentityKey>,
        mut tell: impl FnMut(&Sighting<'_>, &[usize]) -> Told,
    ) -> bool {
        for position in 0..self.index.shards().len() {
            let shard = &self.index.shards()[position];
            if only_urgent && shard.was_noted() && shard.place == Place::Named {
                continue;
            }
            let changed = shard.changed_entries();
            if changed.is_empty() || told.contains(&shard.identity_key) {
                continue;
            }
            let outcome = self.sight(shard, |sighting| tell(sighting, &changed));
            if outcome == Told::Later {
                return false;
            }
            told.insert(shard.identity_key.clone());
            if outcome == Told::Taken {
                self.index.shards_mut()[position].set_noted();
            }
        }
        true
    }

    /// How many values that add up are so great that adding one changes nothing any more.
    pub fn swallowing_count(&self) -> usize {
        let adds_up = |shard: &&Shard| !SeriesKind::from(shard.name.kind).is_gauge();
        let shards = self.index.shards().iter().filter(adds_up);
        shards.map(Shard::swallowing_count).sum()
    }

    /// Shards of `live*` gauges that somebody deleted since the last call: Python's way to say that their process is dead.
    pub fn take_marked_dead(&mut self) -> Vec<Shard> {
        self.index.take_marked_dead()
    }

    /// Takes a deleted file in again that somebody still writes.
    pub fn adopt(&mut self, name: ShardName, file_name: String, file: Arc<ShardFile>) {
        self.index.adopt(name, file_name, file);
        self.is_plan_stale = true;
        self.has_adopted = true;
    }

    /// From now on shards that are there and that the archive does not know are news: nobody watched them while they were written.
    pub fn mark_news(&mut self, is_known: impl Fn(&IdentityKey) -> bool) {
        for shard in self.index.shards_mut() {
            shard.is_news = !is_known(&shard.identity_key);
        }
        self.is_plan_stale = true;
    }

    /// The open file of a shard, opened for this one use if it is not kept.
    pub fn file(&self, shard: &Shard) -> Option<Arc<ShardFile>> {
        if let Some(file) = &shard.kept {
            return Some(Arc::clone(file));
        }
        if shard.place != Place::Named {
            return None;
        }
        let file = ShardFile::open_at(self.directory_fd(), &shard.file_name).ok()?;
        (file.identity() == shard.identity).then(|| Arc::new(file))
    }

    /// Whether the path leads to the directory whose shards are served.
    pub fn is_at_home(&self) -> bool {
        !self.is_away
    }
}

impl Shard {
    /// When the file was made, unix seconds, where the file system tells.
    pub fn birth_unix_seconds(&self) -> Option<f64> {
        let birth = self.identity.birth?;
        Some(birth.unix_seconds as f64 + f64::from(birth.nanoseconds) / 1e9)
    }
}
