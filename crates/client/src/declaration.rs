//! What a family was registered as, for pages that document it and for expositions that show it before it has a value.
//! Invariant: a declaration says what the registration said, whatever was recorded since. It must not touch cells.

use metricsd_exporter::{Family, Kind};

use crate::schema::{Schema, Shape};

/// One registered family.
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    /// As in the exposition's `TYPE` line: a counter's ends with `_total`.
    pub name: String,
    /// The help text.
    pub help: String,
    /// The type.
    pub kind: Kind,
    /// Label names, each with the values it can have; none where they are text.
    pub labels: Vec<(&'static str, &'static [&'static str])>,
    /// Upper bounds of a histogram, `+Inf` last; empty for other types.
    pub bounds: Vec<f64>,
    /// The family's name without `_total`, as [`Family::name`] has it.
    family: String,
}

impl Declaration {
    pub(crate) fn new(
        schema: &Schema,
        labels: Vec<(&'static str, &'static [&'static str])>,
    ) -> Declaration {
        let (kind, suffix, bounds) = match &schema.shape {
            Shape::Counter => (Kind::Counter, "_total", Vec::new()),
            Shape::Gauge(_) => (Kind::Gauge, "", Vec::new()),
            Shape::Histogram(buckets) => (Kind::Histogram, "", buckets.bounds().to_vec()),
        };
        Declaration {
            name: format!("{}{suffix}", schema.family),
            help: schema.help.clone(),
            kind,
            labels,
            bounds,
            family: schema.family.clone(),
        }
    }

    /// The family without any series: what an exposition shows of a gauge that nobody has set.
    pub fn without_series(&self) -> Family {
        Family {
            name: self.family.clone(),
            help: self.help.clone(),
            kind: self.kind,
            series: Vec::new(),
        }
    }
}
