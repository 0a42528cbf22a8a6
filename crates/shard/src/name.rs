//! File names of shards: `counter_ID.db`, `gauge_MODE_ID.db`, and what such a file is called while it is retired. Pure.
//!
//! Invariant: a name that parses is spelled by [`ShardName::file_name`] exactly as it was read (`unknown_` becomes `untyped_`).

mod retiring;
mod writer_id;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

pub use retiring::{original_of_retiring, retiring_file_name};
pub use writer_id::{Instance, WriterId, WriterIdError};

/// How a gauge's values of several processes become one. The names are Python's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GaugeMode {
    /// Each process's value, told apart by the label `pid`.
    All,
    /// As `all`, live processes only.
    LiveAll,
    /// The smallest value.
    Min,
    /// The smallest value of live processes.
    LiveMin,
    /// The greatest value.
    Max,
    /// The greatest value of live processes.
    LiveMax,
    /// The sum.
    Sum,
    /// The sum over live processes.
    LiveSum,
    /// The value that was set last.
    MostRecent,
    /// The value that was set last by a live process.
    LiveMostRecent,
}

impl GaugeMode {
    /// All ten modes.
    pub const ALL: [GaugeMode; 10] = [
        GaugeMode::All,
        GaugeMode::LiveAll,
        GaugeMode::Min,
        GaugeMode::LiveMin,
        GaugeMode::Max,
        GaugeMode::LiveMax,
        GaugeMode::Sum,
        GaugeMode::LiveSum,
        GaugeMode::MostRecent,
        GaugeMode::LiveMostRecent,
    ];

    /// The spelling in file names.
    pub const fn as_str(self) -> &'static str {
        match self {
            GaugeMode::All => "all",
            GaugeMode::LiveAll => "liveall",
            GaugeMode::Min => "min",
            GaugeMode::LiveMin => "livemin",
            GaugeMode::Max => "max",
            GaugeMode::LiveMax => "livemax",
            GaugeMode::Sum => "sum",
            GaugeMode::LiveSum => "livesum",
            GaugeMode::MostRecent => "mostrecent",
            GaugeMode::LiveMostRecent => "livemostrecent",
        }
    }

    /// Whether only live processes count.
    pub const fn is_live(self) -> bool {
        matches!(
            self,
            GaugeMode::LiveAll
                | GaugeMode::LiveMin
                | GaugeMode::LiveMax
                | GaugeMode::LiveSum
                | GaugeMode::LiveMostRecent
        )
    }
}

impl fmt::Display for GaugeMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for GaugeMode {
    type Err = NameError;

    fn from_str(text: &str) -> Result<GaugeMode, NameError> {
        GaugeMode::ALL
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| NameError::GaugeMode {
                found: text.to_owned(),
            })
    }
}

/// What the entries of a file are: the first part of its name, and for gauges the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileKind {
    /// `counter_`
    Counter,
    /// `summary_`
    Summary,
    /// `histogram_`
    Histogram,
    /// `gauge_MODE_`
    Gauge(GaugeMode),
    /// `untyped_` and `unknown_`; we spell it `untyped`.
    Untyped,
    /// `info_`
    Info,
    /// `stateset_`
    StateSet,
    /// `gaugehistogram_`
    GaugeHistogram,
}

/// A shard's file name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardName {
    /// Type and gauge mode.
    pub kind: FileKind,
    /// Who writes it: Python's pid, or `PID-INSTANCE` for our writer. Of the modes `all` and `liveall` it is the value of the
    /// label `pid`. (Python cuts an ID with an underscore in it there: `web_7` becomes an empty label. Ours stays whole.)
    pub id: String,
}

impl ShardName {
    /// Takes a file name (no directory) apart as Python's reader does.
    ///
    /// # Errors
    /// [`NameError::NotAShard`] for anything Python would not list either; the others for what makes Python's scrape fail.
    pub fn parse(file_name: &str) -> Result<ShardName, NameError> {
        if file_name.starts_with('.') {
            return Err(NameError::NotAShard);
        }
        let stem = file_name.strip_suffix(".db").ok_or(NameError::NotAShard)?;
        let bad_type = |found: &str| NameError::Type {
            found: found.to_owned(),
        };
        let (prefix, rest) = stem.split_once('_').ok_or_else(|| bad_type(stem))?;
        let kind = match prefix {
            "counter" => FileKind::Counter,
            "summary" => FileKind::Summary,
            "histogram" => FileKind::Histogram,
            "gauge" => {
                let (mode, id) = rest.split_once('_').ok_or(NameError::NoGaugeMode)?;
                return Ok(ShardName {
                    kind: FileKind::Gauge(mode.parse()?),
                    id: id.to_owned(),
                });
            }
            "untyped" | "unknown" => FileKind::Untyped,
            "info" => FileKind::Info,
            "stateset" => FileKind::StateSet,
            "gaugehistogram" => FileKind::GaugeHistogram,
            other => return Err(bad_type(other)),
        };
        Ok(ShardName {
            kind,
            id: rest.to_owned(),
        })
    }

