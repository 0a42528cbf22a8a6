//! How times and numbers are shown, to people and to programs.
//!
//! Invariant: what is shown as text and what is shown as JSON is the same number. Pure.

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use metricsd_exporter::format_float;
use serde_json::Value as Json;

/// A time as RFC 3339 in UTC, to the second; never later than it is.
pub(super) fn time(unix_seconds: f64) -> String {
    if !unix_seconds.is_finite() {
        return "unknown".to_owned();
    }
    let timestamp = Timestamp::from_millisecond((unix_seconds * 1000.0) as i64);
    let floor = TimestampRound::new()
        .smallest(Unit::Second)
        .mode(RoundMode::Floor);
    let rounded = timestamp.and_then(|at| at.round(floor));
    rounded.map_or_else(|_| "unknown".to_owned(), |at| at.to_string())
}

/// The same to the millisecond, which tells two events apart.
pub(super) fn exact_time(unix_seconds: f64) -> Option<String> {
    if !unix_seconds.is_finite() {
        return None;
    }
    let timestamp = Timestamp::from_millisecond((unix_seconds * 1000.0).round() as i64);
    Some(format!("{:.3}", timestamp.ok()?))
}

/// A number: whole ones in full, others with as many digits as it takes to tell them apart.
pub(super) fn number(value: f64) -> String {
    if value.is_finite() {
        return value.to_string();
    }
    let mut out = Vec::new();
    format_float(value, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// A number for programs; those that JSON has no place for are text.
pub(super) fn json_number(value: f64) -> Json {
    match serde_json::Number::from_f64(value) {
        Some(number) => Json::Number(number),
        None => Json::String(number(value)),
    }
}

/// Rows of cells as lines with aligned columns. `right` says of each column whether its cells are numbers.
pub(super) fn table(rows: &[Vec<String>], right: &[bool]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..right.len()).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, width), is_right) in row.iter().zip(&widths).zip(right) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let blanks = " ".repeat(width - cell.chars().count());
            let (before, behind) = if *is_right {
                (blanks.as_str(), "")
            } else {
                ("", blanks.as_str())
            };
            line.push_str(before);
            line.push_str(cell);
            line.push_str(behind);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_utc_and_numbers_as_on_a_page() {
        assert_eq!(time(1_700_000_000.4), "2023-11-14T22:13:20Z");
        assert_eq!(
            exact_time(1_700_000_000.25).unwrap(),
            "2023-11-14T22:13:20.250Z"
        );
        assert_eq!(time(1_700_000_000.9), "2023-11-14T22:13:20Z");
        assert_eq!(time(f64::NAN), "unknown");
        assert_eq!(time(1e300), "unknown");
        assert_eq!(json_number(f64::INFINITY), Json::String("+Inf".into()));
        assert_eq!(json_number(0.5).to_string(), "0.5");
        assert_eq!(
            [1_234_567.0, 0.1, -3.0].map(number),
            ["1234567", "0.1", "-3"]
        );
    }

    #[test]
    fn columns_are_aligned_and_lines_end_without_blanks() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["A", "NAME", "X"]), row(["120", "b", ""])];
        assert_eq!(
            table(&rows, &[true, false, false]),
            "  A  NAME  X\n120  b\n"
        );
    }
}
