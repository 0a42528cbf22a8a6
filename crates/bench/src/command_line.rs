//! Which parts are measured, in which order, and where the report goes.
//!
//! Invariant: `docs/performance.md` is written by a run of all parts only, so that no two of its figures are of different runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use xtask::bench::PARTS;
use xtask::workspace;

use crate::report::Report;
use crate::rounds::Effort;
use crate::{
    churn, collect, dead, growth, hot, machine, memory, pace, render, restart, scrape, sentinel,
    session, session_cost, shards, targets,
};

/// How long processes are born and die: in a short run, in a usual one, and with `--long`.
const CHURN: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(20),
    Duration::from_secs(600),
];

/// What the command line asks for.
#[derive(Debug)]
struct Options {
    python: PathBuf,
    parts: Vec<String>,
    is_short: bool,
    is_long: bool,
    write_docs: bool,
}

/// Measures what the words ask for.
///
/// # Errors
/// When a word is not understood, a side does not run, or the report cannot be written.
pub fn run(words: &[String]) -> Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [hot::child::START] => return hot::child::one_start(),
        [hot::child::CALLS, group, name, calls] => {
            return hot::child::some_calls(
                group,
                name,
                calls.parse().context("a number of calls")?,
            );
        }
        _ => {}
    }
    let options = Options::parse(&words)?;
    // What this process itself records, as any program does.
    let directory = shards::scratch()?;
    let mut report = Report::default();
    report.line("# Performance\n");
    report.line(
        "Every comparison runs its sides in turn, in one run, on the same values and files; medians, in brackets the least and the greatest. \
         Nothing is chosen among several runs.\n",
    );
    machine::describe(&options.python, &mut report);
    let head = report.mark();
    let folder = workspace::root().join("target/bench");
    for part in PARTS {
        if options.wants(part) {
            measure(part, &options, directory.path(), &mut report)
                .with_context(|| format!("measuring '{part}'"))?;
            // Who ends a long run keeps what was measured.
            let so_far = report.with(head, &targets::table(&report));
            so_far.write(&folder, "report.md")?;
        }
    }
    let targets = targets::table(&report);
    println!("{targets}");
    report = report.with(head, &targets);
    report.line(include_str!("../notes.md").trim_end());
    report.write(&folder, "report.md")?;
    std::fs::write(folder.join("figures.tsv"), report.figures_as_text())
        .context("writing the figures")?;
    if options.write_docs {
        report.write(&workspace::root().join("docs"), "performance.md")?;
    }
    Ok(())
}

fn measure(part: &str, options: &Options, directory: &Path, report: &mut Report) -> Result<()> {
    let effort = if options.is_short {
        Effort::SHORT
    } else {
        Effort::FULL
    };
    match part {
        "hot" => hot::measure(&options.python, directory, effort, report),
        "starts" => hot::child::measure_starts(if options.is_short { 3 } else { 20 }, report),
        "instructions" => hot::child::measure_instructions(report),
        "memory" => memory::measure(report),
        "render" => render::measure(options.is_short, report),
        "collect" => collect::measure(&options.python, options.is_short, report),
        "scrape" => scrape::measure(&options.python, report),
        "dead" => dead::measure(&options.python, options.is_short, report),
        "restart" => restart::measure(report),
        "churn" => churn::measure(
            CHURN[usize::from(!options.is_short) + usize::from(options.is_long)],
            report,
        ),
        "growth" => growth::measure(&options.python, directory, options.is_short, report),
        "pace" => {
            pace::measure(directory, options.is_short, report);
            Ok(())
        }
        "session" => {
            session_cost::measure(hot::registry(directory), options.is_short, report)?;
            session::measure(report)
        }
        "sentinel" => sentinel::measure(report),
        other => bail!("there is no part '{other}'"),
    }
}

impl Options {
    fn parse(words: &[&str]) -> Result<Options> {
        let mut options = Options {
            python: PathBuf::new(),
            parts: Vec::new(),
            is_short: false,
            is_long: false,
            write_docs: false,
        };
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            match word {
                "--python" => {
                    options.python = words.next().context("--python wants a path")?.into()
                }
                "--short" => options.is_short = true,
                "--long" => options.is_long = true,
                "--write-docs" => options.write_docs = true,
                part if PARTS.contains(&part) => options.parts.push(part.to_owned()),
                _ => bail!(
                    "unknown argument '{word}'; a part is one of: {}",
                    PARTS.join(", ")
                ),
            }
        }
        ensure!(
            !options.python.as_os_str().is_empty(),
            "--python PATH is required"
        );
        ensure!(
            !(options.is_short && options.is_long),
            "--short and --long contradict each other"
        );
        ensure!(
            !options.write_docs || (options.parts.is_empty() && !options.is_short),
            "--write-docs takes a whole run: no part by name, and not --short"
        );
        Ok(options)
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }
}
