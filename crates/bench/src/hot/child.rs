//! The same rows in processes of their own: many starts, and under a tool that counts instructions.
//!
//! Invariant: a start measures as the report does, with one thread; a count is the difference of two runs, so that nothing of what comes
//! before and after the calls is in it.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use xtask::tools;

use crate::report::Report;
use crate::rounds::{self, Effort, Place, Spread};

use super::{GROUPS, LIMIT, LIMIT_IN_TURN, OURS, OURS_IN_TURN};

/// The word before nothing else: measure our own rows once and print them.
pub(crate) const START: &str = "one-start";
/// The words before a case and a number of calls: do them and end.
pub(crate) const CALLS: &str = "some-calls";

/// In the child: prints group, name and nanoseconds of each of our rows, one a line.
///
/// # Errors
/// When no directory can be made.
pub(crate) fn one_start() -> Result<()> {
    let directory = crate::shards::scratch()?;
    for outcome in rounds::run(&super::own_cases(directory.path()), Effort::START) {
        println!(
            "{}\t{}\t{}",
            outcome.group, outcome.name, outcome.alone.median
        );
    }
    Ok(())
}

/// In the child: makes so many calls of one case.
///
/// # Errors
/// When there is no such case.
pub(crate) fn some_calls(group: &str, name: &str, calls: u64) -> Result<()> {
    let directory = crate::shards::scratch()?;
    let cases = super::all_cases(directory.path());
    let case = cases
        .iter()
        .find(|case| case.group == group && case.name == name)
        .with_context(|| format!("there is no case '{group}', '{name}'"))?;
    (case.body)(
        Place {
            thread: 0,
            series: 0,
        },
        calls,
    );
    Ok(())
}

/// Starts the process so often and adds a table: the middle start and the worst.
///
/// # Errors
/// When a start fails.
pub(crate) fn measure_starts(starts: usize, report: &mut Report) -> Result<()> {
    report.line("\n## Process starts\n");
    report.line(&format!(
        "{starts} processes one after another, each with the interleaved run of the limits and of our own rows ({} rounds): where code and \
         tables come to lie changes from start to start. Ratios are to the limit in the same process.\n",
        Effort::START.rounds_alone
    ));
    let mut of_starts: Vec<Vec<(String, String, f64)>> = Vec::new();
    for _ in 0..starts {
        of_starts.push(start()?);
    }
    report
        .line("| | ns, median of the starts | worst start | ratio to the limit, median | worst |");
    report.line("|---|---|---|---|---|");
    for group in GROUPS {
        for (name, limit) in [(OURS, LIMIT), (OURS_IN_TURN, LIMIT_IN_TURN)] {
            let figure = |rows: &[(String, String, f64)], name: &str| {
                rows.iter()
                    .find(|row| row.0 == group && row.1 == name)
                    .map(|row| row.2)
            };
            let figures: Vec<f64> = of_starts
                .iter()
                .filter_map(|rows| figure(rows, name))
                .collect();
            let ratios = of_starts
                .iter()
                .filter_map(|rows| Some(figure(rows, name)? / figure(rows, limit)?));
            let (Some(figures), Some(ratios)) = (Spread::of(figures), Spread::of(ratios.collect()))
            else {
                continue;
            };
            report.line(&format!(
                "| {group}: {name} | {:.2} | {:.2} | {:.2} | {:.2} |",
                figures.median, figures.greatest, ratios.median, ratios.greatest
            ));
            report.figure(
                &format!("starts/{group}/{name}/median ratio"),
                ratios.median,
            );
            report.figure(
                &format!("starts/{group}/{name}/worst ratio"),
                ratios.greatest,
            );
        }
    }
    Ok(())
}

fn start() -> Result<Vec<(String, String, f64)>> {
    let own = std::env::current_exe().context("finding the running executable")?;
    let output = Command::new(own)
        .arg(START)
        .output()
        .context("starting ourselves")?;
    ensure!(
        output.status.success(),
        "a start ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .map(|line| {
            let mut words = line.split('\t');
            let mut next = || words.next().context("a line of three columns");
            Ok((next()?.to_owned(), next()?.to_owned(), next()?.parse()?))
        })
        .collect()
}

/// Calls of the shorter and of the longer run.
const CALLS_FEW: u64 = 2_000;
const CALLS_MANY: u64 = 22_000;

/// Adds a table of instructions a call, if valgrind can be had.
///
/// # Errors
/// When a run under valgrind fails.
pub(crate) fn measure_instructions(report: &mut Report) -> Result<()> {
    report.line("\n## Instructions a call\n");
    if tools::valgrind().is_none() {
        report.line("SKIPPED: valgrind is not there and could not be installed.");
        return Ok(());
    }
    report.line(&format!(
        "Counted by valgrind's callgrind, one thread: the difference of {CALLS_MANY} and {CALLS_FEW} calls, the loop around them included. A \
         `lock` prefix and a miss of a cache cost time and no instruction; AVX-512 is not there under valgrind.\n"
    ));
    let directory = crate::shards::scratch()?;
    let names: Vec<(&str, &str)> = super::all_cases(directory.path())
        .iter()
        .map(|case| (case.group, case.name))
        .collect();
    report.line("| | instructions a call |");
    report.line("|---|---|");
    for (group, name) in names {
        // The two runs do not disturb each other: what is counted is not time.
        let counts: Vec<Result<u64>> = std::thread::scope(|scope| {
            let runs =
                [CALLS_FEW, CALLS_MANY].map(|calls| scope.spawn(move || count(group, name, calls)));
            runs.map(|run| {
                run.join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("a run panicked")))
            })
            .into()
        });
        let mut counts = counts.into_iter();
        let (few, many) = (
            counts.next().context("two runs")??,
            counts.next().context("two runs")??,
        );
        let each = many.saturating_sub(few) as f64 / (CALLS_MANY - CALLS_FEW) as f64;
        report.line(&format!("| {group}: {name} | {each:.1} |"));
        report.figure(&format!("instructions/{group}/{name}"), each);
    }
    Ok(())
}

fn count(group: &str, name: &str, calls: u64) -> Result<u64> {
    let own = std::env::current_exe().context("finding the running executable")?;
    let output = tools::valgrind()
        .context("valgrind is gone")?
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(own)
        .args([CALLS, group, name, &calls.to_string()])
        .stdin(Stdio::null())
        .output()
        .context("starting valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "'{group}', '{name}' under valgrind ended with {}: {said}",
        output.status
    );
    said.lines()
        .find_map(|line| {
            line.split_once("Collected : ")?
                .1
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .with_context(|| format!("valgrind counted nothing: {said}"))
}
