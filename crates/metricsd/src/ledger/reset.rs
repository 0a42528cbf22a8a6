//! `metricsd ledger reset`: every total begins at zero, by one command and on purpose.
//!
//! Invariant: it holds the locks of a daemon while it runs, so that none is beside it; without both nothing is touched. It does at
//! first what a start does, then one step of the books ([`Books::reset_totals`]), which happens wholly or not at all. It
//! removes and renames nothing in the shard directory.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use metricsd_shard::Liveness;
use program::terminal::printable;
use thiserror::Error;

use super::account::{Account, Part, Source};
use super::selection::Selection;
use super::shown::time;
use super::{LedgerError, read, take};
use crate::archive::{Exact, IdentityKey, OpenError, State};
use crate::books::{Books, ResetError};
use crate::clock::unix_now;
use crate::collect::{Collector, Locking, Shard};
use crate::daemon::{Daemon, ReconcileError, SharedBooks, Unreconciled, Work, lock};
use crate::directory::{DirectoryError, ShardDirectory};
use crate::liveness::LivenessWatch;
use crate::policy::Policy;
use crate::render::observe;
use crate::serve::{announce, archive_settings};
use crate::settings::MergeSettings;
use crate::state_directory::{StateDirectory, StateDirectoryError, boot_id};
use crate::telemetry::Telemetry;

/// Names of dropped totals in the ledger; the file that is kept aside has them all.
const DROPPED_LEN_MAX_BYTES: usize = 64 << 10;

/// Totals were not reset. The exit code is 1.
#[derive(Debug, Error)]
pub enum ResetFailed {
    /// The shard directory cannot be used, or a daemon serves it.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The state directory cannot be used, or a daemon uses it.
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
    /// The system gives no thread or descriptor.
    #[error("cannot start {what}")]
    System {
        /// What could not be started.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// What is known and what is there cannot be brought together.
    #[error("{}: no total was changed", .path.display())]
    Reconcile {
        /// The state directory.
        path: PathBuf,
        /// Why.
        source: ReconcileError,
    },
    /// Nobody knows what a shard holds, so it could not be dropped.
    #[error("{}: cannot be read, so what it holds cannot be dropped; no total was changed: make it readable, or move it away", .path.display())]
    Unread {
        /// The shard.
        path: PathBuf,
    },
    /// The state cannot be written.
    #[error("{}: the reset cannot be written; `metricsd ledger` tells whether it happened, in part it cannot have", .path.display())]
    Books {
        /// The state directory.
        path: PathBuf,
        /// Why.
        source: ResetError,
    },
    /// The output cannot be written; the reset happened.
    #[error("the totals were reset, but that cannot be written out")]
    Write {
        /// The system's error.
        source: io::Error,
    },
}

/// What a reset would drop, for whoever has to confirm it.
///
/// # Errors
/// Shards or state cannot be read.
pub fn what_is_lost(settings: &MergeSettings) -> Result<String, LedgerError> {
    let observed = observe(settings)?;
    let state = observed.state.as_deref().map(read);
    let account = take(
        &observed,
        state.as_deref(),
        settings,
        &Selection::Everything,
    )?;
    Ok(summary(&account, state.as_deref()))
}

fn summary(account: &Account<'_>, state: Option<&State>) -> String {
    let absorbed = state.map_or(0, |state| state.ledger().absorbed_count());
    let is_shard = |part: &&Part<'_>| matches!(part.source, Source::Shard(_));
    let shards = account.parts.iter().filter(is_shard).count();
    let since = account
        .since_unix_seconds
        .map_or_else(String::new, |since| {
            format!(" counted since {},", time(since))
        });
    format!(
        "{} series,{since} made of {absorbed} absorbed shards of ended processes and {shards} shards that are there",
        account.series_count
    )
}

/// Sets all totals to zero, and says on `out` what was dropped and where the state of before is.
///
/// # Errors
/// A daemon runs, or a directory cannot be used: nothing was touched. The state cannot be written.
pub fn reset(settings: &MergeSettings, out: &mut dyn Write) -> Result<(), ResetFailed> {
    announce(settings);
    let path = settings.state.path.clone();
    // A path that was mistyped is not to be made.
    let directory = ShardDirectory::open(&settings.directory.path)?;
    directory.lock()?;
    let state = StateDirectory::create(&path, &directory)?;
    state.lock()?;
    let system = |what| move |source| ResetFailed::System { what, source };
    let liveness = LivenessWatch::start().map_err(system("the liveness thread"))?;
    let disk = state
        .disk()
        .map_err(system("reading the state directory"))?;
    let opened = Books::open(disk, archive_settings(&state), &boot_id(), unix_now());
    let (books, report) = opened.map_err(|source| ResetFailed::State {
        path: path.clone(),
        source,
    })?;
    for loss in &report.losses {
        tracing::error!(%loss, "the state was damaged; what the other records say stands");
    }
    let telemetry = Telemetry::new(Vec::new(), directory.path(), "open");
    let collector = Collector::new(directory, Locking::Exclusive, settings.policy.clone(), 0)
        .with_state(books.shared_state());
    let books: SharedBooks = Arc::new(Mutex::new(books));
    let daemon = Daemon::new(
        collector,
        Arc::new(liveness),
        &books,
        settings.dead_gauges,
        telemetry,
    );
    let known = Unreconciled {
        lost_power: report.may_have_lost_power(),
        follows_a_run: report.previous.is_some(),
    };
    let mut work = daemon.work();
    let found = work.reconcile(known, unix_now());
    found.map_err(|source| ResetFailed::Reconcile {
        path: path.clone(),
        source,
    })?;
    let unread = work.collector.shards().iter().find(|it| it.is_unread());
    if let Some(shard) = unread {
        let path = settings.directory.path.join(shard.file_name());
        return Err(ResetFailed::Unread { path });
    }
    let refused = work.collector.refused_names().count();
    if refused > 0 {
        tracing::warn!(
            refused,
            "files with names of shards cannot be served; one that can be later counts with all that it holds"
        );
    }
    let books_failed = |source| ResetFailed::Books {
        path: path.clone(),
        source,
    };
    let done = reset_books(&work, &books, &settings.policy).map_err(books_failed)?;
    drop(work);
    drop(daemon);
    close(books);
    match say(settings, &done, out) {
        // Who read the first line and left has seen that it happened.
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(ResetFailed::Write { source })
        }
        _ => Ok(()),
    }
}

