//! What one whole cycle takes without network: admit a new closed bar, features over 200 bars, the embedded model, the decision, and all of
//! the metrics and health.
//!
//! `cargo bench -p sentinel --bench cycle`. One thread, a driven clock, one new bar in each cycle; prints the median and the best of ten
//! rounds. Nothing is asserted: a figure depends on the machine.

use std::ffi::OsString;
use std::io::Write;
use std::time::{Duration, Instant};

use market::Bar;
use market::eodhd::RawBar;
use metricsd_client::Registry;
use sentinel::calls::{NoAnswer, Remotes};
use sentinel::cli::Cli;
use sentinel::clock::Clock;
use sentinel::config::Config;
use sentinel::cycle::{Cycle, Ended, Predictor};
use sentinel::error_code::ErrorCode;
use sentinel::features::Features;
use sentinel::health::Health;
use sentinel::http::CallError;
use sentinel::model::{EmbeddedModel, ModelIdentity, Probabilities};
use sentinel::telemetry::Telemetry;
use sentinel::trading::{DryRun, Pace};

const ROUNDS: usize = 10;
const HOUR_SECONDS: i64 = 3_600;

/// A feed in memory; nobody asks it for predictions.
struct Memory;

impl Remotes for Memory {
    fn fetch(&mut self, from: i64, to: i64, _: Instant) -> Result<Vec<RawBar>, NoAnswer> {
        let hours = from.div_euclid(HOUR_SECONDS)..=to.div_euclid(HOUR_SECONDS);
        Ok(hours.map(row).collect())
    }

    fn predict(&mut self, _: &Features, _: Instant) -> Result<Probabilities, NoAnswer> {
        Err(refused())
    }

    fn identify(&mut self, _: Instant) -> Result<ModelIdentity, NoAnswer> {
        Err(refused())
    }
}

fn refused() -> NoAnswer {
    NoAnswer::Failed(CallError::new(ErrorCode::Other, "there is no server"))
}

fn row(hour: i64) -> RawBar {
    let close = 1.1 + (hour % 97) as f64 / 1e4;
    let bar = Bar {
        open_time: hour * HOUR_SECONDS,
        open: close,
        high: close + 1e-4,
        low: close - 1e-4,
        close,
        volume: (hour % 13) as f64,
    };
    RawBar {
        open_time: bar.open_time,
        bar: Ok(bar),
    }
}

fn main() -> std::io::Result<()> {
    // Without `--bench` it is run as a test: once, to see that it works.
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let cycles = if is_measured { 500 } else { 2 };
    // A market that never closes: a cycle of a weekend does nothing, and would make the figure smaller than a cycle is.
    let environment = |name: &str| (name == "SENTINEL_CALENDAR").then(|| OsString::from("always"));
    let config = Config::load(&Cli::default(), &environment).map_err(std::io::Error::other)?;
    let clock = Clock::driven(1_483_524_030.0);
    let registry = Registry::in_memory();
    let telemetry = Telemetry::new(&registry, clock.now());
    let health = Health::new(clock.clone(), Duration::from_secs(1_000_000), "embedded");
    let predictor = Predictor::Embedded(Box::new(EmbeddedModel::shipped()));
    let pace = Pace::in_memory("a benchmark");
    let parts = (clock.clone(), telemetry.clone(), health.clone());
    let desk = DryRun::new(&config, pace, None, None, parts.0, parts.1, parts.2)
        .expect("the defaults make sense");
    let desk = Box::new(desk);
    let mut cycle = Cycle::new(&config, predictor, desk, clock.clone(), telemetry, health);
    let mut run = || {
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(cycle.run(&mut Memory), Ended::Completed);
    };
    run();
    let mut microseconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            for _ in 0..cycles {
                run();
            }
            begin.elapsed().as_secs_f64() * 1e6 / cycles as f64
        })
        .collect();
    microseconds.sort_by(f64::total_cmp);
    writeln!(
        std::io::stdout().lock(),
        "sentinel cycle without network: {:.2} us median, {:.2} us best of {ROUNDS} rounds of {cycles}",
        microseconds[ROUNDS / 2],
        microseconds[0]
    )
}
