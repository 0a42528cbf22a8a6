//! What dead processes cost: a warm scrape after their shards were retired, against Python's collector, which reads their files for ever.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::curves::{Chart, Scale};
use crate::growth::{draw, flat, measured};
use crate::python::Scraper;
use crate::report::{Report, Timings};
use crate::shards::{Retiring, counter_bytes, live_shard};

/// Processes that live at the time of the scrape.
const LIVE: u32 = 100;
/// Processes that have ended before; one line of the table and one point of the picture each.
const DEAD: [u32; 5] = [0, 10, 100, 1_000, 10_000];
/// Series of each process, the same in all.
const SERIES: u32 = 50;
/// Scrapes of the daemon for each of Python's, which take seconds.
const OURS_PER_THEIRS: u32 = 10;
const ROUNDS: u32 = 3;

/// Measures each number of dead processes, adds a table and a picture.
///
/// # Errors
/// When a side does not run.
pub(crate) fn measure(python: &Path, is_short: bool, report: &mut Report) -> Result<()> {
    report.line("\n## Ended processes\n");
    report.line(&format!(
        "{LIVE} live processes and some that have ended, {SERIES} series each. Two copies of the same files: metricsd retires those of the \
         ended in its own, Python reads its own as they are. metricsd: the whole HTTP request, warm, after retirement.\n"
    ));
    report.line("| ended | Python | metricsd | ratio of medians | retired within | resident |");
    report.line("|---|---|---|---|---|---|");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let most = if is_short { 1_000 } else { u32::MAX };
    for dead in DEAD.into_iter().filter(|&dead| dead <= most) {
        let (line, of_python, of_daemon) = compare(python, dead)?;
        report.line(&line);
        theirs.push((f64::from(dead), of_python * 1e3));
        ours.push((f64::from(dead), of_daemon * 1e3));
    }
    let claim = flat(&ours);
    let chart = Chart {
        title: "Warm scrape by processes that have ended".to_owned(),
        horizontal: "ended processes".to_owned(),
        vertical: "milliseconds".to_owned(),
        scale: Scale::Logarithmic,
        curves: vec![
            measured("metricsd, whole request", ours),
            measured("Python", theirs),
            claim,
        ],
    };
    draw("growth-ended.svg", &chart, report);
    Ok(())
}

/// A line of the table, and the seconds of Python and of the daemon.
fn compare(python: &Path, dead: u32) -> Result<(String, f64, f64)> {
    let folder = tempfile::tempdir().context("making a folder")?;
    let (ours, theirs) = (folder.path().join("shards"), folder.path().join("copy"));
    let bytes = counter_bytes(SERIES, None);
    let mut live = Vec::new();
    for directory in [&ours, &theirs] {
        fs::create_dir(directory).with_context(|| format!("creating {}", directory.display()))?;
        for id in 0..dead {
            drop(live_shard(directory, 100_000 + id, &bytes)?);
        }
        for id in 0..LIVE {
            live.push(live_shard(directory, 200_000 + id, &bytes)?);
        }
    }
    let (daemon, _) = Retiring::start(folder.path(), &[])?;
    let retired_seconds = daemon.wait_for_files(&ours, LIVE as usize)?;
    let mut scraper = Scraper::start(python, &theirs)?;
    let (mut of_python, mut of_daemon) = (Timings::default(), Timings::default());
    for _ in 0..3 {
        daemon.scrape()?;
    }
    let mut body = String::new();
    for _ in 0..ROUNDS {
        of_python.push(scraper.scrape()?);
        for _ in 0..OURS_PER_THEIRS {
            let (seconds, page) = daemon.scrape()?;
            of_daemon.push(seconds);
            body = page;
        }
    }
    let total = format!("bench_events_total{{strategy_id=\"s0\"}} {}.0", dead + LIVE);
    let is_right = body.lines().any(|line| line == total);
    let remark = if is_right {
        ""
    } else {
        " (the total is WRONG)"
    };
    let line = format!(
        "| {dead} | {} | {}{remark} | {:.0}x | {retired_seconds:.2} s | {:.1} MiB |",
        of_python.in_milliseconds(),
        of_daemon.in_milliseconds(),
        of_python.median() / of_daemon.median(),
        daemon.resident_bytes()? as f64 / f64::from(1 << 20)
    );
    Ok((line, of_python.median(), of_daemon.median()))
}
