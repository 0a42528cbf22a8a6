//! The merged families: built once for a plan, filled with numbers at every merge.
//!
//! Invariant: families by name, series by labels, bounds ascending, whatever order the sources had; buckets are made cumulative
//! before they are rounded. Must not touch: I/O, the
//! clock, logging.

use std::cmp::Ordering;

use metricsd_exporter::{Family, Kind, Sample, Series, Value, format_float};
use metricsd_shard::FileKind;

use super::bound::parse_bound;
use super::catalog::{Catalog, Labels};
use super::cells::{Cell, Cells};
use super::label_set;
use super::names::{exposed, exposed_names};
use super::plan::{FamilyPlan, Group};
use crate::archive::Exact;

/// So many series are worth a second thread.
const LEN_MIN_PARALLEL: usize = 50_000;

/// The merged families and where their numbers come from.
#[derive(Debug)]
pub(super) struct Output {
    families: Vec<Family>,
    /// For each family the origin of each series.
    origins: Vec<Origins>,
}

/// Where the series of one family come from.
#[derive(Debug)]
enum Origins {
    /// Every series is always there; parallel to the family's.
    Fixed(Vec<Origin>),
    /// Series come and go with their values, so all are kept here with their labels: most recent values.
    Coming(Vec<(Vec<(String, String)>, Origin)>),
}

/// Where the numbers of one series come from.
#[derive(Debug)]
enum Origin {
    Single(Cell),
    /// Buckets ascending by bound.
    Histogram {
        sum: Cell,
        buckets: Vec<(f64, Cell)>,
    },
    Summary {
        count: Cell,
        sum: Cell,
    },
    /// Anything a regular writer does not write, sample by sample. The family is named as its samples are.
    Irregular {
        family: String,
        buckets: Vec<(f64, Cell)>,
        samples: Vec<(String, Cell)>,
    },
}

impl Output {
    pub(super) fn new(catalog: &Catalog, plans: Vec<FamilyPlan>, groups: Vec<Group>) -> Output {
        let mut by_family: Vec<Vec<Group>> = plans.iter().map(|_| Vec::new()).collect();
        for group in groups {
            by_family[group.family].push(group);
        }
        let with_series = plans
            .iter()
            .zip(by_family)
            .filter(|(_, groups)| !groups.is_empty());
        let mut built: Vec<(Family, Origins)> = with_series
            .map(|(plan, groups)| build_family(catalog, plan, groups))
            .collect();
        built.sort_by_cached_key(|(family, _)| written_name(family));
        let (families, origins) = built.into_iter().unzip();
        Output { families, origins }
    }

    pub(super) fn families(&self) -> &[Family] {
        &self.families
    }

    /// Puts the numbers in.
    pub(super) fn fill(&mut self, cells: &Cells) {
        for (family, origins) in self.families.iter_mut().zip(&self.origins) {
            match origins {
                Origins::Fixed(origins) => {
                    for (series, origin) in family.series.iter_mut().zip(origins) {
                        origin.fill(&mut series.value, cells);
                    }
                }
                Origins::Coming(series) => {
                    family.series.clear();
                    for (labels, origin) in series {
                        let mut value = origin.empty();
                        origin.fill(&mut value, cells);
                        if origin.is_there(cells) {
                            family.series.push(Series {
                                labels: labels.clone(),
                                start_unix_seconds: None,
                                value,
                            });
                        }
                    }
                }
            }
        }
    }
}

/// The name in the family's TYPE line, by which families are ordered.
fn written_name(family: &Family) -> String {
    match family.kind {
        Kind::Counter => format!("{}_total", family.name),
        Kind::Gauge | Kind::Histogram | Kind::Summary | Kind::Untyped => family.name.clone(),
    }
}

fn build_family(catalog: &Catalog, plan: &FamilyPlan, groups: Vec<Group>) -> (Family, Origins) {
    let name = catalog.text(plan.name);
    let origin = |group: &Group| {
        let labels = labels_of(catalog, group);
        let named = |&(sample, cell): &(u32, Cell)| (catalog.text(sample), cell);
        if let ([sample], []) = (&group.samples[..], &group.buckets[..])
            && let Some(single) = single_of(plan.kind, name, named(sample))
        {
            return (labels, single);
        }
        let samples = group.samples.iter().map(named).collect();
        let buckets = group.buckets.clone();
        (labels, origin_of(plan.kind, name, samples, buckets))
    };
    let order = ordered(catalog, groups);
    let series: Vec<(Vec<(String, String)>, Origin)> = in_parallel(order, origin);
    let series = with_irregular_last(series);
    let (kind, exposed_name) = exposed(plan.kind, name);
    let mut family = Family {
        name: exposed_name,
        help: catalog.text(plan.help).to_owned(),
        kind,
        series: Vec::new(),
    };
    if series.iter().any(|(_, origin)| origin.may_be_absent()) {
        return (family, Origins::Coming(series));
    }
    let mut origins = Vec::with_capacity(series.len());
    for (labels, origin) in series {
        family.series.push(Series {
            labels,
            start_unix_seconds: None,
            value: origin.empty(),
        });
        origins.push(origin);
    }
    (family, Origins::Fixed(origins))
}

