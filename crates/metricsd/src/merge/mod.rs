//! Merging: the entries of many shards to one set of families, as Python's `MultiProcessCollector` merges them.
//!
//! Values in, values out. Sources come in canonical order (oldest first), which decides wherever order decides: conflicts,
//! ties, the order of additions. The work is split by how often it has to be done: a [`Catalog`] takes each distinct key apart
//! once, a [`Plan`] says for one set of entries which cell each of them goes to, and [`Plan::merge`] only adds numbers up.
//! `docs/merge-semantics.md` has the rules and every difference from Python.
//!
//! Invariant: equal sources give equal families, whatever was merged before. Must not touch: I/O, the clock, logging.

#[cfg(test)]
mod alike;
mod bound;
mod bounds;
mod catalog;
mod cells;
mod contest;
mod elders;
mod label_set;
mod names;
mod order;
mod output;
mod plan;
mod planner;
mod spelling;
mod sum;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use metricsd_shard::{FileKind, GaugeMode};

pub use catalog::{Catalog, KeyId, Labels};
pub use elders::{Elders, Firsts};
pub use plan::Plan;
pub use spelling::is_plain_key;

use crate::archive::Exact;
use crate::policy::RefusalReason;

/// Entries of one shard, or of what the archive keeps of many, without their values.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Type and gauge mode, from the file's name.
    pub kind: FileKind,
    /// What gauges of the `all` modes show as the label `pid`.
    pub id: &'a str,
    /// The entries in file order; a key may stand there twice.
    pub keys: &'a [KeyId],
    /// As in [`Reading::Values`], at the time of planning: an entry that was never set pushes nobody out. Where it is empty,
    /// every entry counts as set.
    pub timestamps: &'a [f64],
    /// Whether its process lives, which decides about `live*` gauges and nothing else.
    pub standing: Standing,
    /// Keys, ascending, whose entries of gauges are not served: a live process has set those series since (`live*` gauges
    /// alone), or a reset has dropped them. Means nothing while the source is [`Standing::Live`]: whoever continues a file sets its series anew.
    pub discarded: &'a [KeyId],
    /// It was found at start and nobody watched it while it lived, so it pushes the `live*` series of older ended sources out
    /// even if it has ended itself: the daemon would have seen it do that.
    pub is_news: bool,
}

/// Whether the process behind a source lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It does: the `live*` series that it has set are merged without those of ended processes.
    Live,
    /// Nobody can tell: its series push nobody out and are not pushed out.
    Unknown,
    /// It does not.
    Ended {
        /// Its `live*` gauges are not served, whether a live process has them or not (`--dead-gauges`).
        hides_live_gauges: bool,
    },
}

/// What becomes of the entries in [`Findings::superseded`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveFirst {
    /// They are not served. Who shows such a plan has made durable that they are discarded.
    Apply,
    /// They are still served, because that could not be made durable.
    Defer,
}

/// The values of one source, in the order of its keys.
#[derive(Debug, Clone, Copy)]
pub enum Reading<'a> {
    /// As they stand in a file.
    Values {
        /// A value for each key.
        values: &'a [f64],
        /// A timestamp (unix seconds, 0 if never set) for each key, where the source's gauge mode is a most recent one; else
        /// empty.
        timestamps: &'a [f64],
    },
    /// Exact sums: what the archive holds, or what has to be added to the values of a file. Only of kinds that add up.
    Sums {
        /// Where the sums are.
        totals: &'a [Exact],
        /// For each key the index of its sum.
        picks: &'a [u32],
    },
}

/// What planning found that somebody should hear of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Sources that disagree with an older one. Each (source, family, kind) once.
    pub conflicts: Vec<Conflict>,
    /// Entries that are not served.
    pub refusals: Vec<RefusedEntry>,
    /// Entries (source, entry) of `live*` gauges of ended sources that a live source, or a younger one that is news, pushes
    /// out and that are not among the discarded yet. Ascending.
    pub superseded: Vec<(usize, usize)>,
}

impl Findings {
    /// Whether anybody lost because somebody else was there first, so that the order decided.
    pub fn rest_on_order(&self) -> bool {
        let has_lost = |it: &Conflict| matches!(it.kind, ConflictKind::Type | ConflictKind::Mode);
        let is_late =
            |it: &RefusedEntry| matches!(it.reason, RefusalReason::Limit | RefusalReason::BadName);
        self.conflicts.iter().any(has_lost) || self.refusals.iter().any(is_late)
    }
}

/// A source that says something else about a family than the oldest source of that family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Index of the source that lost.
    pub source: usize,
    /// The family as exposed.
    pub family: Arc<str>,
    /// What they disagree about.
    pub kind: ConflictKind,
}

/// The values of the label `kind` of `metricsd_conflicts_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConflictKind {
    /// Two types under one name; the loser's entries are left out.
    Type,
    /// Two help texts; the values of both are merged.
    Help,
    /// Two sets of bucket bounds; merged over the union of both, as Python does.
    Buckets,
    /// Two gauge modes; the loser's entries are left out unless both modes merge alike (`max` and `livemax`).
    Mode,
}

impl ConflictKind {
    /// Every kind, in the order of [`ConflictKind::index`].
    pub const ALL: [ConflictKind; 4] = [
        ConflictKind::Type,
        ConflictKind::Help,
        ConflictKind::Buckets,
        ConflictKind::Mode,
    ];

    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            ConflictKind::Type => "type",
            ConflictKind::Help => "help",
            ConflictKind::Buckets => "buckets",
            ConflictKind::Mode => "mode",
        }
    }

    /// Its place in [`ConflictKind::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// An entry that is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedEntry {
    /// Index of the source.
    pub source: usize,
    /// Index of the entry in it.
    pub entry: usize,
    /// Under which reason it is counted. The key's own refusal, where it has one, says more.
    pub reason: RefusalReason,
}

/// How the values of one series become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    /// Added up.
    Sum,
    /// The smallest; the first one stays unless a later one is strictly smaller.
    Min,
    /// The greatest; the first one stays unless a later one is strictly greater.
    Max,
    /// Not merged: one series for each `pid`, of which the last entry holds.
    All,
    /// That with the strictly greatest timestamp above 0; none has no sample.
    MostRecent,
}

impl Function {
    fn of(kind: FileKind) -> Function {
        match kind {
            FileKind::Gauge(mode) => match mode {
                GaugeMode::All | GaugeMode::LiveAll => Function::All,
                GaugeMode::Min | GaugeMode::LiveMin => Function::Min,
                GaugeMode::Max | GaugeMode::LiveMax => Function::Max,
                GaugeMode::Sum | GaugeMode::LiveSum => Function::Sum,
                GaugeMode::MostRecent | GaugeMode::LiveMostRecent => Function::MostRecent,
            },
            FileKind::Counter
            | FileKind::Summary
            | FileKind::Histogram
            | FileKind::Untyped
            | FileKind::Info
            | FileKind::StateSet
            | FileKind::GaugeHistogram => Function::Sum,
        }
    }
}
