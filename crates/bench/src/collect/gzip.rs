//! What a compressed scrape takes more than a plain one, by byte of the plain page.
//!
//! Invariant: every value is another one in each round, so that nothing that was compressed before can be sent again.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::live::{Live, Shape};
use crate::report::{Report, Timings};
use crate::shards::Retiring;

/// A page of about ten megabytes.
const SHAPE: Shape = Shape {
    shards: 100,
    series: 1_000,
    has_own_series: true,
};
const ROUNDS: u32 = 9;
const CODINGS: [&str; 2] = ["gzip", "zstd"];

/// Adds a table; a coding that the daemon does not speak is named.
///
/// # Errors
/// When the daemon does not run.
pub(super) fn measure(is_short: bool, report: &mut Report) -> Result<()> {
    report.line("\n### Compressed scrapes\n");
    report.line(&format!(
        "{} series; a plain scrape and one of each coding in turn, all values changed before each. Nanoseconds: processor time of the daemon that \
         the coded scrape took more than the plain one of the same round, by byte of the plain page; what the shorter answer saves is in it.\n",
        SHAPE.exposed()
    ));
    report
        .line("| coding | ns a byte of the page | scrape | plain scrape | bytes sent | of plain |");
    report.line("|---|---|---|---|---|---|");
    let live = Live::new(SHAPE)?;
    let (daemon, _) = live.daemon()?;
    daemon.scrape()?;
    let rounds = if is_short { 3 } else { ROUNDS };
    for coding in CODINGS {
        let (mut plain, mut coded, mut more) =
            (Timings::default(), Timings::default(), Timings::default());
        let (mut page_len, mut sent_len) = (0, None);
        for round in 0..rounds {
            live.count(1 + 2 * round)?;
            let before = processor_nanoseconds(&daemon)?;
            let (plain_seconds, length, _) = get(daemon.port, "identity")?;
            let plain_ns = processor_nanoseconds(&daemon)? - before;
            page_len = length;
            live.count(2 + 2 * round)?;
            let before = processor_nanoseconds(&daemon)?;
            let (coded_seconds, length, used) = get(daemon.port, coding)?;
            let coded_ns = processor_nanoseconds(&daemon)? - before;
            sent_len = used.is_some_and(|used| used == coding).then_some(length);
            plain.push(plain_seconds);
            coded.push(coded_seconds);
            more.push((coded_ns - plain_ns) / page_len as f64);
        }
        let Some(sent_len) = sent_len else {
            report.line(&format!(
                "| {coding} | SKIPPED: the daemon answers in plain text | | | | |"
            ));
            continue;
        };
        report.line(&format!(
            "| {coding} | {:.2} | {} | {} | {sent_len} | {:.1} % |",
            more.median(),
            coded.in_milliseconds(),
            plain.in_milliseconds(),
            100.0 * sent_len as f64 / page_len as f64
        ));
        report.figure(&format!("compress/{coding}/ns a byte"), more.median());
    }
    Ok(())
}

/// Seconds of a scrape, the bytes of its body as sent, and its coding.
fn get(port: u16, accepted: &str) -> Result<(f64, usize, Option<String>)> {
    let url = format!("http://127.0.0.1:{port}/metrics");
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    let started = Instant::now();
    let mut response = agent
        .get(&url)
        .header("accept-encoding", accepted)
        .call()
        .with_context(|| format!("asking {url}"))?;
    let coding = response
        .headers()
        .get("content-encoding")
        .and_then(|value| Some(value.to_str().ok()?.to_owned()));
    let body = response
        .body_mut()
        .with_config()
        .limit(1 << 30)
        .read_to_vec()
        .with_context(|| format!("reading {url}"))?;
    Ok((started.elapsed().as_secs_f64(), body.len(), coding))
}

/// Processor time of all threads of the daemon so far; a busy machine does not change it much.
fn processor_nanoseconds(daemon: &Retiring) -> Result<f64> {
    let path = format!("/proc/{}/task", daemon.process.id());
    let threads = std::fs::read_dir(&path).with_context(|| format!("listing {path}"))?;
    // A thread that has just ended has no file any more.
    let times = threads.flatten().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    Ok(times.sum())
}
