//! What the commands say to a person at a terminal.
//!
//! Invariant: every line goes through here, and none of them panics. A reader that went away ends the command: the error travels up as
//! any other, so that children are ended on the way, and `main` says nothing about it.

use std::fmt;
use std::io::{self, Write};

/// Why a line could not be printed.
#[derive(Debug)]
pub enum OutputError {
    /// The reader went away, as `head` does when it has its lines.
    ReaderGone,
    /// Anything else, such as a full disk.
    Failed(io::Error),
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutputError::ReaderGone => f.write_str("nobody reads the output any more"),
            OutputError::Failed(_) => f.write_str("standard output cannot be written"),
        }
    }
}

impl std::error::Error for OutputError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OutputError::ReaderGone => None,
            OutputError::Failed(error) => Some(error),
        }
    }
}

/// Prints one line at once.
///
/// # Errors
/// When nobody can read it.
pub fn say(line: impl fmt::Display) -> Result<(), OutputError> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(OutputError::ReaderGone),
        Err(error) => Err(OutputError::Failed(error)),
    }
}

/// Prints one line on standard error. Nobody is left to tell when that cannot be written.
pub fn complain(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
