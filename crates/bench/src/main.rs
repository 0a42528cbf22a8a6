//! The benchmark driver behind `cargo xtask bench`: every comparison runs both sides in turn, in one run, on the same files.
//!
//! Nothing is asserted here: the report gives medians and their ratio, a person reads them.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod python;
mod report;
mod scrape;
mod session;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

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
    let mut report = report::Report::new();
    scrape::measure(&python, &mut report)?;
    session::measure(&mut report)?;
    report.write(&xtask::workspace::root().join("target/bench/report.md"))
}
