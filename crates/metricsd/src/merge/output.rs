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
use super::names::{exposed, exposed_names};
use super::plan::{FamilyPlan, Group};
use crate::archive::Exact;

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
    let origin = |group: Group| {
        let labels = labels_of(catalog, &group);
        let samples = group
            .samples
            .iter()
            .map(|&(sample, cell)| (catalog.text(sample), cell))
            .collect();
        (labels, origin_of(plan.kind, name, samples, group.buckets))
    };
    let mut series: Vec<(Vec<(String, String)>, Origin)> = groups.into_iter().map(origin).collect();
    // Samples of other names than the family's come last: a parser takes them for a new family.
    series.sort_by(|a, b| {
        a.1.is_irregular()
            .cmp(&b.1.is_irregular())
            .then_with(|| compare_labels(&a.0, &b.0))
    });
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

/// The label set as exposed: `pid` at its place, if the gauge has one.
fn labels_of(catalog: &Catalog, group: &Group) -> Vec<(String, String)> {
    let mut labels = catalog.label_set(group.labels).to_vec();
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
        (FileKind::Counter, 1) => find("_total").map(Origin::Single),
        (FileKind::Info, 1) => find("_info").map(Origin::Single),
        (FileKind::Gauge(_) | FileKind::StateSet | FileKind::Untyped, 1) => {
            find("").map(Origin::Single)
        }
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
