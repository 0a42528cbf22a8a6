//! Families whose label names and values are known at run time only, for facades over this crate.
//! Invariant: what a `label_set!` refuses at compile time is refused here at run time: forbidden and illegal label names, values that are
//! too long, and more series than [`COMBINATIONS_MAX`](crate::COMBINATIONS_MAX). A series has one set of cells, whatever the order of its labels.
//! It must not be on a hot path: each look-up sorts labels and takes a lock, and its caller keeps the handle.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use metricsd_exporter::is_legal_label_name;
use metricsd_shard::Writer;

use crate::defects::{Complaints, Defect};
use crate::family::Handle;
use crate::labels::{VALUE_LEN_MAX_BYTES, is_forbidden_label_name};
use crate::schema::Schema;

type Labels = Vec<(String, String)>;

/// Series by labels that are known at run time only. Clones are the same family.
#[derive(Debug)]
pub struct OpenFamily<H> {
    table: Arc<OpenTable<H>>,
}

impl<H> Clone for OpenFamily<H> {
    fn clone(&self) -> Self {
        OpenFamily {
            table: self.table.clone(),
        }
    }
}

#[allow(
    private_bounds,
    reason = "there are three handles, and registration makes a family of each"
)]
impl<H: Handle> OpenFamily<H> {
    pub(crate) fn new(table: Arc<OpenTable<H>>) -> OpenFamily<H> {
        OpenFamily { table }
    }

    /// The handle of one label set: names with values, in any order. Takes a lock: keep the handle.
    ///
    /// A label with an empty value is the same as no label. A label set that cannot stand gets a handle that works on memory that
    /// nobody reads, one for all of them of this family, and is counted as a defect. As `registration`: a name that is illegal, forbidden
    /// (`symbol`, `order_id`, `le` and the others that [`label_set!`](crate::label_set) refuses) or said twice; a value of more than
    /// [`VALUE_LEN_MAX_BYTES`] or with a control character other than a line feed. As `label_overflow`: one that comes after
    /// [`COMBINATIONS_MAX`](crate::COMBINATIONS_MAX) others.
    pub fn with(&self, labels: &[(&str, &str)]) -> H {
        self.table.with(labels)
    }
}

/// The handles of one family by labels.
#[derive(Debug)]
pub(crate) struct OpenTable<H> {
    series: Mutex<BTreeMap<Labels, H>>,
    /// Of all label sets that cannot stand.
    detached: Mutex<Option<H>>,
    schema: Schema,
    writer: Writer,
    complaints: Arc<Complaints>,
}

impl<H: Handle> OpenTable<H> {
    /// A table without handles. It touches no cell, so it may be made under a lock.
    pub(crate) fn new(schema: Schema, writer: Writer, complaints: Arc<Complaints>) -> OpenTable<H> {
        OpenTable {
            series: Mutex::new(BTreeMap::new()),
            detached: Mutex::new(None),
            schema,
            writer,
            complaints,
        }
    }

    /// Count, and have it logged by another thread: whoever asks for a series may be about to record.
    pub(crate) fn refuse(&self, defect: Defect) {
        self.complaints.refuse(defect);
    }

    fn with(&self, labels: &[(&str, &str)]) -> H {
        let Some(labels) = sorted(labels) else {
            self.refuse(Defect::Registration);
            return self.detached();
        };
        let known = lock(&self.series).get(&labels).cloned();
        if let Some(handle) = known {
            return handle;
        }
        // Threads that come here at the same time may pass the limit by one series each.
        if lock(&self.series).len() >= self.schema.series_max() {
            self.refuse(Defect::LabelOverflow);
            return self.detached();
        }
        // Made without the lock, as the writer may lead to a subscriber that comes back here. Two that are made at once lead to the same
        // cells, since the writer has one entry for each key.
        let handle = self.over(&labels, self.writer);
        lock(&self.series).entry(labels).or_insert(handle).clone()
    }

    fn detached(&self) -> H {
        let known = lock(&self.detached).clone();
        known.unwrap_or_else(|| {
            let handle = self.over(&Vec::new(), Writer::in_memory());
            lock(&self.detached).get_or_insert(handle).clone()
        })
    }

    fn over(&self, labels: &Labels, writer: Writer) -> H {
        let (names, values): (Vec<&str>, Vec<&str>) = labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .unzip();
        let keys = self.schema.keys(&names, &values);
        let series = writer.series(self.schema.file_kind(), keys, self.schema.create());
        H::over(series, &self.schema.shape, &self.complaints)
    }
}

/// The labels by name, without those that say nothing; none if one of them cannot stand.
fn sorted(labels: &[(&str, &str)]) -> Option<Labels> {
    let mut sorted: Labels = labels
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    sorted.sort_unstable();
    let stands = |(name, value): &(String, String)| {
        is_legal_label_name(name)
            && !is_forbidden_label_name(name)
            && value.len() <= VALUE_LEN_MAX_BYTES
            && !value.chars().any(|c| c.is_control() && c != '\n')
    };
    let is_repeated = sorted.windows(2).any(|pair| pair[0].0 == pair[1].0);
    (!is_repeated && sorted.iter().all(stands)).then_some(sorted)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