    /// The file name.
    pub fn file_name(&self) -> String {
        let id = &self.id;
        match self.kind {
            FileKind::Counter => format!("counter_{id}.db"),
            FileKind::Summary => format!("summary_{id}.db"),
            FileKind::Histogram => format!("histogram_{id}.db"),
            FileKind::Gauge(mode) => format!("gauge_{mode}_{id}.db"),
            FileKind::Untyped => format!("untyped_{id}.db"),
            FileKind::Info => format!("info_{id}.db"),
            FileKind::StateSet => format!("stateset_{id}.db"),
            FileKind::GaugeHistogram => format!("gaugehistogram_{id}.db"),
        }
    }

    /// Process and instance, when our own writer made the file; none for Python's.
    pub fn writer_id(&self) -> Option<WriterId> {
        self.id.parse().ok()
    }
}

/// A file name that is no shard's, or not one that can be served.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Not a shard at all: no `.db` at the end, or a dot at the start. Nothing to report.
    #[error("not a shard: its name does not end in .db or begins with a dot")]
    NotAShard,
    /// The part before the first `_` is no type.
    #[error(
        "unknown metric type {found:?} before the first `_`; accepted are counter, gauge, histogram, summary, untyped, unknown, info, stateset, gaugehistogram"
    )]
    Type {
        /// What stands there.
        found: String,
    },
    /// A gauge whose name has no mode.
    #[error("a gauge without a mode in its name; expected gauge_MODE_ID.db")]
    NoGaugeMode,
    /// A gauge whose mode does not exist.
    #[error(
        "unknown gauge mode {found:?}; accepted are all, liveall, min, livemin, max, livemax, sum, livesum, mostrecent, livemostrecent"
    )]
    GaugeMode {
        /// What stands there.
        found: String,
    },
}

impl NameError {
    /// The word for the metric of unreadable shards; none when the file is no shard at all.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            NameError::NotAShard => None,
            NameError::Type { .. } | NameError::NoGaugeMode | NameError::GaugeMode { .. } => {
                Some("bad_type")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_kind_parse_and_are_spelled_as_before() {
        let mut names: Vec<String> = [
            "counter_1.db",
            "summary_1.db",
            "histogram_web_7.db",
            "untyped_.db",
            "info_1.db",
            "stateset_1.db",
            "gaugehistogram_1.db",
        ]
        .map(str::to_owned)
        .into();
        names.extend(GaugeMode::ALL.map(|mode| format!("gauge_{mode}_77-x.db")));
        for name in names {
            assert_eq!(ShardName::parse(&name).unwrap().file_name(), name);
        }
        assert_eq!(
            ShardName::parse("unknown_1.db").unwrap().kind,
            FileKind::Untyped
        );
        assert_eq!(ShardName::parse("gauge_all_web_7.db").unwrap().id, "web_7");
    }

    #[test]
    fn what_python_does_not_list_is_no_shard_and_what_it_chokes_on_is_a_bad_type() {
        for name in [
            "",
            "counter_1",
            ".counter_1.db",
            "process_1.json",
            "counter_1.db.retiring-0f",
            "counter_1.DB",
        ] {
            assert_eq!(ShardName::parse(name), Err(NameError::NotAShard), "{name}");
        }
        for name in [
            ".db",
            "counter.db",
            "timer_1.db",
            "gauge_1.db",
            "gauge_all.db",
            "gauge_newest_1.db",
            "_1.db",
            "Counter_1.db",
        ] {
            let error = ShardName::parse(name);
            let expected = if name == ".db" {
                None
            } else {
                Some("bad_type")
            };
            assert_eq!(error.unwrap_err().reason(), expected, "{name}");
        }
    }

    #[test]
    fn live_modes_are_those_that_python_removes_with_a_dead_process() {
        for mode in GaugeMode::ALL {
            assert_eq!(mode.is_live(), mode.as_str().starts_with("live"), "{mode}");
            assert_eq!(mode.as_str().parse(), Ok(mode));
        }
    }
}
