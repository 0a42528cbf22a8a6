//! The benchmark driver behind `cargo xtask bench`: every comparison runs both sides in turn, in one run, on the same files.
//!
//! Nothing is asserted here: the report gives medians and their ratio, a person reads them.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod churn;
mod dead;
mod python;
mod report;
mod restart;
mod scrape;
mod sentinel;
mod session;
mod shards;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

/// How long processes are born and die, and with `--long`.
const CHURN_SHORT: Duration = Duration::from_secs(20);
const CHURN_LONG: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args_os().skip_while(|word| word != "--python");
    let python = PathBuf::from(arguments.nth(1).context("--python PATH is required")?);
    let is_long = std::env::args_os().any(|word| word == "--long");
    let churn_length = if is_long { CHURN_LONG } else { CHURN_SHORT };
    let mut report = report::Report::new();
    scrape::measure(&python, &mut report)?;
    dead::measure(&python, &mut report)?;
    restart::measure(&mut report)?;
    churn::measure(churn_length, &mut report)?;
    session::measure(&mut report)?;
    sentinel::measure(&mut report)?;
    report.write(&xtask::workspace::root().join("target/bench/report.md"))
}
