//! Columns, numbers and times as a person reads them.
//!
//! Invariant: numbers are spelled exactly, as in the exposition; every cell is one line. Pure.

use jiff::Timestamp;
use metricsd_exporter::format_float;

use program::terminal::printable;

/// Rows with each column as wide as its widest cell; two blanks between, and before the first.
pub(super) fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| printable(cell)).collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let padded: Vec<String> = cells
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        format!("  {}", padded.join("  ")).trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A row of texts.
pub(super) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).into()
}

/// How much is not shown, if anything.
pub(super) fn left_out(count: usize, what: &str) -> Option<String> {
    (count > 0).then(|| format!("  ... {count} more {what} (--limit 0 shows all)"))
}

/// As in the exposition.
pub(super) fn number(value: f64) -> String {
    let mut text = Vec::new();
    format_float(value, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// RFC 3339, UTC; the number itself if it is no time.
pub(super) fn time(unix_seconds: f64) -> String {
    let milliseconds = unix_seconds * 1e3;
    let in_range = milliseconds.abs() < 1e15;
    let time = in_range
        .then(|| Timestamp::from_millisecond(milliseconds as i64).ok())
        .flatten();
    time.map_or_else(|| number(unix_seconds), |time| format!("{time:.3}"))
}

/// Bytes as lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `name{label="value"}` of a key; the bytes themselves if they are none.
pub(super) fn series(key: &[u8]) -> String {
    let Ok(key) = metricsd_shard::Key::parse(key) else {
        return String::from_utf8_lossy(key).into_owned();
    };
    if key.labels.is_empty() {
        return key.sample;
    }
    let pairs: Vec<String> = key
        .labels
        .iter()
        .map(|(label, value)| format!("{label}={value:?}"))
        .collect();
    format!("{}{{{}}}", key.sample, pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_cells_stay_on_their_line() {
        let rows = [row(["a", "long", "x"]), row(["bb", "c\n\u{1b}", "y"])];
        assert_eq!(
            aligned(&rows),
            ["  a   long       x", "  bb  c\\n\\u{1b}  y"]
        );
    }

    #[test]
    fn times_that_are_none_stay_numbers() {
        assert_eq!(time(1.5), "1970-01-01T00:00:01.500Z");
        for value in [f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(time(value), number(value));
        }
    }
}
