//! `metricsd verify`: the operator's proofs. Each is a list of checks that can fail, and an exit code.
//!
//! Invariant: a proof changes nothing of what it proves: no lock, no lease, no file. What could not be looked at is never a pass. Only
//! [`evidence`] and the scratch directories of [`drill`] are written, and what a session of [`mode_b`] records.

pub mod child;
pub mod cli;
pub mod compare;
pub mod drill;
pub mod evidence;
pub mod guard;
pub mod http;
pub mod hub;
pub mod inf;
pub mod mode_b;
mod naive;
pub mod page;
pub mod port_owner;
pub mod processes;
mod reading;
pub mod record;
pub mod scrape;
mod sources;
pub mod subject;
pub mod totals;
pub mod verification;

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;
use thiserror::Error;

use crate::report::{Outcome, Report, one_line, write_lines};
use crate::settings::{Environment, SettingsError};

use cli::{OutputArgs, VerifyArgs, VerifyCommand};
use evidence::Ended;
use verification::VerificationError;

/// Nothing was proven and nothing refuted.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// Settings that cannot be used. The exit code is 2.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The verification could not be made or filed. The exit code is 2 for settings, else 1.
    #[error(transparent)]
    Verification(#[from] VerificationError),
    /// The report cannot be written. The exit code is 1.
    #[error("cannot write the report out")]
    Write {
        /// The system's error.
        source: io::Error,
    },
}

/// Runs a proof and writes its report to `out`.
///
/// # Errors
/// Bad settings; a report that cannot be written. A check that fails is none.
pub fn run(
    args: &VerifyArgs,
    env: &Environment<'_>,
    out: &mut dyn Write,
) -> Result<Outcome, VerifyError> {
    let started = Timestamp::now();
    match &args.command {
        VerifyCommand::ModeB(args) => Ok(outcome(mode_b::run(args, env, out)?)),
        VerifyCommand::Inf(args) => Ok(outcome(inf::run(args, out)?)),
        VerifyCommand::Hub(args) => Ok(outcome(hub::run(args, out)?)),
        VerifyCommand::Totals(args) => {
            let (settings, url) = args.resolve(env)?;
            let totals = match url {
                Some(url) => totals::prove(&settings, &url),
                None => totals::prove_files(&settings),
            };
            let lines = totals.lines();
            let report = Report::new(
                "verify totals",
                started,
                settings.warnings,
                totals.checks,
                totals.details,
            );
            finish(&report, &lines, args.output, out)
        }
    }
}

fn outcome(ended: Ended) -> Outcome {
    match ended {
        Ended::Pass => Outcome::Pass,
        Ended::Fail | Ended::Skip => Outcome::Fail,
    }
}

/// Writes a report as it is wanted: as one JSON object, or its checks as lines with `details` behind them.
///
/// # Errors
/// Those of `out`; a reader that has seen enough and left is none.
pub fn finish<D: Serialize>(
    report: &Report<D>,
    details: &[String],
    output: OutputArgs,
    out: &mut dyn Write,
) -> Result<Outcome, VerifyError> {
    let written = if output.json {
        report.write_json(out)
    } else {
        let warnings = report.warnings.iter();
        warnings
            .map(|warning| format!("WARN|settings|{warning}"))
            .try_for_each(|line| writeln!(out, "{}", one_line(&line)))
            .and_then(|()| write_lines(&report.checks, out))
            .and_then(|()| {
                details
                    .iter()
                    .try_for_each(|line| writeln!(out, "{}", one_line(line)))
            })
    };
    match written.and_then(|()| out.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(VerifyError::Write { source })
        }
        _ => Ok(report.outcome),
    }
}
