//! What the archive knows of one shard that may still exist: what was absorbed of it, what was last known to be in it, what a
//! power cut took.
//!
//! Invariant: with `f` what the file holds, its share of a series is `f - a + b`; each of the three steps here (absorbing,
//! finding less, finding it missing) changes `a`, `b` and the archive together so that the sum does not fall. Pure.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::exact::Exact;
use super::ledger::{Absorption, Amounts, Cause};
use super::model::KeyId;
use super::record::{Entry, Origin, Shortfall};
use super::sorted::Sorted;

/// How far a shard has come.
/// The numbers are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// It counts with what it holds.
    Seen = 0,
    /// Everything it held is in the archive; it may still exist, under any name, and counts with what it holds beyond.
    Absorbed = 1,
    /// It was gone although nobody here removed it; what was last known is in the archive.
    Missing = 2,
}

/// A shard that may still exist, or come back.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    pub(super) phase: Phase,
    pub(super) origin: Option<Origin>,
    pub(super) ended_at_unix_seconds: Option<f64>,
    /// For each series that adds up, what was last known to be in the file (`h`): never less than was absorbed, unless the writer
    /// itself went back.
    pub(super) seen: Sorted<Exact>,
    /// For those among them of which anything was absorbed or lost.
    pub(super) moved: Sorted<Moved>,
    pub(super) gauges: Sorted<GaugeCell>,
    pub(super) revision: Revision,
}

/// Tells one set of corrections from another, for readers that keep them. No part of what is known and not stored, so all are
/// equal.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Revision(u64);

impl PartialEq for Revision {
    fn eq(&self, _: &Revision) -> bool {
        true
    }
}

impl Revision {
    /// One that was never used.
    fn next(&mut self) -> Revision {
        self.0 += 1;
        *self
    }
}

/// What makes a series of one shard count with another number than its file holds. Of nearly all shards nothing does.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Moved {
    /// What is in the archive (`a`).
    pub(super) absorbed: Exact,
    /// What power cuts took and the archive does not hold (`b`).
    pub(super) rebase: Exact,
}

impl Moved {
    /// `b - a`.
    fn correction(&self) -> Exact {
        let mut sum = self.rebase.clone();
        sum.subtract_sum(&self.absorbed);
        sum
    }

    fn is_nothing(&self) -> bool {
        self.absorbed.is_zero() && self.rebase.is_zero()
    }
}

/// One gauge of one shard.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct GaugeCell {
    /// Last known value and its timestamp.
    pub(super) set: Option<(f64, f64)>,
    /// No longer shown, for good: a live process has set the series since.
    pub(super) is_discarded: bool,
}

impl PartialEq for GaugeCell {
    fn eq(&self, other: &GaugeCell) -> bool {
        let bits = |cell: &GaugeCell| cell.set.map(|(value, at)| (value.to_bits(), at.to_bits()));
        self.is_discarded == other.is_discarded && bits(self) == bits(other)
    }
}

/// Entries summed up by series: what a file holds (`f`).
pub(super) type Holdings = BTreeMap<KeyId, Exact>;

impl Default for Known {
    fn default() -> Known {
        Known {
            phase: Phase::Seen,
            origin: None,
            ended_at_unix_seconds: None,
            seen: Sorted::default(),
            moved: Sorted::default(),
            gauges: Sorted::default(),
            revision: Revision::default(),
        }
    }
}

impl Known {
    /// How far it has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What is known of it besides its numbers.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// When its process counts as ended, unix seconds: when it was absorbed or found missing.
    pub fn ended_at_unix_seconds(&self) -> Option<f64> {
        self.ended_at_unix_seconds
    }

    /// What the shard adds to a series while its file holds `file`: `f - a + b`.
    pub fn contribution(&self, key: KeyId, file: &Exact) -> Exact {
        let mut sum = file.clone();
        if let Some(moved) = self.moved.get(key) {
            sum.merge(&moved.correction());
        }
        sum
    }

