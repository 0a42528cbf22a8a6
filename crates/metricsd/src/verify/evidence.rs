//! What a verification looked at, kept so that somebody can file it and another one can repeat it: steps with what was asked, what came
//! back, when and for how long, and the report that is written from them.
//!
//! Invariant: the report is made from these values alone, and nothing is in it that is not in them. No secret is in them: command lines
//! go through [`redact()`], variables are named and not shown. Only [`write()`] touches files; it never touches one that is there already.

mod markdown;
mod place;
mod redact;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

pub use markdown::markdown;
pub use place::{EvidenceError, Folder, write};
pub use redact::{redact, redact_addresses};

/// Longest answer that is shown in the report; the raw files have the rest.
const ANSWER_LEN_MAX_CHARS: usize = 2000;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// What was claimed holds.
    Pass,
    /// It does not.
    Fail,
    /// It was not looked at: neither proven nor refuted.
    Skip,
}

impl Ended {
    /// The word at the beginning of a line.
    pub fn word(self) -> &'static str {
        match self {
            Ended::Pass => "PASS",
            Ended::Fail => "FAIL",
            Ended::Skip => "SKIP",
        }
    }
}

/// What a step came to: a sentence, and a hint unless it passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it ended.
    pub ended: Ended,
    /// What was found.
    pub text: String,
    /// What to do about it.
    pub next: Option<String>,
}

impl Finding {
    /// It holds.
    pub fn pass(text: impl Into<String>) -> Finding {
        Finding {
            ended: Ended::Pass,
            text: text.into(),
            next: None,
        }
    }

    /// It does not, and this is what to do.
    pub fn fail(text: impl Into<String>, next: impl Into<String>) -> Finding {
        Finding {
            ended: Ended::Fail,
            text: text.into(),
            next: Some(next.into()),
        }
    }

    /// It was not looked at, and this is how it would be.
    pub fn skip(text: impl Into<String>, next: impl Into<String>) -> Finding {
        Finding {
            ended: Ended::Skip,
            text: text.into(),
            next: Some(next.into()),
        }
    }
}

/// One question and its answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exchange {
    /// As a person could repeat it: a command of the shell.
    pub asked: String,
    /// What came back, cut to a length that can be read.
    pub answer: String,
    /// When it was asked.
    #[serde(serialize_with = "rfc_3339")]
    pub at: Timestamp,
    /// How long the answer took.
    #[serde(rename = "duration_seconds", serialize_with = "seconds")]
    pub duration: Duration,
    /// The file below the report's folder that has the whole answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw_file: Option<String>,
}

impl Exchange {
    /// Cuts the answer to what is shown.
    pub fn new(
        asked: impl Into<String>,
        answer: &str,
        at: Timestamp,
        duration: Duration,
    ) -> Exchange {
        Exchange {
            asked: asked.into(),
            answer: excerpt(answer),
            at,
            duration,
            raw_file: None,
        }
    }
}

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(ANSWER_LEN_MAX_CHARS) {
        Some((end, _)) => {
            let rest = text.len() - end;
            format!("{}\n[... {rest} bytes more]", &text[..end])
        }
        None => text.to_owned(),
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Lower case with underscores, the same in every release.
    pub id: String,
    /// What is claimed, in a few words.
    pub title: String,
    /// How it ended.
    pub outcome: Ended,
    /// What was found, in one sentence.
    pub text: String,
    /// What to do about it; absent when it passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How often it was tried before this was the answer.
    pub attempts: u32,
    /// When it began.
    #[serde(serialize_with = "rfc_3339")]
    pub started: Timestamp,
    /// How long it took, waits between attempts included.
    #[serde(rename = "duration_seconds", serialize_with = "seconds")]
    pub duration: Duration,
    /// What was asked in the last attempt.
    pub exchanges: Vec<Exchange>,
}

/// What was verified, where, by whom.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Subject {
    /// What it is called at the head of the report.
    #[serde(skip)]
    pub title: &'static str,
    /// The command line that was given, secrets taken out.
    pub command: String,
    /// The verifying program's version.
    pub version: &'static str,
    /// Addresses and places, in the order of the report.
    #[serde(flatten, serialize_with = "by_key")]
    pub verified: Vec<Verified>,
    /// The host's name.
    pub host: String,
    /// System, release and architecture.
    pub kernel: String,
    /// Name and number of the user who ran it.
    pub user: String,
    /// The working directory.
    pub working_directory: String,
}

/// One address or place that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its name for programs, in snake case; none of the names of a [`Subject`]'s own fields.
    pub key: &'static str,
    /// Its name for people.
    pub label: &'static str,
    /// What it was, and what named it; none if it was not looked at.
    pub value: Option<String>,
}

/// A raw answer, to be filed beside the report.
#[derive(Debug, Clone, PartialEq)]
pub struct RawFile {
    /// File name without a directory.
    pub name: String,
    /// The bytes as they came.
    pub content: Vec<u8>,
}

/// Everything that is written down.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// What was verified.
    #[serde(flatten)]
    pub subject: Subject,
    /// When it began.
    #[serde(serialize_with = "rfc_3339")]
    pub started: Timestamp,
    /// When it ended.
    #[serde(serialize_with = "rfc_3339")]
    pub ended: Timestamp,
    /// The steps in the order in which they were made; the last one is the verdict.
    pub steps: Vec<Step>,
    /// Pass or fail.
    pub result: Ended,
    /// The folder of the report, if one is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Raw answers; they are files, not part of the object.
    #[serde(skip)]
    pub raw: Vec<RawFile>,
}

/// Fail if any step failed or none passed; what was skipped decides nothing.
pub fn result(steps: &[Step]) -> Ended {
    let any = |ended| steps.iter().any(|step| step.outcome == ended);
    if any(Ended::Pass) && !any(Ended::Fail) {
        Ended::Pass
    } else {
        Ended::Fail
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1000.0).round() / 1000.0)
}

fn by_key<S: Serializer>(verified: &[Verified], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(verified.iter().map(|it| (it.key, &it.value)))
}

/// UTC, as programs read it.
fn rfc_3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

#[cfg(test)]
mod tests;
