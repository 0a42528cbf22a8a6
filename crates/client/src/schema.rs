//! What a family is: its names, its help, its type, and the keys its series have in a shard.
//! Invariant: names are spelled as Python's client spells them, so both write into one family.
//! It must not touch cells, files or the clock.

use std::sync::Arc;

use metricsd_exporter::{format_float, is_legal_metric_name};
use metricsd_shard::{Create, FileKind, GaugeMode, Key};

use crate::buckets::Buckets;
use crate::labels::COMBINATIONS_MAX;

/// Longest metric name, in bytes. Longer ones are a mistake, and every series repeats the name.
const NAME_LEN_MAX_BYTES: usize = 200;
/// Longest help text, in bytes: every entry of a shard repeats it.
const HELP_LEN_MAX_BYTES: usize = 1024;
/// Most buckets of a histogram besides `+Inf`; every one is a series.
const BUCKETS_MAX: usize = 200;
/// Most cells that a histogram family could come to have, all label sets together.
const HISTOGRAM_CELLS_MAX: usize = 100_000;
/// Families of the daemon itself, which refuses them from a shard.
const RESERVED_PREFIXES: [&str; 2] = ["metricsd_", "process_"];

/// A type with what belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    Counter,
    Gauge(GaugeMode),
    Histogram(Arc<Buckets>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schema {
    /// Without `_total`.
    pub(crate) family: String,
    pub(crate) help: String,
    pub(crate) shape: Shape,
}

/// Why a registration cannot stand.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "the name is not legal; it begins with a letter, _ or :, goes on with letters, digits, _ and :, and has at most 200 bytes"
    )]
    Name,
    #[error("names that begin with metricsd_ or process_ belong to the daemon")]
    ReservedName,
    #[error(
        "the help text has a control character other than a line feed, or more than 1024 bytes"
    )]
    Help,
    #[error("bucket bounds must be finite and ascending, at least one and at most 200 of them")]
    Buckets,
    #[error("label sets times buckets come to more than 100,000 series")]
    TooManySeries,
    #[error(
        "this family was registered before with another type, help, labels or buckets; the first registration stands"
    )]
    Conflict,
    #[error(
        "this registry has 10,000 families; names must not be made of data, labels are for that"
    )]
    TooManyFamilies,
    #[error("family {other} already exposes the sample name {sample}")]
    Clash { other: String, sample: String },
}

impl Schema {
    /// A schema, with what is wrong with it. A wrong one is still good enough for detached cells.
    pub(crate) fn new(name: &str, help: &str, shape: Shape) -> (Schema, Option<Refusal>) {
        let family = match shape {
            Shape::Counter => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        let refusal = if !is_legal_metric_name(family) || family.len() > NAME_LEN_MAX_BYTES {
            Some(Refusal::Name)
        } else if RESERVED_PREFIXES
            .iter()
            .any(|prefix| family.starts_with(prefix))
        {
            Some(Refusal::ReservedName)
        } else if help.len() > HELP_LEN_MAX_BYTES
            || help.chars().any(|c| c.is_control() && c != '\n')
        {
            Some(Refusal::Help)
        } else {
            None
        };
        (
            Schema {
                family: family.to_owned(),
                help: help.to_owned(),
                shape,
            },
            refusal,
        )
    }

    /// What stands for this schema where cells are shared by all registrations of its type.
    pub(crate) fn shared(&self) -> Schema {
        let shape = match &self.shape {
            Shape::Histogram(_) => Shape::Histogram(Arc::new(Buckets::new(&[]))),
            other => other.clone(),
        };
        Schema {
            family: "detached".to_owned(),
            help: String::new(),
            shape,
        }
    }

    /// Every name that the family's lines have in the exposition, the family's own among them: no other family may have one of
    /// them.
    pub(crate) fn exposed_names(&self) -> Vec<String> {
        let suffixes: &[&str] = match self.shape {
            Shape::Counter => &["", "_total"],
            Shape::Gauge(_) => &[""],
            Shape::Histogram(_) => &["", "_bucket", "_count", "_sum"],
        };
        suffixes
            .iter()
            .map(|suffix| format!("{}{suffix}", self.family))
            .collect()
    }

    /// The keys of one series; for a histogram the sum first, then the buckets, as Python creates them.
    pub(crate) fn keys(&self, names: &[&str], values: &[&str]) -> Vec<Key> {
        let labels: Vec<(String, String)> = names
            .iter()
            .zip(values)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        match &self.shape {
            Shape::Counter => vec![self.key("_total", labels)],
            Shape::Gauge(_) => vec![self.key("", labels)],
            Shape::Histogram(buckets) => {
                let buckets = buckets.bounds().iter().map(|bound| {
                    let mut with_bound = labels.clone();
                    with_bound.push(("le".to_owned(), spelled(*bound)));
                    self.key("_bucket", with_bound)
                });
                std::iter::once(self.key("_sum", labels.clone()))
                    .chain(buckets)
                    .collect()
            }
        }
    }

    /// How many series an open family of this schema may have.
    pub(crate) fn series_max(&self) -> usize {
        match &self.shape {
            Shape::Histogram(buckets) => {
                (HISTOGRAM_CELLS_MAX / (buckets.bounds().len() + 1)).min(COMBINATIONS_MAX)
            }
            Shape::Counter | Shape::Gauge(_) => COMBINATIONS_MAX,
        }
    }

    pub(crate) fn file_kind(&self) -> FileKind {
        match self.shape {
            Shape::Counter => FileKind::Counter,
            Shape::Gauge(mode) => FileKind::Gauge(mode),
            Shape::Histogram(_) => FileKind::Histogram,
        }
    }

    /// Counters and histograms exist at zero; a gauge only once it was set, since its zero would claim the series.
    pub(crate) fn create(&self) -> Create {
        match self.shape {
            Shape::Gauge(_) => Create::OnFirstTouch,
            Shape::Counter | Shape::Histogram(_) => Create::AtZero,
        }
    }

    fn key(&self, suffix: &str, mut labels: Vec<(String, String)>) -> Key {
        labels.sort_unstable();
        Key {
            family: self.family.clone(),
            sample: format!("{}{suffix}", self.family),
            labels,
            help: self.help.clone(),
        }
    }
}

/// Bounds as cells need them: `+Inf` added if it is not there. Bad ones give `+Inf` alone, for detached cells.
pub(crate) fn histogram_bounds(
    buckets: &[f64],
    combinations: usize,
) -> (Arc<Buckets>, Option<Refusal>) {
    let finite = match buckets {
        [finite @ .., f64::INFINITY] => finite,
        all => all,
    };
    let ascending = finite.windows(2).all(|pair| pair[0] < pair[1]);
    if finite.is_empty()
        || finite.len() > BUCKETS_MAX
        || !ascending
        || finite.iter().any(|bound| !bound.is_finite())
    {
        return (Arc::new(Buckets::new(&[])), Some(Refusal::Buckets));
    }
    let cells = combinations.saturating_mul(finite.len() + 2);
    (
        Arc::new(Buckets::new(finite)),
        (cells > HISTOGRAM_CELLS_MAX).then_some(Refusal::TooManySeries),
    )
}

/// The text of a bound as it stands in the label `le`.
fn spelled(bound: f64) -> String {
    let mut text = Vec::new();
    format_float(bound, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
