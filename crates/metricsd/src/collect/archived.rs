//! The archive as sources of a merge: totals of ended processes, and gauges that they left.
//!
//! Invariant: what the archive holds is served once: totals always, the gauges of a shard that is still in the index from there.
//! Pure but for the catalog.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use metricsd_shard::{FileKind, GaugeMode};

use crate::archive::{Ended, Exact, IdentityKey, KeyId as SeriesId, Phase, SeriesKind, State};
use crate::merge::{Catalog, Elders, Firsts, KeyId, Reading, Source, Standing};
use crate::policy::Policy;
use crate::retention::DeadGauges;

/// So many new series are worth a second thread.
const NEW_KEYS_MANY: usize = 50_000;

/// Everything that the archive adds to a merge.
#[derive(Debug, Default)]
pub(super) struct Archived {
    /// The catalog's number of each of the archive's series.
    catalog_keys: Vec<KeyId>,
    firsts: Firsts,
    /// So many of the keys are in there.
    learned: usize,
    sources: Vec<ArchivedSource>,
}

/// One source. Its values are in the archive, or copied from there.
#[derive(Debug)]
pub(super) struct ArchivedSource {
    kind: FileKind,
    writer: String,
    /// Whose values they are, where each process has its own.
    pub(super) identity: Option<IdentityKey>,
    pub(super) keys: Vec<KeyId>,
    hides_live_gauges: bool,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Places in the archive's totals.
    Totals(Vec<u32>),
    /// Sums, each in its place.
    Sums(Vec<Exact>, Vec<u32>),
    Values(Vec<f64>, Vec<f64>),
}

/// What decides about gauges of the ended.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// What becomes of `live*` gauges while no live process has them.
    pub dead_gauges: DeadGauges,
    /// Unix seconds.
    pub now_unix_seconds: f64,
}

impl Terms {
    /// Whether `live*` gauges of a process that ended so long ago are no longer served.
    pub fn hide(&self, ended_for: Duration) -> bool {
        match self.dead_gauges {
            DeadGauges::Keep => false,
            DeadGauges::Drop => true,
            DeadGauges::For(duration) => ended_for > duration,
        }
    }

    /// Whether the same answer may be another one later.
    pub(super) fn depend_on_time(&self) -> bool {
        matches!(self.dead_gauges, DeadGauges::For(_))
    }

    /// Whether `live*` gauges of a process that ended then are no longer served.
    pub(crate) fn hide_ended_at(&self, ended_at_unix_seconds: f64) -> bool {
        let seconds = (self.now_unix_seconds - ended_at_unix_seconds).max(0.0);
        self.hide(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO))
    }
}

impl Archived {
    pub(super) fn sources(&self) -> &[ArchivedSource] {
        &self.sources
    }

    /// Every number of the catalog that is in use here, for its compaction.
    pub(super) fn keys_mut(&mut self) -> impl Iterator<Item = &mut KeyId> {
        self.firsts.forget();
        self.learned = 0;
        self.catalog_keys.iter_mut()
    }

    pub(super) fn key_count(&self) -> usize {
        self.catalog_keys.len()
    }

    /// The catalog's number of a series.
    pub(super) fn catalog_key(&self, series: SeriesId) -> Option<KeyId> {
        self.catalog_keys.get(series.index()).copied()
    }

    /// Gives new series their numbers in the catalog.
    pub(super) fn intern(&mut self, state: &State, catalog: &mut Catalog, policy: &Policy) {
        self.number(state, catalog, policy);
        let new = (0..).zip(&self.catalog_keys).skip(self.learned);
        let new = new.filter_map(|(index, &key)| {
            let kind = state.keys().kind(SeriesId(index))?;
            Some((FileKind::from(kind), key))
        });
        self.firsts.learn(catalog, new);
        self.learned = self.catalog_keys.len();
    }

    fn number(&mut self, state: &State, catalog: &mut Catalog, policy: &Policy) {
        let known = self.catalog_keys.len();
        let keys = state.keys();
        let new = narrow(known)..narrow(keys.len());
        // A number whose name was lost stands for no series; it keeps its place.
        let read = |number: u32, to: &mut Vec<u8>| keys.read(SeriesId(number), to);
        // What stands in shards as well is known by now.
        if keys.len() - known < NEW_KEYS_MANY || catalog.len() * 2 > keys.len() {
            let mut raw = Vec::new();
            self.catalog_keys.reserve_exact(keys.len() - known);
            self.catalog_keys.extend(new.map(|number| {
                read(number, &mut raw);
                catalog.intern(&raw, policy)
            }));
            return;
        }
        if known == 0 {
            catalog.reserve(keys.len());
        }
        self.catalog_keys
            .extend(catalog.intern_all(new, read, policy));
    }

