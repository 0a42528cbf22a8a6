//! Collection from live shards: the daemon over HTTP beside the strided-load limit and Python's collector on the same directory.
//!
//! Invariant: a scrape is the whole HTTP request, what it shows is checked against what the shards hold, and after the timed rounds other
//! values are stored and have to show.

mod gzip;
mod memory;

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::live::{FIRST_SERIES, Live, Shape, Strided};
use crate::python::Scraper;
use crate::report::{Report, Timings};
use crate::shards::Retiring;

/// The directories; the first is the one that most targets are about.
pub(crate) const SHAPES: [Shape; 3] = [shape(1_000, 1_000), shape(1_000, 100), shape(10_000, 100)];

const fn shape(shards: u32, series: u32) -> Shape {
    Shape {
        shards,
        series,
        has_own_series: false,
    }
}

/// How often each side is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds {
    /// Rounds, each with one scrape of Python's and one of a daemon that has just started.
    pub(crate) all: u32,
    /// Warm scrapes and limits in each.
    pub(crate) warm: u32,
}

impl Rounds {
    const FULL: Rounds = Rounds { all: 5, warm: 9 };
    const SHORT: Rounds = Rounds { all: 2, warm: 5 };
}

/// Seconds of each side.
#[derive(Debug, Default)]
pub(crate) struct Sides {
    pub(crate) warm: Timings,
    /// From the start of the daemon's process to the end of its first scrape, where no daemon was before.
    pub(crate) cold: Timings,
    /// The same after a daemon that was killed, with the state that it left.
    pub(crate) restarted: Timings,
    /// What the daemon itself says of the warm collections, the answer not included; a mean.
    collection: f64,
    pub(crate) limit: Timings,
    pub(crate) python: Timings,
    pub(crate) page_len_bytes: usize,
}

/// Measures each directory, then memory and compression.
///
/// # Errors
/// When a side does not run, or shows other numbers than the shards hold.
pub(crate) fn measure(python: &Path, is_short: bool, report: &mut Report) -> Result<()> {
    report.line("\n## Collection\n");
    report.line(
        "Counter shards that a live process holds open, the same series in each. Warm: the whole HTTP request on loopback. Collection: what the \
         daemon says of it, without the answer. Cold: from the start of the daemon's process to the end of its first scrape, where no daemon \
         was before. Restarted: the same after one that was killed, with its state. Limit: the values loaded once from kept maps, in file \
         order, on one processor. Python: MultiProcessCollector + generate_latest, without HTTP.\n",
    );
    report.line("| shards x series | warm | collection (mean) | limit | warm x limit | Python | Python / warm | cold | Python / cold | restarted |");
    report.line("|---|---|---|---|---|---|---|---|---|---|");
    let rounds = if is_short {
        Rounds::SHORT
    } else {
        Rounds::FULL
    };
    let mut strides = Vec::new();
    for shape in SHAPES {
        let live = Live::new(shape)?;
        strides.push(live.stride_bytes());
        let sides = compare(&live, Some(python), rounds)?;
        line(shape, &sides, report);
    }
    report.line(&format!(
        "\nBytes from one value to the next in a shard: {strides:?}."
    ));
    gzip::measure(is_short, report)?;
    memory::measure(report)
}

fn line(shape: Shape, sides: &Sides, report: &mut Report) {
    let (warm, cold) = (sides.warm.median(), sides.cold.median());
    let (limit, python) = (sides.limit.median(), sides.python.median());
    let name = format!("{} x {}", shape.shards, shape.series);
    report.line(&format!(
        "| {name} | {} | {:.2} ms | {} | {:.2} | {} | {:.0}x | {} | {:.0}x | {} |",
        sides.warm.in_milliseconds(),
        sides.collection * 1e3,
        sides.limit.in_milliseconds(),
        warm / limit,
        sides.python.in_milliseconds(),
        python / warm,
        sides.cold.in_milliseconds(),
        python / cold,
        sides.restarted.in_milliseconds()
    ));
    for (side, seconds) in [
        ("warm", warm),
        ("collection", sides.collection),
        ("limit", limit),
        ("Python", python),
        ("cold", cold),
        ("restarted", sides.restarted.median()),
    ] {
        report.figure(&format!("collect/{name}/{side}"), seconds);
    }
}

/// All sides on one directory, in turn.
///
/// # Errors
/// When a side does not run, or shows other numbers than the shards hold.
pub(crate) fn compare(live: &Live, python: Option<&Path>, rounds: Rounds) -> Result<Sides> {
    let strided = Strided::new(live)?;
    let mut scraper = python
        .map(|python| Scraper::start(python, &live.directory()))
        .transpose()?;
    let mut sides = Sides::default();
    let (mut collected_seconds, mut collections) = (0.0, 0.0);
    for _ in 0..rounds.all {
        live.forget_daemons()?;
        let (daemon, ready_seconds) = live.daemon()?;
        let (seconds, page) = daemon.scrape()?;
        sides.cold.push(ready_seconds + seconds);
        sides.page_len_bytes = page.len();
        // The second one has all it keeps.
        daemon.scrape()?;
        let before = durations(&daemon)?;
        for _ in 0..rounds.warm {
            let started = Instant::now();
            std::hint::black_box(strided.sum());
            sides.limit.push(started.elapsed().as_secs_f64());
            let (seconds, page) = daemon.scrape()?;
            sides.warm.push(seconds);
            check(&page, live.first_total(0), &daemon)?;
        }
        let after = durations(&daemon)?;
        collected_seconds += after.0 - before.0;
        collections += after.1 - before.1;
        live.count(1)?;
        check(&daemon.scrape()?.1, live.first_total(1), &daemon)?;
        live.count(0)?;
        drop(daemon);
        let (daemon, ready_seconds) = live.daemon()?;
        sides.restarted.push(ready_seconds + daemon.scrape()?.0);
        drop(daemon);
        // Two sides never run at the same time. Last, so that the next daemon does not find files that were written just now.
        if let Some(scraper) = &mut scraper {
            sides.python.push(scraper.scrape()?);
        }
    }
    sides.collection = collected_seconds / collections;
    Ok(sides)
}

/// Whether a page shows the total that the shards hold.
fn check(page: &str, expected: f64, daemon: &Retiring) -> Result<()> {
    let number = page
        .lines()
        .find_map(|line| line.strip_prefix(FIRST_SERIES));
    let shown: Option<f64> = number.and_then(|number| number.parse().ok());
    ensure!(
        shown == Some(expected),
        "{FIRST_SERIES}is {expected}, the scrape shows {number:?}; metricsd printed:\n{}",
        daemon.process.output()
    );
    Ok(())
}

/// Sum and count of the daemon's collections, the one of this question included or not: both ends are asked alike.
fn durations(daemon: &Retiring) -> Result<(f64, f64)> {
    let page = daemon.scrape()?.1;
    let value = |name: &str| {
        let lines = page.lines();
        lines
            .filter_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
            .next()
            .unwrap_or(f64::NAN)
    };
    Ok((
        value("metricsd_collect_duration_seconds_sum"),
        value("metricsd_collect_duration_seconds_count"),
    ))
}
