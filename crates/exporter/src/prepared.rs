//! A family that is written again and again: names checked and labels escaped once, only its numbers move.
//!
//! Invariant: what is written is what [`write_text`](crate::write_text) writes for the same family. Must not touch: I/O, the clock,
//! logging.

use crate::model::{Family, Kind, Series, Value};
use crate::name::{BadName, check_labels, is_legal_metric_name};
use crate::number::format_float;
use crate::parse::labels_of_line;
use crate::text::{NameFilter, Written, single_suffix, write_head, write_label};

/// A family without its numbers, of series that are one number each. All label sets are one block of text, since there may be
/// millions.
#[derive(Debug, Clone)]
pub struct PreparedFamily {
    name: String,
    help: String,
    kind: Kind,
    /// The labels of all series as they stand between the braces, back to back.
    labels: Vec<u8>,
    /// Where the labels of each series end; they begin where those before end.
    ends: Vec<usize>,
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
            labels: Vec::new(),
            ends: Vec::new(),
        })
    }

    /// Makes room for so many more series.
    pub fn reserve(&mut self, series_count: usize) {
        self.ends.reserve(series_count);
    }

    /// Adds a series; its labels are sorted by name.
    ///
    /// # Errors
    /// A name is not legal, or occurs twice. Nothing is added.
    pub fn push<S: AsRef<str>>(&mut self, labels: &[(S, S)]) -> Result<(), BadName> {
        check_labels(labels)?;
        for (index, (name, value)) in labels.iter().enumerate() {
            if index > 0 {
                self.labels.push(b',');
            }
            write_label(name.as_ref(), value.as_ref(), &mut self.labels);
        }
        self.ends.push(self.labels.len());
        Ok(())
    }

    /// The name in the family's TYPE line.
    pub fn written_name(&self) -> String {
        format!("{}{}", self.name, single_suffix(self.kind))
    }

    /// Appends the family to `out`, with the series' numbers in their order, unless `names` accepts none of its samples.
    pub fn write(
        &self,
        numbers: impl IntoIterator<Item = f64>,
        names: &NameFilter,
        out: &mut Vec<u8>,
    ) -> Written {
        let name = self.written_name();
        let is_empty = self.ends.is_empty();
        if !names.accepts(&name) || (is_empty && !names.is_all()) {
            return Written::default();
        }
        write_head(&name, &self.help, self.kind, out);
        for (labels, number) in self.label_texts().zip(numbers) {
            out.extend_from_slice(name.as_bytes());
            if !labels.is_empty() {
                out.push(b'{');
                out.extend_from_slice(labels);
                out.push(b'}');
            }
            out.push(b' ');
            format_float(number, out);
            out.push(b'\n');
        }
        Written {
            samples: self.ends.len(),
            refused: 0,
        }
    }

    /// The same as values.
    pub fn family(&self, numbers: impl IntoIterator<Item = f64>) -> Family {
        let series = self.label_texts().zip(numbers).map(|(labels, number)| {
            let labels = String::from_utf8_lossy(labels);
            Series {
                labels: labels_of_line(&labels).expect("written by the same rules"),
                start_unix_seconds: None,
                value: Value::Single(number),
            }
        });
        Family {
            name: self.name.clone(),
            help: self.help.clone(),
            kind: self.kind,
            series: series.collect(),
        }
    }

    fn label_texts(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins
            .zip(&self.ends)
            .map(|(begin, &end)| &self.labels[begin..end])
    }
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
                    Value::Single(number) => number,
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
