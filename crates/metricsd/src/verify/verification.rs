//! How every verification is made, told and filed: its checks in a book, a verdict over all of them, lines or one object, a report.
//!
//! Invariant: the verdict is a pass only if something passed, nothing failed and nobody interrupted it; the exit code, the last line and
//! the report say the same. Must not know what is verified.

use std::io::{self, Write};

use jiff::Timestamp;
use thiserror::Error;

use super::child::ChildError;
use super::cli::ReportArgs;
use super::evidence::{self, Ended, Evidence, EvidenceError, Finding, Folder, Subject};
use super::record::{Book, Stop};
use crate::settings::SettingsError;

/// The check that has the last word; each verification's list of checks ends with it.
pub const VERDICT: &str = "verdict";

/// Nothing could be verified.
#[derive(Debug, Error)]
pub enum VerificationError {
    /// Settings that cannot be used. The exit code is 2.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The report cannot be filed. The exit code is 1.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// A drill's inner stage could not do its part. The exit code is 1.
    #[error(transparent)]
    Stage(#[from] ChildError),
    /// Signals cannot be caught, or the result cannot be written. The exit code is 1.
    #[error("cannot {what}")]
    System {
        /// What could not be done.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl VerificationError {
    /// Signals cannot be caught.
    pub fn signals(source: io::Error) -> VerificationError {
        VerificationError::System {
            what: "catch signals",
            source,
        }
    }
}

/// What is to be verified, and where the report goes.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The command's name, with which the report's folder begins.
    pub name: &'static str,
    /// What the report is about.
    pub subject: Subject,
    /// How it is told and filed.
    pub report: &'a ReportArgs,
}

/// Lets `checks` make the steps, adds the verdict, tells `out` line by line or as one object at the end, and files the report.
///
/// # Errors
/// A report that cannot be filed or told. A check that fails is none.
pub fn conduct(
    plan: Plan<'_>,
    out: &mut dyn Write,
    checks: impl FnOnce(&mut Book<'_>),
) -> Result<Ended, VerificationError> {
    let stop = Stop::on_signals().map_err(VerificationError::signals)?;
    let started = Timestamp::now();
    let folder = match &plan.report.evidence {
        Some(directory) => Some(Folder::create(directory, plan.name, started)?),
        None => None,
    };
    let is_json = plan.report.output.json;
    let lines: Option<&mut dyn Write> = if is_json { None } else { Some(&mut *out) };
    let mut book = Book::new(lines, stop);
    checks(&mut book);
    verdict(&mut book);
    let (steps, raw) = book.into_parts();
    let evidence = Evidence {
        subject: plan.subject,
        started,
        ended: Timestamp::now(),
        result: evidence::result(&steps),
        steps,
        evidence: folder
            .as_ref()
            .map(|folder| folder.path().display().to_string()),
        raw,
    };
    if let Some(folder) = &folder {
        evidence::write(folder, &evidence)?;
    }
    tell(&evidence, is_json, out).map_err(|source| VerificationError::System {
        what: "write the result",
        source,
    })?;
    Ok(evidence.result)
}

/// The last lines, or the whole as one object. A reader that left is no error.
fn tell(evidence: &Evidence, is_json: bool, out: &mut dyn Write) -> io::Result<()> {
    let written = if is_json {
        serde_json::to_string_pretty(evidence)
            .map_err(io::Error::from)
            .and_then(|text| writeln!(out, "{}", program::terminal::printable_json(&text)))
    } else {
        let report = evidence.evidence.iter();
        report
            .map(|folder| format!("EVIDENCE|{folder}/report.md"))
            .chain([format!("RESULT={}", evidence.result.word())])
            .try_for_each(|line| writeln!(out, "{line}"))
    };
    match written.and_then(|()| out.flush()) {
        Err(err) if err.kind() != io::ErrorKind::BrokenPipe => Err(err),
        _ => Ok(()),
    }
}

fn verdict(book: &mut Book<'_>) {
    let of = |ended| {
        let steps = book.steps().iter().filter(|step| step.outcome == ended);
        steps.map(|step| step.id.as_str()).collect::<Vec<_>>()
    };
    let (passed, failed, skipped) = (of(Ended::Pass), of(Ended::Fail), of(Ended::Skip));
    let mut text = format!("{} passed, {} failed", passed.len(), failed.len());
    if !failed.is_empty() {
        text.push_str(&format!(" ({})", failed.join(", ")));
    }
    if !skipped.is_empty() {
        text.push_str(&format!("; not checked: {}", skipped.join(", ")));
    }
    let interrupted = book.stop().is_asked();
    let finding = if interrupted || evidence::result(book.steps()) == Ended::Fail {
        let reason = if interrupted { "interrupted; " } else { "" };
        Finding::fail(
            format!("{reason}{text}"),
            "do what the failed checks say, then verify again",
        )
    } else {
        Finding::pass(text)
    };
    let now = Timestamp::now();
    book.push(evidence::Step {
        id: VERDICT.into(),
        title: "All of it together".into(),
        outcome: finding.ended,
        text: finding.text,
        next: finding.next,
        attempts: 1,
        started: now,
        duration: std::time::Duration::ZERO,
        exchanges: Vec::new(),
    });
}
