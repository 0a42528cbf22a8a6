//! What an operator's command found: checks that passed or failed, as lines that a person and a script read, and as JSON.
//!
//! Invariant: a check has one outcome, one identifier that never changes, and one sentence; a failed one says what to do next.
//! Must not touch: files, sockets, the clock.

use std::io::{self, Write};

use serde::Serialize;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// What was claimed holds.
    Pass,
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

/// Whether every check passed. None at all is no pass: what was not looked at is not proven.
pub fn has_passed(checks: &[Check]) -> bool {
    !checks.is_empty() && checks.iter().all(|check| check.outcome == Outcome::Pass)
}

/// Writes `PASS|id|text`, or `FAIL|id|text` and `NEXT|hint`. Line breaks in a text become blanks, so that a line is a check.
///
/// # Errors
/// Those of `out`.
pub fn write_lines(checks: &[Check], out: &mut dyn Write) -> io::Result<()> {
    for check in checks {
        let word = match check.outcome {
            Outcome::Pass => "PASS",
            Outcome::Fail => "FAIL",
        };
        writeln!(out, "{word}|{}|{}", check.id, one_line(&check.text))?;
        if let Some(next) = &check.next {
            writeln!(out, "NEXT|{}", one_line(next))?;
        }
    }
    Ok(())
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
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
}
