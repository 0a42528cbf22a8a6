//! Families to text 0.0.4, spelled as Python's `prometheus_client` 0.26 spells its multiprocess output.
//!
//! Invariant: whatever the values hold, every line written is a legal line: help and label values are escaped, and a name that
//! would need escaping is refused. The order is the caller's, except that labels are sorted by name. Must not touch: I/O, the
//! clock, logging.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Family, Kind, Sample, Series, Value};
use crate::name::{check_labels, is_legal_metric_name};
use crate::number::format_float;

/// The exact content type of what [`write_text`] writes.
pub const CONTENT_TYPE_TEXT_0_0_4: &str = "text/plain; version=0.0.4; charset=utf-8";

/// OpenMetrics samples that text 0.0.4 knows as gauges of their own, written behind their family, in this order.
const GAUGE_SUFFIXES: [&str; 3] = ["_created", "_gcount", "_gsum"];

/// What a call of [`write_text`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Sample lines written.
    pub samples: usize,
    /// Series left out because a name in them is not legal (all series of a family whose own name is not); irregular samples
    /// count one by one. Callers count these under [`BadName::REASON`](crate::BadName::REASON).
    pub refused: usize,
}

/// Which samples a request asks for (`name[]`): exact sample names, as in Python's client, so a histogram is reached
/// through `NAME_bucket` and a counter through `NAME_total`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameFilter {
    names: BTreeSet<String>,
}

impl NameFilter {
    /// Every sample.
    pub fn all() -> NameFilter {
        NameFilter::default()
    }

    /// Only samples of these names. Blank names do not count; without any other name the filter lets everything through.
    pub fn only(names: impl IntoIterator<Item = String>) -> NameFilter {
        NameFilter {
            names: names.into_iter().filter(|name| !name.is_empty()).collect(),
        }
    }

    /// Whether every sample passes.
    pub fn is_all(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether samples called `sample_name` pass.
    pub fn accepts(&self, sample_name: &str) -> bool {
        self.names.is_empty() || self.names.contains(sample_name)
    }
}

/// Append `families` to `out` as text 0.0.4, in the order given. The caller sees to it that no family and no series occurs
/// twice; names that are not legal are left out and counted.
pub fn write_text(families: &[Family], out: &mut Vec<u8>) -> Written {
    write_text_filtered(families, &NameFilter::all(), out)
}

/// As [`write_text`], with only the samples that `names` accepts; a family none of whose samples pass is left out.
pub fn write_text_filtered(families: &[Family], names: &NameFilter, out: &mut Vec<u8>) -> Written {
    let mut page = Page {
        out,
        names,
        written: Written::default(),
        labels: Labels::default(),
    };
    for family in families {
        page.family(family);
    }
    page.written
}

struct Page<'a> {
    out: &'a mut Vec<u8>,
    names: &'a NameFilter,
    written: Written,
    labels: Labels,
}

impl Page<'_> {
    fn family(&mut self, family: &Family) {
        if !is_legal_metric_name(&family.name) {
            self.written.refused += family.series.len();
            return;
        }
        let names = SampleNames::of(family, self.names);
        let begin = self.out.len();
        let samples_before = self.written.samples;
        write_head(&names.family, &family.help, family.kind, self.out);
        let mut gauges = BTreeMap::new();
        for series in &family.series {
            self.series(family, &names, series, &mut gauges);
        }
        for (suffix, lines) in gauges {
            write_head(
                &format!("{}{suffix}", family.name),
                &family.help,
                Kind::Gauge,
                self.out,
            );
            self.out.extend_from_slice(&lines);
        }
        // As in Python: a family without samples still shows its head, unless samples were asked for by name.
        if self.written.samples == samples_before && !self.names.is_all() {
            self.out.truncate(begin);
        }
    }

    fn series(
        &mut self,
        family: &Family,
        names: &SampleNames,
        series: &Series,
        gauges: &mut BTreeMap<&str, Vec<u8>>,
    ) {
        if let Value::Samples(samples) = &series.value {
            for sample in samples {
                self.irregular(family, series, sample, gauges);
            }
            return;
        }
        if check_labels(&series.labels).is_err() {
            self.written.refused += 1;
            return;
        }
        match &series.value {
            Value::Single(value) => {
                self.labels.set(&series.labels, None);
                self.line(&names.single, *value);
            }
            Value::Histogram { buckets, sum } => {
                self.labels.set(&series.labels, None);
                self.line(&names.sum, *sum);
                self.labels.set(&series.labels, Some("le"));
                for &(bound, count) in buckets {
                    self.line_with(&names.bucket, bound, count);
                }
                self.labels.set(&series.labels, None);
                if let Some(&(_, count)) = buckets.last() {
                    self.line(&names.count, count);
                }
            }
            Value::Summary {
                count,
                sum,
                quantiles,
            } => {
                self.labels.set(&series.labels, Some("quantile"));
                for &(quantile, value) in quantiles {
                    self.line_with(&names.single, quantile, value);
                }
                self.labels.set(&series.labels, None);
                self.line(&names.count, *count);
                self.line(&names.sum, *sum);
            }
            Value::Samples(_) => unreachable!("written sample by sample above"),
        }
    }

    fn irregular(
        &mut self,
        family: &Family,
        series: &Series,
        sample: &Sample,
        gauges: &mut BTreeMap<&str, Vec<u8>>,
    ) {
        let (name, extra, value) = sample;
        if !self.names.accepts(name) {
            return;
        }
        let labels = merged(&series.labels, extra);
        if !is_legal_metric_name(name) || check_labels(&labels).is_err() {
            self.written.refused += 1;
            return;
        }
        self.labels.set(&labels, None);
        let suffix = name.strip_prefix(family.name.as_str());
        match GAUGE_SUFFIXES
            .into_iter()
            .find(|&gauge| suffix == Some(gauge))
        {
            Some(suffix) => {
                self.labels
                    .write_line(name, None, *value, gauges.entry(suffix).or_default())
            }
            None => self.labels.write_line(name, None, *value, self.out),
        }
        self.written.samples += 1;
    }

    fn line(&mut self, name: &SampleName, value: f64) {
        if name.wanted {
            self.labels.write_line(&name.text, None, value, self.out);
            self.written.samples += 1;
        }
    }

    fn line_with(&mut self, name: &SampleName, bound: f64, value: f64) {
        if name.wanted {
            self.labels
                .write_line(&name.text, Some(bound), value, self.out);
            self.written.samples += 1;
        }
    }
}

