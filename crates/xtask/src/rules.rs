//! The shipped alerting rules as text: what the tests and the page about them need to know of each alert.
//!
//! Invariant: reads only the layout that the files in `ops/rules` have; a line that is not understood is an error and never passed over,
//! so that no alert escapes a test. Whether the files are right is promtool's to say.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::workspace;

/// One alert.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alert {
    /// The file in `ops/rules`, without `.rules.yml`.
    pub file: String,
    /// Its name.
    pub name: String,
    /// The expression, on one line.
    pub condition: String,
    /// How long the condition has to hold; empty for at once.
    pub hold: String,
    /// How long it goes on without the condition; empty for not at all.
    pub keep: String,
    /// `critical`, `warning`, `info`; `none` for Watchdog.
    pub severity: String,
    /// One sentence without values.
    pub summary: String,
    /// With values.
    pub description: String,
    /// Where the page about it is.
    pub runbook: String,
    /// Its lines in the file, from `- alert:` on.
    pub text: String,
}

/// The folder of the rules.
pub fn folder() -> PathBuf {
    workspace::root().join("ops/rules")
}

/// The names of the files, without `.rules.yml`, sorted.
///
/// # Errors
/// When the folder cannot be read.
pub fn files() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder()).context("listing ops/rules")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(stem) = name.strip_suffix(".rules.yml") {
            names.push(stem.to_owned());
        }
    }
    names.sort();
    ensure!(!names.is_empty(), "ops/rules holds no rules");
    Ok(names)
}

/// The text of one file.
///
/// # Errors
/// When it cannot be read.
pub fn text(file: &str) -> Result<String> {
    let path = folder().join(format!("{file}.rules.yml"));
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// Every alert of every file, in their order.
///
/// # Errors
/// Names the file and the line that has another layout.
pub fn alerts() -> Result<Vec<Alert>> {
    let mut all = Vec::new();
    for file in files()? {
        let whole = text(&file)?;
        for block in blocks(&whole) {
            if block.starts_with("      - alert: ") {
                all.push(Alert::read(&file, block).with_context(|| format!("{file}.rules.yml"))?);
            }
        }
    }
    Ok(all)
}

/// The rules of a file's text, each from its `- alert:` or `- record:` to the next.
fn blocks(whole: &str) -> Vec<&str> {
    let mut starts: Vec<usize> = ["\n      - alert: ", "\n      - record: "]
        .iter()
        .flat_map(|mark| whole.match_indices(mark))
        .map(|(at, _)| at + 1)
        .collect();
    starts.sort_unstable();
    let ends = starts.iter().skip(1).copied().chain([whole.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| &whole[start..end])
        .collect()
}

impl Alert {
    fn read(file: &str, block: &str) -> Result<Alert> {
        let mut alert = Alert {
            file: file.to_owned(),
            text: block.to_owned(),
            ..Alert::default()
        };
        let mut is_in_expression = false;
        for line in block.lines() {
            let word = line.trim();
            if word.is_empty() || word.starts_with('#') {
                continue;
            }
            if is_in_expression && line.starts_with("          ") {
                if !alert.condition.is_empty() {
                    alert.condition.push(' ');
                }
                alert.condition.push_str(word);
                continue;
            }
            is_in_expression = false;
            let Some((key, value)) = word.trim_start_matches("- ").split_once(':') else {
                bail!("expected KEY: VALUE, found `{word}`");
            };
            let value = value.trim();
            match key {
                "alert" => value.clone_into(&mut alert.name),
                "expr" if value == "|" => is_in_expression = true,
                "expr" => value.clone_into(&mut alert.condition),
                "for" => value.clone_into(&mut alert.hold),
                "keep_firing_for" => value.clone_into(&mut alert.keep),
                "labels" => value
                    .trim_start_matches("{severity: ")
                    .trim_end_matches('}')
                    .clone_into(&mut alert.severity),
                "annotations" => {}
                "summary" => value.clone_into(&mut alert.summary),
                "description" => value.trim_matches('\'').clone_into(&mut alert.description),
                "runbook_url" => value.clone_into(&mut alert.runbook),
                _ => bail!("{}: unknown key `{key}`", alert.name),
            }
        }
        for (what, found) in [
            ("expr", &alert.condition),
            ("severity", &alert.severity),
            ("summary", &alert.summary),
            ("description", &alert.description),
            ("runbook_url", &alert.runbook),
        ] {
            ensure!(!found.is_empty(), "{}: no {what}", alert.name);
        }
        Ok(alert)
    }
}

/// The cases that a file of promtool's tests has of an alert: what follows `name: 'ALERT: `, up to the quote, and the case's lines.
pub fn cases<'a>(tests: &'a str, alert: &str) -> Vec<(&'a str, &'a str)> {
    let beginning = format!("{alert}: ");
    tests
        .split("\n  - name: '")
        .skip(1)
        .filter_map(|case| {
            let name = case.strip_prefix(&beginning)?.split('\'').next()?;
            Some((name, case))
        })
        .collect()
}

/// The texts of the files in `ops/rules/tests`, by name.
///
/// # Errors
/// When one cannot be read.
pub fn tests() -> Result<Vec<(String, String)>> {
    let folder = folder().join("tests");
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder).context("listing ops/rules/tests")? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        all.push((name, fs::read_to_string(entry.path())?));
    }
    all.sort();
    Ok(all)
}
