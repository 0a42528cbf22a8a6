//! `docs/metrics.md` names every family that the daemon and a session serve, with its type and labels, and no other. The part of the
//! sentinel is written from its declarations and has its own test in that crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::child::{Running, eventually, free_port};
use xtask::scrape::get;
use xtask::workspace;

/// Type and label names.
type Described = (String, BTreeSet<String>);

#[test]
fn the_page_of_metrics_is_what_the_programs_serve() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shards = folder.path().join("prom_multiproc");
    let shards = shards.to_str().context("a temporary path in UTF-8")?;
    let state = folder.path().join("state");
    let state = state.to_str().context("a temporary path in UTF-8")?;
    let config = folder.path().join("metricsd.toml");
    fs::write(&config, "[expect]\nprograms = [\"shadow-session\"]\n")?;
    let port = free_port()?;
    let arguments = [
        "serve",
        "--port",
        &port.to_string(),
        "--multiproc-dir",
        shards,
        "--state-dir",
        state,
        "--config.file",
        config.to_str().context("a path in UTF-8")?,
    ];
    let _daemon = Running::start(
        &workspace::program("metricsd")?,
        &arguments,
        &[],
        &folder.path().join("metricsd.log"),
    )?;
    eventually(Duration::from_secs(10), "metricsd to be ready", || {
        get(port, "/-/ready")
    })?;
    let arguments = ["--config", "config/shadow-session.toml", "--no-logging"];
    let variables = [("PEAKTRADE_METRICS_MULTIPROC_DIR", shards)];
    let mut session = Running::start(
        &workspace::program("shadow-session")?,
        &arguments,
        &variables,
        &folder.path().join("session.log"),
    )?;
    ensure!(
        session.wait(Duration::from_secs(60))?.success(),
        "the session failed:\n{}",
        session.output()
    );
    get(port, "/metrics")?;
    let served = served_families(&get(port, "/metrics")?)?;
    let page = fs::read_to_string(workspace::root().join("docs/metrics.md"))?;
    let (before, generated) = page
        .split_once("<!-- generated: sentinel -->")
        .context("docs/metrics.md has no generated part")?;
    let (_, after) = generated
        .split_once("<!-- end -->")
        .context("the generated part of docs/metrics.md has no end")?;
    let documented = documented_families(&format!("{before}{after}"));
    for (name, described) in &served {
        let page = documented
            .get(name)
            .with_context(|| format!("{name} is served, docs/metrics.md does not name it"))?;
        ensure!(
            page == described,
            "{name}: docs/metrics.md says {page:?}, the program serves {described:?}"
        );
    }
    for name in documented.keys() {
        ensure!(
            served.contains_key(name),
            "docs/metrics.md names {name}, no program serves it"
        );
    }
    Ok(())
}

fn served_families(text: &str) -> Result<BTreeMap<String, Described>> {
    let mut families: BTreeMap<String, Described> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest
                .split_once(' ')
                .with_context(|| format!("no type in '{line}'"))?;
            families.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let sample = line.split(['{', ' ']).next().context("an empty line")?;
            let parts = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|ending| sample.strip_suffix(ending));
            let name = std::iter::once(sample)
                .chain(parts)
                .find(|name| families.contains_key(*name));
            let name = name
                .with_context(|| format!("a sample without family: '{line}'"))?
                .to_owned();
            let labels = line.split_once('{').map_or("", |(_, rest)| {
                rest.rsplit_once('}').map_or("", |(labels, _)| labels)
            });
            let names = labels
                .split("\",")
                .filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()));
            if let Some((_, known)) = families.get_mut(&name) {
                known.extend(names.filter(|label| label != "le"));
            }
        }
    }
    Ok(families)
}

/// Rows of the page's tables: `| \`name\` | type | \`label\`, … | meaning |`.
fn documented_families(page: &str) -> BTreeMap<String, Described> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [
            _,
            name,
            kind @ ("counter" | "gauge" | "histogram"),
            labels,
            ..,
        ] = cells.as_slice()
        else {
            return None;
        };
        let labels = labels.split(',').filter_map(|label| {
            Some(
                label
                    .trim()
                    .strip_prefix('`')?
                    .strip_suffix('`')?
                    .to_owned(),
            )
        });
        Some((
            name.trim_matches('`').to_owned(),
            ((*kind).to_owned(), labels.collect()),
        ))
    };
    page.lines().filter_map(row).collect()
}
