//! A plan: which cell every entry of every source goes to, and the families that come of it.
//!
//! Invariant: a plan depends on the sources, their order and the limits, on nothing else. It is made anew when an entry comes
//! or goes, and kept while only values move. Must not touch: I/O, the clock, logging.

use std::sync::Arc;

use metricsd_exporter::Family;
use metricsd_shard::FileKind;

use super::catalog::Catalog;
use super::cells::{Cell, CellIndex, Cells};
use super::output::Output;
use super::planner::Planner;
use super::{Findings, Function, Reading, Source};
use crate::policy::SeriesLimits;

/// Which cell every entry goes to, and the families that come of it.
#[derive(Debug)]
pub struct Plan {
    /// For each source its function and a cell for each entry.
    sources: Vec<(Function, Vec<CellIndex>)>,
    cells: Cells,
    output: Output,
}

impl Plan {
    /// Plans the merge of `sources`, which are in canonical order.
    pub fn new(
        catalog: &Catalog,
        limits: &SeriesLimits,
        sources: &[Source<'_>],
    ) -> (Plan, Findings) {
        let mut planner = Planner::new(catalog, limits);
        let sources = sources
            .iter()
            .enumerate()
            .map(|(index, source)| planner.plan(index, source))
            .collect();
        let Planned {
            families,
            groups,
            cells,
            findings,
        } = planner.finish();
        (
            Plan {
                sources,
                cells,
                output: Output::new(catalog, families, groups),
            },
            findings,
        )
    }

    /// Merges the values, one reading for each source in the same order, and brings [`Plan::families`] up to date.
    pub fn merge<'a>(&mut self, readings: impl IntoIterator<Item = Reading<'a>>) {
        self.cells.reset();
        for ((function, cells), reading) in self.sources.iter().zip(readings) {
            self.cells.merge(*function, cells, reading);
        }
        self.output.fill(&self.cells);
    }

    /// The merged families: by name, series by labels, bounds ascending.
    pub fn families(&self) -> &[Family] {
        self.output.families()
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
    /// Sample names with their cells.
    pub(super) samples: Vec<(u32, Cell)>,
    /// Bounds with their cells, not cumulative, in order of first sight.
    pub(super) buckets: Vec<(f64, Cell)>,
}
