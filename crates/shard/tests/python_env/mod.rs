//! The Python that tests use as judge and as foreign writer, and how a test says that it cannot run.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "not every test binary uses both; a test may end anywhere"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A Python with `prometheus_client`; none, after the skip was recorded, where there is none.
pub(crate) fn python(test: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let given = std::env::var_os("METRICSD_TEST_PYTHON").map(PathBuf::from);
    let candidates = given
        .into_iter()
        .chain([workspace.join("target/xtask/venv/bin/python")]);
    let found = candidates.into_iter().find(|python| {
        let import = Command::new(python)
            .args(["-c", "import prometheus_client"])
            .stderr(Stdio::null())
            .status();
        import.is_ok_and(|status| status.success())
    });
    if found.is_none() {
        record_skip(
            test,
            "no Python with prometheus_client (METRICSD_TEST_PYTHON, target/xtask/venv)",
        );
    }
    found
}

/// Says on stderr, and in the file that METRICSD_TEST_SKIPS names, that a test could not run here.
#[allow(clippy::print_stderr, reason = "for whoever runs the tests")]
pub(crate) fn record_skip(test: &str, why: &str) {
    eprintln!("SKIPPED: {why}");
    if let Some(path) = std::env::var_os("METRICSD_TEST_SKIPS") {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        writeln!(file, "{test}: {why}").unwrap();
    }
}
