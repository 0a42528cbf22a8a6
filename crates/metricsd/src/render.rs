//! `metricsd render`: merge once, print the merged families, change nothing.
//!
//! Invariant: no lock, no lease, no own metrics; beside a running daemon it is invisible, and it shows the same totals: what the
//! archive held before and after the shards were read is the same, or they are read again. Must not create anything.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use metricsd_exporter::NameFilter;
use thiserror::Error;

use crate::archive::{self, OpenError, State};
use crate::clock::unix_now;
use crate::collect::{Collector, Locking, Terms};
use crate::directory::{DirectoryError, ShardDirectory};
use crate::liveness::Answers;
use crate::serve::announce;
use crate::settings::MergeSettings;
use crate::state_directory::{StateDirectory, StateDirectoryError};

/// Shards that are kept open between readings; there is only one reading.
const DESCRIPTOR_BUDGET: usize = 0;

/// How often the shards are read again because a daemon moved something into the archive meanwhile.
const ATTEMPTS_MAX: usize = 20;

/// Nothing can be printed. The exit code is 1.
#[derive(Debug, Error)]
pub enum RenderError {
    /// The shard directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The state directory cannot be used.
    #[error(transparent)]
    StateDirectory(#[from] StateDirectoryError),
    /// What is in the state directory cannot be used.
    #[error("{}", .path.display())]
    State {
        /// The state directory.
        path: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// A daemon retires shards faster than they are read.
    #[error("{}: a daemon moved something into the archive during each of {ATTEMPTS_MAX} attempts; try again", .path.display())]
    Moving {
        /// The state directory.
        path: PathBuf,
    },
    /// The output cannot be written.
    #[error("cannot write the families out")]
    Write {
        /// The system's error.
        source: io::Error,
    },
}

/// Writes the merged families to `out` as text 0.0.4.
///
/// # Errors
/// The directory is missing or cannot be read; the output cannot be written. A reader that has seen enough and left is none.
pub fn render(settings: &MergeSettings, out: &mut dyn Write) -> Result<(), RenderError> {
    let mut observed = observe(settings)?;
    let mut text = Vec::new();
    observed.collector.write_text(&NameFilter::all(), &mut text);
    print(&text, out)
}

/// Shards and archive of one moment, merged.
#[derive(Debug)]
pub(crate) struct Observed {
    /// Has read and merged once.
    pub(crate) collector: Collector,
    /// What the archive knew, with shards that are gone taken for missing; none if there is no archive.
    pub(crate) state: Option<Arc<RwLock<State>>>,
    /// Number of its last record.
    pub(crate) sequence: Option<u64>,
}

/// Reads shards and archive, again if the archive moved meanwhile. Changes nothing.
///
/// # Errors
/// The directory is missing or cannot be read; a daemon is faster each time.
pub(crate) fn observe(settings: &MergeSettings) -> Result<Observed, RenderError> {
    announce(settings);
    let mut before = load(settings)?;
    for _ in 0..ATTEMPTS_MAX {
        let directory = ShardDirectory::open(&settings.directory.path)?;
        let mut collector = Collector::new(
            directory,
            Locking::None,
            settings.policy.clone(),
            DESCRIPTOR_BUDGET,
        );
        let sequence = before.as_ref().map(|(_, sequence)| *sequence);
        let state = before.map(|(state, _)| Arc::new(RwLock::new(state)));
        if let Some(state) = &state {
            collector = collector.with_state(Arc::clone(state));
        }
        let (mut collected, outcome) = collector.refresh(&Answers::new());
        outcome?;
        let now_unix_seconds = unix_now();
        collector.miss_absent(now_unix_seconds);
        let terms = Terms {
            dead_gauges: settings.dead_gauges,
            now_unix_seconds,
        };
        collector.merge_alone(&mut collected, terms);
        let after = load(settings)?;
        if sequence == after.as_ref().map(|(_, sequence)| *sequence) {
            return Ok(Observed {
                collector,
                state,
                sequence,
            });
        }
        before = after;
    }
    Err(RenderError::Moving {
        path: settings.state.path.clone(),
    })
}

/// What the archive knows, with the number of its last record; none if there is no archive.
fn load(settings: &MergeSettings) -> Result<Option<(State, u64)>, RenderError> {
    let path = &settings.state.path;
    let shards = ShardDirectory::open(&settings.directory.path)?;
    let directory = match StateDirectory::open(path, &shards) {
        Ok(directory) => directory,
        Err(StateDirectoryError::Missing { .. }) => return Ok(None),
        Err(err) => return Err(err.into()),
    };
    let failed = |source| RenderError::State {
        path: path.clone(),
        source,
    };
    let disk = directory
        .disk()
        .map_err(|source| StateDirectoryError::Read {
            path: path.clone(),
            source,
        })?;
    let (state, report) = archive::load(&disk).map_err(failed)?;
    for loss in &report.losses {
        tracing::warn!(%loss, "the state was damaged; what the other records say stands");
    }
    Ok(Some((state, report.last_sequence)))
}

fn print(text: &[u8], out: &mut dyn Write) -> Result<(), RenderError> {
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(RenderError::Write { source })
        }
        _ => Ok(()),
    }
}
