//! What totals are made of: the shards that are there, the absorptions that the ledger has, and what came before these.
//!
//! Invariant: the parts of a total add up to it exactly; what no part has is shown as a part of its own. Whether it is the total
//! that a scrape shows is compared with what the merge made, which is another way to the same number. Must not touch: files.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use metricsd_exporter::Family;

use super::page::for_each_sample;
use super::selection::Selection;
use crate::archive::{Absorption, Earlier, Exact, Origin, SeriesKind, State};
use crate::collect::Collector;
use crate::merge::{Catalog, KeyId as CatalogKey};
use crate::policy::Policy;

/// Sums by the number of their total.
pub(super) type Amounts = BTreeMap<usize, Exact>;

/// What totals are made of.
#[derive(Debug)]
pub(super) struct Account<'a> {
    /// By number.
    pub(super) totals: Vec<Total>,
    pub(super) parts: Vec<Part<'a>>,
    /// Series that add up.
    pub(super) series_count: usize,
    /// Since when the oldest of them counts, unix seconds.
    pub(super) since_unix_seconds: Option<f64>,
}

/// One total: a series, or all of one name.
#[derive(Debug)]
pub(super) struct Total {
    pub(super) name: String,
    pub(super) sum: Exact,
    /// What a scrape shows; `None`: nothing of it is served.
    pub(super) shown: Option<f64>,
    pub(super) adds_up: bool,
}

/// Who contributed what.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) source: Source<'a>,
    pub(super) amounts: Amounts,
}

/// Where a part comes from.
#[derive(Debug)]
pub(super) enum Source<'a> {
    /// A shard that is there: what it holds beyond what was absorbed of it.
    Shard(Origin),
    /// A shard that was absorbed.
    Absorbed(&'a Absorption),
    /// Absorptions that are not kept one by one any more; `None`: the ledger knows nothing of them, since it was begun later or
    /// was damaged.
    Earlier(Option<Earlier>),
}

/// The numbers of totals, given out as series ask for them.
struct Numbers<'a> {
    selection: &'a Selection,
    policy: &'a Policy,
    catalog: Catalog,
    names: Vec<String>,
    by_name: HashMap<String, usize>,
    known: HashMap<(SeriesKind, CatalogKey), Option<usize>>,
}

impl Numbers<'_> {
    /// The total that a series is a part of, if it adds up and is asked about.
    fn of(&mut self, kind: SeriesKind, raw: &[u8]) -> Option<usize> {
        if kind.is_gauge() {
            return None;
        }
        let key = self.catalog.intern(raw, self.policy);
        if let Some(known) = self.known.get(&(kind, key)) {
            return *known;
        }
        let number = self.name(kind, key).map(|name| {
            *self.by_name.entry(name).or_insert_with_key(|name| {
                self.names.push(name.clone());
                self.names.len() - 1
            })
        });
        self.known.insert((kind, key), number);
        number
    }

    fn name(&self, kind: SeriesKind, key: CatalogKey) -> Option<String> {
        let catalog = &self.catalog;
        if catalog.refusal(key).is_some() {
            return None;
        }
        let family = catalog.family(key);
        let is_histogram = matches!(kind, SeriesKind::Histogram | SeriesKind::GaugeHistogram);
        let bucket = catalog.bucket(key).filter(|_| is_histogram);
        let name = match bucket {
            Some(_) => format!("{family}_count"),
            None => catalog.sample(key).to_owned(),
        };
        match self.selection {
            Selection::Everything => Some(name),
            Selection::Family(asked) => (asked == family || *asked == name).then_some(name),
            Selection::Series(series) => {
                let is_part = match bucket {
                    // Buckets are stored one by one and shown cumulated.
                    Some((bound, labels)) => {
                        let is_below = series.name == format!("{family}_bucket")
                            && series.bound.is_some_and(|asked| bound <= asked);
                        let is_counted = series.name == name && series.bound.is_none();
                        (is_below || is_counted) && labels == series.labels
                    }
                    None => {
                        series.bound.is_none()
                            && series.name == name
                            && catalog.labels(key) == series.labels
                    }
                };
                is_part.then(|| series.text.clone())
            }
        }
    }
}

