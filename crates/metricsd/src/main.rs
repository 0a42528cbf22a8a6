//! The program `metricsd`: command line in, exit code out. 0 fine, 1 the start or a check failed, 2 a bad flag, variable or configuration.
#![forbid(unsafe_code)]

use std::io;
use std::process::ExitCode;

use clap::Parser;
use metricsd::cli::{Cli, Command, CommonArgs, LedgerArgs, LedgerCommand, RenderArgs};
use metricsd::doctor::{self, DoctorError};
use metricsd::inspect;
use metricsd::ledger::selection::Selection;
use metricsd::ledger::{Query, reset};
use metricsd::render::render;
use metricsd::report::Outcome;
use metricsd::serve::Running;
use metricsd::settings::{Environment, MergeSettings, ServeSettings};
use metricsd::verify::guard;
use metricsd::verify::verification::VerificationError;
use metricsd::verify::{self, VerifyError};
use program::log::Log;
use program::{fail, sentence};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::level_filters::LevelFilter;

const NAME: &str = "metricsd";

/// How a command went: with which code it failed, and why.
type Ended = Result<(), (u8, anyhow::Error)>;

fn main() -> ExitCode {
    // Before anything that the program we become would inherit.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == guard::GUARDED) {
        return fail(NAME, &guard::become_guarded(words), 1);
    }
    // First of all: a writer that opens a shard while it is asked about makes the kernel send SIGIO, which would kill us.
    if let Err(err) = metricsd_shard::ignore_sigio() {
        return fail_with(anyhow::Error::from(err).context("cannot ignore SIGIO"));
    }
    // A write beyond RLIMIT_FSIZE is an error like that of a full disk, not the end.
    if let Err(err) = metricsd_shard::ignore_sigxfsz() {
        return fail_with(anyhow::Error::from(err).context("cannot ignore SIGXFSZ"));
    }
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => logged(args.common.log_level.0, || {
            match ServeSettings::resolve(&args, &|name| std::env::var_os(name)) {
                Ok(settings) => serve(settings).map_err(|err| (1, err)),
                Err(err) => Err((2, err.into())),
            }
        }),
        Command::Render(args) => logged(args.common.log_level.0, || {
            match MergeSettings::resolve(&args, &|name| std::env::var_os(name)) {
                Ok(settings) => {
                    render(&settings, &mut io::stdout().lock()).map_err(|err| (1, err.into()))
                }
                Err(err) => Err((2, err.into())),
            }
        }),
        Command::Inspect(args) => match inspect::run(&args, &mut io::stdout().lock()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(err) => fail(NAME, &err, 1),
        },
        Command::Verify(args) => {
            let env = |name: &str| std::env::var_os(name);
            match verify::run(&args, &env, &mut io::stdout().lock()) {
                Ok(Outcome::Pass | Outcome::Warn) => ExitCode::SUCCESS,
                Ok(Outcome::Fail) => ExitCode::from(1),
                Err(err @ VerifyError::Settings(_)) => fail(NAME, &err, 2),
                Err(VerifyError::Verification(VerificationError::Settings(err))) => {
                    fail(NAME, &err, 2)
                }
                Err(err) => fail(NAME, &err, 1),
            }
        }
        Command::Doctor(args) => {
            let env = |name: &str| std::env::var_os(name);
            match doctor::run(&args, &env, &mut io::stdout().lock()) {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::from(1),
                Err(err @ DoctorError::Settings(_)) => fail(NAME, &err, 2),
                Err(err @ DoctorError::Write { .. }) => fail(NAME, &err, 1),
            }
        }
        Command::Ledger(args) => {
            let level = match &args.command {
                Some(LedgerCommand::Reset(reset)) => reset.common.log_level.0,
                None => args.common.log_level.0,
            };
            logged(level, || ledger(args))
        }
    }
}

fn ledger(args: LedgerArgs) -> Ended {
    let env: &Environment<'_> = &|name| std::env::var_os(name);
    let settings = |common: &CommonArgs| {
        let args = RenderArgs {
            common: common.clone(),
        };
        MergeSettings::resolve(&args, env).map_err(|err| (2, err.into()))
    };
    let mut out = io::stdout().lock();
    if let Some(LedgerCommand::Reset(args)) = args.command {
        return settings(&args.common).and_then(|settings| {
            if args.yes {
                return reset::reset(&settings, &mut out).map_err(|err| (1, err.into()));
            }
            let lost = reset::what_is_lost(&settings).map_err(|err| (1, err.into()))?;
            Err((
                2,
                anyhow::anyhow!("ledger reset: --yes is missing; it would set to zero {lost}"),
            ))
        });
    }
    settings(&args.common).and_then(|settings| {
        let selection = match (args.series, args.family) {
            (Some(series), _) => Selection::Series(series),
            (None, Some(family)) => Selection::Family(family),
            (None, None) => Selection::Everything,
        };
        let query = Query {
            selection,
            since: args.since,
            limit: args.limit,
            is_json: args.json,
        };
        metricsd::ledger::ledger(&settings, &query, &mut out).map_err(|err| (1, err.into()))
    })
}

fn serve(settings: ServeSettings) -> anyhow::Result<()> {
    // Before the start, so that a signal that comes during it is not lost. SIGHUP is taken, so that a terminal that closes, or
    // whoever rotates logs, does not end the daemon; there is nothing to read again yet.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let running = Running::start(settings)?;
    for signal in signals.forever() {
        if signal != SIGHUP {
            break;
        }
        tracing::info!("SIGHUP: the configuration is read at start only");
    }
    running.stop();
    Ok(())
}

/// Does the work of a command that logs.
fn logged(level: LevelFilter, work: impl FnOnce() -> Ended) -> ExitCode {
    let log = match Log::start(NAME, level) {
        Ok(log) => log,
        Err(err) => return fail(NAME, &err, 1),
    };
    match work() {
        Ok(()) => {
            log.drain();
            ExitCode::SUCCESS
        }
        Err((code, err)) => {
            log.say(&sentence(err.as_ref()));
            ExitCode::from(code)
        }
    }
}

/// Before there is a log.
fn fail_with(err: anyhow::Error) -> ExitCode {
    fail(NAME, err.as_ref(), 1)
}
