//! The Python interpreter that judges us. A machine without it skips those tests, says so, and is counted.
#![allow(
    dead_code,
    clippy::expect_used,
    reason = "each test file uses a part; a broken judge must stop the test"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the checkout of these sources exists")
}

/// An interpreter that has `prometheus_client`; without one the test named is reported as skipped.
pub(crate) fn python(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("METRICSD_TEST_PYTHON").map(PathBuf::from);
    let ours = root().join("target/xtask/venv/bin/python");
    let candidates: Vec<PathBuf> = named.into_iter().chain([ours]).collect();
    let works = |python: &PathBuf| {
        Command::new(python)
            .args(["-c", "import prometheus_client"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let found = candidates.into_iter().find(works);
    if found.is_none() {
        let why = "no Python with prometheus_client (METRICSD_TEST_PYTHON, target/xtask/venv)";
        let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
        if let Some(path) = std::env::var_os("METRICSD_TEST_SKIPS") {
            let file = std::fs::File::options()
                .append(true)
                .create(true)
                .open(path);
            let _ = file.and_then(|mut file| writeln!(file, "{test}: {why}"));
        }
    }
    found
}

/// Standard output of a Python program that must succeed.
pub(crate) fn output(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .expect("the interpreter that was just tried starts");
    assert!(
        status.success(),
        "{command:?}: {status}\n{}",
        String::from_utf8_lossy(&stderr)
    );
    String::from_utf8(stdout).expect("the judges print text")
}

/// The program under test in a directory of its own, with none of our variables set; its standard input is closed.
pub(crate) fn shadow_session(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shadow-session"));
    command
        .current_dir(directory)
        .args(arguments)
        .stdin(std::process::Stdio::null());
    for variable in [
        "PEAK_TRADE_LIVE_ENABLED",
        "PEAK_TRADE_LIVE_ARMED",
        "PT_LIVE_CONFIRM_TOKEN",
        "PEAKTRADE_METRICS_MODE",
        "PEAKTRADE_METRICS_MULTIPROC_DIR",
        "PROMETHEUS_MULTIPROC_DIR",
        "prometheus_multiproc_dir",
        "PEAK_TRADE_METRICSD_PORT",
        "PEAKTRADE_METRICS_PORT",
        "RUST_BACKTRACE",
    ] {
        command.env_remove(variable);
    }
    command
}

/// Exit status, standard output, standard error.
pub(crate) fn ended(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}
