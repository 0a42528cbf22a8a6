//! An error with its causes as one sentence: on standard error, in the log, and in messages that are shown elsewhere.
//!
//! Invariant: each cause occurs once, outermost first, and one sentence is one line.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

/// The error and its causes, joined by colons.
pub fn sentence(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let told = source.to_string();
        // Many errors name their cause in their own text.
        if !sentence.ends_with(&told) {
            sentence.push_str(&format!(": {told}"));
        }
        cause = source.source();
    }
    // A value that somebody mistyped may hold line ends.
    sentence.replace('\n', "\\n").replace('\r', "\\r")
}

/// Says on standard error why the program of that name ends, where there is no log, and with which status.
pub fn fail(program: &str, error: &dyn Error, status: u8) -> ExitCode {
    let line = format!("{program}: {}\n", sentence(error));
    // Nobody is left to tell when standard error is closed.
    let _ = io::stderr().write_all(line.as_bytes());
    ExitCode::from(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("a: found `x\r\ny`")]
    struct Outer(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("b: cannot be read: {source}")]
    struct Naming {
        source: io::Error,
    }

    #[test]
    fn a_cause_that_an_error_names_itself_is_said_once() {
        let error = Naming {
            source: io::Error::other("gone"),
        };
        assert_eq!(sentence(&error), "b: cannot be read: gone");
    }

    #[test]
    fn an_error_and_its_causes_are_one_line() {
        let error = Outer(io::Error::other("b\nc"));
        assert_eq!(sentence(&error), "a: found `x\\r\\ny`: b\\nc");
    }
}
