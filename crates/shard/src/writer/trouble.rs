//! What is wrong with a writer's files, and what the log is told of it: each cause once.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::name::WriterId;

use super::file::WriteError;

/// A cause that comes, goes and comes again is told at most this often.
const SAME_CAUSE_QUIET: Duration = Duration::from_secs(60);

/// What the log is told.
#[derive(Debug)]
pub(super) enum Message {
    Degraded {
        reason: String,
    },
    Deleted {
        dir: PathBuf,
        id: WriterId,
    },
    CutShort {
        path: PathBuf,
        id: WriterId,
    },
    Recovered {
        dir: PathBuf,
        id: WriterId,
        moved: usize,
        since: SystemTime,
        lasted: Duration,
    },
    NoThread {
        reason: String,
    },
}

impl Message {
    pub(super) fn log(self) {
        match self {
            Message::Degraded { reason } => tracing::warn!(
                reason,
                "metrics are recorded into memory and would be lost with this process; trying again every second"
            ),
            Message::Deleted { dir, id } => tracing::warn!(
                dir = %dir.display(),
                %id,
                "metrics shards were deleted; this process goes on in new ones, counters from zero"
            ),
            Message::CutShort { path, id } => tracing::warn!(
                path = %path.display(),
                %id,
                "a metrics shard was cut short or overwritten by somebody else; what was counted in the missing part is lost, \
                 and this process goes on in a new shard"
            ),
            Message::Recovered {
                dir,
                id,
                moved,
                since,
                lasted,
            } => tracing::info!(
                dir = %dir.display(),
                %id,
                moved,
                since_unix_seconds = unix_seconds(since),
                degraded_seconds = lasted.as_secs_f64(),
                "metrics are recorded into shards again; the values in memory were carried over"
            ),
            Message::NoThread { reason } => tracing::warn!(
                reason,
                "metrics shards are not looked after; trying again with the next new series"
            ),
        }
    }
}

/// Something that does not work at the moment, or not.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    now: Option<Cause>,
    told: Option<(String, Instant)>,
}

#[derive(Debug)]
struct Cause {
    reason: String,
    is_final: bool,
}

impl Trouble {
    /// Notes the cause, and has the log told unless it was.
    pub(super) fn note(&mut self, error: &WriteError, messages: &mut Vec<Message>) {
        let reason = with_sources(error);
        let is_told = self.told.as_ref().is_some_and(|(told, when)| {
            *told == reason && (self.now.is_some() || when.elapsed() < SAME_CAUSE_QUIET)
        });
        if !is_told {
            self.told = Some((reason.clone(), Instant::now()));
            messages.push(Message::Degraded {
                reason: reason.clone(),
            });
        }
        self.now = Some(Cause {
            reason,
            is_final: error.is_final(),
        });
    }

    /// Notes the cause, of which the log is told by somebody else.
    pub(super) fn note_quietly(&mut self, error: &WriteError) {
        self.now = Some(Cause {
            reason: with_sources(error),
            is_final: error.is_final(),
        });
    }

    pub(super) fn clear(&mut self) {
        self.now = None;
    }

    pub(super) fn is_some(&self) -> bool {
        self.now.is_some()
    }

    /// Whether trying again is no use.
    pub(super) fn is_final(&self) -> bool {
        self.now.as_ref().is_some_and(|cause| cause.is_final)
    }

    pub(super) fn reason(&self) -> Option<&str> {
        self.now.as_ref().map(|cause| cause.reason.as_str())
    }
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

fn with_sources(error: &WriteError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
