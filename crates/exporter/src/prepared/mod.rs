//! Families that are written again and again: names checked and labels escaped once, only their numbers move.
//!
//! Invariant: what is written is what [`write_text`](crate::write_text) writes for the same family. Must not touch: I/O, the clock,
//! logging.

mod histogram;

pub use histogram::PreparedHistogram;

use crate::line::{LineWriter, Part, Text};
use crate::model::{Family, Kind, Series, Value};
use crate::name::{BadName, check_labels, is_legal_metric_name};
use crate::number::Spellings;
use crate::parse::labels_of_line;
use crate::text::{NameFilter, Written, single_suffix, write_head, write_label};

/// A family without its numbers, of series that are one number each. All label sets are one block of text, since there may be
/// millions.
#[derive(Debug, Clone)]
pub struct PreparedFamily {
    name: String,
    help: String,
    kind: Kind,
    /// What stands between name and number in the line of each series (`{a="b"} `, or a blank), back to back.
    texts: Vec<u8>,
    /// The length of each of them.
    lens: Vec<u32>,
    spellings: Spellings,
}

impl PreparedFamily {
    /// A family without series yet; `name` and `help` as in [`Family`].
    ///
    /// # Errors
    /// The name is none that text 0.0.4 can show.
    pub fn new(name: String, help: String, kind: Kind) -> Result<PreparedFamily, BadName> {
        if !is_legal_metric_name(&name) {
            return Err(BadName::Family { name });
        }
        Ok(PreparedFamily {
            name,
            help,
            kind,
            texts: Vec::new(),
            lens: Vec::new(),
            spellings: Spellings::default(),
        })
    }

    /// Makes room for so many more series.
    pub fn reserve(&mut self, series_count: usize) {
        self.lens.reserve(series_count);
    }

    /// Adds a series; its labels are sorted by name.
    ///
    /// # Errors
    /// A name is not legal, or occurs twice, or there is more text than a line may have. Nothing is added.
    pub fn push<S: AsRef<str>>(&mut self, labels: &[(S, S)]) -> Result<(), BadName> {
        check_labels(labels)?;
        let begin = self.texts.len();
        if !labels.is_empty() {
            self.texts.push(b'{');
            write_labels(labels, &mut self.texts);
            self.texts.push(b'}');
        }
        self.texts.push(b' ');
        let len = fitting(self.texts.len() - begin);
        self.lens
            .push(len.inspect_err(|_| self.texts.truncate(begin))?);
        Ok(())
    }

    /// No more memory than its series need: no more of them come.
    pub fn shrink(&mut self) {
        self.texts.shrink_to_fit();
        self.lens.shrink_to_fit();
    }

    /// The name in the family's TYPE line.
    pub fn written_name(&self) -> String {
        format!("{}{}", self.name, single_suffix(self.kind))
    }

    /// Appends the family to `out`, with the series' numbers in their order, unless `names` accepts none of its samples. A series
    /// without a number has no line.
    pub fn write(
        &mut self,
        numbers: impl IntoIterator<Item = Option<f64>>,
        names: &NameFilter,
        out: &mut Vec<u8>,
    ) -> Written {
        let name = self.written_name();
        if !names.accepts(&name) {
            return Written::default();
        }
        let begin = out.len();
        write_head(&name, &self.help, self.kind, out);
        let samples = self.write_lines(&name, numbers, out);
        // As in Python: a family without samples still shows its head, unless samples were asked for by name.
        if samples == 0 && !names.is_all() {
            out.truncate(begin);
        }
        Written {
            samples,
            refused: 0,
        }
    }

    fn write_lines(
        &mut self,
        name: &str,
        numbers: impl IntoIterator<Item = Option<f64>>,
        out: &mut Vec<u8>,
    ) -> usize {
        let name = Text::new(name.as_bytes());
        let mut samples = 0;
        self.spellings.begin();
        let mut rest = &self.texts[..];
        let mut lines = LineWriter::new(out);
        for (&len, number) in self.lens.iter().zip(numbers) {
            let text = Part::of(rest, len as usize);
            rest = &rest[len as usize..];
            let Some(number) = number else {
                continue;
            };
            lines.text(name.part());
            lines.text(text);
            lines.number(number, &mut self.spellings);
            samples += 1;
        }
        lines.finish();
        samples
    }

