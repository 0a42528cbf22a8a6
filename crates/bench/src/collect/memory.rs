//! Memory of the daemon for what it shows and for what lives.
//!
//! Invariant: anonymous resident memory of the process, as the kernel counts it: the heap with all its slack, and the page that is being
//! written. Mapped shards are not in it: they belong to the kernel's page cache.

use std::fs;

use anyhow::{Context, Result};

use crate::live::{Live, Shape};
use crate::report::Report;
use crate::shards::Retiring;

/// Scrapes before it is looked at, so that everything that is kept is there.
const SCRAPES: u32 = 5;

/// Adds a table.
///
/// # Errors
/// When the daemon does not run.
pub(super) fn measure(report: &mut Report) -> Result<()> {
    report.line("\n### Memory of the daemon\n");
    report.line("Anonymous resident memory after some scrapes and when the archive has noted everything, the rendered page included.\n");
    report.line("| directory | series shown | live entries | anonymous | resident | page |");
    report.line("|---|---|---|---|---|---|");
    let mut anonymous = Vec::new();
    for (shards, series, has_own_series) in
        [(1, 1, false), (1_000, 1_000, false), (1_000, 1_000, true)]
    {
        let shape = Shape {
            shards,
            series,
            has_own_series,
        };
        let live = Live::new(shape)?;
        let (daemon, _) = live.daemon()?;
        let mut page = String::new();
        for _ in 0..SCRAPES {
            page = daemon.scrape()?.1;
        }
        live.wait_until_noted()?;
        let bytes = anonymous_bytes(&daemon)?;
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        report.line(&format!(
            "| {shards} shards x {series}{} | {} | {} | {:.1} MiB | {:.1} MiB | {:.1} MiB |",
            if has_own_series { ", each its own" } else { "" },
            shape.exposed(),
            shape.entries(),
            mebibytes(bytes),
            mebibytes(daemon.resident_bytes()?),
            mebibytes(page.len() as u64)
        ));
        anonymous.push((bytes as f64, page.len() as f64));
    }
    let [empty, same, own] = anonymous[..] else {
        unreachable!("three directories")
    };
    let each = |more: f64| more / 1e6;
    let (of_entry, of_series) = (each(same.0 - empty.0), each(own.0 - same.0));
    let of_page = each(own.1 - same.1);
    report.line(&format!(
        "\nSo a live entry takes {of_entry:.0} bytes, and a shown series {of_series:.0} bytes more, of which {of_page:.0} are its line of the page."
    ));
    report.figure("memory/daemon/entry", of_entry);
    report.figure("memory/daemon/series", of_series);
    Ok(())
}

fn anonymous_bytes(daemon: &Retiring) -> Result<u64> {
    let path = format!("/proc/{}/status", daemon.process.id());
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes = line
        .and_then(|rest| rest.split_whitespace().next())
        .context("no RssAnon")?;
    Ok(kibibytes.parse::<u64>().context("RssAnon is no number")? * 1024)
}
