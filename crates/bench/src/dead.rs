//! What dead processes cost: a warm scrape after their shards were retired, against Python's collector, which reads their files for ever.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::python::Scraper;
use crate::report::{Report, Timings};
use crate::shards::{Retiring, counter_bytes, live_shard};

/// Processes that live at the time of the scrape.
const LIVE: u32 = 100;
/// Processes that have ended before; one line of the table each.
const DEAD: [u32; 3] = [0, 680, 6800];
/// Series of each process, the same in all.
const SERIES: u32 = 50;
/// Scrapes of the daemon for each of Python's, which take seconds.
const OURS_PER_THEIRS: u32 = 10;
const ROUNDS: u32 = 3;

/// Measures each number of dead processes and adds a table.
///
/// # Errors
/// When a side does not run.
pub(crate) fn measure(python: &Path, report: &mut Report) -> Result<()> {
    report.line("\n## Dead processes\n");
    report.line(&format!(
        "{LIVE} live processes and some that have ended, {SERIES} series each. Two copies of the same files: metricsd retires those of the \
         dead in its own, Python reads its own as they are. metricsd: the whole HTTP request, warm, after retirement.\n"
    ));
    report.line("| dead | prometheus_client 0.26.0 | metricsd | ratio of medians | retired within | resident |");
    report.line("|---|---|---|---|---|---|");
    for dead in DEAD {
        let line = compare(python, dead)?;
        report.line(&line);
    }
    Ok(())
}

fn compare(python: &Path, dead: u32) -> Result<String> {
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
    Ok(format!(
        "| {dead} | {} | {}{remark} | {:.0}x | {retired_seconds:.2} s | {:.1} MiB |",
        of_python.in_milliseconds(),
        of_daemon.in_milliseconds(),
        of_python.median() / of_daemon.median(),
        daemon.resident_bytes()? as f64 / f64::from(1 << 20)
    ))
}
