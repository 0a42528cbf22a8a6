//! `cargo xtask bench`: builds the benchmark driver, which stays out of the default build, and runs it.

use anyhow::{Result, bail};

use crate::{tools, workspace};

/// Runs the benchmarks; the report goes to the terminal and to `target/bench/report.md`. With `METRICSD_TEST_LONG` set, processes are
/// born and die for ten minutes instead of twenty seconds.
///
/// # Errors
/// When Python's `prometheus_client` cannot be had (nothing to compare with) or a part does not run.
pub fn run() -> Result<()> {
    tools::require_cpp()?;
    for sentence in tools::install() {
        println!("{sentence}");
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
        "bench",
    ]))?;
    let mut command = std::process::Command::new(workspace::program("bench")?);
    command
        .arg("--python")
        .arg(python)
        .current_dir(workspace::root());
    if std::env::var_os("METRICSD_TEST_LONG").is_some() {
        command.arg("--long");
    }
    workspace::run(&mut command)
}
