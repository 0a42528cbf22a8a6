//! The sentinel's intent log, read from outside and collected over all its lives.
//!
//! Invariant: read as JSON lines and not by the sentinel's own types, so that a fault in those is no fault here as well. A start removes older
//! files; so the log is read at every end of the sentinel. A record that was read once and is another one later is a finding.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// What the log says became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Executed, in whole or in part.
    Executed,
    /// The broker has it.
    Placed,
    /// Not executed, and it never will be.
    Never,
    /// Not known.
    Unknown,
}

/// An order as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Its id.
    pub id: String,
    /// Its idempotency key.
    pub key: String,
    /// Opening of its bar in Unix seconds.
    pub bar: i64,
    /// `buy` or `sell`.
    pub side: String,
    /// Unix milliseconds.
    pub decided_at: i64,
    /// Unix milliseconds.
    pub valid_until: i64,
    /// Whether it was written down that it was handed over.
    pub was_sent: bool,
    /// Whether an outcome was written down, an unknown one included.
    pub has_outcome: bool,
    /// Whether that was found out later.
    pub was_reconciled: bool,
    /// When it was first known what became of it, in Unix milliseconds.
    pub closed_at: Option<i64>,
    /// Whether it was ever known to be executed, or held by the broker.
    pub was_taken: bool,
    /// What became of it in the end.
    pub ending: Ending,
    /// Executed lots, as text.
    pub volume: Option<String>,
}

/// The log so far.
#[derive(Debug, Clone, Default)]
pub struct Intents {
    records: BTreeMap<u64, Value>,
    /// Lines that were rewritten, or contradict each other.
    pub findings: Vec<String>,
}

impl Intents {
    /// As [`Intents::read`], or nothing if the sentinel has not made the directory yet.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_if_there(&mut self, directory: &Path) -> Result<()> {
        match directory.exists() {
            true => self.read(directory),
            false => Ok(()),
        }
    }

    /// Takes in what the directory has now. Nobody may write to it meanwhile.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&mut self, directory: &Path) -> Result<()> {
        let entries =
            fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))?;
        for entry in entries {
            let path = entry.context("a file of the intent log")?.path();
            if path.extension().is_none_or(|ending| ending != "jsonl") {
                continue;
            }
            let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            for line in bytes.split(|byte| *byte == b'\n') {
                // A torn line was never acknowledged; a line that is damaged otherwise is missed below.
                if let Ok(value) = serde_json::from_slice::<Value>(line) {
                    self.take(value);
                }
            }
        }
        Ok(())
    }

    /// Takes in one line.
    pub(crate) fn take(&mut self, mut line: Value) {
        let Some(seq) = line["seq"].as_u64() else {
            self.findings
                .push(format!("a line without a number: {line}"));
            return;
        };
        let record = line["record"].take();
        match self.records.get(&seq) {
            None => {
                self.records.insert(seq, record);
            }
            Some(known) if *known == record => {}
            Some(known) => self
                .findings
                .push(format!("record {seq} was {known} and is {record}")),
        }
    }

    /// Records so far.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Numbers that are missing between the first and the last record.
    pub fn missing(&self) -> u64 {
        let (Some(first), Some(last)) =
            (self.records.keys().next(), self.records.keys().next_back())
        else {
            return 0;
        };
        last - first + 1 - self.records.len() as u64
    }

    /// How many records of a kind there are.
    pub fn count(&self, kind: &str) -> u64 {
        let of_kind = self
            .records
            .values()
            .filter(|record| record["kind"] == kind);
        of_kind.count() as u64
    }

    /// The orders, in the order of their decisions.
    pub fn orders(&self) -> Vec<Intent> {
        let mut orders: Vec<Intent> = Vec::new();
        for record in self.records.values() {
            let kind = record["kind"].as_str().unwrap_or_default();
            if kind == "decided" {
                orders.push(decided(&record["intent"]));
                continue;
            }
            let id = record["id"].as_str().unwrap_or_default();
            let Some(order) = orders.iter_mut().find(|order| order.id == id) else {
                continue;
            };
            match kind {
                "sent" => order.was_sent = true,
                "outcome" => {
                    order.has_outcome = true;
                    (order.ending, order.volume) = ending(&record["outcome"]);
                }
                "reconciled" => {
                    order.was_reconciled = true;
                    (order.ending, order.volume) = ending_found(&record["found"]);
                }
                _ => {}
            }
            if order.ending != Ending::Unknown && order.closed_at.is_none() {
                order.closed_at = record["at_ms"].as_i64();
            }
            order.was_taken |= matches!(order.ending, Ending::Executed | Ending::Placed);
        }
        orders
    }

    /// How many outcomes of each kind were written down, in the words of the metric; `unknown` for both that leave it unknown.
    pub fn outcomes(&self) -> BTreeMap<String, u64> {
        let mut outcomes = BTreeMap::new();
        for record in self
            .records
            .values()
            .filter(|record| record["kind"] == "outcome")
        {
            let outcome = &record["outcome"];
            let label = match outcome["rejected"].as_str() {
                Some(code) => format!("rejected_{code}"),
                None => word_of(outcome).to_owned(),
            };
            *outcomes.entry(label).or_default() += 1;
        }
        outcomes
    }
}

fn decided(intent: &Value) -> Intent {
    let text = |name: &str| intent[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| intent[name].as_i64().unwrap_or(0);
    Intent {
        id: text("id"),
        key: text("idempotency_key"),
        bar: number("bar_open_time"),
        side: text("side"),
        decided_at: number("decided_at_ms"),
        valid_until: number("valid_until_ms"),
        was_sent: false,
        has_outcome: false,
        was_reconciled: false,
        closed_at: None,
        was_taken: false,
        ending: Ending::Unknown,
        volume: None,
    }
}

/// `"unknown"`, `"placed"`, `{"filled": {"volume": "0.02"}}`, `{"rejected": "price"}`.
fn ending(outcome: &Value) -> (Ending, Option<String>) {
    let word = word_of(outcome);
    let volume = outcome[word]["volume"].as_str().map(str::to_owned);
    let ending = match word {
        "filled" | "partial" | "executed" => Ending::Executed,
        "placed" => Ending::Placed,
        "rejected" => Ending::Never,
        _ => Ending::Unknown,
    };
    (ending, volume)
}

/// The same words and `never_arrived`, `never_sent`. A person closes nothing in a soak.
fn ending_found(found: &Value) -> (Ending, Option<String>) {
    match word_of(found) {
        "never_arrived" | "never_sent" => (Ending::Never, None),
        _ => ending(found),
    }
}

fn word_of(value: &Value) -> &str {
    let key = value.as_object().and_then(|object| object.keys().next());
    value
        .as_str()
        .or(key.map(String::as_str))
        .unwrap_or_default()
}
