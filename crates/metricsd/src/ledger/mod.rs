//! `metricsd ledger`: what totals are made of. `metricsd ledger reset`: the one way to start from zero.
//!
//! Invariant: the ledger itself reads and changes nothing, takes no lock and no lease, and shows the totals of one moment, as
//! `render` does. What it prints of a total adds up to that total exactly. A reset is the business of [`reset`] alone.

mod account;
mod json;
mod page;
pub mod reset;
pub mod selection;
mod shown;
mod text;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use self::account::{Account, Part, Source};
use self::page::for_each_sample;
use self::selection::Selection;
use crate::archive::State;
use crate::clock::unix_now;
use crate::render::{Observed, RenderError, observe};
use crate::retention::{DURATION_ACCEPTED, parse_duration};
use crate::settings::MergeSettings;

/// What is asked of the ledger.
#[derive(Debug, Clone)]
pub struct Query {
    /// Which totals.
    pub selection: Selection,
    /// Absorptions before it are not shown one by one.
    pub since: Option<Since>,
    /// So many absorptions are shown at most, the newest; 0: all.
    pub limit: usize,
    /// For programs.
    pub is_json: bool,
}

/// From when on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Since {
    /// So long ago.
    Ago(Duration),
    /// Unix seconds.
    At(f64),
}

/// The ledger cannot be shown. The exit code is 1.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// Shards or state cannot be read.
    #[error(transparent)]
    Read(#[from] RenderError),
    /// Nothing has this name.
    #[error("{asked}: no such {what} is served; `metricsd render` prints all that are")]
    NoSuch {
        /// What was asked about.
        asked: String,
        /// A series or a family.
        what: &'static str,
    },
    /// Its values are not added up.
    #[error("{asked}: a gauge, which is not added up; counters, histograms and summaries are")]
    Gauge {
        /// What was asked about.
        asked: String,
    },
    /// The output cannot be written.
    #[error("cannot write the ledger out")]
    Write {
        /// The system's error.
        source: io::Error,
    },
    /// A total is not what a scrape shows.
    #[error(
        "{count} of the totals are not what a scrape shows; series that are refused by a limit or lost a conflict are the harmless reason"
    )]
    DoesNotAddUp {
        /// How many.
        count: usize,
    },
}

/// What is shown: an account, and where and when it was taken.
#[derive(Debug)]
struct View<'a> {
    state_directory: PathBuf,
    shard_directory: PathBuf,
    sequence: Option<u64>,
    taken_at_unix_seconds: f64,
    state: Option<&'a State>,
    account: Account<'a>,
    /// Positions of the absorptions that are shown one by one, ascending.
    listed: Vec<usize>,
    query: &'a Query,
}

impl Since {
    /// Reads a duration or a time.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Since, String> {
        if let Some(ago) = parse_duration(text) {
            return Ok(Since::Ago(ago));
        }
        let time: Timestamp = text.parse().map_err(|_| {
            format!("accepted is {DURATION_ACCEPTED}, or a time such as 2026-01-31T12:00:00Z")
        })?;
        Ok(Since::At(time.as_millisecond() as f64 / 1000.0))
    }

    fn unix_seconds(self, now_unix_seconds: f64) -> f64 {
        match self {
            Since::Ago(ago) => now_unix_seconds - ago.as_secs_f64(),
            Since::At(at) => at,
        }
    }
}

/// Writes what is asked for to `out`.
///
/// # Errors
/// Shards or state cannot be read, what is asked about is not there, the output cannot be written. After everything was written: a
/// total is not what a scrape shows. A reader that has seen enough and left is no error.
pub fn ledger(
    settings: &MergeSettings,
    query: &Query,
    out: &mut dyn Write,
) -> Result<(), LedgerError> {
    let observed = observe(settings)?;
    let state = observed.state.as_deref().map(read);
    let account = take(&observed, state.as_deref(), settings, &query.selection)?;
    let now = unix_now();
    let view = View {
        state_directory: settings.state.path.clone(),
        shard_directory: settings.directory.path.clone(),
        sequence: observed.sequence,
        taken_at_unix_seconds: now,
        state: state.as_deref(),
        listed: listed(&account, query, now),
        account,
        query,
    };
    let shown = match query.is_json {
        true => json::show(&view),
        false => text::show(&view),
    };
    match out.write_all(shown.as_bytes()).and_then(|()| out.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            return Err(LedgerError::Write { source });
        }
        _ => {}
    }
    let totals = view.account.totals.iter();
    match totals.filter(|total| !total.adds_up).count() {
        0 => Ok(()),
        count => Err(LedgerError::DoesNotAddUp { count }),
    }
}

/// The account, if what is asked about is there.
fn take<'a>(
    observed: &Observed,
    state: Option<&'a State>,
    settings: &MergeSettings,
    selection: &Selection,
) -> Result<Account<'a>, LedgerError> {
    let families = observed.collector.families();
    let account = Account::take(
        &observed.collector,
        state,
        families,
        &settings.policy,
        selection,
    );
    let (asked, what) = match selection {
        Selection::Everything => return Ok(account),
        Selection::Family(asked) => (asked.clone(), "family"),
        Selection::Series(series) => (series.text.clone(), "series"),
    };
    let (mut is_gauge, mut is_shown) = (false, false);
    for_each_sample(families, |shown| {
        let is_meant = match selection {
            Selection::Series(series) => shown.is(series),
            _ => shown.name == asked,
        };
        is_gauge |= is_meant && shown.is_gauge;
        is_shown |= is_meant;
    });
    match selection {
        _ if is_gauge && account.totals.is_empty() => Err(LedgerError::Gauge { asked }),
        Selection::Series(_) if !is_shown => Err(LedgerError::NoSuch { asked, what }),
        _ if account.totals.is_empty() => Err(LedgerError::NoSuch { asked, what }),
        _ => Ok(account),
    }
}

/// The parts that are shown one by one: the newest absorptions, as many as are asked for. Of those that added nothing to what is
/// asked about none is.
fn listed(account: &Account<'_>, query: &Query, now_unix_seconds: f64) -> Vec<usize> {
    let since = query
        .since
        .map(|since| since.unix_seconds(now_unix_seconds));
    let is_everything = query.selection == Selection::Everything;
    let is_meant = |part: &Part<'_>| match part.source {
        Source::Absorbed(absorption) => {
            let has_any = part.amounts.values().any(|sum| !sum.is_zero());
            let is_late = since.is_none_or(|since| absorption.at_unix_seconds >= since);
            is_late && (is_everything || has_any)
        }
        Source::Shard(_) | Source::Earlier(_) => false,
    };
    let parts = account.parts.iter().enumerate();
    let absorptions: Vec<usize> = parts
        .filter(|(_, part)| is_meant(part))
        .map(|(at, _)| at)
        .collect();
    let limit = match query.limit {
        0 => usize::MAX,
        limit => limit,
    };
    let skipped = absorptions.len().saturating_sub(limit);
    absorptions[skipped..].to_vec()
}

/// A panic while the state was being changed is a bug, and there is nobody else who changes this one.
fn read(state: &RwLock<State>) -> RwLockReadGuard<'_, State> {
    state.read().unwrap_or_else(PoisonError::into_inner)
}
