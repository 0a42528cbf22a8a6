//! A response of the intraday interface: a JSON array of objects `timestamp` (Unix seconds), `gmtoffset`, `datetime`, `open`, `high`,
//! `low`, `close`, `volume`.
//!
//! Invariant: what cannot be an array of bars is a typed error; a row whose numbers are bad is still a row, with the reason. Nothing is
//! guessed: a null is not 0, and a row without a time has no place. `gmtoffset` and `datetime` say again what `timestamp` says and are
//! not read.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::bar::Bar;
use crate::sequence::Defect;
use crate::timeframe::Timeframe;

/// Most rows of a response that is read: months of hourly bars, two weeks of one-minute bars.
pub const MAX_ROWS: usize = 20_000;

/// The last second of the year 9999. What is later is in another unit than seconds.
const TIMESTAMP_MAX: i64 = 253_402_300_799;

/// From how many rows on the distances between them say of what interval they are.
const ROWS_THAT_SHOW_THEIR_INTERVAL: usize = 10;

/// Most characters of foreign text in an error.
const EXCERPT_CHARACTERS: usize = 120;

/// One row of a response.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RawBar {
    /// Unix seconds of the opening, from 0 to the year 9999.
    pub open_time: i64,
    /// The bar, or why the row is none: [`Defect::NonFinite`] or [`Defect::OhlcViolation`].
    pub bar: Result<Bar, Defect>,
}

/// Why a response is no list of bars. Foreign text in it is one line and short.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// There is nothing in it: no bytes, or an array without rows.
    #[error("the response has no rows")]
    Empty,
    /// It is not JSON, or a row is not an object with a time.
    #[error("the response is malformed: {reason}; it begins with `{excerpt}`")]
    Malformed {
        /// What the reader stumbled over, with line and column.
        reason: String,
        /// How the response begins.
        excerpt: String,
    },
    /// It is JSON but no array: an error that was answered with a success.
    #[error("the response is no array of bars, it begins with `{excerpt}`")]
    NotAnArray {
        /// How the response begins.
        excerpt: String,
    },
    /// More rows than are read.
    #[error("the response has more than {MAX_ROWS} rows")]
    TooManyRows,
    /// The rows are bars of another interval.
    #[error("the rows are no bars of {asked}: {found}")]
    WrongInterval {
        /// The interval that was asked for.
        asked: Timeframe,
        /// What shows it.
        found: String,
    },
}

/// Reads the bytes of a response.
///
/// # Errors
/// See [`ParseError`].
pub fn parse(body: &[u8]) -> Result<Vec<RawBar>, ParseError> {
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => return Err(ParseError::Empty),
        Some(b'{' | b'"') => {
            return Err(ParseError::NotAnArray {
                excerpt: excerpt(body),
            });
        }
        Some(_) => {}
    }
    let Rows(rows) = serde_json::from_slice(body).map_err(|error| {
        if error.to_string().starts_with(TOO_MANY) {
            return ParseError::TooManyRows;
        }
        ParseError::Malformed {
            reason: error.to_string(),
            excerpt: excerpt(body),
        }
    })?;
    if rows.is_empty() {
        return Err(ParseError::Empty);
    }
    Ok(rows)
}

/// Whether rows can be bars of this interval. Bars of five minutes taken for bars of an hour would give features that look fine and mean
/// nothing, so a response whose rows lie mostly off the interval's grid, or (from ten rows on) never one interval apart, is refused as a whole.
///
/// # Errors
/// [`ParseError::WrongInterval`].
pub fn check_interval(rows: &[RawBar], asked: Timeframe) -> Result<(), ParseError> {
    let step = asked.seconds();
    let off_grid = rows.iter().filter(|row| row.open_time % step != 0).count();
    if off_grid * 2 > rows.len() {
        return Err(ParseError::WrongInterval {
            asked,
            found: format!(
                "{off_grid} of {} do not open at a multiple of it",
                rows.len()
            ),
        });
    }
    let neighbours = rows
        .windows(2)
        .any(|pair| (pair[1].open_time - pair[0].open_time).abs() == step);
    if rows.len() >= ROWS_THAT_SHOW_THEIR_INTERVAL && !neighbours {
        return Err(ParseError::WrongInterval {
            asked,
            found: format!("no two of {} are that far apart", rows.len()),
        });
    }
    Ok(())
}

