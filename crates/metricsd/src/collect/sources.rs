//! From shards and archive to a plan, and from a plan to numbers.
//!
//! Invariant: what the archive has of a shard and what is subtracted from that shard come from one state, under one lock; a gauge
//! that is no longer shown is durably discarded before the first plan without it. Must not touch files.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use metricsd_shard::{FileKind, Liveness};

use super::archived::Archived;
use super::index::Index;
use super::layout::Renumbering;
use super::shard::{Correction, Place, Shard};
use super::{Collected, Collector, Terms, UNUSED_KEYS_MAX, read};
use crate::archive::{Exact, IdentityKey, KeyId as SeriesId, Phase, Record, SeriesKind, State};
use crate::liveness::Answers;
use crate::merge::{Elders, Findings, KeyId, LiveFirst, Plan, Reading, Standing};

/// How often it is looked whether gauges of the ended are old enough to be hidden.
const HIDING_INTERVAL: Duration = Duration::from_secs(1);

/// A gauge of an ended process that is not shown any more, for good: a live one has set the series since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superseded {
    /// Of which shard.
    pub identity: IdentityKey,
    /// Type and mode.
    pub kind: FileKind,
    /// The key's bytes.
    pub key: Vec<u8>,
}

/// Where a source of the plan comes from.
#[derive(Debug, Clone, Copy)]
enum Origin {
    Archive(usize),
    Shard(usize),
    Correction,
}

impl Collector {
    /// Merges what was read last into [`Collector::families`]. `standings` says of each of [`Collector::shards`] whether its process
    /// lives; nobody knows of those that it does not name. `discard` makes durable that gauges are no longer shown; false: it could
    /// not, and they still are.
    pub fn merge(
        &mut self,
        collected: &mut Collected,
        standings: &[Standing],
        terms: Terms,
        discard: &mut dyn FnMut(&[Superseded]) -> bool,
    ) {
        for (position, shard) in self.index.shards_mut().iter_mut().enumerate() {
            let now = standings
                .get(position)
                .copied()
                .unwrap_or(Standing::Unknown);
            // What adds up does so whether its process lives or not.
            self.is_plan_stale |=
                shard.standing != now && matches!(shard.name.kind, FileKind::Gauge(_));
            shard.standing = now;
        }
        // What is hidden after a time is hidden within a second of it.
        self.is_plan_stale |=
            terms.depend_on_time() && self.planned_at.elapsed() >= HIDING_INTERVAL;
        let state = self.state.clone();
        let mut live_first = LiveFirst::Apply;
        loop {
            let guard = state.as_deref().map(read);
            let state = guard.as_deref();
            let is_stale = self.is_plan_stale
                || self.planned_shape != state.map(State::shape_revision)
                || self.has_new_elders(state)
                || self.plan.is_outdated(self.readings(state));
            if is_stale {
                let superseded = self.replan(collected, state, terms, live_first);
                if !superseded.is_empty() && live_first == LiveFirst::Apply {
                    // The journal is written without the state's lock, and changes the state.
                    drop(guard);
                    if !discard(&superseded) {
                        live_first = LiveFirst::Defer;
                    }
                    self.is_plan_stale = true;
                    if self.state.is_none() {
                        live_first = LiveFirst::Defer;
                    }
                    continue;
                }
                self.is_plan_stale = live_first == LiveFirst::Defer;
                self.planned_shape = state.map(State::shape_revision);
                self.planned_at = Instant::now();
            }
            self.plan
                .merge(readings(&self.archived, &self.index, state));
            return;
        }
    }

    /// Whether somebody got his number since the plan was made, and it matters who was first: whoever has one is not behind any more.
    fn has_new_elders(&self, state: Option<&State>) -> bool {
        let known = state.map(|state| state.keys().len());
        self.planned_series.is_some() && self.planned_series != known
    }

    /// [`Collector::merge`] for who knows nothing of writers and may journal nothing.
    pub fn merge_alone(&mut self, collected: &mut Collected, terms: Terms) {
        self.merge(collected, &[], terms, &mut |_| false);
    }

    /// Takes shards that the archive knows and that are not there for missing, as a start would, in memory only.
    pub fn miss_absent(&mut self, now_unix_seconds: f64) {
        let Some(state) = &self.state else {
            return;
        };
        let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
        let shards = self.index.shards().iter();
        let present: HashSet<&IdentityKey> = shards.map(|shard| &shard.identity_key).collect();
        let absent: Vec<IdentityKey> = state
            .shards()
            .filter(|(identity, known)| known.phase() == Phase::Seen && !present.contains(identity))
            .map(|(identity, _)| identity.clone())
            .collect();
        for identity in absent {
            let record = Record::Missing {
                identity,
                at_unix_seconds: now_unix_seconds,
            };
            state.apply(&record, &mut Vec::new());
        }
    }