/// The groups as they are exposed, by labels.
fn ordered(catalog: &Catalog, mut groups: Vec<Group>) -> Vec<Group> {
    let has_bound = |group: &Group| {
        let labels = label_set::labels(catalog.label_set(group.labels));
        labels.iter().any(|(name, _)| name == "le")
    };
    // Only a histogram that is none has a bound among its labels, and whoever has one such series has it in each.
    let has_pid = groups.iter().any(|group| group.pid.is_some());
    if has_pid || catalog.has_bounds() && groups.iter().any(has_bound) {
        groups.sort_by_cached_key(|group| ByLabels(labels_of(catalog, group)));
        return groups;
    }
    let set = |index: u32| catalog.label_set(groups[index as usize].labels);
    let Some(first) = groups.first() else {
        return groups;
    };
    // What all begin with tells nothing; the next bytes, as a number, decide nearly always.
    let first = catalog.label_set(first.labels);
    let common = groups.iter().fold(first.len(), |common, group| {
        let set = catalog.label_set(group.labels);
        let both = first[..common].iter().zip(set);
        both.take_while(|(a, b)| a == b).count()
    });
    let mut order: Vec<(u128, u32)> = (0..)
        .zip(&groups)
        .map(|(index, _)| (number(&set(index)[common..]), index))
        .collect();
    order.sort_unstable_by(|a, b| {
        let by_number = a.0.cmp(&b.0);
        by_number
            .then_with(|| set(a.1).cmp(set(b.1)))
            .then(a.1.cmp(&b.1))
    });
    let mut groups: Vec<Option<Group>> = groups.into_iter().map(Some).collect();
    order
        .into_iter()
        .filter_map(|(_, index)| groups[index as usize].take())
        .collect()
}

/// The first bytes as a number of the same order.
fn number(bytes: &[u8]) -> u128 {
    let mut first = [0; 16];
    let len = bytes.len().min(first.len());
    first[..len].copy_from_slice(&bytes[..len]);
    u128::from_be_bytes(first)
}

/// Labels, in the order of [`compare_labels`].
struct ByLabels(Vec<(String, String)>);

impl Ord for ByLabels {
    fn cmp(&self, other: &ByLabels) -> Ordering {
        compare_labels(&self.0, &other.0)
    }
}

