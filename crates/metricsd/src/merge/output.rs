//! The merged families: built once for a plan, filled with numbers at every merge.
//!
//! Invariant: families by name, series by labels, bounds ascending, whatever order the sources had; buckets are made cumulative
//! before they are rounded. Must not touch: I/O, the
//! clock, logging.

use std::cell::OnceCell;

use metricsd_exporter::{
    Family, Kind, NameFilter, PreparedFamily, PreparedHistogram, Sample, Series, Value, Written,
    format_float, write_text_filtered,
};
use metricsd_shard::FileKind;

use super::catalog::Catalog;
use super::cells::{Cell, Cells};
use super::names::{exposed, exposed_names};
use super::order::{Sets, labels_of, order};
use super::plan::{FamilyPlan, Group};
use crate::archive::Exact;

/// The merged families and where their numbers come from.
#[derive(Debug, Default)]
pub(super) struct Output {
    exposed: Vec<Exposed>,
    /// All as values, once somebody has asked for them.
    families: OnceCell<Vec<Family>>,
}

/// One family.
#[derive(Debug)]
enum Exposed {
    /// Every series is one number, as in nearly all families; the numbers stay in their cells.
    Plain(PreparedFamily, Vec<Cell>),
    /// Every series is a regular histogram.
    Histograms(PreparedHistogram, HistogramCells),
    Any(Family, Origins),
}

/// Where the numbers of a family of histograms come from.
#[derive(Debug, Default)]
struct HistogramCells {
    /// The sum and then the buckets, ascending by bound, of one series after the other.
    cells: Vec<Cell>,
    /// Where those of each series begin.
    begins: Vec<usize>,
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
    pub(super) fn new(catalog: &Catalog, plans: &[FamilyPlan], mut groups: Vec<Group>) -> Output {
        // Where they are: there may be millions.
        groups.sort_by_key(|group| group.family);
        let by_family = groups.chunk_by(|a, b| a.family == b.family);
        let mut exposed: Vec<Exposed> = by_family
            .map(|groups| {
                let plan = &plans[groups[0].family];
                let sets = Sets::of(catalog, groups);
                let order = order(catalog, groups, &sets);
                plain_family(catalog, plan, groups, &sets, &order)
                    .or_else(|| histograms(catalog, plan, groups, &sets, &order))
                    .unwrap_or_else(|| any_family(catalog, plan, groups, &sets, &order))
            })
            .collect();
        exposed.sort_by_cached_key(Exposed::written_name);
        Output {
            exposed,
            families: OnceCell::new(),
        }
    }

    pub(super) fn families(&self, cells: &Cells) -> &[Family] {
        let family = |exposed: &Exposed| match exposed {
            Exposed::Plain(family, origins) => family.family(numbers(origins, cells)),
            Exposed::Histograms(family, origins) => family.family(origins.numbers(cells)),
            Exposed::Any(family, _) => family.clone(),
        };
        self.families
            .get_or_init(|| self.exposed.iter().map(family).collect())
    }

    /// Appends what `names` accepts of all families, as text.
    pub(super) fn write(
        &mut self,
        cells: &Cells,
        names: &NameFilter,
        out: &mut Vec<u8>,
    ) -> Written {
        let mut written = Written::default();
        for exposed in &mut self.exposed {
            let one = match exposed {
                Exposed::Plain(family, origins) => {
                    family.write(numbers(origins, cells), names, out)
                }
                Exposed::Histograms(family, origins) => {
                    family.write(origins.numbers(cells), names, out)
                }
                Exposed::Any(family, _) => {
                    write_text_filtered(std::slice::from_ref(family), names, out)
                }
            };
            written.samples += one.samples;
            written.refused += one.refused;
        }
        written
    }

