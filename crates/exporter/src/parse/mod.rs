//! Text 0.0.4 back to families: the judge of our own output, and a reader of other exporters' pages.
//!
//! Invariant: any bytes give families or an error that names its line; nothing is repaired and nothing dropped. What
//! `write_text` wrote comes back equal, start times apart, which the format cannot carry. Must not touch: I/O, the clock,
//! logging.

mod family;
mod line;

use std::collections::HashSet;

use crate::model::Family;

use family::Open;
use line::{Line, Parsed};

/// The labels of a sample line as they stand between its braces.
///
/// # Errors
/// They are none.
pub(crate) fn labels_of_line(text: &str) -> Result<Labels, ParseErrorKind> {
    line::parse_labels(&format!("{text}}}")).map(|(labels, _)| labels)
}

/// A label set, sorted by name.
type Labels = Vec<(String, String)>;

/// Why a page is not text 0.0.4 as this crate accepts it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct ParseError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub kind: ParseErrorKind,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseErrorKind {
    /// The page is not UTF-8 from this line on.
    #[error("not UTF-8; the format is UTF-8 throughout")]
    NotUtf8,
    /// The page ends in the middle of a line.
    #[error("the last line has no line feed; every line ends with one")]
    NoFinalLineFeed,
    /// A HELP or TYPE line without a name or a type.
    #[error("incomplete comment; `# HELP NAME TEXT` or `# TYPE NAME TYPE` is expected")]
    IncompleteComment,
    /// A TYPE line with an unknown type.
    #[error("unknown type {0:?}; counter, gauge, histogram, summary and untyped are known")]
    UnknownType(String),
    /// A metric name with an illegal character, or none.
    #[error("{0:?} is not a legal metric name")]
    BadMetricName(String),
    /// A label name with an illegal character, or none.
    #[error("{0:?} is not a legal label name")]
    BadLabelName(String),
    /// A label occurs twice in one sample.
    #[error("label {0:?} occurs twice; each name is allowed once")]
    DuplicateLabel(String),
    /// The braces, quotes, commas or equals signs of the labels are wrong.
    #[error("malformed labels; {{name=\"value\",...}} is expected")]
    MalformedLabels,
    /// A backslash before something that is not escaped so.
    #[error(
        "unknown escape {0:?}; a backslash is followed by a backslash, n or, in label values, a quote"
    )]
    BadEscape(String),
    /// No number where the value belongs.
    #[error("{0:?} is not a number; a decimal number, +Inf, -Inf or NaN is expected")]
    BadValue(String),
    /// Something behind the value: a timestamp, an exemplar or garbage. Families here carry no time of their own.
    #[error("{0:?} follows the value; a sample ends with its value here")]
    TrailingText(String),
    /// A second HELP or TYPE of one family, or one behind its samples.
    #[error("{0} out of place; each family has one HELP, then one TYPE, then its samples")]
    Misplaced(&'static str),
    /// A family or its samples begin again after others came between.
    #[error("family {0:?} occurs a second time; all lines of a family belong together")]
    FamilyAgain(String),
    /// One series occurs twice.
    #[error("sample {0} occurs a second time")]
    SampleAgain(String),
    /// A bucket's `le` or a `quantile` is missing or is not a number.
    #[error("label {0:?} is missing or not a number")]
    BadBound(&'static str),
}

/// Parse a whole page. Histograms and summaries whose samples are incomplete or out of order come back as
/// [`Value::Samples`](crate::Value::Samples), and so does a counter's sample whose name is not the family's with `_total`.
pub fn parse_text(bytes: &[u8]) -> Result<Vec<Family>, ParseError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        ParseError {
            line: 1 + before.iter().filter(|&&byte| byte == b'\n').count(),
            kind: ParseErrorKind::NotUtf8,
        }
    })?;
    let mut page = Page::default();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let at = |kind| ParseError {
            line: index + 1,
            kind,
        };
        let line = line
            .strip_suffix('\n')
            .ok_or_else(|| at(ParseErrorKind::NoFinalLineFeed))?;
        page.line(line::parse(line).map_err(at)?).map_err(at)?;
    }
    page.close();
    Ok(page.families)
}

#[derive(Default)]
struct Page {
    families: Vec<Family>,
    /// Wire names (a counter's with `_total`) of the families seen; each may begin once.
    begun: HashSet<String>,
    /// Name and labels of every sample seen.
    samples: HashSet<(String, Labels)>,
    open: Option<Open>,
}

impl Page {
    fn line(&mut self, line: Line) -> Result<(), ParseErrorKind> {
        match line {
            Line::Blank => Ok(()),
            Line::Help { name, help } => {
                let open = self.open(name)?;
                if open.help.is_some() || open.kind.is_some() || !open.samples.is_empty() {
                    return Err(ParseErrorKind::Misplaced("HELP"));
                }
                open.help = Some(help);
                Ok(())
            }
            Line::Type { name, kind } => {
                let open = self.open(name)?;
                if open.kind.is_some() || !open.samples.is_empty() {
                    return Err(ParseErrorKind::Misplaced("TYPE"));
                }
                open.kind = Some(kind);
                Ok(())
            }
            Line::Sample(sample) => self.sample(sample),
        }
    }

    fn sample(&mut self, sample: Parsed) -> Result<(), ParseErrorKind> {
        if let Some(open) = &self.open {
            open.check_bound(&sample)?;
        }
        if !self
            .samples
            .insert((sample.name.clone(), sample.labels.clone()))
        {
            return Err(ParseErrorKind::SampleAgain(sample.to_string()));
        }
        let owner = match &self.open {
            Some(open) if open.owns(&sample.name) => open.wire_name.clone(),
            _ => sample.name.clone(),
        };
        self.open(owner)?.samples.push(sample);
        Ok(())
    }

    /// The family of this name, which is either the open one or a new one.
    fn open(&mut self, wire_name: String) -> Result<&mut Open, ParseErrorKind> {
        if self
            .open
            .as_ref()
            .is_none_or(|open| open.wire_name != wire_name)
        {
            self.close();
            if !self.begun.insert(wire_name.clone()) {
                return Err(ParseErrorKind::FamilyAgain(wire_name));
            }
        }
        Ok(self.open.get_or_insert_with(|| Open {
            wire_name,
            help: None,
            kind: None,
            samples: Vec::new(),
        }))
    }

    fn close(&mut self) {
        self.families
            .extend(self.open.take().map(Open::into_family));
    }
}
