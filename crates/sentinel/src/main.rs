//! The `sentinel` program: signals, flags, log, loop.
//!
//! Invariant: whatever goes wrong is one sentence on standard error and an exit status, never a backtrace.
#![forbid(unsafe_code)]

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;
use sentinel::audit::{self, replay::Report};
use sentinel::cli::{Cli, Command, ReplayArguments};
use sentinel::clock::Clock;
use sentinel::config::{Config, StateSettings};
use sentinel::daemon::{self, StartError};
use sentinel::gateway::peer::{self, PaperGatewayArguments};
use sentinel::log::Log;
use sentinel::reset;
use sentinel::stop::{CaughtSignals, Stop};
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    // First of all: from here on no signal ends the program without a word.
    let signals = match CaughtSignals::catch() {
        Ok(signals) => signals,
        Err(error) => return fail(&StartError::Signals(error), 1),
    };
    let cli = Cli::parse();
    let environment = |name: &str| -> Option<OsString> { std::env::var_os(name) };
    if let Some(command) = &cli.command {
        // Within a second of a signal each of them ends; only the gateway has an end of its own before that.
        return match Stop::on_signals(signals) {
            Ok(stop) => run_command(command, &environment, &stop),
            Err(error) => fail(&StartError::Signals(error), 1),
        };
    }
    let config = match Config::load(&cli, &environment) {
        Ok(config) => config,
        Err(error) => return fail(&error, 2),
    };
    let stop = match Stop::on_signals(signals) {
        Ok(stop) => stop,
        Err(error) => return fail(&StartError::Signals(error), 1),
    };
    let log = Log::start(cli.log_level.unwrap_or(LevelFilter::INFO));
    let ended = daemon::run(&config, &stop);
    log.close(None);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

/// What is done instead of running the daemon. Its answer goes to standard output.
fn run_command(
    command: &Command,
    environment: &dyn Fn(&str) -> Option<OsString>,
    stop: &Stop,
) -> ExitCode {
    match command {
        Command::Reset(arguments) => {
            let settings = match StateSettings::for_reset(arguments, environment) {
                Ok(settings) => settings,
                Err(error) => return fail(&error, 2),
            };
            let now_ms = (Clock::system().now().unix * 1_000.0).floor() as i64;
            match reset::run(&settings, &arguments.reset_secret_file, now_ms) {
                Ok(text) => {
                    let _ = io::stdout().write_all(text.as_bytes());
                    ExitCode::SUCCESS
                }
                Err(error) => fail(&error, error.status()),
            }
        }
        Command::Replay(arguments) => replay(arguments),
        Command::PaperGateway(arguments) => paper_gateway(arguments, stop),
    }
}

fn paper_gateway(arguments: &PaperGatewayArguments, stop: &Stop) -> ExitCode {
    let log = Log::start(LevelFilter::INFO);
    let ended = peer::run(arguments, stop);
    log.close(None);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, error.status()),
    }
}

/// The audit's answer is the exit status, also where nobody reads what is said.
fn replay(arguments: &ReplayArguments) -> ExitCode {
    let report = match audit::replay::replay(&arguments.audit) {
        Ok(report) => report,
        Err(error) => return fail(&error, 1),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let write = if arguments.json {
        Report::write_json
    } else {
        Report::write_text
    };
    let _ = write(&report, &mut out).and_then(|()| out.flush());
    ExitCode::from(u8::from(!report.is_good()))
}

fn fail(error: &dyn Error, status: u8) -> ExitCode {
    // Nobody is left to tell when standard error is closed.
    let _ = io::stderr().write_all(sentence(error).as_bytes());
    ExitCode::from(status)
}

/// The error and what caused it, in one line.
fn sentence(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        sentence.push_str(&format!(": {source}"));
        cause = source.source();
    }
    // A value that somebody mistyped may hold line ends; one sentence is one line.
    let sentence = sentence.replace('\n', "\\n").replace('\r', "\\r");
    format!("sentinel: {sentence}\n")
}
