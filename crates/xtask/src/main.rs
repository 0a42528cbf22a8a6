//! `cargo xtask demo | hub | feed | test | bench | soak`: the front door for a person with a fresh clone. Parses the command line, nothing else.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use xtask::child;
use xtask::demo::{Ending, Programs};
use xtask::terminal::{OutputError, complain, say};

const USAGE: &str = "\
usage: cargo xtask <command>

  demo  [--once]    build, start metricsd, run paper sessions over recorded candles, kill one with -9, show that no count is lost; then
                    let the sentinel trade live against the paper gateway, and show that the gateway's book and the sentinel's
                    metrics and audit agree; stays up until Ctrl-C, --once ends by itself (exit 0 when every check held, else 1);
                    --once --built takes the programs that lie beside xtask
  hub   [--once]    bring the whole HUB up on loopback: Prometheus, Alertmanager and node_exporter on the shipped configurations, alertbridge,
                    metricsd with a paper session, the sentinel with a paper gateway; wait until every target is up, run the three
                    verifications and file their evidence; stays up until Ctrl-C, --once ends by itself (exit 0 when all passed, else 1);
                    --built takes the programs that lie beside xtask
  feed              serve recorded one-minute bars as the market data service does, on 127.0.0.1:8010, and keep the prices of the
                    newest one in .ops_local/prices.json for the paper gateway, until Ctrl-C
  test  [--long]    install what the tests need, then format, lints, unit, doc, differential, end-to-end and model tests;
                    --long runs the storms at full length
  bench [--short] [--write-docs] [PART...]
                    measure side by side with other Rust crates and Python's prometheus_client, in about 25 minutes; writes
                    target/bench/report.md, --write-docs also docs/performance.md; parts by name measure less, --short less exactly
  soak  [--hours N] [--seed N] [--short] [--write-golden]
                    run 24 simulated hours of live trading in minutes against the Python peer, with every remote failing by schedule and the
                    sentinel killed between any two steps of an order, and prove from the gateway's book that each order happened once";

/// What a shell shows of a program that SIGPIPE ended. Not 0: checks that were not made did not hold.
const READER_GONE: u8 = 128 + 13;
/// What a shell shows of a program that it cannot start.
const CANNOT_BECOME_PROGRAM: u8 = 127;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((child::GUARDED, rest)) = arguments
        .split_first()
        .map(|(first, rest)| (first.as_str(), rest))
    {
        complain(format_args!(
            "xtask: {:#}",
            child::become_guarded_program(rest)
        ));
        return ExitCode::from(CANNOT_BECOME_PROGRAM);
    }
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["demo"] => xtask::demo::run(Ending::OnInterrupt, Programs::Build),
        ["demo", "--once"] => xtask::demo::run(Ending::ByItself, Programs::Build),
        ["demo", "--once", "--built"] => xtask::demo::run(Ending::ByItself, Programs::AsBuilt),
        ["hub"] => xtask::hub::run(Ending::OnInterrupt, Programs::Build),
        ["hub", "--once"] => xtask::hub::run(Ending::ByItself, Programs::Build),
        ["hub", "--built"] => xtask::hub::run(Ending::OnInterrupt, Programs::AsBuilt),
        ["hub", "--once", "--built"] => xtask::hub::run(Ending::ByItself, Programs::AsBuilt),
        ["feed"] => xtask::feed::run(),
        ["test"] => xtask::test::run(xtask::test::Length::Short),
        ["test", "--long"] => xtask::test::run(xtask::test::Length::Long),
        ["bench", rest @ ..] if xtask::bench::understands(rest) => xtask::bench::run(rest),
        ["soak", rest @ ..] => match xtask::soak::run(rest) {
            // Its own checks and its own words for bad flags.
            Ok(status) => return ExitCode::from(status.code().map_or(1, |code| code as u8)),
            Err(error) => Err(error),
        },
        ["help" | "--help" | "-h"] => say(USAGE).map_err(Into::into),
        _ => {
            complain(format_args!(
                "xtask: unknown arguments '{}'\n\n{USAGE}",
                words.join(" ")
            ));
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error)
            if matches!(
                error.downcast_ref::<OutputError>(),
                Some(OutputError::ReaderGone)
            ) =>
        {
            ExitCode::from(READER_GONE)
        }
        Err(error) => {
            complain(format_args!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