/// How a response begins, in one line.
fn excerpt(body: &[u8]) -> String {
    // A cut inside of a character gives one replacement character at the end; that is fine for people.
    let start = &body[..body.len().min(4 * EXCERPT_CHARACTERS)];
    String::from_utf8_lossy(start)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .filter(|character| !character.is_control())
        .take(EXCERPT_CHARACTERS)
        .collect()
}

const TOO_MANY: &str = "too many rows";

struct Rows(Vec<RawBar>);

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rows, D::Error> {
        struct RowsVisitor;
        impl<'de> Visitor<'de> for RowsVisitor {
            type Value = Rows;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of bars")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Rows, A::Error> {
                let mut rows = Vec::new();
                while let Some(row) = seq.next_element::<RawBar>()? {
                    if rows.len() == MAX_ROWS {
                        return Err(A::Error::custom(TOO_MANY));
                    }
                    rows.push(row);
                }
                Ok(Rows(rows))
            }
        }
        deserializer.deserialize_seq(RowsVisitor)
    }
}

impl<'de> Deserialize<'de> for RawBar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawBar, D::Error> {
        // A map only: the derived form would also take a bare array of numbers for a row.
        deserializer.deserialize_map(RowVisitor)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = RawBar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the numbers of one bar")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawBar, A::Error> {
        const NAMES: [&str; 6] = ["timestamp", "open", "high", "low", "close", "volume"];
        let mut found: [Option<Number>; 6] = [None; 6];
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match NAMES.iter().position(|name| *name == key) {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                // Two values of one name: which of them is meant cannot be known.
                Some(index) if found[index].is_some() => {
                    return Err(A::Error::duplicate_field(NAMES[index]));
                }
                Some(index) => found[index] = Some(map.next_value()?),
            }
        }
        let open_time = match found[0] {
            Some(Number::Whole(seconds)) if (0..=TIMESTAMP_MAX).contains(&seconds) => seconds,
            Some(Number::Whole(other)) => {
                return Err(A::Error::custom(format_args!(
                    "timestamp {other} is out of range; accepted: Unix seconds"
                )));
            }
            _ => return Err(A::Error::custom("a row without a timestamp")),
        };
        // What is absent is as unusable as what is null.
        let [open, high, low, close, volume] =
            [1, 2, 3, 4, 5].map(|index: usize| found[index].map_or(f64::NAN, Number::to_f64));
        let bar = Bar {
            open_time,
            open,
            high,
            low,
            close,
            volume,
        };
        Ok(RawBar {
            open_time,
            bar: bar.check(),
        })
    }
}

/// A number as this vendor writes them: bare, in quotes, or null. What is no number is NaN, which no check lets through.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Number {
    Whole(i64),
    Fraction(f64),
}

impl Number {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a volume above 2^53 is as good rounded"
    )]
    const fn to_f64(self) -> f64 {
        match self {
            Number::Whole(number) => number as f64,
            Number::Fraction(number) => number,
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

const NOT_A_NUMBER: Number = Number::Fraction(f64::NAN);

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
        Ok(Number::Whole(number))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a volume above 2^63 is as good rounded"
    )]
    fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
        Ok(i64::try_from(number).map_or(Number::Fraction(number as f64), Number::Whole))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
        Ok(Number::Fraction(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Number, E> {
        let text = text.trim();
        Ok(match text.parse::<i64>() {
            Ok(number) => Number::Whole(number),
            Err(_) => text.parse().map_or(NOT_A_NUMBER, Number::Fraction),
        })
    }

    fn visit_unit<E>(self) -> Result<Number, E> {
        Ok(NOT_A_NUMBER)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Number, E> {
        Ok(NOT_A_NUMBER)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Number, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(NOT_A_NUMBER)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Number, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(NOT_A_NUMBER)
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
