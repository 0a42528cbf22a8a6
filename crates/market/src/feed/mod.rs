//! Where candles come from. Invariant: a feed is complete in memory before the first candle is handed out, so a malformed file
//! fails a start and never a session that already trades.

mod fields;
mod recorded;
mod synthetic;
mod time;

use std::io;
use std::path::{Path, PathBuf};

use crate::candle::Candle;
use crate::instrument::{Instrument, Symbol};
use crate::sequence::Defect;
use crate::timeframe::{Timeframe, UnknownTimeframe};

pub use synthetic::SYNTHETIC_BAR_COUNT;

/// One bar of a feed, in the feed's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// A consistent candle.
    Candle(Candle),
    /// A bar that is there but cannot be used.
    Unusable {
        /// Unix seconds of its opening.
        open_time: i64,
        /// `NonFinite` or `OhlcViolation`.
        defect: Defect,
    },
}

impl Row {
    /// Unix seconds of the bar's opening.
    pub fn open_time(&self) -> i64 {
        match self {
            Row::Candle(candle) => candle.open_time,
            Row::Unusable { open_time, .. } => *open_time,
        }
    }
}

/// All bars of a session, and where they are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// For people: `recorded:data/eurusd-1h-2017.csv`, `synthetic:7`.
    pub source: String,
    /// The bars, oldest first if the source is in order (a [`crate::Sequence`] judges that).
    pub rows: Vec<Row>,
    /// Line of each row in its file, from 1; empty where there is no file.
    lines: Vec<u32>,
}

impl Feed {
    /// Read a file of recorded candles and check that it is what the configuration says.
    ///
    /// # Errors
    /// See [`FeedError`]; each names the file.
    pub fn recorded(path: &Path, symbol: &Symbol, timeframe: Timeframe) -> Result<Feed, FeedError> {
        let (rows, lines) = recorded::load(path, symbol, timeframe)?;
        Ok(Feed {
            source: format!("recorded:{}", path.display()),
            rows,
            lines,
        })
    }

    /// Make [`SYNTHETIC_BAR_COUNT`] bars up: a seeded random walk with jumps and clustered volume. The same seed, timeframe and
    /// calendar give the same bars on every machine. Prices have nothing to do with the symbol's.
    pub fn synthetic(seed: u64, instrument: &Instrument, timeframe: Timeframe) -> Feed {
        let candles = synthetic::generate(seed, instrument.calendar, timeframe);
        Feed {
            source: format!("synthetic:{seed}"),
            rows: candles.into_iter().map(Row::Candle).collect(),
            lines: Vec::new(),
        }
    }

    /// The line of that row (from 0) in the feed's file, from 1; `None` if it is from no file.
    pub fn line_of(&self, row: usize) -> Option<u32> {
        self.lines.get(row).copied()
    }
}

/// Why a file is no feed. Lines and columns count from 1.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// It cannot be opened or read.
    #[error("{}: cannot read the candle file", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A directory, a pipe, or too large.
    #[error("{}: {found}; expected a regular file of at most {} MiB", .path.display(), recorded::FILE_LEN_MAX_BYTES >> 20)]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// The header does not name all six columns once each.
    #[error("{}: line {line}: found the header `{found}`, expected the columns {} in any order; {problem}", .path.display(), recorded::column_names())]
    Header {
        /// The file.
        path: PathBuf,
        /// The header's line, or the line after the last if there is none.
        line: usize,
        /// The header as it is.
        found: String,
        /// The column that is missing or there twice.
        problem: String,
    },
    /// A row has another number of fields than the header, or is no text.
    #[error("{}: line {line}: found {found}, expected {expected}", .path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row's line.
        line: usize,
        /// What is there.
        found: String,
        /// What belongs there.
        expected: String,
    },
    /// A field is not what its column holds.
    #[error("{}: line {line}, column {column} ({name}): found `{found}`, expected {expected}", .path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The row's line.
        line: usize,
        /// The field's position in the row.
        column: usize,
        /// The column's name.
        name: &'static str,
        /// The field.
        found: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// A comment holds a word that its key does not have.
    #[error("{}: line {line}: {problem}", .path.display())]
    Comment {
        /// The file.
        path: PathBuf,
        /// The comment's line.
        line: usize,
        /// What is wrong with it, and what is accepted.
        problem: UnknownTimeframe,
    },
    /// The file says one timeframe, and its bars lie otherwise. No configuration helps: the file is wrong.
    #[error("{}: line {line}: says bars of {stated}, but the bars are {found} apart; accepted: a comment that is true, or none", .path.display())]
    Spacing {
        /// The file.
        path: PathBuf,
        /// The comment's line.
        line: usize,
        /// What the comment says.
        stated: Timeframe,
        /// The spacing, as a timeframe or in seconds.
        found: String,
    },
    /// A header, but no candle.
    #[error("{}: holds no candles", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file says it is of another symbol.
    #[error("{}: holds {found}, but the session is to trade {wanted}; accepted: {found}", .path.display())]
    SymbolMismatch {
        /// The file.
        path: PathBuf,
        /// What the file says.
        found: Symbol,
        /// What the configuration says.
        wanted: Symbol,
    },
    /// The file says, or its spacing shows, that its bars are of another length.
    #[error("{}: holds bars of {found}, but the session is to trade bars of {wanted}; accepted: {found}", .path.display())]
    TimeframeMismatch {
        /// The file.
        path: PathBuf,
        /// The file's timeframe, or its spacing in seconds when that is none of ours.
        found: String,
        /// What the configuration says.
        wanted: Timeframe,
    },
}
