//! The program `metricsd`: command line in, exit code out. 0 fine, 1 the start or a check failed, 2 a bad flag, variable or configuration.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use metricsd::cli::{Cli, Command, CommonArgs, LedgerArgs, LedgerCommand, RenderArgs};
use metricsd::doctor::{self, DoctorError};
use metricsd::inspect;
use metricsd::ledger::selection::Selection;
use metricsd::ledger::{Query, reset};
use metricsd::log::Log;
use metricsd::render::render;
use metricsd::report::Outcome;
use metricsd::serve::Running;
use metricsd::settings::{Environment, MergeSettings, ServeSettings};
use metricsd::verify::guard;
use metricsd::verify::mode_b::ModeBError;
use metricsd::verify::{self, VerifyError};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

fn main() -> ExitCode {
    // Before anything that the program we become would inherit.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == guard::GUARDED) {
        return fail(1, &guard::become_guarded(words).into());
    }
    // First of all: a writer that opens a shard while it is asked about makes the kernel send SIGIO, which would kill us.
    if let Err(err) = metricsd_shard::ignore_sigio() {
        return fail(1, &anyhow::Error::from(err).context("cannot ignore SIGIO"));
    }
    // A write beyond RLIMIT_FSIZE is an error like that of a full disk, not the end.
    if let Err(err) = metricsd_shard::ignore_sigxfsz() {
        return fail(
            1,
            &anyhow::Error::from(err).context("cannot ignore SIGXFSZ"),
        );
    }
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => {
            let log = Log::start(args.common.log_level.0);
            let outcome = match ServeSettings::resolve(&args, &|name| std::env::var_os(name)) {
                Ok(settings) => serve(settings).map_err(|err| (1, err)),
                Err(err) => Err((2, err.into())),
            };
            end(log, outcome)
        }
        Command::Render(args) => {
            let log = Log::start(args.common.log_level.0);
            let outcome = match MergeSettings::resolve(&args, &|name| std::env::var_os(name)) {
                Ok(settings) => {
                    render(&settings, &mut io::stdout().lock()).map_err(|err| (1, err.into()))
                }
                Err(err) => Err((2, err.into())),
            };
            end(log, outcome)
        }
        Command::Inspect(args) => match inspect::run(&args, &mut io::stdout().lock()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(err) => fail(1, &err.into()),
        },
        Command::Verify(args) => {
            let env = |name: &str| std::env::var_os(name);
            match verify::run(&args, &env, &mut io::stdout().lock()) {
                Ok(Outcome::Pass | Outcome::Warn) => ExitCode::SUCCESS,
                Ok(Outcome::Fail) => ExitCode::from(1),
                Err(err @ VerifyError::Settings(_)) => fail(2, &err.into()),
                Err(VerifyError::ModeB(ModeBError::Settings(err))) => fail(2, &err.into()),
                Err(err) => fail(1, &err.into()),
            }
        }
        Command::Doctor(args) => {
            let env = |name: &str| std::env::var_os(name);
            match doctor::run(&args, &env, &mut io::stdout().lock()) {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::from(1),
                Err(err @ DoctorError::Settings(_)) => fail(2, &err.into()),
                Err(err @ DoctorError::Write { .. }) => fail(1, &err.into()),
            }
        }
        Command::Ledger(args) => {
            let (log, outcome) = ledger(args);
            end(log, outcome)
        }
    }
}

fn ledger(args: LedgerArgs) -> (Log, Result<(), (u8, anyhow::Error)>) {
    let env: &Environment<'_> = &|name| std::env::var_os(name);
    let settings = |common: &CommonArgs| {
        let args = RenderArgs {
            common: common.clone(),
        };
        MergeSettings::resolve(&args, env).map_err(|err| (2, err.into()))
    };
    let mut out = io::stdout().lock();
    if let Some(LedgerCommand::Reset(args)) = args.command {
        let log = Log::start(args.common.log_level.0);
        let outcome = settings(&args.common).and_then(|settings| {
            if args.yes {
                return reset::reset(&settings, &mut out).map_err(|err| (1, err.into()));
            }
            let lost = reset::what_is_lost(&settings).map_err(|err| (1, err.into()))?;
            Err((
                2,
                anyhow::anyhow!("ledger reset: --yes is missing; it would set to zero {lost}"),
            ))
        });
        return (log, outcome);
    }
    let log = Log::start(args.common.log_level.0);
    let outcome = settings(&args.common).and_then(|settings| {
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
    });
    (log, outcome)
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

fn end(log: Log, outcome: Result<(), (u8, anyhow::Error)>) -> ExitCode {
    match outcome {
        Ok(()) => {
            log.close(None);
            ExitCode::SUCCESS
        }
        Err((code, err)) => {
            log.close(Some(&sentence(&err)));
            ExitCode::from(code)
        }
    }
}

/// One sentence for the person who started us, causes included.
fn sentence(err: &anyhow::Error) -> String {
    format!("metricsd: {err:#}")
}

/// Before there is a log.
fn fail(code: u8, err: &anyhow::Error) -> ExitCode {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "{}", sentence(err));
    ExitCode::from(code)
}
