//! The program `soak`: the run behind `cargo xtask soak`, and the processes that it starts. Invariant: exit status 0 only if every check holds,
//! 1 if one does not or the soak cannot run, 2 for a bad flag.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use soak::report::GoldenSet;
use soak::run::Settings;
use xtask::terminal::{complain, say};

#[derive(Debug, Parser)]
#[command(
    name = "soak",
    about = "Simulated days of trading with failing remotes, and the proof that every order happened once"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run it, and judge.
    Run(RunArguments),
    /// The sentinel; started by a run.
    #[command(hide = true)]
    Child(soak::child::Arguments),
    /// `sentinel reset` on simulated time; started by a run.
    #[command(hide = true)]
    Reset {
        /// The sentinel's configuration.
        #[arg(long)]
        config: PathBuf,
        /// The attempt.
        #[arg(long)]
        attempt: PathBuf,
        /// The file of the simulated time.
        #[arg(long)]
        clock: PathBuf,
    },
    /// A program that ends with its parent; started by a run.
    #[command(hide = true, name = xtask::child::GUARDED)]
    Guarded {
        /// Parent, program, arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct RunArguments {
    /// Simulated hours.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=168))]
    hours: u16,
    /// Two and a half simulated hours, in which each trouble comes once.
    #[arg(long, conflicts_with = "hours")]
    short: bool,
    /// Make this run the golden set of its seed and length, if all checks hold.
    #[arg(long)]
    write_golden: bool,
    /// Decides what goes wrong when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A Python that has pyzmq.
    #[arg(long)]
    python: PathBuf,
    /// Where all files of the run go; emptied first.
    #[arg(long, default_value = "target/soak")]
    folder: PathBuf,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(arguments) => run(&arguments),
        Command::Child(arguments) => soak::child::run(&arguments).map(|()| true),
        Command::Reset {
            config,
            attempt,
            clock,
        } => soak::child::reset(&config, &attempt, &clock).map(|_| true),
        Command::Guarded { words } => Err(xtask::child::become_guarded_program(&words)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(format_args!("soak: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &RunArguments) -> Result<bool> {
    let settings = Settings {
        bars: match arguments.short {
            true => soak::run::SHORT_BARS,
            false => usize::from(arguments.hours) * 60,
        },
        seed: arguments.seed,
        folder: std::path::absolute(&arguments.folder).context("the folder")?,
        program: std::env::current_exe().context("finding the running executable")?,
        python: arguments.python.clone(),
    };
    let set = match arguments.write_golden {
        true => GoldenSet::Write,
        false => GoldenSet::Compare,
    };
    soak::report::run(&settings, set, &mut |line| Ok(say(line)?))
}
