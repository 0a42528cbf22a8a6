//! The names of things: series, shard identities, kinds. What the archive knows of the world outside is what stands here.
//!
//! Invariant: a [`KeyId`] means the same series for as long as the archive exists, and an [`IdentityKey`] the same file,
//! whatever it is called. Pure.

use std::fmt;

use thiserror::Error;

/// Longest identity that is accepted; ours have some 50 bytes.
pub const IDENTITY_LEN_MAX_BYTES: usize = 255;

/// Which file it is, as opaque bytes that the caller makes of file system, inode, birth time, generation and instance. Equal
/// bytes are the same file; a name is no part of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityKey(Box<[u8]>);

/// An identity without bytes, or with too many.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("an identity of {len_bytes} bytes; 1 to {IDENTITY_LEN_MAX_BYTES} are accepted")]
pub struct IdentityError {
    /// How many there were.
    pub len_bytes: usize,
}

impl IdentityKey {
    /// An identity of these bytes.
    ///
    /// # Errors
    /// None, or more than [`IDENTITY_LEN_MAX_BYTES`].
    pub fn new(bytes: &[u8]) -> Result<IdentityKey, IdentityError> {
        match bytes.len() {
            1..=IDENTITY_LEN_MAX_BYTES => Ok(IdentityKey(bytes.into())),
            len_bytes => Err(IdentityError { len_bytes }),
        }
    }

    /// The bytes that it was made of.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityKey(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// Number of a series in this archive: dense, from 0, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

impl KeyId {
    /// For tables that are indexed by series.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A series as a shard names it: what stands before the ID in the file's name, and the JSON key's bytes as they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SeriesKey {
    /// Type, and mode of a gauge.
    pub kind: SeriesKind,
    /// The key's bytes.
    pub raw: Box<[u8]>,
}

/// Type of a series and mode of a gauge, as file names spell them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SeriesKind {
    /// `counter`
    Counter,
    /// `summary`
    Summary,
    /// `histogram`
    Histogram,
    /// `untyped`
    Untyped,
    /// `unknown`
    Unknown,
    /// `info`
    Info,
    /// `stateset`
    StateSet,
    /// `gaugehistogram`
    GaugeHistogram,
    /// `gauge_all`
    GaugeAll,
    /// `gauge_liveall`
    GaugeLiveAll,
    /// `gauge_min`
    GaugeMin,
    /// `gauge_livemin`
    GaugeLiveMin,
    /// `gauge_max`
    GaugeMax,
    /// `gauge_livemax`
    GaugeLiveMax,
    /// `gauge_sum`
    GaugeSum,
    /// `gauge_livesum`
    GaugeLiveSum,
    /// `gauge_mostrecent`
    GaugeMostRecent,
    /// `gauge_livemostrecent`
    GaugeLiveMostRecent,
}

/// How the values of ended processes are kept. The numbers are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fold {
    /// Added up exactly, in the total of the series. Not a gauge.
    Total = 0,
    /// The smallest one.
    Min = 1,
    /// The greatest one.
    Max = 2,
    /// Added up exactly.
    Sum = 3,
    /// The one with the greatest timestamp.
    MostRecent = 4,
    /// Each one by itself: it is shown by itself (`all`) or can be discarded by itself (`live*`).
    Each = 5,
}

impl SeriesKind {
    /// All kinds; the position is the code in files and never changes.
    pub const ALL: [SeriesKind; 18] = [
        SeriesKind::Counter,
        SeriesKind::Summary,
        SeriesKind::Histogram,
        SeriesKind::Untyped,
        SeriesKind::Unknown,
        SeriesKind::Info,
        SeriesKind::StateSet,
        SeriesKind::GaugeHistogram,
        SeriesKind::GaugeAll,
        SeriesKind::GaugeLiveAll,
        SeriesKind::GaugeMin,
        SeriesKind::GaugeLiveMin,
        SeriesKind::GaugeMax,
        SeriesKind::GaugeLiveMax,
        SeriesKind::GaugeSum,
        SeriesKind::GaugeLiveSum,
        SeriesKind::GaugeMostRecent,
        SeriesKind::GaugeLiveMostRecent,
    ];

    /// The spelling in file names, before the ID.
    pub const fn as_str(self) -> &'static str {
        match self {
            SeriesKind::Counter => "counter",
            SeriesKind::Summary => "summary",
            SeriesKind::Histogram => "histogram",
            SeriesKind::Untyped => "untyped",
            SeriesKind::Unknown => "unknown",
            SeriesKind::Info => "info",
            SeriesKind::StateSet => "stateset",
            SeriesKind::GaugeHistogram => "gaugehistogram",
            SeriesKind::GaugeAll => "gauge_all",
            SeriesKind::GaugeLiveAll => "gauge_liveall",
            SeriesKind::GaugeMin => "gauge_min",
            SeriesKind::GaugeLiveMin => "gauge_livemin",
            SeriesKind::GaugeMax => "gauge_max",
            SeriesKind::GaugeLiveMax => "gauge_livemax",
            SeriesKind::GaugeSum => "gauge_sum",
            SeriesKind::GaugeLiveSum => "gauge_livesum",
            SeriesKind::GaugeMostRecent => "gauge_mostrecent",
            SeriesKind::GaugeLiveMostRecent => "gauge_livemostrecent",
        }
    }

    /// The kind that is spelled so.
    pub fn from_name(name: &str) -> Option<SeriesKind> {
        SeriesKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }

    /// The code in files.
    pub(super) fn code(self) -> u8 {
        self as u8
    }

    /// The kind of a code in a file.
    pub(super) fn from_code(code: u8) -> Option<SeriesKind> {
        SeriesKind::ALL.get(usize::from(code)).copied()
    }

    /// How values of ended processes are kept.
    pub fn fold(self) -> Fold {
        match self {
            SeriesKind::GaugeMin => Fold::Min,
            SeriesKind::GaugeMax => Fold::Max,
            SeriesKind::GaugeSum => Fold::Sum,
            SeriesKind::GaugeMostRecent => Fold::MostRecent,
            SeriesKind::GaugeAll => Fold::Each,
            _ if self.is_live_gauge() => Fold::Each,
            _ => Fold::Total,
        }
    }

    /// Whether it is a gauge of any mode.
    pub fn is_gauge(self) -> bool {
        self.fold() != Fold::Total
    }

    /// Whether it is a gauge for which live processes count first.
    pub fn is_live_gauge(self) -> bool {
        matches!(
            self,
            SeriesKind::GaugeLiveAll
                | SeriesKind::GaugeLiveMin
                | SeriesKind::GaugeLiveMax
                | SeriesKind::GaugeLiveSum
                | SeriesKind::GaugeLiveMostRecent
        )
    }

    /// Whether each process is shown by itself, with a `pid` label.
    pub fn is_per_process(self) -> bool {
        matches!(self, SeriesKind::GaugeAll | SeriesKind::GaugeLiveAll)
    }

    /// Whether the value counts only if a timestamp says that it was set.
    pub fn is_most_recent(self) -> bool {
        matches!(
            self,
            SeriesKind::GaugeMostRecent | SeriesKind::GaugeLiveMostRecent
        )
    }
}
