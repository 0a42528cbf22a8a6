//! Which shards describe a family differently than an older one: what the daemon counts and logs, for who asks once.
//!
//! Invariant: it is the merge's own judgement, never a second one. Must not touch files.

use super::Collector;
use crate::merge::ConflictKind;

/// A shard that says something else about a family than an older source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedConflict {
    /// The family as exposed.
    pub family: String,
    /// What they disagree about.
    pub kind: ConflictKind,
    /// File name of the shard that lost.
    pub shard: String,
    /// File name of the oldest shard that has the family; none: what the archive holds of ended processes has it.
    pub older: Option<String>,
}

impl Collector {
    /// Every conflict of the shards of the last merge, by family and shard.
    pub fn conflicts(&self) -> Vec<NamedConflict> {
        let oldest_with = |family: &str, loser: &str| {
            let shards = self.index.shards().iter();
            shards
                .take_while(|shard| shard.file_name != loser)
                .find(|shard| {
                    let mut keys = shard.keys().iter();
                    keys.any(|key| self.catalog.family(*key) == family)
                })
                .map(|shard| shard.file_name.clone())
        };
        let mut conflicts = Vec::new();
        for shard in self.index.shards() {
            for (family, kind) in &shard.noted_conflicts {
                conflicts.push((&**family, *kind, shard.file_name.as_str()));
            }
        }
        conflicts.sort_unstable();
        let named = |(family, kind, shard): (&str, ConflictKind, &str)| NamedConflict {
            family: family.to_owned(),
            kind,
            shard: shard.to_owned(),
            older: None,
        };
        let mut conflicts: Vec<NamedConflict> = conflicts.into_iter().map(named).collect();
        // Who is older is asked for the first ones only: a directory of strangers must not cost a search for each of its files.
        for conflict in conflicts.iter_mut().take(SEARCHED_MAX) {
            conflict.older = oldest_with(&conflict.family, &conflict.shard);
        }
        conflicts
    }
}

/// For so many conflicts it is searched which shard is older.
const SEARCHED_MAX: usize = 20;
