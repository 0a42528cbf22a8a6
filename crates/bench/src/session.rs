//! How many candles a second the recorded feed drives through strategy, risk, ledger and telemetry on one core.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use xtask::workspace;

use crate::report::Report;

/// Runs the session crate's own loop benchmark and copies its figures.
///
/// # Errors
/// When it does not build or run.
pub(crate) fn measure(report: &mut Report) -> Result<()> {
    report.line("\n## Session loop\n");
    let mut command: Command = workspace::cargo(&[
        "bench",
        "--package",
        "shadow-session",
        "--bench",
        "loop",
        "--quiet",
    ]);
    let output = command.output().context("running the loop benchmark")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "the loop benchmark ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    for line in said.lines().filter(|line| !line.trim().is_empty()) {
        report.line(line);
    }
    Ok(())
}
