//! What the collections find wrong, counted once and logged once.
//!
//! Invariant: a conflict is counted once for each shard, family and kind, a refused entry once for each entry of a shard,
//! and the log names each loss once, whatever the number of scrapes. Must not touch the directory.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use super::Collected;
use super::index::Index;
use super::shard::Shard;
use crate::merge::{Catalog, Findings};
use crate::policy::RefusalReason;

/// Different losses that are remembered although they may be over. Beyond it only those that are still there are, and no
/// further refused family is named.
const REMEMBERED_MAX: usize = 10_000;

/// Lines of one kind that one collection may log; a directory full of garbage must not fill a disk.
const LINES_MAX: usize = 50;

/// A file that was made so recently may only be on the way to its first bytes.
const YOUNG: Duration = Duration::from_secs(2);

/// What has been logged.
#[derive(Debug, Default)]
pub(super) struct Notes {
    defects: HashSet<(String, &'static str)>,
    refused_families: HashSet<(String, RefusalReason)>,
}

impl Notes {
    /// Counts and logs what is new in the findings of a plan over `shards`.
    pub(super) fn count(
        &mut self,
        findings: &Findings,
        shards: &mut [Shard],
        catalog: &Catalog,
        collected: &mut Collected,
    ) {
        let mut lines = Lines::new();
        for conflict in &findings.conflicts {
            let shard = &mut shards[conflict.source];
            let note = (conflict.family.clone(), conflict.kind);
            if !shard.noted_conflicts.insert(note) {
                continue;
            }
            collected.conflicts[conflict.kind.index()] += 1;
            if lines.take() {
                tracing::warn!(
                    family = %conflict.family,
                    kind = conflict.kind.as_str(),
                    shard = ?shard.file_name,
                    "an older shard describes this family differently, and wins"
                );
            }
        }
        for refused in findings
            .refusals
            .iter()
            .filter(|refused| refused.entry >= shards[refused.source].judged_count)
        {
            collected.refused[refused.reason.index()] += 1;
            let shard = &shards[refused.source];
            let key = shard.keys()[refused.entry];
            let note = (catalog.family(key).to_owned(), refused.reason);
            if self.refused_families.len() < REMEMBERED_MAX
                && self.refused_families.insert(note)
                && lines.take()
            {
                let why = catalog.refusal(key).map_or_else(
                    || refused.reason.explanation().to_owned(),
                    ToString::to_string,
                );
                tracing::warn!(
                    family = ?catalog.family(key),
                    reason = refused.reason.as_str(),
                    shard = ?shard.file_name,
                    why,
                    "series refused; it is missing from the exposition"
                );
            }
        }
        for shard in shards {
            shard.judged_count = shard.judged_count.max(shard.entry_count());
        }
        lines.close();
    }

    /// Logs every file that is not served, or not to its end, once for each reason.
    pub(super) fn report_defects(&mut self, index: &Index, now: SystemTime) {
        let mut lines = Lines::new();
        for shard in index.shards() {
            let Some(reason) = shard
                .defect_reason()
                .filter(|reason| !is_on_its_way(shard, reason, now))
            else {
                continue;
            };
            if self.defects.insert((shard.file_name.clone(), reason)) && lines.take() {
                let why = shard.defect_sentence();
                tracing::warn!(shard = ?shard.file_name, reason, why, "shard damaged; its valid entries are served, the others are missing");
            }
        }
        for (name, refused) in index.refused() {
            if self.defects.insert((name.clone(), refused.reason)) && lines.take() {
                tracing::warn!(shard = ?name, reason = refused.reason, why = refused.sentence, "shard refused; nothing of it is served");
            }
        }
        lines.close();
        if self.defects.len() > REMEMBERED_MAX {
            self.forget_what_is_over(index);
        }
    }

    fn forget_what_is_over(&mut self, index: &Index) {
        let damaged = index.shards().iter();
        let damaged =
            damaged.filter_map(|shard| Some((shard.file_name.clone(), shard.defect_reason()?)));
        let refused = index
            .refused()
            .iter()
            .map(|(name, refused)| (name.clone(), refused.reason));
        let still_there: HashSet<_> = damaged.chain(refused).collect();
        self.defects.retain(|note| still_there.contains(note));
    }
}

/// Whether the file is only about to be written for the first time: Python makes it with no bytes, then with zeros.
fn is_on_its_way(shard: &Shard, reason: &str, now: SystemTime) -> bool {
    let Some(birth) = shard
        .identity
        .birth
        .filter(|_| matches!(reason, "empty" | "short"))
    else {
        return false;
    };
    let born = SystemTime::UNIX_EPOCH
        + Duration::from_secs(u64::try_from(birth.unix_seconds).unwrap_or(0));
    now.duration_since(born).is_ok_and(|age| age < YOUNG)
}

/// Counts the lines of one collection.
struct Lines {
    taken: usize,
}

impl Lines {
    fn new() -> Lines {
        Lines { taken: 0 }
    }

    fn take(&mut self) -> bool {
        self.taken += 1;
        self.taken <= LINES_MAX
    }

    fn close(self) {
        if self.taken > LINES_MAX {
            tracing::warn!(
                lines = self.taken - LINES_MAX,
                "more of the same was found in this collection and is not logged"
            );
        }
    }
}
