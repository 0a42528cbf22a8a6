//! Saying that a test proves nothing on this machine.
//!
//! Invariant: a skip is never silent: it goes to stderr and, where the runner asks for it, to its list.

use std::fs::OpenOptions;
use std::io::{Write, stderr};

/// Tell people and the runner that `test` is skipped, and why.
pub(crate) fn skip(test: &str, why: &str) {
    writeln!(stderr(), "SKIPPED: {why}").expect("stderr is writable");
    if let Some(list) = std::env::var_os("METRICSD_TEST_SKIPS") {
        let mut list = OpenOptions::new()
            .append(true)
            .create(true)
            .open(list)
            .expect("the list of skips opens");
        writeln!(list, "{test}: {why}").expect("the list of skips is writable");
    }
}
