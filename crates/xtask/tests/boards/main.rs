//! The boards of `ops/grafana`: they are what their script writes, have the types that Grafana publishes, keep the rules of its dashboard linter,
//! name metrics, runbooks and thresholds that exist, and every query of every panel gives data where there should be some.

mod live;
mod rules;
mod selectors;
mod stage;
mod types;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::{tools, workspace};

/// Files of `ops/grafana/boards`.
const BOARDS: [&str; 3] = ["operations", "trading", "risk-and-sessions"];

/// The text of one board.
fn text(name: &str) -> Result<String> {
    let path = workspace::root().join(format!("ops/grafana/boards/{name}.json"));
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// One board.
fn board(name: &str) -> Result<Value> {
    serde_json::from_str(&text(name)?).with_context(|| format!("{name}.json is no JSON"))
}

/// The members of an array; none where there is no array.
fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The panels of a board that show something; rows are titles.
fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    items(&board["panels"])
        .iter()
        .filter(|panel| panel["type"] != "row")
}

/// The text at a key, empty where there is none.
fn at<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn the_boards_are_what_their_script_writes() -> Result<()> {
    let python = Command::new("python3").arg("--version").output();
    if !python.is_ok_and(|output| output.status.success()) {
        tools::skip("the_boards_are_what_their_script_writes", "no python3");
        return Ok(());
    }
    let script = workspace::root().join("ops/grafana/boards.py");
    let output = Command::new("python3")
        .arg(script)
        .arg("--check")
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn every_board_keeps_the_rules() -> Result<()> {
    let known = rules::Known::read()?;
    for name in BOARDS {
        let broken = rules::broken(&board(name)?, &known);
        ensure!(broken.is_empty(), "{name}:\n{}", broken.join("\n"));
    }
    Ok(())
}

#[test]
fn every_rule_can_fail() -> Result<()> {
    let known = rules::Known::read()?;
    let whole = text("operations")?;
    for (was, by, said) in rules::MUTATIONS {
        ensure!(
            whole.contains(was),
            "'{was}' is not in the board, so that nothing would be changed"
        );
        let changed = serde_json::from_str(&whole.replacen(was, by, 1))?;
        let broken = rules::broken(&changed, &known);
        ensure!(
            broken.iter().any(|line| line.contains(said)),
            "with '{by}' for '{was}' nothing says '{said}': {broken:?}"
        );
    }
    Ok(())
}

#[test]
fn the_provisioning_names_what_is_there() -> Result<()> {
    let folder = workspace::root().join("ops/grafana/provisioning");
    let source = fs::read_to_string(folder.join("datasources/prometheus.yml"))?;
    let provider = fs::read_to_string(folder.join("dashboards/metricsd.yml"))?;
    for line in [
        "    uid: prometheus-local",
        "    type: prometheus",
        "    editable: false",
        "    url: http://127.0.0.1:9090",
    ] {
        ensure!(source.lines().any(|found| found == line), "no '{line}'");
    }
    for line in [
        "    type: file",
        "    allowUiUpdates: false",
        "    disableDeletion: true",
    ] {
        ensure!(provider.lines().any(|found| found == line), "no '{line}'");
    }
    // A window of four intervals has to hold two samples of the slowest job.
    let seconds = |text: &str, key: &str| -> Vec<u32> {
        let values = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix(key)?.trim().strip_suffix('s'));
        values.filter_map(|value| value.parse().ok()).collect()
    };
    let mut intervals = Vec::new();
    for file in ["prometheus.yml", "hub.yml"] {
        let jobs = fs::read_to_string(workspace::root().join("ops/prometheus").join(file))?;
        intervals.extend(seconds(&jobs, "scrape_interval:"));
    }
    let slowest = intervals.into_iter().max();
    ensure!(
        slowest.is_some() && seconds(&source, "timeInterval:").into_iter().max() == slowest,
        "timeInterval of the data source is not the longest scrape_interval, {slowest:?} s"
    );
    Ok(())
}