/// The names of a family's regular samples, and whether the request wants them.
struct SampleNames {
    family: String,
    single: SampleName,
    bucket: SampleName,
    count: SampleName,
    sum: SampleName,
}

struct SampleName {
    text: String,
    wanted: bool,
}

impl SampleNames {
    fn of(family: &Family, names: &NameFilter) -> SampleNames {
        let name = |suffix: &str| {
            let text = format!("{}{suffix}", family.name);
            SampleName {
                wanted: names.accepts(&text),
                text,
            }
        };
        let single = name(single_suffix(family.kind));
        SampleNames {
            family: single.text.clone(),
            single,
            bucket: name("_bucket"),
            count: name("_count"),
            sum: name("_sum"),
        }
    }
}

/// What a series of one number has behind its family's name.
pub(crate) fn single_suffix(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "_total",
        Kind::Gauge | Kind::Histogram | Kind::Summary | Kind::Untyped => "",
    }
}

pub(crate) fn write_head(name: &str, help: &str, kind: Kind, out: &mut Vec<u8>) {
    out.extend_from_slice(b"# HELP ");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    write_escaped(help, false, out);
    out.extend_from_slice(b"\n# TYPE ");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    out.extend_from_slice(kind.as_str().as_bytes());
    out.push(b'\n');
}

/// The escaped labels of the series being written, split where its bound label (`le`, `quantile`) belongs, so that each line
/// of a histogram is three copies. The buffers are reused from series to series.
#[derive(Default)]
struct Labels {
    before: Vec<u8>,
    bound: &'static str,
    after: Vec<u8>,
}

impl Labels {
    /// A label that is called like the bound is dropped: the value carries the real one.
    fn set(&mut self, labels: &[(String, String)], bound: Option<&'static str>) {
        self.before.clear();
        self.after.clear();
        self.bound = bound.unwrap_or_default();
        for (name, value) in sorted(labels).iter() {
            let part = match bound {
                Some(bound) if name == bound => continue,
                Some(bound) if name.as_str() > bound => &mut self.after,
                _ => &mut self.before,
            };
            if !part.is_empty() {
                part.push(b',');
            }
            write_label(name, value, part);
        }
    }

    fn write_line(&self, name: &str, bound: Option<f64>, value: f64, out: &mut Vec<u8>) {
        out.extend_from_slice(name.as_bytes());
        if bound.is_some() || !self.before.is_empty() {
            out.push(b'{');
            out.extend_from_slice(&self.before);
            if let Some(bound) = bound {
                if !self.before.is_empty() {
                    out.push(b',');
                }
                out.extend_from_slice(self.bound.as_bytes());
                out.extend_from_slice(b"=\"");
                format_float(bound, out);
                out.push(b'"');
                if !self.after.is_empty() {
                    out.push(b',');
                    out.extend_from_slice(&self.after);
                }
            }
            out.push(b'}');
        }
        out.push(b' ');
        format_float(value, out);
        out.push(b'\n');
    }
}

pub(crate) fn write_label(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    write_escaped(value, true, out);
    out.push(b'"');
}

/// Labels are sorted by contract; those of a careless caller are sorted here rather than written in another order than Python's.
fn sorted(labels: &[(String, String)]) -> Cow<'_, [(String, String)]> {
    if labels.is_sorted_by(|(a, _), (b, _)| a <= b) {
        return Cow::Borrowed(labels);
    }
    let mut labels = labels.to_vec();
    labels.sort_by(|(a, _), (b, _)| a.cmp(b));
    Cow::Owned(labels)
}

fn merged<'a>(
    labels: &'a [(String, String)],
    extra: &[(String, String)],
) -> Cow<'a, [(String, String)]> {
    if extra.is_empty() {
        return Cow::Borrowed(labels);
    }
    let kept = labels
        .iter()
        .filter(|(name, _)| !extra.iter().any(|(other, _)| other == name));
    Cow::Owned(kept.chain(extra).cloned().collect())
}

/// Backslash and newline are escaped in help texts, quotes too in label values; everything else is raw UTF-8.
fn write_escaped(text: &str, quotes: bool, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut begin = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'"' if quotes => b"\\\"",
            _ => continue,
        };
        out.extend_from_slice(&bytes[begin..index]);
        out.extend_from_slice(escape);
        begin = index + 1;
    }
    out.extend_from_slice(&bytes[begin..]);
}