    /// For each series of which something was absorbed or rebased, what has to be added to what the file holds: `b - a`. Also
    /// for series that the file does not hold (any more).
    pub fn corrections(&self) -> impl Iterator<Item = (KeyId, Exact)> + '_ {
        self.moved.iter().filter_map(|(key, moved)| {
            let sum = moved.correction();
            (!sum.is_zero()).then_some((key, sum))
        })
    }

    /// Changes whenever [`Known::corrections`] may have changed, and is 0 while there are none. Within one [`State`](super::State)
    /// no two sets of corrections of one shard have the same number.
    pub fn revision(&self) -> u64 {
        self.revision.0
    }

    /// To be called when corrections may have changed; `last` is the last number that was given.
    pub(super) fn revise(&mut self, last: &mut Revision) {
        let has_any = self.corrections().next().is_some();
        self.revision = if has_any {
            last.next()
        } else {
            Revision::default()
        };
    }

    /// The series of which something is known, with what was last known to be in the file (`h`).
    pub fn last_known(&self) -> impl Iterator<Item = (KeyId, &Exact)> {
        self.seen.iter()
    }

    /// What was last known to be in the file of one series (`h`).
    pub fn seen(&self, key: KeyId) -> Option<&Exact> {
        self.seen.get(key)
    }

    /// The last known value of one gauge and its timestamp, discarded or not.
    pub fn gauge(&self, key: KeyId) -> Option<(f64, f64)> {
        self.gauges.get(key)?.set
    }

    /// The gauges of which a value is known and not discarded: value and timestamp.
    pub fn gauges(&self) -> impl Iterator<Item = (KeyId, f64, f64)> + '_ {
        self.gauges
            .iter()
            .filter(|(_, cell)| !cell.is_discarded)
            .filter_map(|(key, cell)| {
                let (value, timestamp) = cell.set?;
                Some((key, value, timestamp))
            })
    }

    /// Whether this shard's value of a gauge is discarded for good.
    pub fn is_discarded(&self, key: KeyId) -> bool {
        self.gauges.get(key).is_some_and(|cell| cell.is_discarded)
    }

    /// What the file lacks of what was last known to be in it: `max(0, h - f)` for each series. After a power cut for
    /// [`Record::Rebased`](super::Record::Rebased), after a return for [`Record::Returned`](super::Record::Returned). Entries
    /// of gauges do no harm.
    pub fn shortfalls(&self, entries: impl IntoIterator<Item = (KeyId, f64)>) -> Vec<Shortfall> {
        let mut holdings = Holdings::new();
        for (key, value) in entries {
            holdings.entry(key).or_default().add(value);
        }
        self.shortfalls_of(&holdings)
    }

    /// As [`Known::shortfalls`].
    pub(super) fn shortfalls_of(&self, holdings: &Holdings) -> Vec<Shortfall> {
        let shortfall = |(key, seen): (KeyId, &Exact)| {
            let file = holdings.get(&key).cloned().unwrap_or_default();
            let mut missing = seen.clone();
            missing.subtract_sum(&file);
            (missing.sign() == Some(Ordering::Greater)).then_some(Shortfall { key, file, missing })
        };
        self.seen.iter().filter_map(shortfall).collect()
    }

    /// Takes over what the file holds; series that are not named stay as they are.
    pub(super) fn see(&mut self, holdings: Holdings) {
        self.seen.make_places(holdings.keys().copied());
        for (key, held) in holdings {
            *self.seen.entry(key) = held;
        }
    }

    /// Takes over gauges, one after the other.
    pub(super) fn see_gauges(&mut self, entries: &[Entry]) {
        let mut keys: Vec<KeyId> = entries.iter().map(|entry| entry.key).collect();
        keys.sort_unstable();
        keys.dedup();
        self.gauges.make_places(keys.iter().copied());
        entries.iter().for_each(|entry| self.see_gauge(entry));
    }

    /// Takes over a gauge. One whose value was dropped is shown again when it is set anew; of `live*` gauges live processes
    /// decide, and what was discarded stays so.
    fn see_gauge(&mut self, entry: &Entry) {
        let is_live = self.origin().is_none_or(|it| it.kind.is_live_gauge());
        let cell = self.gauges.entry(entry.key);
        let seen = GaugeCell {
            set: Some((entry.value, entry.timestamp)),
            is_discarded: cell.is_discarded,
        };
        cell.is_discarded &= is_live || *cell == seen;
        cell.set = seen.set;
    }

    /// Its values of these gauges are discarded for good, whether any was ever seen or not.
    pub(super) fn discard(&mut self, mut keys: Vec<KeyId>) {
        // In the order of a file, which need not be that of the numbers.
        keys.sort_unstable();
        keys.dedup();
        self.gauges.make_places(keys.iter().copied());
        for key in keys {
            self.gauges.entry(key).is_discarded = true;
        }
    }

    /// Whether any of its gauges is discarded.
    pub fn has_discarded(&self) -> bool {
        self.gauges.iter().any(|(_, cell)| cell.is_discarded)
    }

    /// Nothing of what it is known to hold counts any more: `a = h`, `b = 0`. Gauges of one that is not alive are discarded.
    pub(super) fn drop_everything(&mut self) {
        self.settle(|_, _| ());
        if self.phase != Phase::Seen {
            let cells = self.gauges.iter_mut();
            cells.for_each(|(_, cell)| cell.is_discarded = true);
        }
    }

    /// Its entry in the ledger.
    pub(super) fn absorption(
        &self,
        cause: Cause,
        at_unix_seconds: f64,
        amounts: Amounts,
    ) -> Absorption {
        Absorption {
            at_unix_seconds,
            cause,
            origin: self.origin.clone(),
            series_count: self.seen.len() + self.gauges.len(),
            amounts: amounts.done(),
        }
    }

    /// Everything the file holds goes to the archive: `A += f - a + b`, `a = f`, `b = 0`. What is known of series that the
    /// file does not name any more goes the same way, with `f = 0`.
    pub(super) fn absorb(
        &mut self,
        mut holdings: Holdings,
        mut archive: impl FnMut(KeyId, &Exact),
    ) {
        // Before the new ones, which add no more than they hold.
        let known: Vec<KeyId> = self.seen.iter().map(|(key, _)| key).collect();
        for key in known {
            let held = holdings.remove(&key).unwrap_or_default();
            archive(key, &self.contribution(key, &held));
            *self.seen.entry(key) = held;
        }
        self.seen.make_places(holdings.keys().copied());
        for (key, held) in holdings {
            archive(key, &held);
            *self.seen.entry(key) = held;
        }
        self.absorb_seen();
    }

    /// `a = h`, `b = 0`.
    fn absorb_seen(&mut self) {
        self.moved = Sorted::default();
        let absorbed = |seen: &Exact| Moved {
            absorbed: seen.clone(),
            rebase: Exact::default(),
        };
        let cells = self.seen.iter();
        let cells = cells.map(|(key, seen)| (key, absorbed(seen)));
        self.moved
            .extend(cells.filter(|(_, moved)| !moved.is_nothing()));
    }

    /// The file is gone and what was last known of it goes to the archive: `A += h - a + b`, `a = h`, `b = 0`.
    pub(super) fn settle(&mut self, mut archive: impl FnMut(KeyId, &Exact)) {
        for (key, seen) in self.seen.iter() {
            archive(key, &self.contribution(key, seen));
        }
        self.absorb_seen();
    }

    /// The file holds less than was last known: `b += h - f`, and `f` is what is known from now on, so that the same
    /// shortfall is not found again.
    pub(super) fn rebase(&mut self, shortfall: &Shortfall) {
        let key = shortfall.key;
        self.moved.entry(key).rebase.merge(&shortfall.missing);
        *self.seen.entry(key) = shortfall.file.clone();
    }

    /// No more memory than it needs.
    pub(super) fn shrink(&mut self) {
        self.seen.shrink();
        self.moved.shrink();
        self.gauges.shrink();
    }

    /// As a checkpoint has it.
    pub(super) fn restore(&mut self, key: KeyId, seen: Exact, moved: Moved) {
        *self.seen.entry(key) = seen;
        if !moved.is_nothing() {
            *self.moved.entry(key) = moved;
        }
    }
}
