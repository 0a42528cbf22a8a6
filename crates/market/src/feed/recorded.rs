//! Candles from a CSV file: comment lines `# key: value`, a header that names the columns, one bar a line.
//!
//! Invariant: every row of the file becomes a [`Row`] or fails the whole load with its line and column; none is skipped.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;

use super::{FeedError, Row, fields, time};
use crate::candle::{Candle, CandleError};
use crate::instrument::Symbol;
use crate::sequence::Defect;
use crate::timeframe::Timeframe;

/// Bounds the memory of a load; ten years of one-minute candles have about 300 MiB.
pub(super) const FILE_LEN_MAX_BYTES: u64 = 512 << 20;

/// Fields longer than this are cut in messages.
const FOUND_LEN_MAX_CHARS: usize = 60;

/// Our columns with the header words that mean them, in lower case.
const COLUMNS: [(&str, &[&str]); 6] = [
    (
        "open_time",
        &["open_time", "time", "timestamp", "date", "datetime"],
    ),
    ("open", &["open"]),
    ("high", &["high"]),
    ("low", &["low"]),
    ("close", &["close"]),
    ("volume", &["volume"]),
];

/// The columns of a file, for messages.
pub(super) fn column_names() -> String {
    COLUMNS.map(|(name, _)| name).join(", ")
}

/// Read, check against what the session is to trade, and return all rows in the file's order.
pub(super) fn load(
    path: &Path,
    symbol: &Symbol,
    timeframe: Timeframe,
) -> Result<(Vec<Row>, Vec<u32>), FeedError> {
    let bytes = read(path)?;
    let mut lines = Lines {
        path,
        rest: &bytes,
        number: 0,
    };
    let (comments, positions) = preamble(&mut lines)?;
    if let Some(found) = comments
        .get("symbol")
        .map(|(_, text)| Symbol::new(text))
        .filter(|found| found != symbol)
    {
        return Err(FeedError::SymbolMismatch {
            path: path.to_owned(),
            found,
            wanted: symbol.clone(),
        });
    }
    let stated = stated_timeframe(path, &comments)?;
    let (mut rows, mut numbers) = (Vec::new(), Vec::new());
    while let Some(line) = lines.next()? {
        if !line.trim().is_empty() {
            rows.push(parse_row(&lines, line, &positions)?);
            // A file of the largest size has fewer lines than that.
            numbers.push(lines.number as u32);
        }
    }
    if rows.is_empty() {
        return Err(FeedError::Empty {
            path: path.to_owned(),
        });
    }
    let mismatch = |found: String| FeedError::TimeframeMismatch {
        path: path.to_owned(),
        found,
        wanted: timeframe,
    };
    let spacing = Spacing::of(&rows);
    match (stated, spacing) {
        (Some((_, stated)), _) if stated != timeframe => Err(mismatch(stated.to_string())),
        (Some((line, stated)), Some(spacing)) if spacing.contradicts(stated) => {
            Err(FeedError::Spacing {
                path: path.to_owned(),
                line,
                stated,
                found: spacing.in_words(),
            })
        }
        (None, Some(spacing)) if spacing.usual != timeframe.seconds() => {
            Err(mismatch(spacing.in_words()))
        }
        _ => Ok((rows, numbers)),
    }
}