    /// Finds the shards without a name that can be taken out of the index: nobody writes them, and they hold exactly what the archive
    /// has of them.
    pub(super) fn find_spent(&mut self, answers: &Answers) {
        if !self.index.has_nameless() {
            return;
        }
        let state = self.state.clone();
        let Some(state) = state.as_deref().map(read) else {
            return;
        };
        let spent: Vec<bool> = self
            .index
            .shards()
            .iter()
            .map(|shard| {
                let is_busy = answers
                    .get(&shard.identity)
                    // Nobody has been asked about one that was just taken in again.
                    .is_none_or(|answer| answer.liveness == Liveness::Busy);
                shard.place != Place::Named && !is_busy && self.adds_nothing(shard, &state)
            })
            .collect();
        for (shard, is_spent) in self.index.shards_mut().iter_mut().zip(spent) {
            shard.is_spent = is_spent;
        }
    }

    /// Whether the archive has everything that a shard held at the last reading.
    fn adds_nothing(&self, shard: &Shard, state: &State) -> bool {
        let known = state.shard(&shard.identity_key);
        let Some(known) = known.filter(|known| known.phase() != Phase::Seen) else {
            return false;
        };
        let kind = SeriesKind::from(shard.name.kind);
        if kind.is_gauge() {
            let bits = |value: f64, timestamp: f64| (value.to_bits(), timestamp.to_bits());
            let gauges = known.gauges();
            let absorbed: HashMap<SeriesId, (u64, u64)> = gauges
                .map(|(series, value, timestamp)| (series, bits(value, timestamp)))
                .collect();
            // Of a key that stands there twice the last entry holds.
            let mut held: HashMap<&[u8], (u64, u64)> = HashMap::new();
            let spellings = shard.spellings(&self.catalog);
            let entries = shard.entries(&spellings);
            for entry in &entries {
                held.insert(entry.key, bits(entry.value, entry.timestamp));
            }
            return held.iter().all(|(key, held)| {
                state.keys().find(kind, key).is_some_and(|series| {
                    known.is_discarded(series) || absorbed.get(&series) == Some(held)
                })
            });
        }
        let mut held: HashMap<SeriesId, Exact> = HashMap::new();
        for entry in shard.entries(&shard.spellings(&self.catalog)) {
            match state.keys().find(kind, entry.key) {
                Some(series) => held.entry(series).or_default().add(entry.value),
                // The archive has never heard of it.
                None if entry.value == 0.0 => {}
                None => return false,
            }
        }
        held.iter()
            .all(|(series, sum)| known.contribution(*series, sum).is_zero())
    }

    /// One reading for each source of the plan, in its order.
    fn readings<'a>(&'a self, state: Option<&'a State>) -> impl Iterator<Item = Reading<'a>> {
        readings(&self.archived, &self.index, state)
    }

    /// Makes the plan anew. Gives the gauges that it leaves out for the first time.
    fn replan(
        &mut self,
        collected: &mut Collected,
        state: Option<&State>,
        terms: Terms,
        live_first: LiveFirst,
    ) -> Vec<Superseded> {
        self.compact_catalog();
        if let Some(state) = state {
            self.archived.intern(state, &mut self.catalog, &self.policy);
            self.follow_archive(state, terms);
        }
        let mut origins = Vec::new();
        let mut sources = Vec::new();
        for (index, source) in self.archived.sources().iter().enumerate() {
            origins.push(Origin::Archive(index));
            sources.push(source.source());
        }
        for (index, shard) in self.index.shards().iter().enumerate() {
            origins.push(Origin::Shard(index));
            sources.push(shard.source());
            if let Some(correction) = shard.correction_source() {
                origins.push(Origin::Correction);
                sources.push(correction);
            }
        }
        // Two of them need not be in memory at the same time.
        self.is_plan_stale = true;
        self.plan = Plan::default();
        let limits = &self.policy.limits;
        let elders = state.map_or(Elders::default(), |_| self.archived.elders());
        let (plan, findings) = Plan::after(&elders, &self.catalog, limits, &sources, live_first);
        self.plan = plan;
        self.planned_series = state
            .filter(|_| findings.rest_on_order())
            .map(|state| state.keys().len());
        let superseded = self.superseded(&findings, &origins);
        let findings = of_shards(findings, &origins);
        self.notes
            .count(&findings, self.index.shards_mut(), &self.catalog, collected);
        superseded
    }