    /// Who was known first, which decides where several want one name or there are too many series. Shards that exist are among them, as
    /// soon as they were noted.
    pub(super) fn elders(&self) -> Elders<'_> {
        Elders {
            known: &self.catalog_keys,
            firsts: Some(&self.firsts),
            archived_sources: self.sources.len(),
        }
    }

    /// Makes the sources anew. `indexed` are the shards that are served from their files.
    pub(super) fn rebuild(&mut self, state: &State, indexed: &HashSet<&IdentityKey>, terms: Terms) {
        self.sources.clear();
        self.add_totals(state);
        self.add_ended(state, terms);
        self.add_gauges_of_known(state, indexed, terms);
    }

    fn add_totals(&mut self, state: &State) {
        let mut by_kind: BTreeMap<SeriesKind, (Vec<KeyId>, Vec<u32>)> = BTreeMap::new();
        for (index, &key) in (0..).zip(&self.catalog_keys) {
            let kind = state.keys().kind(SeriesId(index));
            if let Some(kind) = kind.filter(|kind| !kind.is_gauge()) {
                let (keys, picks) = by_kind.entry(kind).or_default();
                keys.push(key);
                picks.push(index);
            }
        }
        for (kind, (keys, picks)) in by_kind {
            self.push(kind, "", None, keys, false, Content::Totals(picks));
        }
    }

    /// Gauges whose shards are forgotten.
    fn add_ended(&mut self, state: &State, terms: Terms) {
        for (series, ended) in state.ended_gauges().iter() {
            let (Some(kind), Some(key)) = (state.keys().kind(series), self.catalog_key(series))
            else {
                continue;
            };
            let values = |value, timestamp| Content::Values(vec![value], vec![timestamp]);
            match ended {
                Ended::Min(value) | Ended::Max(value) => {
                    self.push(kind, "", None, vec![key], false, values(*value, 0.0));
                }
                Ended::Sum(sum) => {
                    let content = Content::Sums(vec![sum.clone()], vec![0]);
                    self.push(kind, "", None, vec![key], false, content);
                }
                Ended::MostRecent { value, timestamp } => {
                    self.push(kind, "", None, vec![key], false, values(*value, *timestamp));
                }
                Ended::Each(each) => {
                    for one in each {
                        let hides = terms.hide_ended_at(one.ended_at_unix_seconds);
                        let content = values(one.value, one.timestamp);
                        let identity = Some(one.identity.clone());
                        self.push(kind, &one.writer, identity, vec![key], hides, content);
                    }
                }
            }
        }
    }

    /// Gauges of shards that the archive has and does not forget yet, and that are not in the index any more.
    fn add_gauges_of_known(
        &mut self,
        state: &State,
        indexed: &HashSet<&IdentityKey>,
        terms: Terms,
    ) {
        let settled = state.shards().filter(|(identity, known)| {
            known.phase() != Phase::Seen && !indexed.contains(identity)
        });
        for (identity, known) in settled {
            let Some(origin) = known.origin().filter(|origin| origin.kind.is_gauge()) else {
                continue;
            };
            let (mut keys, mut values, mut timestamps) = (Vec::new(), Vec::new(), Vec::new());
            for (series, value, timestamp) in known.gauges() {
                if let Some(key) = self.catalog_key(series) {
                    keys.push(key);
                    values.push(value);
                    timestamps.push(timestamp);
                }
            }
            let hides = known
                .ended_at_unix_seconds()
                .is_some_and(|ended_at| terms.hide_ended_at(ended_at));
            let content = Content::Values(values, timestamps);
            let identity = Some(identity.clone());
            self.push(origin.kind, &origin.writer, identity, keys, hides, content);
        }
    }

    fn push(
        &mut self,
        kind: SeriesKind,
        writer: &str,
        identity: Option<IdentityKey>,
        keys: Vec<KeyId>,
        hides_live_gauges: bool,
        content: Content,
    ) {
        if !keys.is_empty() {
            self.sources.push(ArchivedSource {
                kind: kind.into(),
                writer: writer.to_owned(),
                identity,
                keys,
                hides_live_gauges,
                content,
            });
        }
    }
}

impl ArchivedSource {
    pub(super) fn source(&self) -> Source<'_> {
        let timestamps = match &self.content {
            Content::Values(_, timestamps) if is_most_recent(self.kind) => timestamps.as_slice(),
            _ => &[],
        };
        Source {
            kind: self.kind,
            id: &self.writer,
            keys: &self.keys,
            timestamps,
            standing: Standing::Ended {
                hides_live_gauges: self.hides_live_gauges,
            },
            discarded: &[],
            is_news: false,
        }
    }

    pub(super) fn reading<'a>(&'a self, state: &'a State) -> Reading<'a> {
        match &self.content {
            Content::Totals(picks) => Reading::Sums {
                totals: state.totals(),
                picks,
            },
            Content::Sums(totals, picks) => Reading::Sums { totals, picks },
            Content::Values(values, timestamps) => Reading::Values {
                values,
                timestamps: if is_most_recent(self.kind) {
                    timestamps
                } else {
                    &[]
                },
            },
        }
    }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("series are numbered in 32 bits")
}

fn is_most_recent(kind: FileKind) -> bool {
    matches!(
        kind,
        FileKind::Gauge(GaugeMode::MostRecent | GaugeMode::LiveMostRecent)
    )
}
