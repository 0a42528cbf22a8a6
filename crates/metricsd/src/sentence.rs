//! An error with its causes as one sentence, for the log and for messages that are shown elsewhere.
//!
//! Invariant: each cause occurs once, outermost first.

use std::error::Error;

/// The error and its causes, joined by colons.
pub(crate) fn one_sentence(err: &dyn Error) -> String {
    let mut sentence = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        sentence = format!("{sentence}: {err}");
        cause = err.source();
    }
    sentence
}
