//! Processes that are born and die all the time: how many files there are for those that live, and whether memory stays flat.

use std::collections::VecDeque;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xtask::scrape::Scrape;

use crate::report::{Report, Timings};
use crate::shards::{Retiring, count_files, counter_bytes, live_shard};

/// Births a second, and as many deaths.
const PER_SECOND: u32 = 200;
/// Processes that live at the same time: each lives for half a second.
const LIVE: usize = 100;
/// Series of each, the same in all.
const SERIES: u32 = 20;
/// Lines of the table.
const SAMPLES: u32 = 10;

/// Runs for so long, scraping every second, and adds a table.
///
/// # Errors
/// When the daemon does not run.
pub(crate) fn measure(length: Duration, report: &mut Report) -> Result<()> {
    report.line("\n## Births and deaths\n");
    report.line(&format!(
        "{PER_SECOND} a second for {} s, {LIVE} live at a time, {SERIES} series each. A process is a shard that this program holds open \
         for writing, and lets go of.\n",
        length.as_secs()
    ));
    let folder = tempfile::tempdir().context("making a folder")?;
    let shards = folder.path().join("shards");
    fs::create_dir(&shards).with_context(|| format!("creating {}", shards.display()))?;
    let (daemon, _) = Retiring::start(folder.path(), &[])?;
    let bytes = counter_bytes(SERIES, None);
    report.line("| after | live | files | most files since | resident | scrape |");
    report.line("|---|---|---|---|---|---|");

    let started = Instant::now();
    let (mut live, mut born, mut most_files) = (VecDeque::new(), 0_u32, 0);
    let (mut next_look, mut next_line) = (Duration::ZERO, length / SAMPLES);
    let mut scrapes = Timings::default();
    while started.elapsed() < length {
        let due = started.elapsed().as_secs_f64() * f64::from(PER_SECOND);
        while f64::from(born) < due {
            live.push_back(live_shard(&shards, 100_000 + born, &bytes)?);
            born += 1;
            if live.len() > LIVE {
                live.pop_front();
            }
        }
        if started.elapsed() >= next_look {
            next_look += Duration::from_secs(1);
            let files = count_files(&shards)?;
            most_files = most_files.max(files);
            let (seconds, _) = daemon.scrape()?;
            scrapes.push(seconds);
            if started.elapsed() >= next_line {
                next_line += length / SAMPLES;
                report.line(&format!(
                    "| {} s | {} | {files} | {most_files} | {:.1} MiB | {} |",
                    started.elapsed().as_secs(),
                    live.len(),
                    daemon.resident_bytes()? as f64 / f64::from(1 << 20),
                    std::mem::take(&mut scrapes).in_milliseconds()
                ));
                most_files = 0;
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(live);
    let seconds = daemon.wait_for_files(&shards, 0)?;
    let page = Scrape::parse(&daemon.scrape()?.1)?;
    let shown = page.total("bench_events_total").unwrap_or(0.0);
    report.line(&format!(
        "\n{born} processes lived and counted {} times; {shown} are shown. The last files were gone {seconds:.2} s after the last end.",
        u64::from(born) * u64::from(SERIES)
    ));
    Ok(())
}
