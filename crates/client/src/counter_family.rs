//! Counters by label set.
//! Invariant: an increment by labels and one through their handle are the same. Where all labels are enums, the place of a series follows from
//! its labels alone, so that nothing is looked up.
//! It must not touch other families.

use std::marker::PhantomData;
use std::sync::Arc;

use metricsd_shard::Series;

use crate::counter::{Counter, is_addable};
use crate::family::Table;
use crate::labels::{LabelSet, is_finite};

/// Counters by label set. Where all labels are enums, every series exists at zero from registration on.
#[derive(Debug)]
pub struct CounterFamily<L: LabelSet> {
    /// Every series by the position of its label set; without keys where they are made one by one.
    row: Series,
    table: Arc<Table<Counter>>,
    labels: PhantomData<fn(L)>,
}

impl<L: LabelSet> Clone for CounterFamily<L> {
    fn clone(&self) -> Self {
        CounterFamily {
            row: self.row.clone(),
            table: self.table.clone(),
            labels: PhantomData,
        }
    }
}

impl<L: LabelSet> CounterFamily<L> {
    pub(crate) fn new(table: Arc<Table<Counter>>) -> Self {
        CounterFamily {
            row: table.row(),
            table,
            labels: PhantomData,
        }
    }

    /// The handle of one label set: an index and one load. The first call for a label set that does not exist yet takes
    /// a lock and writes the series' keys. A handle may be cloned and held.
    #[inline]
    pub fn with(&self, labels: &L) -> &Counter {
        self.table.with(labels)
    }

    /// As `with(labels).inc()`, and faster where all labels are enums: there it costs the arithmetic that makes a number of the labels, and an
    /// increment.
    #[inline]
    pub fn inc(&self, labels: &L) {
        if !self.add_at_once(labels, 1.0) {
            self.with(labels).inc();
        }
    }

    /// As `with(labels).add(amount)`, and as fast as [`inc`](Self::inc).
    #[inline]
    pub fn add(&self, labels: &L, amount: f64) {
        if !is_addable(amount) || !self.add_at_once(labels, amount) {
            self.with(labels).add(amount);
        }
    }

    /// False: nothing was added.
    #[inline]
    fn add_at_once(&self, labels: &L, amount: f64) -> bool {
        let position = labels.position();
        // A label set of the macros is always in range, and where it is of enums the compiler knows; one that is written by hand may not be.
        is_finite::<L>()
            && position < L::COMBINATIONS
            && !labels.has_overflow()
            && self.row.add_at_once(position, amount)
    }
}