impl PartialOrd for ByLabels {
    fn partial_cmp(&self, other: &ByLabels) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByLabels {
    fn eq(&self, other: &ByLabels) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ByLabels {}

/// Samples of other names than the family's come last: a parser takes them for a new family.
fn with_irregular_last(
    series: Vec<(Vec<(String, String)>, Origin)>,
) -> Vec<(Vec<(String, String)>, Origin)> {
    if series.iter().all(|(_, origin)| !origin.is_irregular()) {
        return series;
    }
    let (irregular, mut regular): (Vec<_>, Vec<_>) = series
        .into_iter()
        .partition(|(_, origin)| origin.is_irregular());
    regular.extend(irregular);
    regular
}

/// What `make` makes of each, in their order; of many on two threads.
fn in_parallel<T: Send>(groups: Vec<Group>, make: impl Fn(&Group) -> T + Sync) -> Vec<T> {
    if groups.len() < LEN_MIN_PARALLEL {
        return groups.iter().map(make).collect();
    }
    let (front, back) = groups.split_at(groups.len() / 2);
    let make = &make;
    std::thread::scope(|scope| {
        let back = scope.spawn(move || back.iter().map(make).collect::<Vec<T>>());
        let mut made: Vec<T> = Vec::with_capacity(groups.len());
        made.extend(front.iter().map(make));
        let back = back.join();
        made.extend(back.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        made
    })
}

/// The label set as exposed: `pid` at its place, if the gauge has one.
fn labels_of(catalog: &Catalog, group: &Group) -> Vec<(String, String)> {
    let mut labels = label_set::labels(catalog.label_set(group.labels));
    if let Some(pid) = &group.pid {
        let place = labels.partition_point(|(name, _)| name.as_str() < "pid");
        labels.insert(place, ("pid".to_owned(), pid.to_string()));
    }
    labels
}

/// By name and value; bounds (of gauge histograms, whose `le` is a label like any other) by number.
fn compare_labels(a: &Labels, b: &Labels) -> Ordering {
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

/// A series that is one sample of the usual name.
fn single_of(kind: FileKind, family: &str, (name, cell): (&str, Cell)) -> Option<Origin> {
    let usual = match kind {
        FileKind::Counter => "_total",
        FileKind::Info => "_info",
        FileKind::Gauge(_) | FileKind::StateSet | FileKind::Untyped => "",
        FileKind::Summary | FileKind::Histogram | FileKind::GaugeHistogram => return None,
    };
    (name.strip_prefix(family) == Some(usual)).then_some(Origin::Single(cell))
}

fn origin_of(
    kind: FileKind,
    family: &str,
    mut samples: Vec<(&str, Cell)>,
    mut buckets: Vec<(f64, Cell)>,
) -> Origin {
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    if !buckets.is_empty() {
        // Whatever count is stored, the last bucket says it.
        samples.retain(|(name, _)| name.strip_prefix(family) != Some("_count"));
    }
    let find = |suffix: &str| {
        samples
            .iter()
            .find(|(name, _)| name.strip_prefix(family) == Some(suffix))
            .map(|&(_, cell)| cell)
    };
    let regular = match (kind, samples.len()) {
        (_, 1) if buckets.is_empty() => single_of(kind, family, samples[0]),
        (FileKind::Summary, 2) => find("_count")
            .zip(find("_sum"))
            .map(|(count, sum)| Origin::Summary { count, sum }),
        (FileKind::Histogram, 1) if !buckets.is_empty() => {
            find("_sum").map(|sum| Origin::Histogram {
                sum,
                buckets: buckets.clone(),
            })
        }
        _ => None,
    };
    regular.unwrap_or_else(|| {
        let own_names = exposed_names(kind, family);
        samples.sort_by_key(|&(name, _)| (own_names.iter().all(|own| own != name), name));
        Origin::Irregular {
            family: family.to_owned(),
            buckets,
            samples: samples
                .into_iter()
                .map(|(name, cell)| (name.to_owned(), cell))
                .collect(),
        }
    })
}

impl Origin {
    fn is_irregular(&self) -> bool {
        matches!(self, Origin::Irregular { .. })
    }

    /// Whether the series has no sample while nothing has been set.
    fn may_be_absent(&self) -> bool {
        match self {
            Origin::Single(cell) => matches!(cell, Cell::Recent(_)),
            Origin::Irregular { samples, .. } => samples
                .iter()
                .any(|(_, cell)| matches!(cell, Cell::Recent(_))),
            Origin::Histogram { .. } | Origin::Summary { .. } => false,
        }
    }

    fn is_there(&self, cells: &Cells) -> bool {
        match self {
            Origin::Single(cell) => cells.value(*cell).is_some(),
            Origin::Irregular { samples, .. } => {
                samples.iter().any(|(_, cell)| cells.value(*cell).is_some())
            }
            Origin::Histogram { .. } | Origin::Summary { .. } => true,
        }
    }

    /// A value of the right shape without numbers.
    fn empty(&self) -> Value {
        match self {
            Origin::Single(_) => Value::Single(0.0),
            Origin::Histogram { buckets, .. } => Value::Histogram {
                buckets: buckets.iter().map(|&(bound, _)| (bound, 0.0)).collect(),
                sum: 0.0,
            },
            Origin::Summary { .. } => Value::Summary {
                count: 0.0,
                sum: 0.0,
                quantiles: Vec::new(),
            },
            Origin::Irregular { .. } => Value::Samples(Vec::new()),
        }
    }

    fn fill(&self, value: &mut Value, cells: &Cells) {
        let number = |cell: &Cell| cells.value(*cell).unwrap_or(0.0);
        match (self, value) {
            (Origin::Single(cell), Value::Single(value)) => *value = number(cell),
            (
                Origin::Histogram {
                    sum: sum_cell,
                    buckets: bucket_cells,
                },
                Value::Histogram { buckets, sum },
            ) => {
                let mut cumulative = Exact::default();
                for ((_, count), (_, cell)) in buckets.iter_mut().zip(bucket_cells) {
                    cells.add_to(&mut cumulative, *cell);
                    *count = cumulative.value();
                }
                *sum = number(sum_cell);
            }
            (
                Origin::Summary {
                    count: count_cell,
                    sum: sum_cell,
                },
                Value::Summary { count, sum, .. },
            ) => {
                *count = number(count_cell);
                *sum = number(sum_cell);
            }
            (
                Origin::Irregular {
                    family,
                    buckets,
                    samples,
                },
                Value::Samples(written),
            ) => {
                *written = irregular_buckets(family, buckets, cells);
                let present = samples
                    .iter()
                    .filter_map(|(name, cell)| Some((name, cells.value(*cell)?)));
                written.extend(present.map(|(name, value)| (name.clone(), Vec::new(), value)));
            }
            (origin, value) => unreachable!("{value:?} was made by the same origin, {origin:?}"),
        }
    }
}

/// Buckets and their count, where there is no regular histogram to put them into.
fn irregular_buckets(family: &str, buckets: &[(f64, Cell)], cells: &Cells) -> Vec<Sample> {
    let mut cumulative = Exact::default();
    let mut samples: Vec<Sample> = Vec::with_capacity(buckets.len() + 1);
    for &(bound, cell) in buckets {
        cells.add_to(&mut cumulative, cell);
        let mut text = Vec::new();
        format_float(bound, &mut text);
        let text = String::from_utf8(text).expect("a number is written in ASCII");
        samples.push((
            format!("{family}_bucket"),
            vec![("le".to_owned(), text)],
            cumulative.value(),
        ));
    }
    if !buckets.is_empty() {
        samples.push((format!("{family}_count"), Vec::new(), cumulative.value()));
    }
    samples
}
