//! The `shadow-session` program: signals, gate, flags, log, session, summary.
//!
//! Invariant: whatever goes wrong is one sentence on standard error and an exit status, never a backtrace; standard output has results
//! only.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use program::log::Log;
use program::{fail, sentence};
use shadow_session::cli::Cli;
use shadow_session::pace::{CaughtSignals, Stop};
use shadow_session::run::{Job, StartError};
use shadow_session::{gate, run};

const NAME: &str = "shadow-session";

fn main() -> ExitCode {
    // First of all: from here on no signal ends the program without a word.
    let signals = match CaughtSignals::catch() {
        Ok(signals) => signals,
        Err(error) => return fail(NAME, &StartError::Signals(error), 1),
    };
    let environment = |name: &str| -> Option<OsString> { std::env::var_os(name) };
    // Before the flags, the files and the log: where live trading is armed this program does nothing at all.
    if let Err(refusal) = gate::check(&environment) {
        return fail(NAME, &refusal, 1);
    }
    let cli = Cli::parse();
    let log = match Log::start(NAME, cli.log_level) {
        Ok(log) => log,
        Err(error) => return fail(NAME, &error, 1),
    };
    let ended = start(signals, &cli, &environment, &log);
    match &ended {
        Ok(()) => log.drain(),
        Err(error) => log.say(&sentence(error)),
    }
    ended.map_or_else(
        |error| ExitCode::from(error.exit_status()),
        |()| ExitCode::SUCCESS,
    )
}

fn start(
    signals: CaughtSignals,
    cli: &Cli,
    environment: &dyn Fn(&str) -> Option<OsString>,
    log: &Log,
) -> Result<(), StartError> {
    // Before the preparations: reading a large file takes its time, and a signal must end that too.
    let words = log.clone();
    let stop = Stop::on_signals(signals, move |sentence| words.say(sentence))
        .map_err(StartError::Signals)?;
    let job = run::prepare(cli, environment)?;
    if cli.dry_run {
        return print(&dry_run(&job));
    }
    stop.start();
    let summary = run::run(&job, &stop)?;
    print(&summary.to_string())
}

/// The resolved configuration, itself a configuration file.
fn dry_run(job: &Job) -> String {
    let path = job
        .config
        .path
        .as_ref()
        .map_or("built-in defaults".to_owned(), |path| {
            path.display().to_string()
        });
    format!(
        "# configuration: {path}\n# strategy: {}\n# feed: {}, {} candles\n# run: {}\n{}",
        job.config.strategy.as_str(),
        job.feed.source,
        job.feed.rows.len(),
        job.run_id.as_str(),
        job.config
    )
}

/// A reader that went away costs the text, not the session's exit status; any other loss of a result is said.
fn print(text: &str) -> Result<(), StartError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(StartError::Output(error)),
        _ => Ok(()),
    }
}