impl<'a> Account<'a> {
    /// Of what was read last. `families` are what the merge made of it.
    pub(super) fn take(
        collector: &Collector,
        state: Option<&'a State>,
        families: &[Family],
        policy: &Policy,
        selection: &Selection,
    ) -> Account<'a> {
        let mut numbers = Numbers {
            selection,
            policy,
            catalog: Catalog::default(),
            names: Vec::new(),
            by_name: HashMap::new(),
            known: HashMap::new(),
        };
        let mut series: BTreeSet<(SeriesKind, CatalogKey)> = BTreeSet::new();
        let mut since_unix_seconds: Option<f64> = None;
        let mut absorbed = Amounts::new();
        // By the archive's number of the series.
        let mut places: Vec<Option<usize>> = Vec::new();
        for (index, total) in state.map_or(&[][..], State::totals).iter().enumerate() {
            let id = crate::archive::KeyId(u32::try_from(index).unwrap_or(u32::MAX));
            let key = state.and_then(|state| state.keys().get(id));
            let place = key.and_then(|(kind, raw)| {
                let place = numbers.of(kind, &raw)?;
                series.insert((kind, numbers.catalog.intern(&raw, policy)));
                Some(place)
            });
            places.push(place);
            let Some(place) = place else { continue };
            absorbed.entry(place).or_default().merge(total);
            let start = state.and_then(|state| state.start_unix_seconds(id));
            since_unix_seconds = earliest(since_unix_seconds, start);
        }
        let mut parts = Vec::new();
        for shard in collector.shards() {
            let kind = SeriesKind::from(shard.name().kind);
            let mut amounts = Amounts::new();
            collector.sight(shard, |sighting| {
                for entry in sighting.entries {
                    if let Some(place) = numbers.of(kind, entry.key) {
                        series.insert((kind, numbers.catalog.intern(entry.key, policy)));
                        amounts.entry(place).or_default().add(entry.value);
                    }
                }
            });
            let known = state.and_then(|state| state.shard(shard.identity_key()));
            for (key, sum) in known.into_iter().flat_map(|known| known.corrections()) {
                if let Some(place) = places.get(key.index()).copied().flatten() {
                    amounts.entry(place).or_default().merge(&sum);
                }
            }
            if !amounts.is_empty() {
                let source = Source::Shard(collector.origin(shard));
                parts.push(Part { source, amounts });
            }
        }
        let shard_parts = parts.len();
        let ledger = state.map(State::ledger);
        for absorption in ledger.into_iter().flat_map(|ledger| ledger.absorptions()) {
            let mut amounts = Amounts::new();
            for (key, amount) in absorption.amounts() {
                if let Some(place) = places.get(key.index()).copied().flatten() {
                    amounts.entry(place).or_default().merge(&amount);
                    absorbed.entry(place).or_default().subtract_sum(&amount);
                }
            }
            let source = Source::Absorbed(absorption);
            parts.push(Part { source, amounts });
        }
        absorbed.retain(|_, rest| !rest.is_zero());
        let earlier = ledger.and_then(|ledger| ledger.earlier());
        if earlier.is_some() || !absorbed.is_empty() {
            let part = Part {
                source: Source::Earlier(earlier),
                amounts: absorbed,
            };
            parts.insert(shard_parts, part);
        }
        Account {
            totals: totals(numbers.names, &parts, families, selection),
            parts,
            series_count: series.len(),
            since_unix_seconds,
        }
    }

    /// Whether every total is what a scrape shows.
    pub(super) fn adds_up(&self) -> bool {
        self.totals.iter().all(|total| total.adds_up)
    }
}

fn earliest(known: Option<f64>, start: Option<f64>) -> Option<f64> {
    match (known, start) {
        (Some(known), Some(start)) => Some(known.min(start)),
        (known, start) => known.or(start),
    }
}

/// What a page shows under one name.
#[derive(Default)]
struct OnPage {
    sum: Exact,
    /// Of the values without their signs: what rounding each of them may have cost grows with it.
    size: f64,
    count: f64,
}

fn totals(
    names: Vec<String>,
    parts: &[Part<'_>],
    families: &[Family],
    selection: &Selection,
) -> Vec<Total> {
    let mut on_page: HashMap<String, OnPage> = HashMap::new();
    for_each_sample(families, |shown| {
        let name = match selection {
            Selection::Series(series) if shown.is(series) => series.text.clone(),
            Selection::Series(_) => return,
            // What adds up may be shown as a gauge: states, and facts about a program.
            _ if shown.bound.is_some() => return,
            _ => shown.name,
        };
        let page = on_page.entry(name).or_default();
        page.sum.add(shown.value);
        page.size += shown.value.abs();
        page.count += 1.0;
    });
    let total = |(number, name): (usize, String)| {
        let mut sum = Exact::default();
        for part in parts {
            if let Some(amount) = part.amounts.get(&number) {
                sum.merge(amount);
            }
        }
        let page = on_page.get(&name);
        Total {
            shown: page.map(|page| page.sum.value()),
            adds_up: page.is_none_or(|page| is_same(&sum, page)),
            name,
            sum,
        }
    };
    names.into_iter().enumerate().map(total).collect()
}

/// Of one series to the bit. Of several, each was rounded once before it was shown; whole numbers stay what they are.
fn is_same(sum: &Exact, page: &OnPage) -> bool {
    let (sum, shown) = (sum.value(), page.sum.value());
    let is_equal = sum == shown || (sum.is_nan() && shown.is_nan());
    let rounding = page.size * f64::EPSILON;
    is_equal || (page.count > 1.0 && (sum - shown).abs() <= rounding)
}
