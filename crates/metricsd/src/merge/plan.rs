//! A plan: which cell every entry of every source goes to, and the families that come of it.
//!
//! Invariant: a plan depends on the sources, their order and the limits, on nothing else. It is made anew when an entry comes
//! or goes, or a process ends, and kept while only values move. Must not touch: I/O, the clock, logging.

use std::sync::Arc;

use metricsd_exporter::{Family, NameFilter, Written};
use metricsd_shard::FileKind;
use smallvec::SmallVec;

use super::catalog::Catalog;
use super::cells::{Cell, CellIndex, Cells};
use super::contest::{Contest, Place};
use super::output::Output;
use super::planner::Planner;
use super::{Findings, Function, LiveFirst, Reading, Source};
use crate::policy::SeriesLimits;

/// So often a plan is made anew because a live gauge that others gave way to turned out not to be served. Real directories need
/// one or two; then everything that is not discarded yet is served.
const TRIES_MAX: usize = 8;

/// Which cell every entry goes to, and the families that come of it.
#[derive(Debug)]
pub struct Plan {
    /// For each source its function and a cell for each entry.
    sources: Vec<(Function, Vec<CellIndex>)>,
    cells: Cells,
    output: Output,
    /// Entries whose being set makes the plan a wrong one, ascending.
    waiting: Vec<Place>,
}

impl Plan {
    /// Plans the merge of `sources`, which are in canonical order.
    pub fn new(
        catalog: &Catalog,
        limits: &SeriesLimits,
        sources: &[Source<'_>],
        live_first: LiveFirst,
    ) -> (Plan, Findings) {
        let mut contest = Contest::new(catalog, sources);
        let make = |withheld: &[Place]| {
            let mut planner = Planner::new(catalog, limits);
            let plan_one = |(index, source)| {
                let from = withheld.partition_point(|&(source, _)| source < index);
                let to = withheld.partition_point(|&(source, _)| source <= index);
                planner.plan(index, source, &withheld[from..to])
            };
            let cells: Vec<_> = sources.iter().enumerate().map(plan_one).collect();
            (cells, planner.finish())
        };
        let mut made = make(&contest.withheld());
        let mut tries_left = TRIES_MAX;
        while contest.retreat(&made.0) {
            tries_left -= 1;
            if tries_left == 0 {
                contest.give_up();
            }
            made = make(&contest.withheld());
        }
        let superseded = contest.superseded();
        if live_first == LiveFirst::Defer && !superseded.is_empty() {
            made = make(contest.out());
        }
        let (sources, planned) = made;
        let Planned {
            families,
            groups,
            cells,
            mut findings,
        } = planned;
        findings.superseded = superseded;
        (
            Plan {
                sources,
                cells,
                output: Output::new(catalog, families, groups),
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
        for ((function, cells), reading) in self.sources.iter().zip(readings) {
            self.cells.merge(*function, cells, reading);
        }
        self.output.fill(&self.cells);
    }

    /// Appends what `names` accepts of [`Plan::families`] to `out`, as text, without making values of millions of series first.
    pub fn write_text(&self, names: &NameFilter, out: &mut Vec<u8>) -> Written {
        self.output.write(&self.cells, names, out)
    }

    /// The merged families: by name, series by labels, bounds ascending.
    pub fn families(&self) -> &[Family] {
        self.output.families(&self.cells)
    }
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