    /// The same as values.
    pub fn family(&self, numbers: impl IntoIterator<Item = Option<f64>>) -> Family {
        let mut rest = &self.texts[..];
        let texts = self.lens.iter().map(|&len| {
            let (text, behind) = rest.split_at(len as usize);
            rest = behind;
            text
        });
        let there = texts
            .zip(numbers)
            .filter_map(|(text, number)| Some((text, number?)));
        let series = there.map(|(text, number)| Series {
            labels: labels_of_text(text),
            start_unix_seconds: None,
            value: Value::Single(number),
        });
        Family {
            name: self.name.clone(),
            help: self.help.clone(),
            kind: self.kind,
            series: series.collect(),
        }
    }
}

/// The labels between the braces of a text that [`PreparedFamily::push`] made.
fn labels_of_text(text: &[u8]) -> Vec<(String, String)> {
    let between = text
        .strip_prefix(b"{")
        .and_then(|text| text.strip_suffix(b"} "))
        .unwrap_or_default();
    labels_of_line(&String::from_utf8_lossy(between)).expect("written by the same rules")
}

/// Appends labels as they stand between the braces.
fn write_labels<S: AsRef<str>>(labels: &[(S, S)], out: &mut Vec<u8>) {
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_label(name.as_ref(), value.as_ref(), out);
    }
}

/// Lengths are kept in 32 bits: there is one for each of millions of series.
fn fitting(len: usize) -> Result<u32, BadName> {
    u32::try_from(len).map_err(|_| BadName::TooLong { len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::write_text_filtered;

    /// Label values and numbers that text spells in a way of its own.
    fn families() -> Vec<Family> {
        let kinds = [Kind::Counter, Kind::Gauge, Kind::Untyped];
        let values = ["", "a", "\"\\\n,}", "é"];
        let numbers = [0.0, -0.0, 1e17, f64::NAN, f64::INFINITY];
        let series = |index: usize| Series {
            labels: [("a", values[index % 4]), ("b", values[index / 4 % 4])][..index % 3]
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            start_unix_seconds: None,
            value: Value::Single(numbers[index % 5]),
        };
        let family = |(kind, count): (Kind, usize)| Family {
            name: "f".to_owned(),
            help: "x\n\\\"".to_owned(),
            kind,
            series: (0..count).map(series).collect(),
        };
        let all = kinds.into_iter().flat_map(|kind| [(kind, 0), (kind, 40)]);
        all.map(family).collect()
    }

    #[test]
    fn a_prepared_family_is_written_as_any_other_and_read_back() {
        let filters = ["", "f", "f_total"].map(|name| NameFilter::only([name.to_owned()]));
        for family in families() {
            let Family {
                name, help, kind, ..
            } = family.clone();
            let mut prepared = PreparedFamily::new(name, help, kind).expect("a legal name");
            for series in &family.series {
                prepared.push(&series.labels).expect("legal labels");
            }
            let numbers = || {
                family.series.iter().map(|series| match series.value {
                    Value::Single(number) => Some(number),
                    _ => unreachable!("made so above"),
                })
            };
            for names in &filters {
                let (mut expected, mut written) = (Vec::new(), Vec::new());
                let expectation =
                    write_text_filtered(std::slice::from_ref(&family), names, &mut expected);
                assert_eq!(prepared.write(numbers(), names, &mut written), expectation);
                assert_eq!(written, expected);
            }
            // A NaN equals nothing.
            assert_eq!(
                format!("{:?}", prepared.family(numbers())),
                format!("{family:?}")
            );
        }
    }

    #[test]
    fn what_text_cannot_show_is_refused_and_leaves_nothing_behind() {
        let prepared =
            |name: &str| PreparedFamily::new(name.to_owned(), String::new(), Kind::Gauge);
        assert!(prepared("a-b").is_err());
        let mut prepared = prepared("a").expect("a legal name");
        assert!(prepared.push(&[("b", ""), ("b", "")]).is_err());
        assert!(prepared.push(&[("b:", "")]).is_err());
        let mut text = Vec::new();
        prepared.write([], &NameFilter::all(), &mut text);
        assert_eq!(text, b"# HELP a \n# TYPE a gauge\n");
    }
}
