//! Families over typed label sets: a table with one place per label set.
//! Invariant: a place is filled once and never changes, so a look-up is an index and one load.
//! It must not touch other families, nor hold a lock while the writer works.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use metricsd_shard::{Series, Writer};

use crate::counter::Counter;
use crate::defects::{Complaints, Defect};
use crate::gauge::Gauge;
use crate::histogram::Histogram;
use crate::labels::{LabelSet, is_finite, values_at};
use crate::schema::{Schema, Shape};

/// One of the three handles.
pub(crate) trait Handle: Clone + std::fmt::Debug + Send + Sync + 'static {
    fn over(series: Series, shape: &Shape, complaints: &Arc<Complaints>) -> Self;
}

impl Handle for Counter {
    fn over(series: Series, _: &Shape, complaints: &Arc<Complaints>) -> Counter {
        Counter::new(series, complaints.clone())
    }
}

impl Handle for Gauge {
    fn over(series: Series, shape: &Shape, complaints: &Arc<Complaints>) -> Gauge {
        let Shape::Gauge(mode) = shape else {
            unreachable!("a table of gauges has the shape of a gauge")
        };
        Gauge::new(&series, complaints.clone(), *mode)
    }
}

impl Handle for Histogram {
    fn over(series: Series, shape: &Shape, complaints: &Arc<Complaints>) -> Histogram {
        let Shape::Histogram(buckets) = shape else {
            unreachable!("a table of histograms has the shape of a histogram")
        };
        Histogram::new(series, buckets.clone(), complaints.clone())
    }
}

/// The handles of one family by position of the label set.
#[derive(Debug)]
pub(crate) struct Table<H> {
    places: Box<[OnceLock<H>]>,
    /// All series by position, of counters whose labels are enums.
    row: OnceLock<Series>,
    schema: Schema,
    writer: Writer,
    names: &'static [&'static str],
    complaints: Arc<Complaints>,
}

impl<H: Handle> Table<H> {
    /// A table without handles. It touches no cell, so it may be made under a lock.
    pub(crate) fn new<L: LabelSet>(
        schema: Schema,
        writer: Writer,
        complaints: Arc<Complaints>,
    ) -> Table<H> {
        let places = (0..L::COMBINATIONS.max(1))
            .map(|_| OnceLock::new())
            .collect();
        Table {
            places,
            row: OnceLock::new(),
            schema,
            writer,
            names: L::NAMES,
            complaints,
        }
    }

    /// Make every series that exists from registration on: those of finite counters and histograms, at zero.
    pub(crate) fn create_finite<L: LabelSet>(&self) {
        match self.schema.shape {
            _ if !is_finite::<L>() => {}
            Shape::Counter => self.create_row::<L>(),
            Shape::Gauge(_) => {}
            Shape::Histogram(_) => {
                for position in 0..L::COMBINATIONS {
                    self.at(position, || values_at::<L>(position));
                }
            }
        }
    }

    /// All of them together, so that their numbers follow each other.
    fn create_row<L: LabelSet>(&self) {
        if self.row.get().is_some() {
            return;
        }
        let keys = (0..L::COMBINATIONS)
            .flat_map(|position| self.schema.keys(self.names, &values_at::<L>(position)));
        // Outside of `get_or_init`, as below.
        let row = self
            .writer
            .series_of_each(self.schema.file_kind(), keys.collect());
        self.row.get_or_init(|| row);
    }

    /// All series by position; one without keys where they are made one by one.
    pub(crate) fn row(&self) -> Series {
        self.row.get().cloned().unwrap_or_default()
    }

    #[inline]
    fn at(&self, position: usize, values: impl FnOnce() -> Vec<&'static str>) -> &H {
        match self.places.get(position).and_then(OnceLock::get) {
            Some(handle) => handle,
            None => self.at_first(position, values),
        }
    }

    #[cold]
    #[inline(never)]
    fn at_first(&self, position: usize, values: impl FnOnce() -> Vec<&'static str>) -> &H {
        // A label set of the macros is always in range; one written by hand must not be able to stop a program.
        let position = position.min(self.places.len() - 1);
        let place = &self.places[position];
        if let Some(handle) = place.get() {
            return handle;
        }
        // Filled outside of `get_or_init`: the writer may lead to a subscriber that comes back here for the same series,
        // and a fork in between must not find the place taken: so it is taken for the time of one move alone.
        // Two that are made at once lead to the same cells, since the writer has one entry for each key.
        let series = match self.row.get() {
            Some(row) => row.one(position),
            None => self.series(&values()),
        };
        let handle = H::over(series, &self.schema.shape, &self.complaints);
        place.get_or_init(|| handle)
    }

    fn series(&self, values: &[&str]) -> Series {
        let keys = self.schema.keys(self.names, values);
        self.writer
            .series(self.schema.file_kind(), keys, self.schema.create())
    }

    #[inline]
    pub(crate) fn with<L: LabelSet>(&self, labels: &L) -> &H {
        if labels.has_overflow() {
            self.complaints.refuse(Defect::LabelOverflow);
        }
        self.at(labels.position(), || labels.values())
    }
}

macro_rules! family {
    ($(#[$meta:meta])* $name:ident of $handle:ident) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $name<L: LabelSet> {
            table: Arc<Table<$handle>>,
            labels: PhantomData<fn(L)>,
        }

        impl<L: LabelSet> Clone for $name<L> {
            fn clone(&self) -> Self {
                Self { table: self.table.clone(), labels: PhantomData }
            }
        }

        impl<L: LabelSet> $name<L> {
            pub(crate) fn new(table: Arc<Table<$handle>>) -> Self {
                Self { table, labels: PhantomData }
            }

            /// The handle of one label set: an index and one load. The first call for a label set that does not exist yet takes
            /// a lock and writes the series' keys. A handle may be cloned and held.
            #[inline]
            pub fn with(&self, labels: &L) -> &$handle {
                self.table.with(labels)
            }
        }
    };
}

family! {
    /// Gauges by label set. A series exists from its first successful call on.
    GaugeFamily of Gauge
}
family! {
    /// Histograms by label set. Where all labels are enums, every series exists at zero from registration on.
    HistogramFamily of Histogram
}
