//! What ought to come out, by a count so naive that it can be read: what each shard was ever given.
//!
//! Invariant: nothing here knows of `A`, `a` or `b`. A shard has a number that was counted; a loss takes it back to what was
//! last written down and synced, or to what the file still holds beyond that.

use crate::archive::Exact;

/// Series of the test: two counters, a histogram's sum and two buckets, a gauge of each of two modes.
pub(super) const KEY_COUNT: usize = 7;
pub(super) const FIRST_GAUGE: usize = 5;

pub(super) type Sums = Vec<Exact>;

/// How far the daemon is with a shard, as far as it wrote it down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Seen,
    Absorbed,
    Missing,
    Forgotten,
}

/// What is written down of a shard.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) step: Step,
    /// What was counted of it at that time.
    pub(super) counted: Sums,
    /// What the file held at that time.
    pub(super) held: Sums,
    pub(super) gauge: Option<f64>,
    pub(super) is_hidden: bool,
    pub(super) ended_at: f64,
}

/// One file, as programs see it and as a power cut leaves it.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) cells: Vec<(usize, f64)>,
    pub(super) durable_cells: Vec<(usize, f64)>,
    /// The values that were handed to the books last.
    pub(super) noted_cells: Option<Vec<(usize, f64)>>,
    pub(super) exists: bool,
    pub(super) durable_exists: bool,
    pub(super) name: String,
    pub(super) durable_name: String,
    pub(super) has_writer: bool,
    /// The daemon serves it.
    pub(super) is_served: bool,
    /// What is served changes together with the books.
    pub(super) serve_after_sync: Option<bool>,
    pub(super) counted: Sums,
    pub(super) noted: Option<Written>,
    pub(super) synced: Option<Written>,
}

impl File {
    pub(super) fn held(&self) -> Sums {
        let mut held = vec![Exact::default(); KEY_COUNT];
        for (key, value) in self.cells.iter().filter(|cell| cell.0 < FIRST_GAUGE) {
            held[*key].add(*value);
        }
        held
    }

    pub(super) fn gauge(&self) -> Option<f64> {
        let gauges = self.cells.iter().filter(|cell| cell.0 >= FIRST_GAUGE);
        gauges.map(|cell| cell.1).next_back()
    }

    pub(super) fn is_live_gauge(&self) -> bool {
        self.cells.iter().any(|cell| cell.0 == FIRST_GAUGE + 1)
    }

    pub(super) fn store(&mut self, cell: usize, value: f64) {
        let (key, before) = self.cells[cell];
        self.cells[cell].1 = value;
        if key < FIRST_GAUGE {
            self.counted[key].add(value);
            self.counted[key].subtract(before);
        }
    }

    /// It is written down as it is now.
    pub(super) fn write(&mut self, step: Step, ended_at: f64) {
        // A value that is not for the living to decide about is shown again once it is another one.
        let is_same = |noted: &Written| self.is_live_gauge() || noted.gauge == self.gauge();
        let is_hidden = self
            .noted
            .as_ref()
            .is_some_and(|noted| noted.is_hidden && is_same(noted));
        self.noted = Some(Written {
            step,
            counted: self.counted.clone(),
            held: self.held(),
            gauge: self.gauge(),
            is_hidden,
            ended_at,
        });
        self.noted_cells = Some(self.cells.clone());
    }

    /// Its writers and what only memory held are gone. `is_cut`: the file may hold less than it did.
    pub(super) fn falls_back(&mut self, is_cut: bool) {
        self.noted.clone_from(&self.synced);
        self.noted_cells = None;
        if self.exists && !is_cut {
            return;
        }
        let held = self.held();
        let zero = vec![Exact::default(); KEY_COUNT];
        self.counted = match (&self.synced, self.exists) {
            (None, true) => held,
            (None, false) => zero,
            (Some(written), false) => written.counted.clone(),
            (Some(written), true) => beyond(&written.counted, &written.held, &held),
        };
    }
}

/// What was counted, and what the file holds beyond what it held then.
pub(super) fn beyond(counted: &Sums, held_then: &Sums, held_now: &Sums) -> Sums {
    let parts = counted.iter().zip(held_then).zip(held_now);
    parts
        .map(|((counted, then), now)| {
            let mut more = now.clone();
            more.subtract_sum(then);
            let mut sum = counted.clone();
            if more.value() > 0.0 {
                sum.merge(&more);
            }
            sum
        })
        .collect()
}
