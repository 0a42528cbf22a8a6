//! What an operator's command found: checks that passed or failed, as lines that a person and a script read, and as JSON.
//!
//! Invariant: a check has one outcome, one identifier that never changes, and one sentence; a failed one says what to do next.
//! What comes from files reaches a terminal without control characters. Must not touch: files, sockets, the clock.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use program::terminal::{printable, printable_json};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// What was claimed holds.
    Pass,
    /// It holds, or cannot be looked at, and somebody should know something about it. Nothing is lost by it.
    Warn,
    /// It does not.
    Fail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Lower case with underscores, the same in every release: what scripts look for.
    pub id: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found, in one sentence.
    pub text: String,
    /// What to do about it; absent when it passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Check {
    /// One that passed.
    pub fn pass(id: &str, text: impl Into<String>) -> Check {
        Check {
            id: id.to_owned(),
            outcome: Outcome::Pass,
            text: text.into(),
            next: None,
        }
    }

    /// One that somebody should know of although nothing is lost, and what to do about it.
    pub fn warn(id: &str, text: impl Into<String>, next: impl Into<String>) -> Check {
        Check {
            id: id.to_owned(),
            outcome: Outcome::Warn,
            text: text.into(),
            next: Some(next.into()),
        }
    }

    /// One that failed, and what to do about it.
    pub fn fail(id: &str, text: impl Into<String>, next: impl Into<String>) -> Check {
        Check {
            id: id.to_owned(),
            outcome: Outcome::Fail,
            text: text.into(),
            next: Some(next.into()),
        }
    }
}

/// Everything that a command of checks has to say; as JSON, one object of these fields.
#[derive(Debug, Clone, Serialize)]
pub struct Report<D> {
    /// The command's words, such as `verify totals`.
    pub command: &'static str,
    /// The program's version.
    pub version: &'static str,
    /// When it began; RFC 3339, UTC.
    #[serde(serialize_with = "as_rfc_3339")]
    pub started: Timestamp,
    /// Pass if every check passed.
    pub outcome: Outcome,
    /// What the settings are to be warned of.
    pub warnings: Vec<String>,
    /// The checks, in the order in which they were made.
    pub checks: Vec<Check>,
    /// What the command found beyond its checks.
    pub details: D,
}

impl<D: Serialize> Report<D> {
    /// Checks and details, with an outcome drawn from the checks.
    pub fn new(
        command: &'static str,
        started: Timestamp,
        warnings: Vec<String>,
        checks: Vec<Check>,
        details: D,
    ) -> Report<D> {
        let outcome = if has_passed(&checks) {
            Outcome::Pass
        } else {
            Outcome::Fail
        };
        Report {
            command,
            version: env!("CARGO_PKG_VERSION"),
            started,
            outcome,
            warnings,
            checks,
            details,
        }
    }

    /// One JSON object and a line feed.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        writeln!(out, "{}", printable_json(&text))
    }
}

fn as_rfc_3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.3}"))
}

/// Whether no check failed. None at all is no pass: what was not looked at is not proven.
pub fn has_passed(checks: &[Check]) -> bool {
    !checks.is_empty() && checks.iter().all(|check| check.outcome != Outcome::Fail)
}

/// Writes `PASS|id|text`, or `FAIL|id|text` (`WARN|id|text`) and `NEXT|hint`. Line breaks in a text become blanks, so that a line is a check.
///
/// # Errors
/// Those of `out`.
pub fn write_lines(checks: &[Check], out: &mut dyn Write) -> io::Result<()> {
    for check in checks {
        let word = match check.outcome {
            Outcome::Pass => "PASS",
            Outcome::Warn => "WARN",
            Outcome::Fail => "FAIL",
        };
        writeln!(out, "{word}|{}|{}", check.id, one_line(&check.text))?;
        if let Some(next) = &check.next {
            writeln!(out, "NEXT|{}", one_line(next))?;
        }
    }
    Ok(())
}

/// Text for one line of a terminal: line breaks as blanks, other control characters escaped.
pub fn one_line(text: &str) -> String {
    printable(&text.replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_is_one_line_and_a_failed_one_says_what_to_do() {
        let checks = [
            Check::pass("port_owner", "metricsd owns it"),
            Check::fail("content_type", "text/html\nfound", "ask the right port"),
        ];
        let mut out = Vec::new();
        write_lines(&checks, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "PASS|port_owner|metricsd owns it\nFAIL|content_type|text/html found\nNEXT|ask the right port\n"
        );
        assert!(!has_passed(&checks));
        assert!(has_passed(&checks[..1]));
        assert!(!has_passed(&[]));
    }

    #[test]
    fn the_object_says_what_ran_and_how_it_ended() {
        let report = |checks| Report::new("verify x", Timestamp::UNIX_EPOCH, vec![], checks, 7);
        let mut out = Vec::new();
        report(vec![Check::pass("a", "is\u{9b}so")])
            .write_json(&mut out)
            .unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains('\u{9b}'), "{text}");
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["command"], "verify x");
        assert_eq!(object["started"], "1970-01-01T00:00:00.000Z");
        assert_eq!(object["outcome"], "pass");
        assert_eq!(object["checks"][0]["text"], "is\u{9b}so");
        assert_eq!(object["details"], 7);
        assert_eq!(report(vec![]).outcome, Outcome::Fail);
    }

    #[test]
    fn a_warning_says_what_to_do_and_fails_nothing() {
        let checks = [Check::warn("identifiers", "has one", "rename it")];
        let mut out = Vec::new();
        write_lines(&checks, &mut out).unwrap();
        assert_eq!(out, b"WARN|identifiers|has one\nNEXT|rename it\n");
        assert!(has_passed(&checks));
    }
}
