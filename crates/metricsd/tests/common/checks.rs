//! What a verification said, for the tests of all of them: its lines, and what one check came to.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test file uses its own part, and a test fails by it"
)]

use std::process::Output;

/// What a run said, and its exit code.
pub struct Run {
    pub code: Option<i32>,
    pub lines: Vec<String>,
    pub text: String,
}

impl Run {
    pub fn of(output: &Output) -> Run {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        Run {
            code: output.status.code(),
            lines: text.lines().map(str::to_owned).collect(),
            text: format!("{text}{}", String::from_utf8_lossy(&output.stderr)),
        }
    }

    /// The line of a check.
    #[track_caller]
    pub fn of_check(&self, word: &str, id: &str) -> &str {
        let begin = format!("{word}|{id}|");
        let found = self.lines.iter().find(|line| line.starts_with(&begin));
        found.unwrap_or_else(|| panic!("no {begin} in:\n{}", self.text))
    }

    /// The check fails with this word in its line, the run with it, and what to do comes next.
    #[track_caller]
    pub fn fails(&self, id: &str, word: &str) {
        let line = self.of_check("FAIL", id);
        assert!(line.contains(word), "no {word:?} in {line}");
        assert_eq!(self.code, Some(1), "{}", self.text);
        assert_eq!(self.lines.last().map(String::as_str), Some("RESULT=FAIL"));
        let at = self.lines.iter().position(|it| it == line).unwrap();
        assert!(self.lines[at + 1].starts_with("NEXT|"), "{}", self.text);
    }
}
