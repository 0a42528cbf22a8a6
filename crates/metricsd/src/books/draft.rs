//! What a shard will be known as once the records that wait are durable.
//!
//! Invariant: a [`View`] shows what the state will say of a shard after the next sync: what is durable, with the draft over it.
//! Decisions are taken on views, so it makes no difference to them how often the journal is synced. Pure.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::SightedEntry;
use crate::archive::{Entry, Exact, KeyId, Known, Origin, Phase, SeriesKind, Shortfall};

/// What records that wait will make of one shard.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    /// `None`: it will be forgotten.
    phase: Option<Phase>,
    origin: Option<Origin>,
    counts: HashMap<KeyId, Exact>,
    gauges: HashMap<KeyId, Set>,
    discarded: HashSet<KeyId>,
    /// It was forgotten in between, so what is durable says nothing of it any more.
    hides_durable: bool,
}

/// Bits of a gauge's value and of its timestamp.
type Set = (u64, u64);

/// What entries hold, by series.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// In file order.
    pub(super) entries: Vec<Entry>,
    pub(super) counts: BTreeMap<KeyId, Exact>,
    gauges: BTreeMap<KeyId, Set>,
}

/// What is known of a shard, durable or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    durable: Option<&'a Known>,
    draft: Option<&'a Draft>,
}

impl Held {
    /// Sums up entries of one kind; those without a number are left out.
    pub(super) fn of<'e>(
        kind: SeriesKind,
        entries: impl Iterator<Item = (Option<KeyId>, &'e SightedEntry<'e>)>,
    ) -> Held {
        let mut held = Held::default();
        for (key, entry) in entries {
            let Some(key) = key else { continue };
            let entry = Entry {
                key,
                value: entry.value,
                timestamp: entry.timestamp,
            };
            held.entries.push(entry);
            if kind.is_gauge() {
                // Of a gauge the last entry holds, as in Python.
                let set = (entry.value.to_bits(), entry.timestamp.to_bits());
                held.gauges.insert(key, set);
            } else {
                held.counts.entry(key).or_default().add(entry.value);
            }
        }
        held
    }

    /// The series.
    pub(super) fn keys(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.counts.keys().chain(self.gauges.keys()).copied()
    }

    /// Leaves only series of which something else is known than what is held.
    pub(super) fn keep_news(&mut self, view: View<'_>) {
        self.counts
            .retain(|key, held| view.seen(*key) != Some(&*held));
        self.gauges
            .retain(|key, set| view.gauge(*key) != Some(*set));
        let (counts, gauges) = (&self.counts, &self.gauges);
        self.entries
            .retain(|it| counts.contains_key(&it.key) || gauges.contains_key(&it.key));
    }

    /// Series of which less is held than was known: their writer went back.
    pub(super) fn count_resets(&self, view: View<'_>) -> usize {
        let is_reset = |(key, held): &(&KeyId, &Exact)| {
            let seen = view.seen(**key);
            seen.is_some_and(|seen| is_less(held, seen))
        };
        self.counts.iter().filter(is_reset).count()
    }
}

