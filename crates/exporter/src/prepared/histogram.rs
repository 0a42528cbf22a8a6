//! A family of histograms that is written again and again.
//!
//! Invariant: as for all prepared families. The text of a bucket's line is not kept for each bucket: it is put together of what its
//! series and its bound have, so that a bucket costs no memory beyond its number.

use super::{fitting, write_labels};
use crate::line::{Bound, LineWriter, Text};
use crate::model::{Family, Kind, Series, Value};
use crate::name::{BadName, check_labels, is_legal_metric_name};
use crate::number::{SPELLING_LEN_MAX, Spellings, spell};
use crate::parse::labels_of_line;
use crate::text::{NameFilter, Written, write_head};

/// The label of a bucket's bound.
const BOUND: &str = "le";

/// So many sets of bounds are compared with those of a new series.
const BOUND_SETS_COMPARED: usize = 8;

/// A family of histograms without its numbers.
#[derive(Debug, Clone)]
pub struct PreparedHistogram {
    name: String,
    help: String,
    /// The labels of all series as they stand between the braces: those before the bound's place and those behind it, back to back.
    labels: Vec<u8>,
    series: Vec<PreparedSeries>,
    bound_sets: Vec<BoundSet>,
    spellings: Spellings,
}

/// One histogram.
#[derive(Debug, Clone, Copy)]
struct PreparedSeries {
    /// Bytes of its labels that come before the bound.
    before_len: u32,
    /// Bytes of those that come behind it.
    behind_len: u32,
    bound_set: u32,
}

/// Bounds, which nearly all series of a family share.
#[derive(Debug, Clone, PartialEq)]
struct BoundSet {
    bounds: Vec<f64>,
    /// How each is spelled, and how long that is.
    spellings: Vec<Bound>,
}

/// Which samples of a family are asked for.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    sum: bool,
    bucket: bool,
    count: bool,
}

impl PreparedHistogram {
    /// A family without series yet; `name` and `help` as in [`Family`].
    ///
    /// # Errors
    /// The name is none that text 0.0.4 can show.
    pub fn new(name: String, help: String) -> Result<PreparedHistogram, BadName> {
        if !is_legal_metric_name(&name) {
            return Err(BadName::Family { name });
        }
        Ok(PreparedHistogram {
            name,
            help,
            labels: Vec::new(),
            series: Vec::new(),
            bound_sets: Vec::new(),
            spellings: Spellings::default(),
        })
    }

    /// Adds a series; its labels are sorted by name, its bounds ascend.
    ///
    /// # Errors
    /// A name is not legal, or occurs twice (`le` is the bounds'), or there is more text than a line may have. Nothing is added.
    pub fn push<S: AsRef<str>>(
        &mut self,
        labels: &[(S, S)],
        bounds: impl IntoIterator<Item = f64>,
    ) -> Result<(), BadName> {
        check_labels(labels)?;
        let place = labels.partition_point(|(name, _)| name.as_ref() < BOUND);
        let (before, behind) = labels.split_at(place);
        if let Some((name, _)) = behind.first()
            && name.as_ref() == BOUND
        {
            let name = BOUND.to_owned();
            return Err(BadName::DuplicateLabel { name });
        }
        let begin = self.labels.len();
        write_labels(before, &mut self.labels);
        let place = self.labels.len();
        write_labels(behind, &mut self.labels);
        let lens = fitting(place - begin).and_then(|before_len| {
            let behind_len = fitting(self.labels.len() - place)?;
            Ok((before_len, behind_len))
        });
        let (before_len, behind_len) = lens.inspect_err(|_| self.labels.truncate(begin))?;
        let bound_set = self.bound_set(bounds.into_iter().collect());
        self.series.push(PreparedSeries {
            before_len,
            behind_len,
            bound_set,
        });
        Ok(())
    }

    /// The number of these bounds. Whoever has another set for every series gets them kept more than once.
    fn bound_set(&mut self, bounds: Vec<f64>) -> u32 {
        let bits = bounds.iter().map(|bound| bound.to_bits());
        let is_same = |set: &BoundSet| {
            set.bounds
                .iter()
                .map(|bound| bound.to_bits())
                .eq(bits.clone())
        };
        let sets = self.bound_sets.iter().enumerate().rev();
        let known = sets
            .take(BOUND_SETS_COMPARED)
            .find(|(_, set)| is_same(set))
            .map(|(index, _)| index);
        let index = known.unwrap_or_else(|| {
            let spelled = |bound: &f64| {
                let mut text = [0; SPELLING_LEN_MAX];
                let len = spell(*bound, &mut text);
                (text, len)
            };
            let spellings = bounds.iter().map(spelled).collect();
            self.bound_sets.push(BoundSet { bounds, spellings });
            self.bound_sets.len() - 1
        });
        u32::try_from(index).expect("each set has a series, and so many do not fit into memory")
    }

    /// No more memory than its series need: no more of them come.
    pub fn shrink(&mut self) {
        self.labels.shrink_to_fit();
        self.series.shrink_to_fit();
        self.bound_sets.shrink_to_fit();
    }

    /// The name in the family's TYPE line.
    pub fn written_name(&self) -> String {
        self.name.clone()
    }

