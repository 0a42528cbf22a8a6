//! Who was known first, where the archive remembers it: the types and modes that families had, and the series, for when there are too many.
//!
//! Invariant: to be noted or retired makes nobody older than somebody who still has a file, and what adds up keeps its place for ever.
//! A gauge that only the archive has left does not say what its family is, unless nobody else does. Must not touch: I/O, the clock, logging.

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

    fn contested(&self) -> &[Elder] {
        self.firsts.map_or(&[], |firsts| &firsts.contested)
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
    /// file has and that are served; behind them gauges that only the archive has left.
    pub(super) fn deciding(
        &self,
        catalog: &Catalog,
        sources: &[Source<'_>],
        withheld: &[Place],
    ) -> impl Iterator<Item = Elder> {
        let [archived, in_files] = self.gauges(catalog, sources, withheld);
        let is_among = move |gauges: &[u32], elder: &Elder| {
            let spelling = catalog.facts(elder.key).family_spelling;
            let modes = gauges.get(spelling as usize);
            modes.is_some_and(|modes| modes & bit(elder.kind) != 0)
        };
        let first = move |elder: &Elder| !is_gauge(elder.kind) || is_among(&in_files, elder);
        let last = move |elder: &Elder| is_gauge(elder.kind) && is_among(&archived, elder);
        let contested = || self.contested().iter().copied();
        contested().filter(first).chain(contested().filter(last))
    }

    /// The modes in which the archive, and in which files have the families that gauges contest, by the families' spelling. One look at
    /// each entry: whoever writes the files decides how many families are contested.
    fn gauges(
        &self,
        catalog: &Catalog,
        sources: &[Source<'_>],
        withheld: &[Place],
    ) -> [Vec<u32>; 2] {
        if !self.contested().iter().any(|elder| is_gauge(elder.kind)) {
            return [Vec::new(), Vec::new()];
        }
        let mut found = [0, 1].map(|_| vec![0_u32; catalog.text_count()]);
        let sources = sources.iter().enumerate();
        for (index, source) in sources.filter(|(_, source)| is_gauge(source.kind)) {
            let found = &mut found[usize::from(index >= self.archived_sources)];
            for (entry, key) in source.keys.iter().enumerate() {
                let facts = catalog.facts(*key);
                let is_served =
                    facts.refusal.is_none() && withheld.binary_search(&(index, entry)).is_err();
                if is_served {
                    found[facts.family_spelling as usize] |= bit(source.kind);
                }
            }
        }
        found
    }
}

fn is_gauge(kind: FileKind) -> bool {
    matches!(kind, FileKind::Gauge(_))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::Standing;
    use crate::policy::Policy;

    /// To look through the entries once for each of them would take more than a minute here.
    #[test]
    fn every_family_may_be_contested() {
        const FAMILIES: usize = 40_000;
        let (mut catalog, policy) = (Catalog::default(), Policy::default());
        let keys: Vec<KeyId> = (0..FAMILIES)
            .map(|number| {
                let key = format!(r#"["f{number}", "f{number}", {{}}, "h"]"#);
                catalog.intern(key.as_bytes(), &policy)
            })
            .collect();
        let kinds = [GaugeMode::Max, GaugeMode::Sum, GaugeMode::Min].map(FileKind::Gauge);
        let source = |kind| Source {
            kind,
            id: "1",
            keys: &keys,
            timestamps: &[],
            standing: Standing::Unknown,
            discarded: &[],
            is_news: false,
        };
        let known = kinds.iter();
        let known = known.flat_map(|kind| keys.iter().map(move |key| (*kind, *key)));
        let mut firsts = Firsts::default();
        firsts.learn(&catalog, known);
        // The oldest ones are left in the archive alone and come last, of the second ones an entry is withheld.
        let elders = Elders {
            known: &[],
            firsts: Some(&firsts),
            archived_sources: 1,
        };
        let decide: Vec<(FileKind, KeyId)> = elders
            .deciding(&catalog, &kinds.map(source), &[(1, 7)])
            .map(|elder| (elder.kind, elder.key))
            .collect();
        let mut expected = Vec::new();
        for kind in [kinds[1], kinds[2], kinds[0]] {
            expected.extend(keys.iter().map(|key| (kind, *key)));
        }
        expected.remove(7);
        assert!(decide == expected);
    }
}
