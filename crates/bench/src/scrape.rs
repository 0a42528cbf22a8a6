//! A warm scrape of metricsd over HTTP against Python's collector and renderer on the same directory.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use metricsd_shard::{HEADER_LEN_BYTES, Key, encode_entry};
use xtask::child::{Running, eventually, free_port};
use xtask::scrape::get;
use xtask::workspace;

use crate::python::Scraper;
use crate::report::{Report, Timings};

/// Rounds of each comparison; one scrape of either side a round.
const ROUNDS: u32 = 15;

/// One directory shape to compare on.
struct Shape {
    name: &'static str,
    shards: u32,
    series: u32,
    own_labels: bool,
}

const SHAPES: [Shape; 3] = [
    Shape {
        name: "1,000 shards x 100 series, the same series in each",
        shards: 1000,
        series: 100,
        own_labels: false,
    },
    Shape {
        name: "1,000 shards x 100 series, each with its own",
        shards: 1000,
        series: 100,
        own_labels: true,
    },
    Shape {
        name: "100 shards x 1,000 series, the same in each",
        shards: 100,
        series: 1000,
        own_labels: false,
    },
];

/// Measures each shape and adds a table.
///
/// # Errors
/// When a side does not run.
pub(crate) fn measure(python: &Path, report: &mut Report) -> Result<()> {
    report.line("\n## Warm scrape\n");
    report.line("metricsd: the whole HTTP request on loopback. Python: MultiProcessCollector + generate_latest, without HTTP.\n");
    report.line("| directory | prometheus_client 0.26.0 | metricsd | ratio of medians |");
    report.line("|---|---|---|---|");
    for shape in &SHAPES {
        let (theirs, ours) = compare(python, shape)?;
        let ratio = theirs.median() / ours.median();
        report.line(&format!(
            "| {} | {} | {} | {ratio:.0}x |",
            shape.name,
            theirs.in_milliseconds(),
            ours.in_milliseconds()
        ));
    }
    Ok(())
}

fn compare(python: &Path, shape: &Shape) -> Result<(Timings, Timings)> {
    let folder = tempfile::tempdir().context("making a folder")?;
    let shards = folder.path().join("prom_multiproc");
    fill(&shards, shape)?;
    let port = free_port()?;
    let state = folder.path().join("state");
    let arguments = [
        "serve",
        "--port",
        &port.to_string(),
        "--multiproc-dir",
        shards.to_str().context("a path in UTF-8")?,
        "--state-dir",
        state.to_str().context("a path in UTF-8")?,
        // Python reads the same files.
        "--retire-after",
        "off",
    ];
    let daemon = Running::start(
        &workspace::program("metricsd")?,
        &arguments,
        &[],
        &folder.path().join("log"),
    )?;
    eventually(Duration::from_secs(20), "metricsd to be ready", || {
        get(port, "/-/ready")
    })?;
    let mut scraper = Scraper::start(python, &shards)?;

    let (mut theirs, mut ours) = (Timings::default(), Timings::default());
    scraper.scrape()?;
    get(port, "/metrics")?;
    for _ in 0..ROUNDS {
        theirs.push(scraper.scrape()?);
        let started = Instant::now();
        let body = get(port, "/metrics")?;
        ours.push(started.elapsed().as_secs_f64());
        ensure!(
            body.contains("bench_events_total"),
            "metricsd serves no series; it printed:\n{}",
            daemon.output()
        );
    }
    Ok((theirs, ours))
}

/// Counter shards as dead processes leave them.
fn fill(directory: &Path, shape: &Shape) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    for shard in 0..shape.shards {
        let mut bytes = vec![0_u8; HEADER_LEN_BYTES];
        for series in 0..shape.series {
            let owner = if shape.own_labels { shard } else { 0 };
            let labels = vec![
                ("owner".to_owned(), format!("w{owner}")),
                ("strategy_id".to_owned(), format!("s{series}")),
            ];
            let key = Key {
                family: "bench_events".into(),
                sample: "bench_events_total".into(),
                labels,
                help: "Events of the benchmark.".into(),
            };
            bytes.extend(encode_entry(
                key.encode().as_bytes(),
                f64::from(series * 7 + shard),
                0.0,
            ));
        }
        let used = u32::try_from(bytes.len()).context("a shard of more than 4 GiB")?;
        bytes[..4].copy_from_slice(&used.to_le_bytes());
        let path = directory.join(format!("counter_{}.db", 100_000 + shard));
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