    /// Appends the family to `out`, unless `names` accepts none of its samples. `numbers` is asked for each series in turn: it puts the
    /// cumulative counts into the slice, one for each bound, and returns the sum. The count is that of the last bucket.
    pub fn write(
        &mut self,
        mut numbers: impl FnMut(usize, &mut [f64]) -> f64,
        names: &NameFilter,
        out: &mut Vec<u8>,
    ) -> Written {
        let accepts = |suffix: &str| names.accepts(&format!("{}{suffix}", self.name));
        let wanted = Wanted {
            sum: accepts("_sum"),
            bucket: accepts("_bucket"),
            count: accepts("_count"),
        };
        let begin = out.len();
        write_head(&self.name, &self.help, Kind::Histogram, out);
        let mut lines = Lines::new(&self.name, wanted, &mut self.spellings, out);
        let mut counts = Vec::new();
        let mut rest = &self.labels[..];
        for (index, series) in self.series.iter().enumerate() {
            let (before, behind) = rest.split_at(series.before_len as usize);
            let (behind, others) = behind.split_at(series.behind_len as usize);
            rest = others;
            let bounds = &self.bound_sets[series.bound_set as usize];
            counts.clear();
            counts.resize(bounds.bounds.len(), 0.0);
            let sum = numbers(index, &mut counts);
            lines.series(before, behind, bounds, sum, &counts);
        }
        let samples = lines.finish();
        // As in Python: a family without samples still shows its head, unless samples were asked for by name.
        if samples == 0 && !names.is_all() {
            out.truncate(begin);
        }
        Written {
            samples,
            refused: 0,
        }
    }

    /// The same as values; `numbers` as in [`PreparedHistogram::write`].
    pub fn family(&self, mut numbers: impl FnMut(usize, &mut [f64]) -> f64) -> Family {
        let mut rest = &self.labels[..];
        let series = self.series.iter().enumerate().map(|(index, series)| {
            let (before, behind) = rest.split_at(series.before_len as usize);
            let (behind, others) = behind.split_at(series.behind_len as usize);
            rest = others;
            let mut labels = labels_of(before);
            labels.extend(labels_of(behind));
            let bounds = &self.bound_sets[series.bound_set as usize].bounds;
            let mut counts = vec![0.0; bounds.len()];
            let sum = numbers(index, &mut counts);
            let buckets = bounds.iter().copied().zip(counts).collect();
            Series {
                labels,
                start_unix_seconds: None,
                value: Value::Histogram { buckets, sum },
            }
        });
        Family {
            name: self.name.clone(),
            help: self.help.clone(),
            kind: Kind::Histogram,
            series: series.collect(),
        }
    }
}

fn labels_of(text: &[u8]) -> Vec<(String, String)> {
    labels_of_line(&String::from_utf8_lossy(text)).expect("written by the same rules")
}

/// Writes the lines of one series after another; what they share is put together once for each series.
struct Lines<'a> {
    lines: LineWriter<'a>,
    spellings: &'a mut Spellings,
    wanted: Wanted,
    samples: usize,
    /// `NAME_bucket{`, `NAME_sum` and `NAME_count`.
    names: [Text; 3],
    /// `NAME_bucket{a="b",le="`
    head: Text,
    /// `",m="n"} `
    tail: Text,
    /// `{a="b",m="n"} `, or a blank.
    plain: Text,
}

impl<'a> Lines<'a> {
    fn new(
        name: &str,
        wanted: Wanted,
        spellings: &'a mut Spellings,
        page: &'a mut Vec<u8>,
    ) -> Lines<'a> {
        spellings.begin();
        let named = |suffix: &str| Text::new(format!("{name}{suffix}").as_bytes());
        Lines {
            lines: LineWriter::new(page),
            spellings,
            wanted,
            samples: 0,
            names: ["_bucket{", "_sum", "_count"].map(named),
            head: Text::default(),
            tail: Text::default(),
            plain: Text::default(),
        }
    }

    fn series(
        &mut self,
        before: &[u8],
        behind: &[u8],
        bounds: &BoundSet,
        sum: f64,
        counts: &[f64],
    ) {
        let comma = |is_there: bool| -> &'static [u8] { if is_there { b"," } else { b"" } };
        let both = comma(!before.is_empty() && !behind.is_empty());
        match before.is_empty() && behind.is_empty() {
            true => self.plain.set(&[b" "]),
            false => self.plain.set(&[b"{", before, both, behind, b"} "]),
        }
        if self.wanted.sum {
            self.line(1, sum);
        }
        if self.wanted.bucket {
            let bucket = self.names[0].get();
            self.head
                .set(&[bucket, before, comma(!before.is_empty()), b"le=\""]);
            self.tail
                .set(&[b"\"", comma(!behind.is_empty()), behind, b"} "]);
            let Lines {
                lines,
                spellings,
                head,
                tail,
                ..
            } = self;
            for (bound, &count) in bounds.spellings.iter().zip(counts) {
                lines.text(head.part());
                lines.bound(bound);
                lines.text(tail.part());
                lines.number(count, spellings);
            }
            self.samples += counts.len();
        }
        if let Some(&count) = counts.last()
            && self.wanted.count
        {
            self.line(2, count);
        }
    }

    /// A line without a bound.
    fn line(&mut self, name: usize, number: f64) {
        self.lines.text(self.names[name].part());
        self.lines.text(self.plain.part());
        self.lines.number(number, self.spellings);
        self.samples += 1;
    }

    fn finish(self) -> usize {
        self.lines.finish();
        self.samples
    }
}
