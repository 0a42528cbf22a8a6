//! What a series takes of a program's heap, and what a call allocates.
//!
//! Invariant: counted by the allocator, in a process of its own; the bytes of shards are not heap and stand in a row of their own.

pub(crate) mod child;
#[cfg(feature = "peers")]
mod peers;

use std::process::Command;

use anyhow::{Context, Result, ensure};
use xtask::workspace;

use crate::report::Report;

/// The name that targets look up.
pub(crate) const OURS: &str = "metricsd-client, in shards";

/// Starts the counting process and adds its tables.
///
/// # Errors
/// When it does not run.
pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let output = Command::new(workspace::program("bench-memory")?)
        .output()
        .context("starting bench-memory")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "bench-memory ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    report.line("\n## Heap of a program\n");
    report.line("| | series | heap bytes a series | live allocations a series |");
    report.line("|---|---|---|---|");
    for row in &rows {
        if let ["series", what, name, count, bytes, allocations] = row[..] {
            report.line(&format!(
                "| {what}: {name} | {count} | {bytes} | {allocations} |"
            ));
            report.figure(
                &format!("memory/{what}/{name}"),
                bytes.parse().context("a number of bytes")?,
            );
        }
    }
    report.line("\n### Allocations of a call\n");
    report.line("A call on a series that is there already. Every other call of the hot path allocates nothing.\n");
    report.line("| | allocations a call |");
    report.line("|---|---|");
    for row in &rows {
        if let ["call", group, name, allocations] = row[..] {
            let each: f64 = allocations.parse().context("a number")?;
            if each > 0.0 {
                report.line(&format!("| {group}: {name} | {allocations} |"));
            }
            report.figure(&format!("allocations/{group}/{name}"), each);
        }
    }
    Ok(())
}
