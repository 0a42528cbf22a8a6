//! A plan: which cell every entry of every source goes to, and the families that come of it.
//!
//! Invariant: a plan depends on the sources, their order and the limits, on nothing else. It is made anew when an entry comes
//! or goes, or a process ends, and kept while only values move. Must not touch: I/O, the clock, logging.

use std::collections::HashMap;
use std::sync::Arc;

use metricsd_exporter::{Family, NameFilter, Written};
use metricsd_shard::FileKind;
use smallvec::SmallVec;

use super::catalog::Catalog;
use super::cells::{BLOCK_LEN, Cell, CellIndex, Cells};
use super::contest::{Contest, Place};
use super::elders::Elders;
use super::output::Output;
use super::planner::{Admitted, Planner};
use super::{Findings, Function, LiveFirst, Reading, Source};
use crate::policy::{RefusalReason, SeriesLimits};

/// So often a plan is made anew because a live gauge that others gave way to turned out not to be served. Real directories need
/// one or two; then everything that is not discarded yet is served.
const TRIES_MAX: usize = 8;

/// Which cell every entry goes to, and the families that come of it.
#[derive(Debug)]
pub struct Plan {
    /// For each source its function and a cell for each entry; sources with the same entries share them.
    sources: Vec<(Function, Arc<[CellIndex]>)>,
    /// Sources that add up and share their cells, by those: what adds up does so in any order.
    blocks: Vec<Vec<u32>>,
    /// The other sources, ascending.
    singles: Vec<u32>,
    cells: Cells,
    output: Output,
    /// Entries whose being set makes the plan a wrong one, ascending.
    waiting: Vec<Place>,
}

impl Default for Plan {
    /// Of no sources.
    fn default() -> Plan {
        Plan {
            sources: Vec::new(),
            blocks: Vec::new(),
            singles: Vec::new(),
            cells: Cells::new(),
            output: Output::default(),
            waiting: Vec::new(),
        }
    }
}

impl Plan {
    /// Plans the merge of `sources`, which are in canonical order.
    pub fn new(
        catalog: &Catalog,
        limits: &SeriesLimits,
        sources: &[Source<'_>],
        live_first: LiveFirst,
    ) -> (Plan, Findings) {
        Plan::after(&Elders::default(), catalog, limits, sources, live_first)
    }

    /// As [`Plan::new`], but `elders` say what their families are, wherever in `sources` they stand.
    pub fn after(
        elders: &Elders<'_>,
        catalog: &Catalog,
        limits: &SeriesLimits,
        sources: &[Source<'_>],
        live_first: LiveFirst,
    ) -> (Plan, Findings) {
        let mut contest = Contest::new(catalog, sources);
        let attempt = Attempt {
            elders,
            catalog,
            limits,
            sources,
        };
        let mut made = attempt.make(&contest.withheld());
        let mut tries_left = TRIES_MAX;
        while contest.retreat(&made.0) {
            tries_left -= 1;
            if tries_left == 0 {
                contest.give_up();
            }
            made = attempt.make(&contest.withheld());
        }
        let superseded = contest.superseded();
        if live_first == LiveFirst::Defer && !superseded.is_empty() {
            made = attempt.make(contest.out());
        }
        let (sources, planned) = made;
        let Planned {
            families,
            groups,
            cells,
            mut findings,
        } = planned;
        findings.superseded = superseded;
        let (blocks, singles) = blocks(&sources);
        (
            Plan {
                sources,
                blocks,
                singles,
                cells,
                output: Output::new(catalog, &families, groups),
                waiting: contest.into_waiting(),
            },
            findings,
        )
    }

    /// Whether the readings (one for each source in the same order) show a series set that was not when the plan was made, and
    /// that others give way to: then a new plan is needed.
    pub fn is_outdated<'a>(&self, readings: impl IntoIterator<Item = Reading<'a>>) -> bool {
        let mut waiting = self.waiting.as_slice();
        if waiting.is_empty() {
            return false;
        }
        readings.into_iter().enumerate().any(|(index, reading)| {
            let of_source = waiting.partition_point(|&(source, _)| source == index);
            let (mine, others) = waiting.split_at(of_source);
            waiting = others;
            let Reading::Values { timestamps, .. } = reading else {
                return false;
            };
            let is_set = |&(_, entry): &Place| timestamps.get(entry).is_some_and(|&at| at > 0.0);
            mine.iter().any(is_set)
        })
    }

    /// Merges the values, one reading for each source in the same order, and brings [`Plan::families`] up to date.
    pub fn merge<'a>(&mut self, readings: impl IntoIterator<Item = Reading<'a>>) {
        self.cells.reset();
        let readings: Vec<Reading<'a>> = readings.into_iter().collect();
        for &source in &self.singles {
            let source = source as usize;
            if let (Some((function, cells)), Some(reading)) =
                (self.sources.get(source), readings.get(source))
            {
                self.cells.merge(*function, cells, *reading);
            }
        }
        for block in &self.blocks {
            for sources in block.chunks(BLOCK_LEN) {
                let Some(&first) = sources.first() else {
                    continue;
                };
                let (_, cells) = &self.sources[first as usize];
                let readings = sources.iter().map(|&source| readings.get(source as usize));
                self.cells.merge_block(cells, readings.flatten().copied());
            }
        }
        self.output.fill(&self.cells);
    }

