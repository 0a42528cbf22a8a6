//! Who was known first, where the archive remembers it: the types and modes that families had, and the series, for when there are too many.
//!
//! Invariant: to be noted or retired makes nobody older than somebody who still has a file, and what adds up keeps its place for ever.
//! A gauge that only the archive has left does not say what its family is. Must not touch: I/O, the clock, logging.

use std::collections::HashMap;

use metricsd_shard::{FileKind, GaugeMode};

use super::Source;
use super::catalog::{Bound, Catalog, KeyId};
use super::contest::Place;
use super::names::exposed_names;

/// Everything that was ever known, in the order in which it came, and how it stands in the sources of a plan.
#[derive(Debug, Clone, Copy, Default)]
pub struct Elders<'a> {
    /// The keys.
    pub known: &'a [KeyId],
    /// The types and modes.
    pub firsts: Option<&'a Firsts>,
    /// So many of the sources, the first ones, are not files but what the archive has.
    pub archived_sources: usize,
}

/// The first key of each family and type or mode, kept from plan to plan.
#[derive(Debug, Default)]
pub struct Firsts {
    all: Vec<Elder>,
    /// By the spelling of the family: the types and modes that it was seen with.
    seen: Vec<u32>,
    /// Those that want the same name as another one. Nearly always there are none.
    contested: Vec<Elder>,
}

/// A family of one type or mode.
#[derive(Debug, Clone, Copy)]
pub(super) struct Elder {
    pub(super) kind: FileKind,
    /// The first key of it that was known.
    pub(super) key: KeyId,
}

impl Firsts {
    /// Takes note of keys in the order in which they came, behind all that came before.
    pub fn learn(&mut self, catalog: &Catalog, new: impl Iterator<Item = (FileKind, KeyId)>) {
        self.seen.resize(catalog.text_count(), 0);
        let before = self.all.len();
        for (kind, key) in new {
            let facts = catalog.facts(key);
            let seen = &mut self.seen[facts.family_spelling as usize];
            let is_no_bucket = kind == FileKind::Histogram && facts.bound == Bound::NotANumber;
            if *seen & bit(kind) == 0 && !is_no_bucket && facts.refusal.is_none() {
                *seen |= bit(kind);
                self.all.push(Elder { kind, key });
            }
        }
        if self.all.len() > before {
            self.contested = contested(catalog, self.all.clone());
        }
    }

    /// Begins anew: the catalog has other numbers.
    pub fn forget(&mut self) {
        *self = Firsts::default();
    }
}

impl Elders<'_> {
    /// Whether anything is known, so that the order of the sources is not all there is.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// All entries (source, entry) in the order in which they have a right to a place: what is known as it came, then the others.
    pub(super) fn by_age(&self, catalog: &Catalog, sources: &[Source<'_>]) -> Vec<Place> {
        let mut ages = vec![usize::MAX; catalog.len()];
        for (age, key) in self.known.iter().enumerate().rev() {
            ages[key.index()] = age;
        }
        let entries = |(index, source): (usize, &Source<'_>)| {
            (0..source.keys.len()).map(move |entry| (index, entry))
        };
        let mut places: Vec<Place> = sources.iter().enumerate().flat_map(entries).collect();
        // Equal ones stay in the order of the sources.
        places.sort_by_key(|&(index, entry)| ages[sources[index].keys[entry].index()]);
        places
    }

    /// Those that decide what their family is: what adds up, which the archive has as long as it is known, and gauges that a
    /// file has and that are served.
    pub(super) fn deciding<'a>(
        &'a self,
        catalog: &'a Catalog,
        sources: &'a [Source<'_>],
        withheld: &'a [Place],
    ) -> impl Iterator<Item = Elder> + 'a {
        let is_in_a_file = move |elder: &Elder| {
            let spelling = catalog.facts(elder.key).family_spelling;
            let files = sources.iter().enumerate().skip(self.archived_sources);
            let mut of_kind = files.filter(|(_, source)| source.kind == elder.kind);
            of_kind.any(|(index, source)| {
                source.keys.iter().enumerate().any(|(entry, key)| {
                    let facts = catalog.facts(*key);
                    facts.family_spelling == spelling
                        && facts.refusal.is_none()
                        && withheld.binary_search(&(index, entry)).is_err()
                })
            })
        };
        let decides =
            move |elder: &Elder| !matches!(elder.kind, FileKind::Gauge(_)) || is_in_a_file(elder);
        let contested = self.firsts.map_or(&[][..], |firsts| &firsts.contested);
        contested.iter().copied().filter(decides)
    }
}

/// Those of which another one wants the name as well.
fn contested(catalog: &Catalog, mut elders: Vec<Elder>) -> Vec<Elder> {
    let mut is_contested = vec![false; elders.len()];
    let mut first_by_family: HashMap<u32, usize> = HashMap::new();
    let mut first_by_name: HashMap<String, usize> = HashMap::new();
    for (index, elder) in elders.iter().enumerate() {
        let family = catalog.facts(elder.key).family;
        let mut firsts = vec![*first_by_family.entry(family).or_insert(index)];
        for name in exposed_names(elder.kind, catalog.text(family)) {
            firsts.push(*first_by_name.entry(name).or_insert(index));
        }
        for first in firsts.into_iter().filter(|first| *first != index) {
            is_contested[first] = true;
            is_contested[index] = true;
        }
    }
    let mut is_contested = is_contested.into_iter();
    elders.retain(|_| is_contested.next() == Some(true));
    elders
}

/// One bit for each type and mode.
fn bit(kind: FileKind) -> u32 {
    1 << match kind {
        FileKind::Counter => 0,
        FileKind::Summary => 1,
        FileKind::Histogram => 2,
        FileKind::Untyped => 3,
        FileKind::Info => 4,
        FileKind::StateSet => 5,
        FileKind::GaugeHistogram => 6,
        FileKind::Gauge(mode) => match mode {
            GaugeMode::All => 7,
            GaugeMode::LiveAll => 8,
            GaugeMode::Min => 9,
            GaugeMode::LiveMin => 10,
            GaugeMode::Max => 11,
            GaugeMode::LiveMax => 12,
            GaugeMode::Sum => 13,
            GaugeMode::LiveSum => 14,
            GaugeMode::MostRecent => 15,
            GaugeMode::LiveMostRecent => 16,
        },
    }
}