/// The timeframe that a comment states, and the comment's line.
fn stated_timeframe(
    path: &Path,
    comments: &Comments,
) -> Result<Option<(usize, Timeframe)>, FeedError> {
    let Some((line, text)) = comments.get("timeframe") else {
        return Ok(None);
    };
    match text.parse() {
        Ok(timeframe) => Ok(Some((*line, timeframe))),
        Err(problem) => Err(FeedError::Comment {
            path: path.to_owned(),
            line: *line,
            problem,
        }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, FeedError> {
    let read_error = |source| FeedError::Read {
        path: path.to_owned(),
        source,
    };
    let refused = |found: &str| FeedError::NotAFile {
        path: path.to_owned(),
        found: found.to_owned(),
    };
    // Looked at before it is opened: opening a pipe would wait for whoever writes it.
    let metadata = fs::metadata(path).map_err(read_error)?;
    if !metadata.is_file() {
        return Err(refused(if metadata.is_dir() {
            "is a directory"
        } else {
            "is not a regular file"
        }));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(read_error)?;
    file.take(FILE_LEN_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(read_error)?;
    if bytes.len() as u64 > FILE_LEN_MAX_BYTES {
        return Err(refused("is too large"));
    }
    Ok(bytes)
}

/// The lines of a file, without their ends, and the number of the last one given.
struct Lines<'a> {
    path: &'a Path,
    rest: &'a [u8],
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<Option<&'a str>, FeedError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let (line, rest) = match end {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        let text = std::str::from_utf8(line).map_err(|_| FeedError::Row {
            path: self.path.to_owned(),
            line: self.number,
            found: "bytes that are not UTF-8".to_owned(),
            expected: "text".to_owned(),
        })?;
        let text = if self.number == 1 {
            text.trim_start_matches('\u{feff}')
        } else {
            text
        };
        Ok(Some(text.strip_suffix('\r').unwrap_or(text)))
    }
}

/// By key, in lower case: the line and the value, which is not empty and short enough for a message.
type Comments = BTreeMap<String, (usize, String)>;

/// The comments and, for each of our columns, its position in a row; the number of fields of the header last.
fn preamble(lines: &mut Lines<'_>) -> Result<(Comments, Positions), FeedError> {
    let mut comments = BTreeMap::new();
    loop {
        let line = lines.next()?;
        match line {
            Some(line) if line.trim().is_empty() => {}
            Some(line) if line.starts_with('#') => {
                match line[1..].split_once(':') {
                    // A key with nothing behind it says nothing.
                    Some((key, value)) if !value.trim().is_empty() => {
                        let value = (lines.number, cut(value.trim()));
                        comments.insert(key.trim().to_lowercase(), value);
                    }
                    _ => {}
                }
            }
            _ => {
                let positions =
                    header(line.unwrap_or_default()).map_err(|problem| FeedError::Header {
                        path: lines.path.to_owned(),
                        line: lines.number.max(1),
                        found: cut(line.unwrap_or("end of file")),
                        problem,
                    })?;
                return Ok((comments, positions));
            }
        }
    }
}

struct Positions {
    columns: [usize; COLUMNS.len()],
    field_count: usize,
}

fn header(line: &str) -> Result<Positions, String> {
    let fields: Vec<String> = fields::split(line)
        .into_iter()
        .map(str::to_lowercase)
        .collect();
    let mut columns = [0; COLUMNS.len()];
    for (column, (name, spellings)) in COLUMNS.iter().enumerate() {
        let mut found = fields
            .iter()
            .enumerate()
            .filter(|(_, field)| spellings.contains(&field.as_str()));
        columns[column] = found.next().ok_or_else(|| format!("{name} is missing"))?.0;
        if found.next().is_some() {
            return Err(format!("{name} is there twice"));
        }
    }
    Ok(Positions {
        columns,
        field_count: fields.len(),
    })
}

fn parse_row(lines: &Lines<'_>, line: &str, positions: &Positions) -> Result<Row, FeedError> {
    let fields = fields::split(line);
    if fields.len() != positions.field_count {
        return Err(FeedError::Row {
            path: lines.path.to_owned(),
            line: lines.number,
            found: match fields.len() {
                1 => "1 field".to_owned(),
                count => format!("{count} fields"),
            },
            expected: format!("{} as in the header", positions.field_count),
        });
    }
    let bad = |column: usize, expected: &'static str| FeedError::Field {
        path: lines.path.to_owned(),
        line: lines.number,
        column: positions.columns[column] + 1,
        name: COLUMNS[column].0,
        found: cut(fields[positions.columns[column]]),
        expected,
    };
    let open_time =
        time::parse(fields[positions.columns[0]]).ok_or_else(|| bad(0, time::EXPECTED))?;
    let mut numbers = [Decimal::ZERO; 5];
    let mut finite = true;
    for (index, number) in numbers.iter_mut().enumerate() {
        let text = fields[positions.columns[index + 1]];
        // Nothing is computed from a volume: its last digits may be rounded.
        let parsed = if index == 4 {
            parse_number(text, Decimal::from_str, rounded)
        } else {
            parse_number(text, Decimal::from_str_exact, Decimal::from_scientific)
        };
        match parsed {
            Some(Number::Finite(value)) => *number = value,
            Some(Number::NonFinite) => finite = false,
            None => return Err(bad(index + 1, "a decimal number")),
        }
    }
    if !finite {
        return Ok(Row::Unusable {
            open_time,
            defect: Defect::NonFinite,
        });
    }
    let [open, high, low, close, volume] = numbers;
    match Candle::new(open_time, [open, high, low, close], volume) {
        Ok(candle) => Ok(Row::Candle(candle)),
        Err(CandleError::OhlcViolation) => Ok(Row::Unusable {
            open_time,
            defect: Defect::OhlcViolation,
        }),
        Err(CandleError::OutOfRange { column }) => Err(bad(
            column + 1,
            "a price below 900000000 with at most 10 decimals",
        )),
    }
}