/// What was done.
struct Done {
    summary: String,
    kept: String,
    at_unix_seconds: f64,
}

fn reset_books(work: &Work, books: &SharedBooks, policy: &Policy) -> Result<Done, ResetError> {
    let mut books = lock(books);
    books.sync()?;
    let shared = books.shared_state();
    let (summary, dropped) = {
        let state = read(&shared);
        let collector = &work.collector;
        let everything = &Selection::Everything;
        let account = Account::take(collector, Some(&state), &[], policy, everything);
        (summary(&account, Some(&state)), dropped(account))
    };
    let answers = work.liveness.answers();
    let is_idle = |shard: &&Shard| {
        let answer = answers.get(&shard.identity());
        answer.is_some_and(|answer| answer.liveness == Liveness::Idle)
    };
    let shards = work.collector.shards().iter().filter(is_idle);
    let ended: HashSet<IdentityKey> = shards.map(|shard| shard.identity_key().clone()).collect();
    let now = unix_now();
    let kept = work.collector.sight_all(
        |_| true,
        |present| books.reset_totals(present, |identity| ended.contains(identity), dropped, now),
    )?;
    // The journal becomes short by it, that is all.
    if let Err(err) = books.checkpoint(now) {
        tracing::warn!(error = %err, "the checkpoint after the reset cannot be written");
    }
    Ok(Done {
        summary,
        kept,
        at_unix_seconds: now,
    })
}

/// By name, as far as there is room for them.
fn dropped(account: Account<'_>) -> Vec<(Box<str>, Exact)> {
    let totals = account.totals.into_iter();
    let mut dropped: Vec<(Box<str>, Exact)> =
        totals.map(|total| (total.name.into(), total.sum)).collect();
    dropped.sort_by(|(left, _), (right, _)| left.cmp(right));
    let mut len_bytes = 0;
    dropped.retain(|(name, _)| {
        len_bytes += name.len();
        len_bytes <= DROPPED_LEN_MAX_BYTES
    });
    dropped
}

/// The next start finds that nothing is missing.
fn close(books: SharedBooks) {
    let Some(books) = Arc::into_inner(books) else {
        return;
    };
    let books = books.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Err(err) = books.close(unix_now()) {
        tracing::warn!(error = %err, "the end of the reset cannot be written; the next start takes it for a crash, and loses nothing by it");
    }
}

fn say(settings: &MergeSettings, done: &Done, out: &mut dyn Write) -> io::Result<()> {
    let state = printable(&settings.state.path.display().to_string());
    let sequence = done.kept.trim_start_matches("before-reset-");
    let checkpoint = format!("checkpoint-{}.bin", sequence.trim_end_matches(".backup"));
    writeln!(
        out,
        "all totals begin at zero since {}; dropped were {}",
        time(done.at_unix_seconds),
        done.summary
    )?;
    writeln!(out, "the state of before is kept in {state}/{}", done.kept)?;
    writeln!(
        out,
        "to undo it, with no daemon running: in {state}, move all journal-*.log and checkpoint-*.bin elsewhere, rename {} to {checkpoint}, and start the daemon",
        done.kept
    )?;
    out.flush()
}
