//! The sentinel in Mode B, behind a real metricsd: the families that its own endpoint would show are on metricsd's page, also after its end.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stand_in::{Eodhd, Replay};
use xtask::child::{Running, eventually, free_port};
use xtask::scrape::{get, scrape};
use xtask::sockets::listening_ports;
use xtask::workspace;

/// Families of which nothing is known in a dry run that has just begun: a shard holds samples, and these have none.
const UNKNOWN: [&str; 3] = [
    "sentinel_clock_offset_seconds",
    "sentinel_gateway_last_heartbeat_timestamp_seconds",
    "sentinel_prediction_population_stability_index",
];

#[test]
fn in_mode_b_metricsd_serves_the_sentinels_families_and_its_counts_outlive_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| -> Result<String> {
        let path = folder.path().join(name);
        Ok(path
            .to_str()
            .context("a temporary path in UTF-8")?
            .to_owned())
    };
    let (shards, state, port) = (path("prom_multiproc")?, path("state")?, free_port()?);
    let serve = [
        "serve",
        "--port",
        &port.to_string(),
        "--multiproc-dir",
        &shards,
        "--state-dir",
        &state,
    ];
    let log = folder.path().join("metricsd.log");
    let _daemon = Running::start(&workspace::program("metricsd")?, &serve, &[], &log)?;
    eventually(Duration::from_secs(10), "metricsd to be ready", || {
        get(port, "/-/ready")
    })?;

    let feed = Eodhd::start(Replay::default()).context("starting the feed's stand-in")?;
    let config = path("sentinel.toml")?;
    let text = "[market]\ninterval = \"1m\"\ncalendar = \"always\"\n[schedule]\nevery = \"1s\"\n";
    fs::write(&config, text)?;
    let url = feed.url();
    let variables = [
        ("PEAKTRADE_METRICS_MODE", "B"),
        ("PEAKTRADE_METRICS_MULTIPROC_DIR", shards.as_str()),
        ("EODHD_BASE_URL", url.as_str()),
        ("EODHD_API_TOKEN", "demo"),
    ];
    let mut sentinel = Running::start(
        &workspace::program("sentinel")?,
        &["--config.file", &config, "--model", "embedded"],
        &variables,
        &folder.path().join("sentinel.log"),
    )?;
    let decided = || -> Result<f64> {
        scrape(port)?
            .total("sentinel_prediction_requests_total")
            .filter(|count| *count >= 1.0)
            .context("no prediction yet")
    };
    eventually(Duration::from_secs(30), "a prediction", decided)
        .with_context(|| format!("it printed:\n{}", sentinel.output()))?;
    ensure!(listening_ports(sentinel.id())?.is_empty(), "it listens");

    let found = families(&get(port, "/metrics")?);
    let declared = documented()?;
    let missing: Vec<&String> = declared.difference(&found).collect();
    ensure!(
        missing.iter().all(|name| UNKNOWN.contains(&name.as_str()))
            && missing.len() == UNKNOWN.len(),
        "missing: {missing:?}"
    );
    // The two of the client library itself are in the text above the tables.
    let strange: Vec<&String> = found
        .difference(&declared)
        .filter(|name| !name.starts_with("sentinel_telemetry_de"))
        .collect();
    ensure!(strange.is_empty(), "not in docs/metrics.md: {strange:?}");

    ensure!(sentinel.terminate()?.success(), "{}", sentinel.output());
    ensure!(decided()? >= 1.0);
    Ok(())
}

/// Names of the sentinel's families on a page.
fn families(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| name.starts_with("sentinel_"))
        .map(str::to_owned)
        .collect()
}

/// Names of the sentinel's families in `docs/metrics.md`, which is generated from what the program declares.
fn documented() -> Result<BTreeSet<String>> {
    let page = fs::read_to_string(workspace::root().join("docs/metrics.md"))?;
    let (_, part) = page
        .split_once("<!-- generated: sentinel -->")
        .context("docs/metrics.md has no part of the sentinel")?;
    let names: BTreeSet<String> = part
        .lines()
        .filter_map(|line| line.strip_prefix("| `sentinel_")?.split('`').next())
        .map(|rest| format!("sentinel_{rest}"))
        .collect();
    ensure!(names.len() >= 37, "{} families", names.len());
    Ok(names)
}
