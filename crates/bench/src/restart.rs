//! How long the daemon takes from its start until it is ready, and until it is scraped, with a million series in its archive.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::report::{Report, Timings};
use crate::shards::{Retiring, counter_bytes, live_shard};

/// Dead processes, and the series that each had for itself.
const DEAD: u32 = 1000;
const SERIES: u32 = 1000;
const ROUNDS: u32 = 5;

/// Measures restarts after SIGTERM and after `kill -9`, and adds a table.
///
/// # Errors
/// When the daemon does not run.
pub(crate) fn measure(report: &mut Report) -> Result<()> {
    report.line("\n## Restart with an archive\n");
    let folder = tempfile::tempdir().context("making a folder")?;
    let shards = folder.path().join("shards");
    fs::create_dir(&shards).with_context(|| format!("creating {}", shards.display()))?;
    let config = folder.path().join("metricsd.toml");
    let most = u64::from(DEAD) * u64::from(SERIES) * 2;
    let limits = format!("[limits]\nseries = {most}\nseries_per_family = {most}\n");
    fs::write(&config, limits).with_context(|| format!("writing {}", config.display()))?;
    let config = config.to_str().context("a path in UTF-8")?.to_owned();
    for owner in 0..DEAD {
        let bytes = counter_bytes(SERIES, Some(owner));
        drop(live_shard(&shards, 100_000 + owner, &bytes)?);
    }
    let more = ["--config.file", config.as_str()];
    let (mut daemon, _) = Retiring::start(folder.path(), &more)?;
    let retired_seconds = daemon.wait_for_files(&shards, 0)?;
    report.line(&format!(
        "{} series of {DEAD} dead processes, retired within {retired_seconds:.1} s. From the start of the process to \
         `/-/ready`, and to the end of a scrape that is asked for right then.\n",
        DEAD * SERIES
    ));
    report.line(
        "| stopped by | until ready | until scraped | state directory | resident | series shown |",
    );
    report.line("|---|---|---|---|---|---|");
    for way in ["kill -9", "SIGTERM"] {
        let (mut until_ready, mut until_scraped) = (Timings::default(), Timings::default());
        let mut shown = 0;
        for _ in 0..ROUNDS {
            match way {
                "SIGTERM" => drop(daemon.process.terminate()?),
                _ => drop(daemon.process.kill()?),
            }
            let (next, seconds) = Retiring::start(folder.path(), &more)?;
            daemon = next;
            until_ready.push(seconds);
            let (scrape_seconds, page) = daemon.scrape()?;
            until_scraped.push(seconds + scrape_seconds);
            let lines = page.lines();
            shown = lines
                .filter(|line| line.starts_with("bench_events_total"))
                .count();
        }
        report.line(&format!(
            "| {way} | {} | {} | {:.1} MiB | {:.1} MiB | {shown} |",
            until_ready.in_milliseconds(),
            until_scraped.in_milliseconds(),
            length_of(&folder.path().join("state"))? as f64 / f64::from(1 << 20),
            daemon.resident_bytes()? as f64 / f64::from(1 << 20)
        ));
    }
    Ok(())
}

/// The bytes of all files in a directory; reserved room counts.
fn length_of(directory: &Path) -> Result<u64> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))?;
    let mut sum = 0;
    for entry in entries {
        sum += entry
            .and_then(|entry| entry.metadata())
            .context("reading the length of a file")?
            .len();
    }
    Ok(sum)
}
