//! The numbers of a merge while it runs: one cell for each merged sample.
//!
//! Invariant: cell 0 of every row takes what is not served, so that the loops over entries have no branch for it. Must not
//! touch: I/O, the clock, logging.

use smallvec::SmallVec;

use super::sum::{Sums, add_up};
use super::{Function, Reading};
use crate::archive::Exact;

/// Sources that are added up at a time.
pub(super) const BLOCK_LEN: usize = 8;

/// Where an entry's value goes. Which row it indexes follows from the function of the entry's source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CellIndex(u32);

/// Marks the entry that fills a cell of the minima, maxima and plain values first: later ones are compared with it. A start
/// value would not do, since Python keeps a NaN that comes first.
const FIRST: u32 = 1 << 31;

impl CellIndex {
    /// The cell for entries that are not served.
    pub(super) const UNSERVED: CellIndex = CellIndex(0);

    fn new(index: usize) -> CellIndex {
        let index = u32::try_from(index).ok().filter(|index| index & FIRST == 0);
        CellIndex(
            index.expect("each cell has a key in memory, and two thousand million do not fit"),
        )
    }

    /// The same cell for the entry that comes first.
    pub(super) fn first(self) -> CellIndex {
        CellIndex(self.0 | FIRST)
    }

    /// The same cell for an entry that is compared with what is there.
    pub(super) fn not_first(self) -> CellIndex {
        CellIndex(self.0 & !FIRST)
    }

    fn index(self) -> usize {
        (self.0 & !FIRST) as usize
    }

    fn is_first(self) -> bool {
        self.0 & FIRST != 0
    }
}

/// A merged sample's cell, with its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    /// In the row of sums.
    Sum(CellIndex),
    /// In the row of minima, maxima and plain values.
    Pick(CellIndex),
    /// In the row of most recent values.
    Recent(CellIndex),
}

impl Cell {
    /// The index without the row.
    pub(super) fn index(self) -> CellIndex {
        match self {
            Cell::Sum(index) | Cell::Pick(index) | Cell::Recent(index) => index,
        }
    }
}

/// All cells of one plan.
#[derive(Debug)]
pub(super) struct Cells {
    sums: Sums,
    picks: Vec<f64>,
    recents: Vec<Recent>,
}

/// The most recent value so far; a timestamp of 0 means none.
#[derive(Debug, Clone, Copy, Default)]
struct Recent {
    value: f64,
    timestamp: f64,
}

impl Cells {
    /// The cells for what is not served, and no other.
    pub(super) fn new() -> Cells {
        let mut sums = Sums::default();
        sums.push();
        Cells {
            sums,
            picks: vec![0.0],
            recents: vec![Recent::default()],
        }
    }

    /// One more cell, in the row of `function`.
    pub(super) fn push(&mut self, function: Function) -> Cell {
        match function {
            Function::Sum => Cell::Sum(CellIndex::new(self.sums.push())),
            Function::Min | Function::Max | Function::All => {
                self.picks.push(0.0);
                Cell::Pick(CellIndex::new(self.picks.len() - 1))
            }
            Function::MostRecent => {
                self.recents.push(Recent::default());
                Cell::Recent(CellIndex::new(self.recents.len() - 1))
            }
        }
    }

    /// Forgets every value.
    pub(super) fn reset(&mut self) {
        self.sums.reset();
        self.recents.fill(Recent::default());
    }

    /// Merges one source's values in; `cells` is parallel to them.
    pub(super) fn merge(&mut self, function: Function, cells: &[CellIndex], reading: Reading<'_>) {
        let (values, timestamps) = match reading {
            Reading::Values { values, timestamps } => (values, timestamps),
            Reading::Sums { totals, picks } => {
                debug_assert_eq!(function, Function::Sum, "what is picked cannot be added to");
                for (cell, &pick) in cells.iter().zip(picks) {
                    self.sums.merge(cell.index(), &totals[pick as usize]);
                }
                return;
            }
        };
        let entries = cells.iter().zip(values);
        match function {
            Function::Sum => {
                self.sums
                    .add_all(entries.map(|(cell, &value)| (cell.index(), value)));
            }
            Function::Min => {
                entries.for_each(|(cell, &value)| self.pick(*cell, value, |new, old| new < old))
            }
            Function::Max => {
                entries.for_each(|(cell, &value)| self.pick(*cell, value, |new, old| new > old))
            }
            Function::All => entries.for_each(|(cell, &value)| self.picks[cell.index()] = value),
            Function::MostRecent => {
                for ((cell, &value), &timestamp) in entries.zip(timestamps) {
                    let recent = &mut self.recents[cell.index()];
                    if recent.timestamp < timestamp {
                        *recent = Recent { value, timestamp };
                    }
                }
            }
        }
    }

    /// Adds up the values of at most [`BLOCK_LEN`] sources of the same cells.
    pub(super) fn merge_block<'a>(
        &mut self,
        cells: &[CellIndex],
        readings: impl Iterator<Item = Reading<'a>>,
    ) {
        let mut rows: SmallVec<[&[f64]; BLOCK_LEN]> = SmallVec::new();
        for reading in readings {
            match reading {
                Reading::Values { values, .. } if values.len() == cells.len() => rows.push(values),
                other => self.merge(Function::Sum, cells, other),
            }
        }
        let sums = &mut self.sums;
        add_up(&rows, |entry, addends| {
            let index = cells[entry].index();
            sums.add_all(addends.map(|value| (index, value)));
        });
    }

    fn pick(&mut self, cell: CellIndex, value: f64, better: impl Fn(f64, f64) -> bool) {
        let current = &mut self.picks[cell.index()];
        if cell.is_first() || better(value, *current) {
            *current = value;
        }
    }

    /// Adds the sum in `cell` to `sum`, unrounded.
    pub(super) fn add_to(&self, sum: &mut Exact, cell: Cell) {
        match cell {
            Cell::Sum(index) => self.sums.add_to(sum, index.index()),
            Cell::Pick(_) | Cell::Recent(_) => {
                debug_assert!(false, "only sums are added up further");
            }
        }
    }

    /// The sums in `cells`, each with those before it, are put into `totals` and rounded only there.
    pub(super) fn accumulate(&self, cells: &[Cell], totals: &mut [f64]) {
        let mut sum = 0.0;
        for (cell, total) in cells.iter().zip(&mut *totals) {
            let Cell::Sum(index) = cell else {
                return self.accumulate_exactly(cells, totals);
            };
            match self.sums.plus_if_exact(sum, index.index()) {
                Some(next) => sum = next,
                None => return self.accumulate_exactly(cells, totals),
            }
            *total = sum;
        }
    }

    fn accumulate_exactly(&self, cells: &[Cell], totals: &mut [f64]) {
        let mut sum = Exact::default();
        for (&cell, total) in cells.iter().zip(totals) {
            self.add_to(&mut sum, cell);
            *total = sum.value();
        }
    }

    /// The merged value; `None` for a most recent value that was never set.
    pub(super) fn value(&self, cell: Cell) -> Option<f64> {
        match cell {
            Cell::Sum(index) => Some(self.sums.total(index.index())),
            Cell::Pick(index) => Some(self.picks[index.index()]),
            Cell::Recent(index) => {
                let recent = self.recents[index.index()];
                (recent.timestamp > 0.0).then_some(recent.value)
            }
        }
    }
}
