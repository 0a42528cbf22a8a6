//! The sentinel's audit, read from outside. Invariant: as JSON lines, not by the sentinel's own types.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// A decision that permitted an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permitted {
    /// The order's id.
    pub id: String,
    /// Opening of its bar in Unix seconds.
    pub bar: i64,
    /// Unix milliseconds of the decision.
    pub at_ms: i64,
}

/// The audit of all lives.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    /// Its files, oldest first.
    pub files: Vec<PathBuf>,
    /// Decisions.
    pub decisions: u64,
    /// Those that permitted an order.
    pub permitted: Vec<Permitted>,
    /// Decisions by `BUY`, `SELL`, `HOLD`.
    pub actions: BTreeMap<String, u64>,
    /// Refusals by their reason, those of the last question before an order leaves included.
    pub refusals: BTreeMap<String, u64>,
    /// Refusals of which there is no signal at all: too old a bar, too little confidence.
    pub without_signal: u64,
}

impl Audit {
    /// Reads all files of a directory.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn read(directory: &Path) -> Result<Audit> {
        let mut audit = Audit::default();
        let entries =
            fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))?;
        for entry in entries {
            let path = entry.context("a file of the audit")?.path();
            if path.extension().is_some_and(|ending| ending == "jsonl") {
                audit.files.push(path);
            }
        }
        audit.files.sort();
        for path in audit.files.clone() {
            let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            for line in bytes.split(|byte| *byte == b'\n') {
                // A torn last line is what a kill leaves; `sentinel replay` judges the others.
                if let Ok(line) = serde_json::from_slice::<Value>(line) {
                    audit.take(&line);
                }
            }
        }
        Ok(audit)
    }

    fn take(&mut self, line: &Value) {
        let record = if line["record"].is_object() {
            &line["record"]
        } else {
            line
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match record["kind"].as_str() {
            Some("decision") => {
                self.decisions += 1;
                let bar = record["bar_open_time"].as_i64().unwrap_or(0);
                let action = text(&record["action"]).to_uppercase();
                *self.actions.entry(action).or_default() += 1;
                if record["verdict"]["is"] == "refused" {
                    let reason = text(&record["verdict"]["reason"]);
                    let is_old = record["verdict"]["text"] == "the bar is too old";
                    self.without_signal += u64::from(is_old || reason == "below_threshold");
                    *self.refusals.entry(reason).or_default() += 1;
                }
                if record["verdict"]["is"] == "permitted" {
                    self.permitted.push(Permitted {
                        id: text(&record["verdict"]["id"]),
                        bar,
                        at_ms: record["at_ms"].as_i64().unwrap_or(0),
                    });
                }
            }
            Some("outcome") => {
                if let Some(reason) = record["end"]["withheld"]["reason"].as_str() {
                    *self.refusals.entry(reason.to_owned()).or_default() += 1;
                }
            }
            _ => {}
        }
    }
}