    fn compact_catalog(&mut self) {
        let in_use = self.index.key_count() + self.archived.key_count();
        let unused = self.catalog.len().saturating_sub(in_use);
        if unused <= UNUSED_KEYS_MAX || unused <= in_use {
            return;
        }
        let mut renumbering = Renumbering::of(self.index.shards_for_compaction());
        let keys = renumbering.keys.iter_mut().flatten();
        self.catalog
            .compact(keys.chain(self.archived.keys_mut()), &self.policy);
        let shards = self.index.shards_to_renumber();
        renumbering.finish(shards, &mut self.layouts);
    }

    /// Brings up to date what the archive says of totals, of gauges, and of each shard.
    fn follow_archive(&mut self, state: &State, terms: Terms) {
        let indexed: HashSet<&IdentityKey> = self
            .index
            .shards()
            .iter()
            .map(|shard| &shard.identity_key)
            .collect();
        self.archived.rebuild(state, &indexed, terms);
        let (archived, catalog) = (&self.archived, &self.catalog);
        for shard in self.index.shards_mut() {
            let Some(known) = state.shard(&shard.identity_key) else {
                shard.correction = Correction::default();
                shard.discarded.clear();
                continue;
            };
            if shard.correction.revision != known.revision() || known.revision() == 0 {
                shard.correction = Correction::default();
            }
            if known.revision() != shard.correction.revision {
                for (series, sum) in known.corrections() {
                    if let Some(key) = archived.catalog_key(series) {
                        let pick = shard.correction.totals.len();
                        shard.correction.keys.push(key);
                        shard
                            .correction
                            .picks
                            .push(u32::try_from(pick).unwrap_or(u32::MAX));
                        shard.correction.totals.push(sum);
                    }
                }
                shard.correction.revision = known.revision();
            }
            let kind = SeriesKind::from(shard.name.kind);
            shard.discarded.clear();
            // What a reset dropped is of any mode.
            if known.has_discarded() {
                let is_discarded = |key: &&KeyId| {
                    let series = state.keys().find(kind, &catalog.spelling(**key));
                    series.is_some_and(|series| known.is_discarded(series))
                };
                shard.discarded = shard.keys().iter().filter(is_discarded).copied().collect();
                shard.discarded.sort_unstable();
            }
        }
    }

    fn superseded(&self, findings: &Findings, origins: &[Origin]) -> Vec<Superseded> {
        let of = |&(source, entry): &(usize, usize)| match *origins.get(source)? {
            Origin::Archive(index) => {
                let source = self.archived.sources().get(index)?;
                Some(Superseded {
                    identity: source.identity.clone()?,
                    kind: source.source().kind,
                    key: self.catalog.spelling(*source.keys.get(entry)?),
                })
            }
            Origin::Shard(index) => {
                let shard = self.index.shards().get(index)?;
                Some(Superseded {
                    identity: shard.identity_key.clone(),
                    kind: shard.name.kind,
                    key: self.catalog.spelling(*shard.keys().get(entry)?),
                })
            }
            Origin::Correction => None,
        };
        findings.superseded.iter().filter_map(of).collect()
    }
}

fn readings<'a>(
    archived: &'a Archived,
    index: &'a Index,
    state: Option<&'a State>,
) -> impl Iterator<Item = Reading<'a>> {
    let archived = archived.sources().iter();
    let archived = archived.filter_map(move |source| state.map(|state| source.reading(state)));
    let shards = index.shards().iter();
    let shards = shards
        .flat_map(|shard| [Some(shard.reading()), shard.correction_reading()])
        .flatten();
    archived.chain(shards)
}

/// What was found about shards, with their numbers in the index; what is archived was counted when it was one.
fn of_shards(mut findings: Findings, origins: &[Origin]) -> Findings {
    let shard_of = |source: usize| match origins.get(source) {
        Some(Origin::Shard(index)) => Some(*index),
        _ => None,
    };
    findings.conflicts.retain_mut(|conflict| {
        shard_of(conflict.source).is_some_and(|index| {
            conflict.source = index;
            true
        })
    });
    findings.refusals.retain_mut(|refused| {
        shard_of(refused.source).is_some_and(|index| {
            refused.source = index;
            true
        })
    });
    findings
}
