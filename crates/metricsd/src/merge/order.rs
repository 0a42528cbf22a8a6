//! In which order the series of a family are exposed.
//!
//! Invariant: by their labels, name by name and value by value; bounds by number. It does not depend on the sources. Must not touch:
//! I/O, the clock, logging.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::bound::parse_bound;
use super::catalog::Catalog;
use super::label_set;
use super::plan::Group;

/// The label sets of groups, back to back, while they are put in order and written.
#[derive(Debug)]
pub(super) struct Sets {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Sets {
    pub(super) fn of(catalog: &Catalog, groups: &[Group]) -> Sets {
        let mut sets = Sets {
            bytes: Vec::new(),
            ends: Vec::with_capacity(groups.len()),
        };
        for group in groups {
            catalog
                .label_sets()
                .append_to(group.labels, &mut sets.bytes);
            sets.ends.push(sets.bytes.len());
        }
        sets
    }

    /// The set of the group with that index.
    pub(super) fn get(&self, index: u32) -> &[u8] {
        let index = index as usize;
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[begin..self.ends[index]]
    }
}

/// The indices of the groups in the order in which they are exposed: by labels.
pub(super) fn order(catalog: &Catalog, groups: &[Group], sets: &Sets) -> Vec<u32> {
    let set = |index: u32| sets.get(index);
    let has_bound = |(index, _): (u32, &Group)| {
        let labels = label_set::labels(set(index));
        labels.iter().any(|(name, _)| name == "le")
    };
    // Only a histogram that is none has a bound among its labels, and whoever has one such series has it in each.
    let has_pid = groups.iter().any(|group| group.pid.is_some());
    if has_pid || catalog.has_bounds() && (0..).zip(groups).any(has_bound) {
        let mut order: Vec<u32> = (0..).zip(groups).map(|(index, _)| index).collect();
        order.sort_by_cached_key(|&index| ByLabels(labels_of(set(index), &groups[index as usize])));
        return order;
    }
    if groups.is_empty() {
        return Vec::new();
    }
    // What all begin with tells nothing; the next bytes, as a number, decide nearly always.
    let first = set(0);
    let indices = (0..).zip(groups).map(|(index, _)| index);
    let common = indices.fold(first.len(), |common, index| {
        let both = first[..common].iter().zip(set(index));
        both.take_while(|(a, b)| a == b).count()
    });
    let mut order: Vec<(u128, u32)> = (0..)
        .zip(groups)
        .map(|(index, _)| (number(&set(index)[common..]), index))
        .collect();
    order.sort_unstable_by(|a, b| {
        let by_number = a.0.cmp(&b.0);
        by_number
            .then_with(|| set(a.1).cmp(set(b.1)))
            .then(a.1.cmp(&b.1))
    });
    order.into_iter().map(|(_, index)| index).collect()
}

/// The first bytes as a number of the same order.
fn number(bytes: &[u8]) -> u128 {
    let mut first = [0; 16];
    let len = bytes.len().min(first.len());
    first[..len].copy_from_slice(&bytes[..len]);
    u128::from_be_bytes(first)
}

/// Labels, in the order of [`compare_labels`].
struct ByLabels<'a>(Vec<LabelOf<'a>>);

impl Ord for ByLabels<'_> {
    fn cmp(&self, other: &ByLabels<'_>) -> Ordering {
        compare_labels(&self.0, &other.0)
    }
}

impl PartialOrd for ByLabels<'_> {
    fn partial_cmp(&self, other: &ByLabels<'_>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByLabels<'_> {
    fn eq(&self, other: &ByLabels<'_>) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ByLabels<'_> {}

/// One label; borrowed, since there are millions.
pub(super) type LabelOf<'a> = (Cow<'a, str>, Cow<'a, str>);

/// A group's label set as exposed: `pid` at its place, if the gauge has one.
pub(super) fn labels_of<'a>(set: &'a [u8], group: &'a Group) -> Vec<LabelOf<'a>> {
    let mut labels = label_set::labels(set);
    if let Some(pid) = &group.pid {
        let place = labels.partition_point(|(name, _)| &**name < "pid");
        labels.insert(place, (Cow::Borrowed("pid"), Cow::Borrowed(&**pid)));
    }
    labels
}

/// By name and value; bounds (of gauge histograms, whose `le` is a label like any other) by number.
fn compare_labels(a: &[LabelOf<'_>], b: &[LabelOf<'_>]) -> Ordering {
    for ((name_a, value_a), (name_b, value_b)) in a.iter().zip(b) {
        let order = match name_a.cmp(name_b) {
            Ordering::Equal if name_a == "le" => compare_bounds(value_a, value_b),
            Ordering::Equal => value_a.cmp(value_b),
            unequal => unequal,
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// Numbers by size and before everything else; the text decides between spellings of one number.
fn compare_bounds(a: &str, b: &str) -> Ordering {
    let by_number = match (parse_bound(a), parse_bound(b)) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    };
    by_number.then_with(|| a.cmp(b))
}
