//! `docs/metrics.md` has a row for every family that the daemon and a session serve, with type, labels and help as they serve them, and
//! for no other; `METRICSD_WRITE_DOCS=1` writes the rows anew. The parts of the sentinel and the alertbridge have tests of their own in these crates.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::child::{Running, eventually, free_port};
use xtask::scrape::get;
use xtask::workspace;

/// What a page of the program says of a family.
#[derive(Default)]
struct Described {
    kind: String,
    labels: BTreeSet<String>,
    help: String,
}

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
    let path = workspace::root().join("docs/metrics.md");
    let page = fs::read_to_string(&path)?;
    let mut of_others = page.clone();
    for program in ["sentinel", "alertbridge"] {
        let begin = format!("<!-- generated: {program} -->");
        let (before, generated) = of_others
            .split_once(&begin)
            .with_context(|| format!("docs/metrics.md has no part of {program}"))?;
        let (_, after) = generated
            .split_once("<!-- end -->")
            .with_context(|| format!("the part of {program} in docs/metrics.md has no end"))?;
        of_others = format!("{before}{after}");
    }
    let documented: BTreeMap<&str, &str> = of_others
        .lines()
        .filter_map(|line| Some((family_of_row(line)?, line)))
        .collect();
    for name in documented.keys() {
        ensure!(
            served.contains_key(*name),
            "docs/metrics.md names {name}, no program serves it"
        );
    }
    let mut written = page.clone();
    for (name, described) in &served {
        let found = documented
            .get(name.as_str())
            .with_context(|| format!("{name} is served, docs/metrics.md has no row for it"))?;
        written = written.replace(found, &described.row(name));
    }
    if std::env::var_os("METRICSD_WRITE_DOCS").is_some() {
        return Ok(fs::write(&path, written)?);
    }
    for (ours, programs) in page.lines().zip(written.lines()) {
        ensure!(
            ours == programs,
            "docs/metrics.md says\n{ours}\nthe program\n{programs}\nMETRICSD_WRITE_DOCS=1 writes it anew"
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
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest
                .split_once(' ')
                .with_context(|| format!("no help in '{line}'"))?;
            families.entry(name.to_owned()).or_default().help = help.to_owned();
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
            if let Some(family) = families.get_mut(&name) {
                family.labels.extend(names.filter(|label| label != "le"));
            }
        }
    }
    Ok(families)
}

impl Described {
    fn row(&self, name: &str) -> String {
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let labels = match labels.as_slice() {
            [] => "-".to_owned(),
            labels => labels.join(", "),
        };
        format!("| `{name}` | {} | {labels} | {} |", self.kind, self.help)
    }
}

/// The family of a row of the page's tables: `| \`name\` | type | \`label\`, … | meaning |`.
fn family_of_row(line: &str) -> Option<&str> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    match cells.as_slice() {
        [_, name, "counter" | "gauge" | "histogram", ..] => Some(name.trim_matches('`')),
        _ => None,
    }
}
