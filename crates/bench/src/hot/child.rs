//! The same rows in processes of their own: many starts, and under a tool that counts instructions.
//!
//! Invariant: a start measures as the report does, with one thread; instructions are counted inside [`counted`] alone, so that nothing of what
//! comes before and after the calls is in it.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use xtask::tools;

use crate::report::Report;
use crate::rounds::{self, Case, Effort, Place, Spread};

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
    // The first touch of each series is not what is counted.
    (case.body)(HERE, rounds::WARM_UP_CALLS);
    counted(case, calls);
    Ok(())
}

/// What the counting tool looks into; it must stay a function of its own, under this name.
#[inline(never)]
fn counted(case: &Case, calls: u64) {
    (case.body)(HERE, calls);
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

const HERE: Place = Place {
    thread: 0,
    series: 0,
};
/// Calls of which the instructions are counted.
const CALLS_COUNTED: u64 = 20_000;

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
        "Counted by valgrind's callgrind over {CALLS_COUNTED} calls of one thread, the loop around them included. A `lock` prefix and a miss of \
         a cache cost time and no instruction; AVX-512 is not there under valgrind.\n"
    ));
    let directory = crate::shards::scratch()?;
    let names: Vec<(&str, &str)> = super::all_cases(directory.path())
        .iter()
        .map(|case| (case.group, case.name))
        .collect();
    report.line("| | instructions a call |");
    report.line("|---|---|");
    for pair in names.chunks(2) {
        // Two at a time: they do not disturb each other, since what is counted is not time.
        let counts: Vec<Result<u64>> = std::thread::scope(|scope| {
            let runs: Vec<_> = pair
                .iter()
                .map(|(group, name)| scope.spawn(|| count(group, name)))
                .collect();
            let ended = runs.into_iter().map(|run| run.join());
            ended
                .map(|run| run.unwrap_or_else(|_| Err(anyhow::anyhow!("a run panicked"))))
                .collect()
        });
        for ((group, name), count) in pair.iter().zip(counts) {
            let each = count? as f64 / CALLS_COUNTED as f64;
            report.line(&format!("| {group}: {name} | {each:.1} |"));
            report.figure(&format!("instructions/{group}/{name}"), each);
        }
    }
    Ok(())
}

fn count(group: &str, name: &str) -> Result<u64> {
    let own = std::env::current_exe().context("finding the running executable")?;
    let output = tools::valgrind()
        .context("valgrind is gone")?
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--toggle-collect=*child*counted*",
        ])
        .arg(own)
        .args([CALLS, group, name, &CALLS_COUNTED.to_string()])
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
