//! Live first: which entries of `live*` gauges give way to those of processes that live.
//!
//! Invariant: an entry gives way only to one of the same exposed series that is served, so a series never vanishes for it; and
//! to withhold what gives way leads to the plan that one would get if it were discarded already. A file's own mode says whether
//! it takes part, whatever the mode of its family. Must not touch: I/O, the clock, logging.

use std::collections::HashMap;
use std::sync::Arc;

use metricsd_shard::FileKind;

use super::catalog::Catalog;
use super::cells::CellIndex;
use super::{Function, Source, Standing};

/// An entry: index of its source, and its own in it.
pub(super) type Place = (usize, usize);

/// What is exposed as one sample, as far as it follows from the keys alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Series<'a> {
    family: u32,
    sample: u32,
    labels: u32,
    function: Function,
    /// Where each writer has a series of its own.
    writer: Option<&'a str>,
}

/// An entry that others give way to while it is served.
#[derive(Debug, Clone, Copy)]
struct Claim {
    place: Place,
    series: usize,
    standing: Standing,
}

/// Who holds a series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Holder {
    is_live: bool,
    /// The youngest source that is news.
    news: Option<usize>,
}

impl Holder {
    /// Whether the series of an ended source gives way.
    fn pushes_out(self, source: usize) -> bool {
        self.is_live || self.news > Some(source)
    }

    fn take(&mut self, claim: &Claim) {
        match claim.standing {
            Standing::Live => self.is_live = true,
            Standing::Unknown | Standing::Ended { .. } => {
                self.news = self.news.max(Some(claim.place.0));
            }
        }
    }
}

/// The `live*` gauges among all entries.
#[derive(Debug, Default)]
pub(super) struct Contest {
    /// Not served in any case: discarded already, or hidden.
    out: Vec<Place>,
    /// Entries of ended sources that have been set, with their series.
    ended: Vec<(Place, usize)>,
    claims: Vec<Claim>,
    holders: Vec<Holder>,
    /// Entries that will be claims as soon as they are set.
    waiting: Vec<Place>,
}

impl Contest {
    pub(super) fn new(catalog: &Catalog, sources: &[Source<'_>]) -> Contest {
        let mut contest = Contest::default();
        let mut numbers: HashMap<Series<'_>, usize> = HashMap::new();
        let mut waiting = Vec::new();
        for (index, source) in sources.iter().enumerate() {
            let FileKind::Gauge(mode) = source.kind else {
                continue;
            };
            if mode.is_live() {
                contest.enter(catalog, (index, source), &mut numbers, &mut waiting);
            } else if source.standing != Standing::Live && !source.discarded.is_empty() {
                let keys = source.keys.iter().enumerate();
                let dropped = keys.filter(|(_, key)| source.discarded.binary_search(key).is_ok());
                contest.out.extend(dropped.map(|(entry, _)| (index, entry)));
            }
        }
        contest.holders = vec![Holder::default(); numbers.len()];
        for claim in &contest.claims {
            contest.holders[claim.series].take(claim);
        }
        // Where nothing gives way it does not matter who holds the series.
        let mut is_contested = vec![false; numbers.len()];
        let mut has_ended = vec![false; numbers.len()];
        for &((source, _), series) in &contest.ended {
            is_contested[series] |= contest.holders[series].pushes_out(source);
            has_ended[series] = true;
        }
        contest.claims.retain(|claim| is_contested[claim.series]);
        for (holder, is_contested) in contest.holders.iter_mut().zip(is_contested) {
            if !is_contested {
                *holder = Holder::default();
            }
        }
        contest.waiting = waiting
            .into_iter()
            .filter(|&(_, series)| has_ended[series])
            .map(|(place, _)| place)
            .collect();
        contest
    }

    fn enter<'a>(
        &mut self,
        catalog: &Catalog,
        (index, source): (usize, &Source<'a>),
        numbers: &mut HashMap<Series<'a>, usize>,
        waiting: &mut Vec<(Place, usize)>,
    ) {
        let function = Function::of(source.kind);
        let is_live = source.standing == Standing::Live;
        let is_ended = matches!(source.standing, Standing::Ended { .. });
        let is_hidden = source.standing
            == Standing::Ended {
                hides_live_gauges: true,
            };
        for (entry, &key) in source.keys.iter().enumerate() {
            let place = (index, entry);
            let is_discarded = !is_live && source.discarded.binary_search(&key).is_ok();
            if is_discarded || is_hidden {
                self.out.push(place);
            }
            let facts = catalog.facts(key);
            if is_discarded || facts.refusal.is_some() {
                continue;
            }
            let next = numbers.len();
            let series = Series {
                family: facts.family_spelling,
                sample: facts.sample,
                labels: facts.labels_without_pid,
                function,
                writer: (function == Function::All).then_some(source.id),
            };
            let series = *numbers.entry(series).or_insert(next);
            // Python creates an entry before it sets it, and shows none that was never set.
            let timestamp = source.timestamps.get(entry);
            let is_set = function != Function::MostRecent || timestamp.is_none_or(|&at| at > 0.0);
            if is_live || (source.is_news && !is_hidden) {
                if is_set {
                    self.claims.push(Claim {
                        place,
                        series,
                        standing: source.standing,
                    });
                } else {
                    waiting.push((place, series));
                }
            }
            if is_ended && is_set {
                self.ended.push((place, series));
            }
        }
    }

    /// What gives way, ascending.
    pub(super) fn superseded(&self) -> Vec<Place> {
        let gives_way =
            |&&((source, _), series): &&(Place, usize)| self.holders[series].pushes_out(source);
        let superseded = self.ended.iter().filter(gives_way);
        superseded.map(|&(place, _)| place).collect()
    }

    /// What is not served if everything gives way that has to, ascending.
    pub(super) fn withheld(&self) -> Vec<Place> {
        let mut withheld = self.superseded();
        withheld.extend_from_slice(&self.out);
        withheld.sort_unstable();
        withheld.dedup();
        withheld
    }

    /// What is not served even if nothing gives way, ascending.
    pub(super) fn out(&self) -> &[Place] {
        &self.out
    }

    /// The entries that make a new plan necessary once they are set, ascending.
    pub(super) fn into_waiting(self) -> Vec<Place> {
        self.waiting
    }

    /// Looks whether all who hold a series are served in the plan that was made, of which `cells` are the cells; gives up the
    /// series of those that are not. True if there were any, so that the plan does not stand.
    pub(super) fn retreat(&mut self, cells: &[(Function, Arc<[CellIndex]>)]) -> bool {
        let before = self.holders.clone();
        self.claims.retain(|claim| {
            let (source, entry) = claim.place;
            let is_served = cells[source].1[entry] != CellIndex::UNSERVED;
            let is_ended = matches!(claim.standing, Standing::Ended { .. });
            // News that gave way itself may hold the series if it need not.
            is_served || (is_ended && before[claim.series].pushes_out(source))
        });
        self.holders.fill(Holder::default());
        for claim in &self.claims {
            self.holders[claim.series].take(claim);
        }
        self.holders != before
    }

    /// Nothing gives way.
    pub(super) fn give_up(&mut self) {
        self.claims.clear();
        self.holders.fill(Holder::default());
    }
}
