//! The program: prepare, run the loop, end.
//!
//! Invariant: everything that can be wrong with a start is found before the first candle and ends the program with one sentence; once
//! the loop runs, no fault of disk, directory or daemon stops it. The loop itself is in [`crate::desk`].

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use market::{Admission, Defect, Feed, FeedError, Sequence};
use metricsd_client::Registry;
use program::config::Place;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::cli::Cli;
use crate::config::{Config, FeedChoice, LoadError};
use crate::desk::Desk;
use crate::pace::{Pace, Stop};
use crate::replay::{Replay, unix_seconds_now};
use crate::risk::LimitId;
use crate::run_id::RunId;
use crate::run_log::{RunLog, RunLogError};
use crate::session::Session;
use crate::summary::Summary;
use crate::telemetry::Telemetry;

/// Why a session does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The feed cannot be used.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// The feed is of another symbol, or its bars are of another length. The message is for whoever asked for it.
    #[error("{place}: found `{wanted}`, but {} holds {holds}; accepted: {holds}, or another feed", .feed.display())]
    NotInFeed {
        /// The flag, or file, line and key, that asked.
        place: Place,
        /// What was asked for.
        wanted: String,
        /// The file of candles.
        feed: PathBuf,
        /// What it holds.
        holds: String,
    },
    /// The warm-up would use the whole feed up.
    #[error(
        "{feed}: holds {found} usable candles{defects}, and the warm-up takes {warmup}; accepted: more candles, or a smaller session.warmup_candles"
    )]
    NothingToTrade {
        /// The feed.
        feed: String,
        /// How many it holds.
        found: usize,
        /// How many the warm-up takes.
        warmup: usize,
        /// What became of the others, in brackets behind a blank, or nothing.
        defects: String,
    },
    /// The run's folder exists.
    #[error(transparent)]
    RunLog(RunLogError),
    /// Somebody named a folder for run logs that cannot be one.
    #[error("{place}: found `{}`, accepted: a folder that can be made or written to", .dir.display())]
    RunLogDir {
        /// The flag, or file, line and key.
        place: Place,
        /// The folder.
        dir: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Signals cannot be watched.
    #[error("signals cannot be watched")]
    Signals(#[source] io::Error),
    /// The result is lost; the session itself went well.
    #[error("standard output cannot be written")]
    Output(#[source] io::Error),
}

impl StartError {
    /// 2 where another flag, variable or configuration is needed, else 1.
    pub fn exit_status(&self) -> u8 {
        match self {
            StartError::Load(_) | StartError::NotInFeed { .. } => 2,
            StartError::Feed(_)
            | StartError::NothingToTrade { .. }
            | StartError::RunLog(_)
            | StartError::RunLogDir { .. }
            | StartError::Signals(_)
            | StartError::Output(_) => 1,
        }
    }
}

/// A checked configuration and its feed.
#[derive(Debug)]
pub struct Job {
    /// The configuration.
    pub config: Config,
    /// All candles.
    pub feed: Feed,
    /// The run's name.
    pub run_id: RunId,
}

/// Load and check everything, and change nothing.
///
/// # Errors
/// See [`StartError`].
pub fn prepare(
    cli: &Cli,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Job, StartError> {
    let mut config = Config::load(cli, environment)?;
    let feed = match &config.feed {
        FeedChoice::Recorded(path) => {
            Feed::recorded(path, &config.symbol.value, config.timeframe.value)
                .map_err(|error| said_of_whoever_asked(error, &config))?
        }
        FeedChoice::Synthetic(seed) => {
            Feed::synthetic(*seed, &config.session.instrument, config.timeframe.value)
        }
    };
    refuse_nothing_to_trade(&config, &feed)?;
    let run_id = cli.run_id.clone().unwrap_or_else(|| {
        let now = unix_seconds_now() as i64;
        RunId::generate(
            now,
            config.strategy.as_str(),
            config.symbol.value.as_str(),
            config.timeframe.value.as_str(),
        )
    });
    let facts = [
        ("strategy", config.strategy.as_str()),
        ("symbol", config.symbol.value.as_str()),
        ("timeframe", config.timeframe.value.as_str()),
        ("feed", feed.source.as_str()),
        ("run_id", run_id.as_str()),
    ];
    config.telemetry.labels = facts
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    Ok(Job {
        config,
        feed,
        run_id,
    })
}

/// A file that is whole but holds something else is no fault of the file: the place to change is where the other thing was asked for.
fn said_of_whoever_asked(error: FeedError, config: &Config) -> StartError {
    match error {
        FeedError::SymbolMismatch {
            path,
            found,
            wanted,
        } => StartError::NotInFeed {
            place: config.symbol.place.clone(),
            wanted: wanted.as_str().to_owned(),
            feed: path,
            holds: found.as_str().to_owned(),
        },
        FeedError::TimeframeMismatch {
            path,
            found,
            wanted,
        } => StartError::NotInFeed {
            place: config.timeframe.place.clone(),
            wanted: wanted.to_string(),
            feed: path,
            holds: format!("bars of {found}"),
        },
        error => StartError::Feed(error),
    }
}

/// A feed of which nothing would be left to trade is a mistake, not a session that ended well.
fn refuse_nothing_to_trade(config: &Config, feed: &Feed) -> Result<(), StartError> {
    let now = unix_seconds_now() as i64;
    let mut sequence = Sequence::new(config.timeframe.value, config.session.instrument.calendar);
    let mut found = 0;
    let mut dropped = [(0_usize, None); Defect::ALL.len()];
    for (row, bar) in feed.rows.iter().enumerate() {
        match sequence.admit(bar, now) {
            Admission::Accepted(..) => found += 1,
            Admission::Dropped(defect) => {
                let (count, first) = &mut dropped[defect as usize];
                *count += 1;
                *first = first.or(feed.line_of(row));
            }
        }
    }
    if found > config.warmup_candles {
        return Ok(());
    }
    let words: Vec<String> = Defect::ALL
        .into_iter()
        .zip(dropped)
        .filter(|(_, (count, _))| *count > 0)
        .map(|(defect, (count, first))| {
            let line = first.map_or(String::new(), |line| format!(" from line {line} on"));
            format!("{count} {}{line}", defect.as_str())
        })
        .collect();
    Err(StartError::NothingToTrade {
        feed: feed.source.clone(),
        found,
        warmup: config.warmup_candles,
        defects: if words.is_empty() {
            String::new()
        } else {
            format!(" (dropped: {})", words.join(", "))
        },
    })
}

/// A limit on the order's size holds for the way out too, and a position may have grown a fifth by then.
fn warn_of_a_tight_order_limit(config: &Config) {
    let session = &config.session;
    let entry = session.position_fraction.checked_mul(session.start_balance);
    let needed = entry.and_then(|entry| entry.checked_mul(Decimal::new(12, 1)));
    if let (Some(limit), Some(entry), Some(needed)) = (
        session.limits.limits[LimitId::MaxOrderNotional as usize],
        entry,
        needed,
    ) && limit < needed
    {
        warn!(
            max_order_notional = %limit, first_entry = %entry.normalize(),
            "risk.max_order_notional is below 1.2 x position_fraction x start_balance: it blocks exits too, so a position that grows beyond it is kept"
        );
    }
}

/// Trade the whole feed, or until the duration is over or a signal comes.
///
/// # Errors
/// The run's folder exists already, or somebody named a folder for run logs that cannot be one.
pub fn run(job: &Job, stop: &Stop) -> Result<Summary, StartError> {
    let config = &job.config;
    let begin = Instant::now();
    // The folder first: a run that must not overwrite another one should not leave shards either.
    let (log, log_error) = match open_log(job, begin) {
        Ok(log) => (log, None),
        Err(error) => (None, Some(fault_to_live_with(error, config)?)),
    };
    let session = Session::new(config.session);
    let registry = Registry::start(config.telemetry.clone());
    let telemetry = Telemetry::new(&registry, config.strategy, &session);
    let interval = config.speed.interval(config.timeframe.value);
    let sequence = Sequence::new(config.timeframe.value, config.session.instrument.calendar);
    let replay = Replay::new(
        session,
        sequence,
        &telemetry,
        config.warmup_candles,
        interval,
    );
    let mut desk = Desk::new(replay, &registry, &telemetry, log);
    if let Some(error) = log_error {
        desk.give_up_log(&error);
    }
    info!(
        run_id = job.run_id.as_str(), strategy = config.strategy.as_str(), symbol = config.symbol.value.as_str(),
        timeframe = config.timeframe.value.as_str(), feed = %job.feed.source, candles = job.feed.rows.len(),
        "paper session started"
    );
    warn_of_a_tight_order_limit(config);
    let deadline = config
        .duration
        .and_then(|duration| begin.checked_add(duration));
    let end = desk.trade(&job.feed, Pace::new(interval, begin), deadline, stop);
    Ok(desk.close(end, job.run_id.as_str(), config.warmup_candles))
}

/// A run log that is not there costs the log and not the session, unless it was never going to be there: a folder that somebody named
/// and that cannot be one is a mistake of the start. A disk without room is a fault that passes.
fn fault_to_live_with(error: RunLogError, config: &Config) -> Result<RunLogError, StartError> {
    match (error, &config.run_log_dir) {
        (error @ RunLogError::Exists { .. }, _) => Err(StartError::RunLog(error)),
        (RunLogError::Folder { source, .. }, Some(dir))
            if dir.place.is_explicit() && !is_lack_of_room(&source) =>
        {
            Err(StartError::RunLogDir {
                place: dir.place.clone(),
                dir: dir.value.clone(),
                source,
            })
        }
        (error, _) => Ok(error),
    }
}

fn is_lack_of_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn open_log(job: &Job, now: Instant) -> Result<Option<RunLog>, RunLogError> {
    let Some(base) = &job.config.run_log_dir else {
        return Ok(None);
    };
    RunLog::create(&base.value, &job.run_id, &meta(job), now).map(Some)
}

fn meta(job: &Job) -> Value {
    let config = &job.config;
    json!({
        "run_id": job.run_id.as_str(),
        "program": "shadow-session",
        "version": env!("CARGO_PKG_VERSION"),
        "mode": "paper",
        "pid": std::process::id(),
        "started_at": jiff::Timestamp::now().to_string(),
        "strategy": config.strategy.as_str(),
        "symbol": config.symbol.value.as_str(),
        "timeframe": config.timeframe.value.as_str(),
        "feed": job.feed.source,
        "candles": job.feed.rows.len(),
        "warmup_candles": config.warmup_candles,
        "fill_assumptions": config.session.execution.assumptions(),
        "config": config.to_string(),
    })
}