enum Number {
    Finite(Decimal),
    NonFinite,
}

fn parse_number(
    text: &str,
    plain: impl Fn(&str) -> Result<Decimal, rust_decimal::Error>,
    scientific: impl Fn(&str) -> Result<Decimal, rust_decimal::Error>,
) -> Option<Number> {
    // What a vendor's program prints for a hole in its data: a defect of that bar, not a broken file.
    let bare = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    if matches!(bare.as_str(), "nan" | "inf" | "infinity") {
        return Some(Number::NonFinite);
    }
    if text.contains('_') {
        return None; // the decimal library reads `1_000`; no data vendor means that
    }
    // Prices exact or refused: one with more digits than a decimal holds must not be rounded on the way in. The exponent form is what
    // spreadsheets write for large volumes.
    let parsed = if text.contains(['e', 'E']) {
        scientific(text)
    } else {
        plain(text)
    };
    parsed.ok().map(Number::Finite)
}

/// A number with an exponent, rounded where it has more digits than a decimal holds: sums of floats leave `5.684341886080801e-14` behind
/// where nothing was traded.
fn rounded(text: &str) -> Result<Decimal, rust_decimal::Error> {
    Decimal::from_scientific(text).or_else(|error| {
        let float: f64 = text.parse().map_err(|_| error.clone())?;
        Decimal::from_f64(float).ok_or(error)
    })
}

/// How far apart consecutive bars are.
struct Spacing {
    /// The most frequent distance, in seconds.
    usual: i64,
    /// How often each distance is there.
    counts: BTreeMap<i64, usize>,
}

/// With fewer distances than that, longer ones may as well be gaps.
const DISTANCES_MIN: usize = 3;

impl Spacing {
    /// `None` without two bars in order: such a file is taken for what its comment or the configuration says.
    fn of(rows: &[Row]) -> Option<Spacing> {
        let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
        for pair in rows.windows(2) {
            let distance = pair[1].open_time().saturating_sub(pair[0].open_time());
            if distance > 0 {
                *counts.entry(distance).or_default() += 1;
            }
        }
        // Of equally frequent distances the shortest: a gap is longer than the bars around it.
        let (usual, _) = counts.iter().rev().max_by_key(|(_, count)| **count)?;
        Some(Spacing {
            usual: *usual,
            counts,
        })
    }

    /// Whether bars of this length cannot lie like that. Gaps make distances of several bars, and a file may have more gaps than
    /// neighbours; but one whose distances are mostly those of a longer timeframe, with no two neighbours at all, is of that timeframe.
    fn contradicts(&self, stated: Timeframe) -> bool {
        let between = self.usual % stated.seconds() != 0;
        let longer = self.usual > stated.seconds()
            && !self.counts.contains_key(&stated.seconds())
            && Timeframe::from_seconds(self.usual).is_some()
            && self.counts[&self.usual] >= DISTANCES_MIN;
        between || longer
    }

    fn in_words(&self) -> String {
        Timeframe::from_seconds(self.usual).map_or_else(
            || format!("{} s", self.usual),
            |timeframe| timeframe.to_string(),
        )
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(FOUND_LEN_MAX_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
