//! `metricsd render`: merge once, print the merged families, change nothing.
//!
//! Invariant: no lock, no lease, no own metrics; beside a running daemon it is invisible. Must not create anything.

use std::io::{self, Write};

use metricsd_exporter::write_text;
use thiserror::Error;

use crate::collect::{Collector, Locking};
use crate::directory::{DirectoryError, ShardDirectory};
use crate::liveness::Answers;
use crate::serve::announce;
use crate::settings::MergeSettings;

/// Shards that are kept open between readings; there is only one reading.
const DESCRIPTOR_BUDGET: usize = 0;

/// Nothing can be printed. The exit code is 1.
#[derive(Debug, Error)]
pub enum RenderError {
    /// The shard directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
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
    announce(settings);
    let directory = ShardDirectory::open(&settings.directory.path)?;
    let mut collector = Collector::new(
        directory,
        Locking::None,
        settings.policy.clone(),
        DESCRIPTOR_BUDGET,
    );
    let (_, outcome) = collector.collect(&Answers::new());
    outcome?;
    let mut text = Vec::new();
    write_text(collector.families(), &mut text);
    match out.write_all(&text).and_then(|()| out.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(RenderError::Write { source })
        }
        _ => Ok(()),
    }
}
