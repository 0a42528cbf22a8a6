//! What telemetry costs the paper session: the loop over recorded candles with it and without it, side by side.
//!
//! Invariant: both sides admit the same rows and take the same steps. The side with telemetry is the session's own code; the other one is the
//! same without clocks that only telemetry reads, and without recording. What the session is as it ships, with pace and run log, is
//! measured beside them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser as _;
use market::{Admission, Row, Sequence};
use metricsd_client::Registry;
use serde_json::Value;
use shadow_session::cli::Cli;
use shadow_session::desk::Desk;
use shadow_session::pace::{Pace, Stop};
use shadow_session::replay::{Replay, unix_seconds_now};
use shadow_session::run::{self, Job};
use shadow_session::run_log::RunLog;
use shadow_session::session::Session;
use shadow_session::telemetry::Telemetry;
use xtask::workspace;

use crate::report::{Report, Timings};

/// Passes over the shipped candles in a round, and rounds.
const PASSES: usize = 20;
const ROUNDS: usize = 31;
const ROUNDS_SHORT: usize = 7;

/// Adds a table.
///
/// # Errors
/// When the shipped configuration or the candles cannot be read.
pub(crate) fn measure(registry: &Registry, is_short: bool, report: &mut Report) -> Result<()> {
    report.line("\n## What telemetry costs the paper session\n");
    let job = job(workspace::root())?;
    let telemetry = Telemetry::new(
        registry,
        job.config.strategy,
        &Session::new(job.config.session),
    );
    let rows = &job.feed.rows;
    let (mut with, mut without) = (Timings::default(), Timings::default());
    let mut as_shipped = Timings::default();
    let rounds = if is_short { ROUNDS_SHORT } else { ROUNDS };
    for _ in 0..rounds {
        let each = |pass: &dyn Fn()| {
            let began = Instant::now();
            for _ in 0..PASSES {
                pass();
            }
            began.elapsed().as_secs_f64() / (PASSES * rows.len()) as f64
        };
        without.push(each(&|| without_telemetry(&job, rows)));
        with.push(each(&|| with_telemetry(&job, rows, &telemetry)));
        as_shipped.push(shipped(&job, registry, &telemetry)? / rows.len() as f64);
    }
    let cost = with.median() - without.median();
    let (share, share_as_shipped) = (cost / with.median(), cost / as_shipped.median());
    let nanoseconds = |timings: &Timings| timings.median() * 1e9;
    report.line(&format!(
        "{} candles, {PASSES} passes a round, {rounds} rounds in turn, telemetry into shards.\n",
        rows.len()
    ));
    report.line("| | ns a candle, median |");
    report.line("|---|---|");
    report.line(&format!(
        "| without telemetry | {:.0} |",
        nanoseconds(&without)
    ));
    report.line(&format!("| with telemetry | {:.0} |", nanoseconds(&with)));
    report.line(&format!(
        "| as it ships: telemetry, pace, run log | {:.0} |",
        nanoseconds(&as_shipped)
    ));
    report.line(&format!(
        "\nTelemetry takes {:.0} ns of a candle: {:.1} % of the loop that does nothing but step, {:.2} % of the session as it ships when it runs as \
         fast as it can, and at one candle a second {:.6} % of a core.",
        cost * 1e9,
        share * 100.0,
        share_as_shipped * 100.0,
        cost * 100.0
    ));
    report.figure("session/share", share);
    report.figure("session/share as shipped", share_as_shipped);
    Ok(())
}

/// Seconds of one pass of the session with everything on, the run log in a directory on a disk.
fn shipped(job: &Job, registry: &Registry, telemetry: &Telemetry) -> Result<f64> {
    let folder = tempfile::tempdir().context("making a folder")?;
    let log = RunLog::create(folder.path(), &job.run_id, &Value::Null, Instant::now())
        .context("the run log")?;
    let (session, sequence) = fresh(job);
    let replay = Replay::new(
        session,
        sequence,
        telemetry,
        job.config.warmup_candles,
        Duration::ZERO,
    );
    let mut desk = Desk::new(replay, registry, telemetry, Some(log));
    let began = Instant::now();
    let pace = Pace::new(Duration::ZERO, began);
    std::hint::black_box(desk.trade(&job.feed, pace, None, &Stop::default()));
    Ok(began.elapsed().as_secs_f64())
}

fn job(root: &Path) -> Result<Job> {
    let config = root.join("config/shadow-session.toml");
    let feed = format!(
        "recorded:{}",
        root.join("data/eurusd-1h-2017.csv").display()
    );
    let config = config.to_str().context("a path in UTF-8")?;
    let flags = Cli::try_parse_from(["shadow-session", "--config", config, "--feed", &feed])
        .context("the session's flags")?;
    run::prepare(&flags, &|_| None).map_err(|error| anyhow::anyhow!("{error}"))
}

fn fresh(job: &Job) -> (Session, Sequence) {
    let sequence = Sequence::new(
        job.config.timeframe.value,
        job.config.session.instrument.calendar,
    );
    (Session::new(job.config.session), sequence)
}

fn with_telemetry(job: &Job, rows: &[Row], telemetry: &Telemetry) {
    let (session, sequence) = fresh(job);
    let mut replay = Replay::new(
        session,
        sequence,
        telemetry,
        job.config.warmup_candles,
        Duration::ZERO,
    );
    for row in rows {
        std::hint::black_box(replay.take(row));
    }
}

fn without_telemetry(job: &Job, rows: &[Row]) {
    let (mut session, mut sequence) = fresh(job);
    let mut warmup_left = job.config.warmup_candles;
    for row in rows {
        // A candle has to be closed, so the clock is read with and without telemetry.
        let now = unix_seconds_now();
        let Admission::Accepted(candle, _) = sequence.admit(row, now as i64) else {
            continue;
        };
        if warmup_left > 0 {
            warmup_left -= 1;
            session.warm_up(candle);
        } else {
            std::hint::black_box(session.step(candle));
        }
    }
}