    /// Puts the numbers in.
    pub(super) fn fill(&mut self, cells: &Cells) {
        self.families.take();
        for exposed in &mut self.exposed {
            let Exposed::Any(family, origins) = exposed else {
                continue;
            };
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

impl Exposed {
    /// The name in the family's TYPE line, by which families are ordered.
    fn written_name(&self) -> String {
        match self {
            Exposed::Plain(family, _) => family.written_name(),
            Exposed::Histograms(family, _) => family.written_name(),
            Exposed::Any(family, _) => match family.kind {
                Kind::Counter => format!("{}_total", family.name),
                Kind::Gauge | Kind::Histogram | Kind::Summary | Kind::Untyped => {
                    family.name.clone()
                }
            },
        }
    }
}

impl HistogramCells {
    fn push(&mut self, sum: Cell, buckets: &[(f64, Cell)]) {
        self.begins.push(self.cells.len());
        self.cells.push(sum);
        self.cells.extend(buckets.iter().map(|&(_, cell)| cell));
    }

    /// For a series, its sum, and its cumulative counts into the slice.
    fn numbers<'a>(&'a self, cells: &'a Cells) -> impl FnMut(usize, &mut [f64]) -> f64 {
        |series, counts| {
            let begin = self.begins[series];
            let buckets = &self.cells[begin + 1..][..counts.len()];
            cells.accumulate(buckets, counts);
            cells.value(self.cells[begin]).unwrap_or(0.0)
        }
    }
}

fn numbers(origins: &[Cell], cells: &Cells) -> impl Iterator<Item = Option<f64>> {
    origins.iter().map(|cell| cells.value(*cell))
}

/// None if it is not so plain.
fn plain_family(
    catalog: &Catalog,
    plan: &FamilyPlan,
    groups: &[Group],
    sets: &Sets,
    order: &[u32],
) -> Option<Exposed> {
    let name = catalog.text(plan.name);
    let usual = usual_suffix(plan.kind)?;
    let (kind, exposed_name) = exposed(plan.kind, name);
    let help = catalog.text(plan.help).to_owned();
    let mut family = PreparedFamily::new(exposed_name, help, kind).ok()?;
    family.reserve(order.len());
    let mut cells = Vec::with_capacity(order.len());
    // The same in nearly all series.
    let mut sample_before = None;
    for &index in order {
        let group = &groups[index as usize];
        let ([(sample, cell)], []) = (&group.samples[..], &group.buckets[..]) else {
            return None;
        };
        let is_usual = sample_before == Some(sample)
            || catalog.text(*sample).strip_prefix(name) == Some(usual);
        if !is_usual {
            return None;
        }
        sample_before = Some(sample);
        family.push(&labels_of(sets.get(index), group)).ok()?;
        cells.push(*cell);
    }
    family.shrink();
    Some(Exposed::Plain(family, cells))
}

/// None if it is not one of histograms alone, each with its sum and its buckets.
fn histograms(
    catalog: &Catalog,
    plan: &FamilyPlan,
    groups: &[Group],
    sets: &Sets,
    order: &[u32],
) -> Option<Exposed> {
    let name = catalog.text(plan.name);
    let (kind, exposed_name) = exposed(plan.kind, name);
    if kind != Kind::Histogram {
        return None;
    }
    let help = catalog.text(plan.help).to_owned();
    let mut family = PreparedHistogram::new(exposed_name, help).ok()?;
    let mut cells = HistogramCells::default();
    for &index in order {
        let group = &groups[index as usize];
        let samples = group.samples.iter();
        let samples = samples.map(|&(sample, cell)| (catalog.text(sample), cell));
        let origin = origin_of(plan.kind, name, samples.collect(), group.buckets.clone());
        let Origin::Histogram { sum, buckets } = origin else {
            return None;
        };
        let bounds = buckets.iter().map(|&(bound, _)| bound);
        family
            .push(&labels_of(sets.get(index), group), bounds)
            .ok()?;
        cells.push(sum, &buckets);
    }
    family.shrink();
    cells.cells.shrink_to_fit();
    cells.begins.shrink_to_fit();
    Some(Exposed::Histograms(family, cells))
}

fn any_family(
    catalog: &Catalog,
    plan: &FamilyPlan,
    groups: &[Group],
    sets: &Sets,
    order: &[u32],
) -> Exposed {
    let name = catalog.text(plan.name);
    let origin = |&index: &u32| {
        let group = &groups[index as usize];
        let labels = labels_of(sets.get(index), group).into_iter();
        let labels = labels.map(|(name, value)| (name.into_owned(), value.into_owned()));
        let labels: Vec<(String, String)> = labels.collect();
        let named = |&(sample, cell): &(u32, Cell)| (catalog.text(sample), cell);
        let samples = group.samples.iter().map(named).collect();
        let buckets = group.buckets.clone();
        (labels, origin_of(plan.kind, name, samples, buckets))
    };
    let series: Vec<(Vec<(String, String)>, Origin)> = order.iter().map(origin).collect();
    let series = with_irregular_last(series);
    let (kind, exposed_name) = exposed(plan.kind, name);
    let mut family = Family {
        name: exposed_name,
        help: catalog.text(plan.help).to_owned(),
        kind,
        series: Vec::new(),
    };
    if series.iter().any(|(_, origin)| origin.may_be_absent()) {
        return Exposed::Any(family, Origins::Coming(series));
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
    Exposed::Any(family, Origins::Fixed(origins))
}

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

/// A series that is one sample of the usual name.
fn single_of(kind: FileKind, family: &str, (name, cell): (&str, Cell)) -> Option<Origin> {
    let usual = usual_suffix(kind)?;
    (name.strip_prefix(family) == Some(usual)).then_some(Origin::Single(cell))
}

/// What the usual name of the one sample of a series has behind its family's name.
fn usual_suffix(kind: FileKind) -> Option<&'static str> {
    match kind {
        FileKind::Counter => Some("_total"),
        FileKind::Info => Some("_info"),
        FileKind::Gauge(_) | FileKind::StateSet | FileKind::Untyped => Some(""),
        FileKind::Summary | FileKind::Histogram | FileKind::GaugeHistogram => None,
    }
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
