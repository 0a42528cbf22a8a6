//! The `alertbridge` program: signals, flags, log, loop.
//!
//! Invariant: whatever goes wrong is one sentence on standard error and an exit status, never a backtrace.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use alertbridge::cli::Cli;
use alertbridge::config::{Config, ConfigError};
use alertbridge::daemon::{self, StartError};
use alertbridge::stop::{CaughtSignals, Stop};
use clap::Parser;
use program::log::Log;
use program::{fail, sentence};
use tracing::level_filters::LevelFilter;

const NAME: &str = "alertbridge";

fn main() -> ExitCode {
    // First of all: from here on no signal ends the program without a word.
    let signals = match CaughtSignals::catch() {
        Ok(signals) => signals,
        Err(error) => return fail(NAME, &StartError::Signals(error), 1),
    };
    let cli = Cli::parse();
    let load = |cli: &Cli| -> Result<Config, ConfigError> {
        let environment = |name: &str| -> Option<OsString> { std::env::var_os(name) };
        Config::load(cli, &environment)
    };
    let config = match load(&cli) {
        Ok(config) => config,
        Err(error) => return fail(NAME, &error, 2),
    };
    if cli.check_config {
        for warning in &config.warnings {
            let _ = writeln!(io::stderr(), "{NAME}: {warning}");
        }
        return ExitCode::SUCCESS;
    }
    let stop = match Stop::on_signals(signals) {
        Ok(stop) => stop,
        Err(error) => return fail(NAME, &StartError::Signals(error), 1),
    };
    let log = match Log::start(NAME, cli.log_level.unwrap_or(LevelFilter::INFO)) {
        Ok(log) => log,
        Err(error) => return fail(NAME, &error, 1),
    };
    let ended = daemon::run(config, Box::new(move || load(&cli)), &stop);
    match ended {
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