    /// Appends what `names` accepts of [`Plan::families`] to `out`, as text, without making values of millions of series first.
    pub fn write_text(&mut self, names: &NameFilter, out: &mut Vec<u8>) -> Written {
        self.output.write(&self.cells, names, out)
    }

    /// The merged families: by name, series by labels, bounds ascending.
    pub fn families(&self) -> &[Family] {
        self.output.families(&self.cells)
    }
}

/// What is planned, perhaps several times with other entries withheld.
struct Attempt<'a> {
    elders: &'a Elders<'a>,
    catalog: &'a Catalog,
    limits: &'a SeriesLimits,
    sources: &'a [Source<'a>],
}

/// For each source its function and cells, and the rest.
type Made = (Vec<(Function, Arc<[CellIndex]>)>, Planned);

impl Attempt<'_> {
    fn make(&self, withheld: &[Place]) -> Made {
        let made = self.make_with(None, withheld);
        let refusals = &made.1.findings.refusals;
        let is_limited = refusals.iter().any(|it| it.reason == RefusalReason::Limit);
        if !is_limited || self.elders.is_empty() {
            return made;
        }
        // There is no room for all, and the sources do not stand in the order in which their series came.
        let mut planner = self.begin(None, withheld);
        for (index, entry) in self.elders.by_age(self.catalog, self.sources) {
            if withheld.binary_search(&(index, entry)).is_err() {
                planner.admit((index, entry), &self.sources[index]);
            }
        }
        self.make_with(Some(planner.admitted()), withheld)
    }

    fn make_with(&self, admitted: Option<Admitted>, withheld: &[Place]) -> Made {
        let mut planner = self.begin(admitted, withheld);
        let plan_one = |(index, source)| {
            let from = withheld.partition_point(|&(source, _)| source < index);
            let to = withheld.partition_point(|&(source, _)| source <= index);
            planner.plan(index, source, &withheld[from..to])
        };
        let cells: Vec<_> = self.sources.iter().enumerate().map(plan_one).collect();
        (cells, planner.finish())
    }

    fn begin(&self, admitted: Option<Admitted>, withheld: &[Place]) -> Planner<'_> {
        let mut planner = Planner::new(self.catalog, self.limits, admitted);
        for elder in self.elders.deciding(self.catalog, self.sources, withheld) {
            planner.found(elder);
        }
        planner
    }
}

/// Which sources can be added up in blocks, by their cells, and which are merged one by one.
fn blocks(sources: &[(Function, Arc<[CellIndex]>)]) -> (Vec<Vec<u32>>, Vec<u32>) {
    let mut by_cells: HashMap<*const CellIndex, usize> = HashMap::new();
    let (mut blocks, mut singles): (Vec<Vec<u32>>, Vec<u32>) = (Vec::new(), Vec::new());
    for (index, (function, cells)) in (0..).zip(sources) {
        if *function != Function::Sum || cells.is_empty() {
            singles.push(index);
            continue;
        }
        let block = *by_cells.entry(cells.as_ptr()).or_insert(blocks.len());
        match blocks.get_mut(block) {
            Some(sources) => sources.push(index),
            None => blocks.push(vec![index]),
        }
    }
    blocks.retain(|sources| match sources[..] {
        [alone] => {
            singles.push(alone);
            false
        }
        _ => true,
    });
    singles.sort_unstable();
    (blocks, singles)
}

/// What the sources come to.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) families: Vec<FamilyPlan>,
    pub(super) groups: Vec<Group>,
    pub(super) cells: Cells,
    pub(super) findings: Findings,
}

/// A family as its oldest source has it. Numbers are those of the catalog's texts.
#[derive(Debug)]
pub(super) struct FamilyPlan {
    pub(super) name: u32,
    pub(super) kind: FileKind,
    pub(super) help: u32,
}

/// The samples of one label set of a family.
#[derive(Debug)]
pub(super) struct Group {
    /// Index of the family.
    pub(super) family: usize,
    /// Label set in the catalog, without those labels that the family's kind handles by itself.
    pub(super) labels: u32,
    /// The label `pid` of a gauge that is not merged.
    pub(super) pid: Option<Arc<str>>,
    /// Sample names with their cells. Most groups have one.
    pub(super) samples: SmallVec<[(u32, Cell); 1]>,
    /// Bounds with their cells, not cumulative, in order of first sight.
    pub(super) buckets: Vec<(f64, Cell)>,
}
