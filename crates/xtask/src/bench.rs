//! `cargo xtask bench`: builds the benchmark driver with the crates that it measures us against, which stay out of the default build, and
//! runs it.

use anyhow::{Result, bail};

use crate::{tools, workspace};

/// What can be measured by name, in the order of the report.
pub const PARTS: [&str; 14] = [
    "hot",
    "starts",
    "instructions",
    "pace",
    "memory",
    "render",
    "collect",
    "scrape",
    "dead",
    "restart",
    "churn",
    "session",
    "sentinel",
    "growth",
];

/// Whether the benchmark understands all of these words, so that a mistyped one is told before anything is built.
pub fn understands(words: &[&str]) -> bool {
    words
        .iter()
        .all(|word| PARTS.contains(word) || ["--short", "--write-docs"].contains(word))
}

/// Runs the benchmarks; `words` are parts by name and flags of the driver. The report goes to the terminal and to `target/bench/report.md`,
/// with `--write-docs` to `docs/performance.md` as well. With `METRICSD_TEST_LONG` set, processes are born and die for ten minutes
/// instead of twenty seconds.
///
/// # Errors
/// When Python's `prometheus_client` cannot be had (nothing to compare with), a word is not understood, or a part does not run.
pub fn run(words: &[&str]) -> Result<()> {
    tools::require_cpp()?;
    for sentence in tools::install() {
        println!("{sentence}");
    }
    if let Err(error) = tools::install_valgrind() {
        println!("valgrind is missing, no instructions are counted: {error:#}");
    }
    let Some(python) = tools::python() else {
        bail!("the benchmark compares with Python's prometheus_client, which is missing")
    };
    workspace::run(&mut workspace::cargo(&[
        "build",
        "--release",
        "--package",
        "metricsd",
        "--package",
        "xtask",
        "--package",
        "bench",
        "--features",
        "bench/peers",
    ]))?;
    let mut command = std::process::Command::new(workspace::program("bench")?);
    command
        .arg("--python")
        .arg(python)
        .args(words)
        .current_dir(workspace::root());
    if std::env::var_os("METRICSD_TEST_LONG").is_some() {
        command.arg("--long");
    }
    workspace::run(&mut command)
}
