//! The program `metricsd`: command line in, exit code out. 0 fine, 1 the start failed, 2 a bad flag, variable or configuration.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use metricsd::cli::{Cli, Command, LogLevel};
use metricsd::render::render;
use metricsd::serve::Running;
use metricsd::settings::{MergeSettings, ServeSettings};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

fn main() -> ExitCode {
    // First of all: a writer that opens a shard while it is asked about makes the kernel send SIGIO, which would kill us.
    if let Err(err) = metricsd_shard::ignore_sigio() {
        return fail(1, &anyhow::Error::from(err).context("cannot ignore SIGIO"));
    }
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => {
            start_log(args.common.log_level);
            match ServeSettings::resolve(&args, &|name| std::env::var_os(name)) {
                Ok(settings) => {
                    serve(settings).map_or_else(|err| fail(1, &err), |()| ExitCode::SUCCESS)
                }
                Err(err) => fail(2, &err.into()),
            }
        }
        Command::Render(args) => {
            start_log(args.common.log_level);
            match MergeSettings::resolve(&args, &|name| std::env::var_os(name)) {
                Ok(settings) => render(&settings, &mut io::stdout().lock())
                    .map_or_else(|err| fail(1, &err.into()), |()| ExitCode::SUCCESS),
                Err(err) => fail(2, &err.into()),
            }
        }
    }
}

fn serve(settings: ServeSettings) -> anyhow::Result<()> {
    // Before the start, so that a signal that comes during it is not lost.
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let running = Running::start(settings)?;
    signals.forever().next();
    running.stop();
    Ok(())
}

fn start_log(level: LogLevel) {
    let colours = io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(level.0)
        .with_ansi(colours)
        .with_target(false)
        // Otherwise a log that nobody reads any more would end the thread that writes to it.
        .log_internal_errors(false)
        .init();
}

/// One sentence for the person who started us, causes included.
fn fail(code: u8, err: &anyhow::Error) -> ExitCode {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "metricsd: {err:#}");
    ExitCode::from(code)
}
