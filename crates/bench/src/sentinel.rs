//! What features over 200 bars and a prediction of the embedded model take. To be at most 50 microseconds for the
//! features; a whole cycle without network at most 1 ms; an exchange with the reference gateway at most 5 ms in 99 of 100.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use xtask::{tools, workspace};

use crate::report::Report;

/// Runs the sentinel's own benchmark and copies its figures.
///
/// # Errors
/// When it does not build or run.
pub(crate) fn measure(report: &mut Report) -> Result<()> {
    report.line("\n## Sentinel: features, embedded model, whole cycle without network, exchanges with the reference gateway\n");
    for bench in ["features", "cycle", "gateway"] {
        let mut command: Command = workspace::cargo(&[
            "bench",
            "--package",
            "sentinel",
            "--bench",
            bench,
            "--quiet",
        ]);
        if let Some(python) = tools::gateway_python() {
            command.env("METRICSD_TEST_GATEWAY_PYTHON", python);
        }
        let output = command
            .output()
            .context("running the sentinel's benchmark")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "the sentinel's benchmark {bench} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        for line in said.lines().filter(|line| !line.trim().is_empty()) {
            report.line(line);
        }
    }
    Ok(())
}