impl<'a> View<'a> {
    pub(super) fn new(durable: Option<&'a Known>, draft: Option<&'a Draft>) -> View<'a> {
        let is_hidden = draft.is_some_and(|draft| draft.hides_durable);
        View {
            durable: durable.filter(|_| !is_hidden),
            draft,
        }
    }

    /// `None`: not known.
    pub(super) fn phase(self) -> Option<Phase> {
        match (self.draft, self.durable) {
            (Some(draft), _) => draft.phase,
            (None, durable) => durable.map(Known::phase),
        }
    }

    pub(super) fn origin(self) -> Option<&'a Origin> {
        let drafted = self.draft.and_then(|draft| draft.origin.as_ref());
        drafted.or_else(|| self.durable.and_then(Known::origin))
    }

    /// What was last known to be in the file.
    pub(super) fn seen(self, key: KeyId) -> Option<&'a Exact> {
        let drafted = self.draft.and_then(|draft| draft.counts.get(&key));
        drafted.or_else(|| self.durable?.seen(key))
    }

    fn gauge(self, key: KeyId) -> Option<Set> {
        let drafted = self.draft.and_then(|draft| draft.gauges.get(&key).copied());
        let durable = || self.durable?.gauge(key);
        drafted.or_else(|| durable().map(|(value, at)| (value.to_bits(), at.to_bits())))
    }

    pub(super) fn is_discarded(self, key: KeyId) -> bool {
        let drafted = self
            .draft
            .is_some_and(|draft| draft.discarded.contains(&key));
        drafted || self.durable.is_some_and(|known| known.is_discarded(key))
    }

    /// The series that add up.
    pub(super) fn counts(self) -> impl Iterator<Item = (KeyId, &'a Exact)> {
        let durable = self.durable.into_iter().flat_map(Known::last_known);
        let drafted = self.draft.into_iter().flat_map(|draft| &draft.counts);
        let is_new = move |key: &KeyId| self.durable.is_none_or(|known| known.seen(*key).is_none());
        let both = durable.map(move |(key, seen)| (key, self.seen(key).unwrap_or(seen)));
        both.chain(
            drafted
                .map(|(key, seen)| (*key, seen))
                .filter(move |(key, _)| is_new(key)),
        )
    }

    /// The gauges that have a value.
    pub(super) fn gauge_keys(self) -> impl Iterator<Item = KeyId> {
        let durable = self.durable.into_iter().flat_map(|known| known.gauges());
        let drafted = self.draft.into_iter().flat_map(|draft| draft.gauges.keys());
        let is_new =
            move |key: &KeyId| self.durable.is_none_or(|known| known.gauge(*key).is_none());
        durable
            .map(|(key, _, _)| key)
            .chain(drafted.copied().filter(is_new))
            .filter(move |key| !self.is_discarded(*key))
    }

    /// What the file lacks of what was last known to be in it.
    pub(super) fn shortfalls(self, held: &Held) -> Vec<Shortfall> {
        let mut shortfalls: Vec<Shortfall> = self
            .counts()
            .filter_map(|(key, seen)| {
                let file = held.counts.get(&key).cloned().unwrap_or_default();
                is_less(&file, seen).then(|| {
                    let mut missing = seen.clone();
                    missing.subtract_sum(&file);
                    Shortfall { key, file, missing }
                })
            })
            .collect();
        shortfalls.sort_unstable_by_key(|shortfall| shortfall.key);
        shortfalls
    }

    /// What is known of it so far, for another record to change.
    pub(super) fn draft(self) -> Draft {
        let durable = || Draft {
            phase: self.durable.map(Known::phase),
            ..Draft::default()
        };
        self.draft.cloned().unwrap_or_else(durable)
    }
}

impl Draft {
    pub(super) fn see(&mut self, origin: Option<&Origin>, held: &[Entry], sums: &Held) {
        self.phase = Some(Phase::Seen);
        if let Some(origin) = origin {
            self.origin = Some(origin.clone());
        }
        for entry in held {
            self.take(entry.key, sums);
        }
    }

    /// `known`: the series of which something was known before; the file may not name all of them any more.
    pub(super) fn absorb(&mut self, origin: &Origin, held: &Held, known: Vec<KeyId>) {
        self.phase = Some(Phase::Absorbed);
        self.origin = Some(origin.clone());
        for key in known {
            self.counts.insert(key, Exact::default());
        }
        held.keys().for_each(|key| self.take(key, held));
    }

    fn take(&mut self, key: KeyId, held: &Held) {
        if let Some(sum) = held.counts.get(&key) {
            self.counts.insert(key, sum.clone());
        }
        if let Some(set) = held.gauges.get(&key) {
            self.gauges.insert(key, *set);
        }
    }

    pub(super) fn miss(&mut self) {
        self.phase = Some(Phase::Missing);
    }

    /// It is there, with what the file holds of the series that it lacks something of.
    pub(super) fn rebase(&mut self, shortfalls: &[Shortfall]) {
        for shortfall in shortfalls {
            self.counts.insert(shortfall.key, shortfall.file.clone());
        }
    }

    pub(super) fn find_again(&mut self, shortfalls: &[Shortfall]) {
        self.phase = Some(Phase::Seen);
        self.rebase(shortfalls);
    }

    pub(super) fn discard(&mut self, keys: &[KeyId]) {
        self.phase.get_or_insert(Phase::Seen);
        self.discarded.extend(keys);
    }

    /// Nothing that is known now says anything of a file of this identity that may come.
    pub(super) fn forgotten() -> Draft {
        Draft {
            hides_durable: true,
            ..Draft::default()
        }
    }
}

/// Nothing can be said of NaN, so it is not less.
fn is_less(held: &Exact, seen: &Exact) -> bool {
    let mut difference = seen.clone();
    difference.subtract_sum(held);
    difference.sign() == Some(Ordering::Greater)
}
