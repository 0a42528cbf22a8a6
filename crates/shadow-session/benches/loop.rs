//! Candles per second of the whole loop: feed in memory, strategy, risk, ledger and telemetry in Mode B (shards in a temporary
//! directory), run log off, one thread.
//!
//! `cargo bench -p shadow-session --bench loop [-- PASSES]`; one pass over the shipped candles is a session of its own. Prints the median
//! and the best of ten rounds. Nothing is asserted: a figure depends on the machine.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use market::{Feed, Sequence};
use metricsd_client::{Registry, Status, Target};
use shadow_session::cli::Cli;
use shadow_session::desk::Desk;
use shadow_session::pace::{Pace, Stop};
use shadow_session::replay::Replay;
use shadow_session::run;
use shadow_session::session::Session;
use shadow_session::telemetry::Telemetry;

const ROUNDS: usize = 10;

fn main() -> std::io::Result<()> {
    // Without `--bench` it is run as a test: once, to see that it works.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let passes = std::env::args()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(if measured { 50 } else { 1 });
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (config, candles) = (
        root.join("config/shadow-session.toml"),
        root.join("data/eurusd-1h-2017.csv"),
    );
    let flags = [
        "shadow-session",
        "--config",
        &config.to_string_lossy(),
        "--feed",
        &format!("recorded:{}", candles.display()),
    ];
    let mut job =
        run::prepare(&Cli::parse_from(flags), &|_| None).map_err(std::io::Error::other)?;
    let directory = tempfile::tempdir()?;
    job.config.telemetry.target = Target::Shards {
        directory: directory.path().to_owned(),
    };

    let registry = Registry::start(job.config.telemetry.clone());
    let telemetry = Telemetry::new(
        &registry,
        job.config.strategy,
        &Session::new(job.config.session),
    );
    let mut rates: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            for _ in 0..passes {
                pass(&job, &registry, &telemetry);
            }
            (passes * job.feed.rows.len()) as f64 / begin.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "shadow-session loop: {:.0} candles/s median, {:.0} best of {ROUNDS} rounds of {passes} passes over {} candles; into shards: {}",
        rates[ROUNDS / 2],
        rates[ROUNDS - 1],
        job.feed.rows.len(),
        matches!(registry.status(), Status::Shards { .. })
    )
}

fn pass(job: &run::Job, registry: &Registry, telemetry: &Telemetry) {
    let sequence = Sequence::new(
        job.config.timeframe.value,
        job.config.session.instrument.calendar,
    );
    let session = Session::new(job.config.session);
    let replay = Replay::new(
        session,
        sequence,
        telemetry,
        job.config.warmup_candles,
        Duration::ZERO,
    );
    let mut desk = Desk::new(replay, registry, telemetry, None);
    let _ = trade(&mut desk, &job.feed);
    assert!(
        desk.session().totals().filled > 100,
        "the shipped configuration trades"
    );
}

fn trade(desk: &mut Desk<'_>, feed: &Feed) -> shadow_session::summary::End {
    desk.trade(
        feed,
        Pace::new(Duration::ZERO, Instant::now()),
        None,
        &Stop::default(),
    )
}
