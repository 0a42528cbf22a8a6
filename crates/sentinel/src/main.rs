//! The `sentinel` program: signals, flags, log, loop.
//!
//! Invariant: whatever goes wrong is one sentence on standard error and an exit status, never a backtrace.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;
use program::log::Log;
use program::{fail, sentence};
use sentinel::audit::{self, replay::Report};
use sentinel::cli::{Cli, Command, ReplayArguments};
use sentinel::clock::Clock;
use sentinel::config::{Config, StateSettings};
use sentinel::daemon::{self, StartError};
use sentinel::gateway::peer::{self, PaperGatewayArguments};
use sentinel::reset;
use sentinel::stop::{CaughtSignals, Stop};
use tracing::level_filters::LevelFilter;

const NAME: &str = "sentinel";

fn main() -> ExitCode {
    // First of all: from here on no signal ends the program without a word.
    let signals = match CaughtSignals::catch() {
        Ok(signals) => signals,
        Err(error) => return fail(NAME, &StartError::Signals(error), 1),
    };
    let cli = Cli::parse();
    let environment = |name: &str| -> Option<OsString> { std::env::var_os(name) };
    if let Some(command) = &cli.command {
        // Within a second of a signal each of them ends; only the gateway has an end of its own before that.
        return match Stop::on_signals(signals) {
            Ok(stop) => run_command(command, &environment, &stop),
            Err(error) => fail(NAME, &StartError::Signals(error), 1),
        };
    }
    let config = match Config::load(&cli, &environment) {
        Ok(config) => config,
        Err(error) => return fail(NAME, &error, 2),
    };
    let stop = match Stop::on_signals(signals) {
        Ok(stop) => stop,
        Err(error) => return fail(NAME, &StartError::Signals(error), 1),
    };
    let log = match Log::start(NAME, cli.log_level.unwrap_or(LevelFilter::INFO)) {
        Ok(log) => log,
        Err(error) => return fail(NAME, &error, 1),
    };
    match daemon::run(&config, &stop) {
        Ok(()) => {
            log.drain();
            ExitCode::SUCCESS
        }
        Err(error) => {
            log.say(&sentence(&error));
            ExitCode::from(1)
        }
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
                Err(error) => return fail(NAME, &error, 2),
            };
            let now_ms = (Clock::system().now().unix * 1_000.0).floor() as i64;
            match reset::run(&settings, &arguments.reset_secret_file, now_ms) {
                Ok(text) => {
                    let _ = io::stdout().write_all(text.as_bytes());
                    ExitCode::SUCCESS
                }
                Err(error) => fail(NAME, &error, error.status()),
            }
        }
        Command::Replay(arguments) => replay(arguments),
        Command::PaperGateway(arguments) => paper_gateway(arguments, stop),
    }
}

fn paper_gateway(arguments: &PaperGatewayArguments, stop: &Stop) -> ExitCode {
    let log = match Log::start(NAME, LevelFilter::INFO) {
        Ok(log) => log,
        Err(error) => return fail(NAME, &error, 1),
    };
    match peer::run(arguments, stop) {
        Ok(()) => {
            log.drain();
            ExitCode::SUCCESS
        }
        Err(error) => {
            log.say(&sentence(&error));
            ExitCode::from(error.status())
        }
    }
}

/// The audit's answer is the exit status, also where nobody reads what is said.
fn replay(arguments: &ReplayArguments) -> ExitCode {
    let report = match audit::replay::replay(&arguments.audit) {
        Ok(report) => report,
        Err(error) => return fail(NAME, &error, 1),
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
