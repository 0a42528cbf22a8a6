//! What a replay found, for people and for programs.
//!
//! Invariant: nothing that a file holds reaches a terminal but letters, digits and ASCII signs, and not much of it. Must not touch: files.

use std::io::{self, Write};

use serde::Serialize;

use super::super::digest::Digest;

/// Findings that are told one by one.
const FINDINGS_MAX: usize = 1_000;
/// Characters of a text out of a file.
const TEXT_LEN_MAX: usize = 300;

/// What a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Lines are missing, changed, moved or not understood.
    Damage,
    /// A decision came out otherwise.
    Difference,
    /// Worth knowing, and nothing wrong.
    Note,
}

/// Something that a replay found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Name of the file.
    pub file: String,
    /// Line, from 1; 0 for the file as a whole.
    pub line: u64,
    /// Of a difference, the opening of the bar in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bar_open_time: Option<i64>,
    /// Of a difference, which value; else what is the matter.
    pub what: String,
    /// Of a difference, what was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<String>,
    /// Of a difference, what came out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub came_out: Option<String>,
}

/// What a replay came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Files with at least one line.
    pub files: u64,
    /// Lines that were believed.
    pub lines: u64,
    /// Decisions among them.
    pub decisions: u64,
    /// Decisions of which everything came out as it was recorded.
    pub reproduced: u64,
    /// Orders that were permitted.
    pub permitted: u64,
    /// Lines about what became of orders.
    pub outcomes: u64,
    /// Damage that was found: lines that cannot be believed, and places where some are missing.
    pub damaged: u64,
    /// What was found, the first of it.
    pub findings: Vec<Finding>,
    /// How much more there is.
    pub findings_left_out: u64,
    /// Number of the last line; with its hash, what tells later whether lines at the end were removed.
    pub last_seq: Option<u64>,
    /// Hash of the last line.
    pub last_sha256: Option<Digest>,
}

impl Report {
    /// Whether all is there and came out as it was recorded.
    pub fn is_good(&self) -> bool {
        self.lines > 0 && self.damaged == 0 && self.reproduced == self.decisions
    }

    pub(super) fn add(&mut self, finding: Finding) {
        self.damaged += u64::from(finding.kind == Kind::Damage);
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding {
                file: plain(&finding.file),
                what: plain(&finding.what),
                recorded: finding.recorded.as_deref().map(plain),
                came_out: finding.came_out.as_deref().map(plain),
                ..finding
            });
        } else {
            self.findings_left_out += 1;
        }
    }

    /// A line for each finding, and the sum.
    ///
    /// # Errors
    /// Nobody reads.
    pub fn write_text(&self, to: &mut dyn Write) -> io::Result<()> {
        for finding in &self.findings {
            write_finding(finding, to)?;
        }
        if self.findings_left_out > 0 {
            writeln!(to, "and {} findings more", self.findings_left_out)?;
        }
        writeln!(
            to,
            "{} decisions, {} reproduced",
            self.decisions, self.reproduced
        )?;
        write!(
            to,
            "{} files, {} lines, {} damaged places; {} orders permitted, {} outcomes",
            self.files, self.lines, self.damaged, self.permitted, self.outcomes
        )?;
        if let (Some(seq), Some(sha256)) = (self.last_seq, self.last_sha256) {
            write!(to, "; last line {seq}, sha256 {sha256}")?;
        }
        writeln!(to)
    }

    /// One JSON object.
    ///
    /// # Errors
    /// Nobody reads.
    pub fn write_json(&self, to: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *to, self)?;
        writeln!(to)
    }
}

fn write_finding(finding: &Finding, to: &mut dyn Write) -> io::Result<()> {
    let Finding {
        file, line, what, ..
    } = finding;
    match line {
        0 => write!(to, "{file}: ")?,
        line => write!(to, "{file}:{line}: ")?,
    }
    match finding.kind {
        Kind::Damage => write!(to, "damaged: {what}")?,
        Kind::Note => write!(to, "{what}")?,
        Kind::Difference => {
            let bar = finding.bar_open_time.unwrap_or_default();
            let recorded = finding.recorded.as_deref().unwrap_or_default();
            let came_out = finding.came_out.as_deref().unwrap_or_default();
            write!(
                to,
                "bar {bar}: {what}: recorded {recorded}, came out {came_out}"
            )?;
        }
    }
    writeln!(to)
}

/// A text out of a file, fit for a terminal.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars().take(TEXT_LEN_MAX) {
        if c == ' ' || c.is_ascii_graphic() || (!c.is_ascii() && c.is_alphanumeric()) {
            plain.push(c);
        } else {
            plain.extend(c.escape_default());
        }
    }
    if text.chars().nth(TEXT_LEN_MAX).is_some() {
        plain.push_str("...");
    }
    plain
}
