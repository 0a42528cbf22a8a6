//! One line of text 0.0.4.
//!
//! Invariant: a line is taken whole or refused with the reason; every byte of it is accounted for. Must not touch: other lines.

use std::fmt;

use super::{Labels, ParseErrorKind};
use crate::model::Kind;
use crate::name::{is_legal_label_name, is_legal_metric_name};

/// A line, understood.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// Empty, or a comment that is neither HELP nor TYPE.
    Blank,
    Help {
        name: String,
        help: String,
    },
    Type {
        name: String,
        kind: Kind,
    },
    Sample(Parsed),
}

/// A sample line; labels sorted by name.
#[derive(Debug, PartialEq)]
pub(super) struct Parsed {
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) value: f64,
}

impl Parsed {
    pub(super) fn label(&self, label: &str) -> Option<&str> {
        self.labels
            .iter()
            .find(|(name, _)| name == label)
            .map(|(_, value)| value.as_str())
    }

    /// The number in the label `le` or `quantile`.
    pub(super) fn bound(&self, label: &str) -> Option<f64> {
        self.label(label)
            .and_then(number)
            .filter(|bound| !bound.is_nan())
    }
}

impl fmt::Display for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        for (index, (name, value)) in self.labels.iter().enumerate() {
            write!(f, "{}{name}={value:?}", if index == 0 { '{' } else { ',' })?;
        }
        f.write_str(if self.labels.is_empty() { "" } else { "}" })
    }
}

pub(super) fn parse(line: &str) -> Result<Line, ParseErrorKind> {
    if line.trim_matches(BLANKS).is_empty() {
        return Ok(Line::Blank);
    }
    match line.strip_prefix('#') {
        Some(comment) => parse_comment(comment),
        None => parse_sample(line).map(Line::Sample),
    }
}

/// The only white space of the format inside a line.
const BLANKS: [char; 2] = [' ', '\t'];

fn parse_comment(comment: &str) -> Result<Line, ParseErrorKind> {
    let comment = comment.trim_start_matches(BLANKS);
    let (keyword, rest) = comment.split_once(BLANKS).unwrap_or((comment, ""));
    if keyword != "HELP" && keyword != "TYPE" {
        return Ok(Line::Blank);
    }
    let rest = rest.trim_start_matches(BLANKS);
    // Behind the name exactly one blank is the separator: a help text may begin with blanks.
    let (name, rest) = rest.split_once(BLANKS).unwrap_or((rest, ""));
    if name.is_empty() {
        return Err(ParseErrorKind::IncompleteComment);
    }
    if !is_legal_metric_name(name) {
        return Err(ParseErrorKind::BadMetricName(name.to_string()));
    }
    let name = name.to_string();
    if keyword == "HELP" {
        let (help, _) = unescape(rest, None)?;
        return Ok(Line::Help { name, help });
    }
    let kind = match rest.trim_matches(BLANKS) {
        "" => return Err(ParseErrorKind::IncompleteComment),
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        "histogram" => Kind::Histogram,
        "summary" => Kind::Summary,
        "untyped" => Kind::Untyped,
        other => return Err(ParseErrorKind::UnknownType(other.to_string())),
    };
    Ok(Line::Type { name, kind })
}

fn parse_sample(line: &str) -> Result<Parsed, ParseErrorKind> {
    let name_len = line.find(['{', ' ', '\t']).unwrap_or(line.len());
    let (name, rest) = line.split_at(name_len);
    if !is_legal_metric_name(name) {
        return Err(ParseErrorKind::BadMetricName(name.to_string()));
    }
    let rest = rest.trim_start_matches(BLANKS);
    let (mut labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => parse_labels(inside)?,
        None => (Vec::new(), rest),
    };
    labels.sort();
    if let Some(pair) = labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(ParseErrorKind::DuplicateLabel(pair[0].0.clone()));
    }
    let rest = rest.trim_matches(BLANKS);
    let (value, trailing) = rest.split_once(BLANKS).unwrap_or((rest, ""));
    if !trailing.is_empty() {
        return Err(ParseErrorKind::TrailingText(
            trailing.trim_start_matches(BLANKS).to_string(),
        ));
    }
    let value = number(value).ok_or_else(|| ParseErrorKind::BadValue(value.to_string()))?;
    Ok(Parsed {
        name: name.to_string(),
        labels,
        value,
    })
}

/// The labels and what follows the closing brace. A comma before the brace is allowed, as in Prometheus.
pub(super) fn parse_labels(mut rest: &str) -> Result<(Labels, &str), ParseErrorKind> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches(BLANKS);
        if let Some(behind) = rest.strip_prefix('}') {
            return Ok((labels, behind));
        }
        let (name, behind) = rest
            .split_once('=')
            .ok_or(ParseErrorKind::MalformedLabels)?;
        let name = name.trim_end_matches(BLANKS);
        if !is_legal_label_name(name) {
            return Err(ParseErrorKind::BadLabelName(name.to_string()));
        }
        let quoted = behind
            .trim_start_matches(BLANKS)
            .strip_prefix('"')
            .ok_or(ParseErrorKind::MalformedLabels)?;
        let (value, behind) = unescape(quoted, Some('"'))?;
        labels.push((name.to_string(), value));
        rest = behind.trim_start_matches(BLANKS);
        rest = match rest.strip_prefix(',') {
            Some(behind) => behind,
            None if rest.starts_with('}') => rest,
            None => return Err(ParseErrorKind::MalformedLabels),
        };
    }
}

/// Unescape up to the closing quote, or to the end where none is given; returns what follows.
fn unescape(text: &str, quote: Option<char>) -> Result<(String, &str), ParseErrorKind> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        if Some(c) == quote {
            return Ok((plain, &text[index + c.len_utf8()..]));
        }
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some((_, '\\')) => plain.push('\\'),
            Some((_, 'n')) => plain.push('\n'),
            Some((_, escaped)) if Some(escaped) == quote => plain.push(escaped),
            other => {
                return Err(ParseErrorKind::BadEscape(
                    other.map_or("\\".to_string(), |(_, c)| format!("\\{c}")),
                ));
            }
        }
    }
    match quote {
        Some(_) => Err(ParseErrorKind::MalformedLabels),
        None => Ok((plain, "")),
    }
}

/// A number as Go reads it, without its hexadecimal and underscore forms, which no exporter writes.
fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => return Some(f64::INFINITY),
        "-Inf" => return Some(f64::NEG_INFINITY),
        "NaN" => return Some(f64::NAN),
        _ => {}
    }
    // Rust also reads "infinity" and "nan" in any case.
    let plain = text
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    text.parse().ok().filter(|_| plain)
}
