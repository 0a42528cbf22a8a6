//! The `shadow-session` program: gate, flags, log, session, summary.
//!
//! Invariant: whatever goes wrong is one sentence on standard error and an exit status, never a backtrace; standard output has results
//! only.
#![forbid(unsafe_code)]

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use shadow_session::cli::Cli;
use shadow_session::pace::Stop;
use shadow_session::run::{Job, StartError};
use shadow_session::{gate, run};
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let environment = |name: &str| -> Option<OsString> { std::env::var_os(name) };
    // Before the flags, the files and everything else: where live trading is armed this program does nothing at all.
    if let Err(refusal) = gate::check(&environment) {
        return fail(&refusal, 1);
    }
    let cli = Cli::parse();
    log_to_stderr(cli.log_level);
    match start(&cli, &environment) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, error.exit_status()),
    }
}

fn start(cli: &Cli, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<(), StartError> {
    let job = run::prepare(cli, environment)?;
    if cli.dry_run {
        print(&dry_run(&job));
        return Ok(());
    }
    let stop = Stop::on_signals().map_err(StartError::Signals)?;
    let summary = run::run(&job, &stop)?;
    print(&summary.to_string());
    Ok(())
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

fn log_to_stderr(level: LevelFilter) {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    subscriber.init();
}

/// A reader that went away costs the text, not the session's exit status.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The error and what caused it, in one line.
fn fail(error: &dyn Error, status: u8) -> ExitCode {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        sentence.push_str(&format!(": {source}"));
        cause = source.source();
    }
    let _ = writeln!(io::stderr(), "shadow-session: {sentence}");
    ExitCode::from(status)
}
