//! Metric families as values: what every exposition format is written from and parsed back to.
//!
//! Invariant: nothing here is text of a wire format. Names and label values are the raw strings, numbers are doubles, a start
//! time belongs to its series. Must not touch: I/O, the clock, logging.

/// One metric family: a name, its meaning and all of its series.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// The family's name; a counter's is without `_total` (the writers add it).
    pub name: String,
    /// Help text, unescaped; may be empty.
    pub help: String,
    /// The type, which decides the names of the samples.
    pub kind: Kind,
    /// The series in the order in which they are to be written.
    pub series: Vec<Series>,
}

/// The type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Only ever grows; written as `NAME_total`.
    Counter,
    /// Moves both ways.
    Gauge,
    /// Cumulative buckets, a sum and a count.
    Histogram,
    /// Quantiles, a sum and a count.
    Summary,
    /// Anything whose type is not known.
    Untyped,
}

impl Kind {
    /// The word of a `# TYPE` line in text 0.0.4.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
            Kind::Untyped => "untyped",
        }
    }
}

/// One series: a label set and what was recorded under it.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Label names and raw values, sorted by name, each name once. Without `le` and `quantile`, which the value carries.
    pub labels: Vec<(String, String)>,
    /// When this series began to count, in seconds since the Unix epoch; `None` where nobody knows. Text 0.0.4 has no place
    /// for it; the later formats do.
    pub start_unix_seconds: Option<f64>,
    /// The recorded value or values.
    pub value: Value,
}

/// What a series holds. A value that does not fit its family's kind is still written, sample by sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// One number: a counter, a gauge or an untyped series.
    Single(f64),
    /// A histogram whose bucket counts are cumulative. The count sample equals the last bucket's, as it does in Python's
    /// merge; a histogram without buckets has no count.
    Histogram {
        /// Upper bounds with their cumulative counts, ascending by bound. `+Inf` is written only if it is listed.
        buckets: Vec<(f64, f64)>,
        /// Sum of all observations.
        sum: f64,
    },
    /// A summary.
    Summary {
        /// Number of observations.
        count: f64,
        /// Sum of all observations.
        sum: f64,
        /// Quantiles (0..=1) with their values, ascending; Python's client has none.
        quantiles: Vec<(f64, f64)>,
    },
    /// Irregular samples of a foreign writer, served as they are: sample name, labels on top of the series' own (they win
    /// over those of the same name), value.
    Samples(Vec<Sample>),
}

/// One irregular sample: full sample name, extra labels, value.
pub type Sample = (String, Vec<(String, String)>, f64);
