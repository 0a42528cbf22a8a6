//! Cycles on a clock that the test drives, with remotes that do what the test says.

use std::collections::VecDeque;
use std::time::Instant;

use market::Bar;
use market::eodhd::RawBar;
use metricsd_client::Registry;

use super::*;
use crate::trading::{DryRun, Pace};

/// Wednesday 2017-01-04 10:00:30 UTC.
const START: f64 = 1_483_524_030.0;
const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

/// Hourly bars up to the clock, and a model whose answers are scripted; when the script is empty it is sure to buy.
struct Scripted {
    clock: Clock,
    fetched_from: Vec<i64>,
    fetches: VecDeque<ErrorCode>,
    predicted: usize,
    predictions: VecDeque<ErrorCode>,
    /// Newest bars that the feed does not have.
    behind: i64,
    /// Hours that the feed's own clock is behind the program's.
    clock_behind: i64,
}

impl Remotes for Scripted {
    fn fetch(&mut self, from: i64, to: i64, _: Instant) -> Result<Vec<RawBar>, NoAnswer> {
        self.fetched_from.push(from);
        // A call takes its time.
        self.clock.advance(Duration::from_millis(100));
        if let Some(code) = self.fetches.pop_front() {
            return Err(NoAnswer::Failed(CallError::new(code, "scripted")));
        }
        let last = to.div_euclid(3_600) - self.behind - self.clock_behind;
        let bar = |hour: i64| {
            let mut close = 1.0 + (hour % 7) as f64 / 100.0;
            if hour == last {
                // It is forming.
                close += 0.001;
            }
            let bar = Bar {
                open_time: hour * 3_600,
                open: close,
                high: close + 0.01,
                low: close - 0.01,
                close,
                volume: 1.0,
            };
            RawBar {
                open_time: bar.open_time,
                bar: Ok(bar),
            }
        };
        let first = (from + 3_599).div_euclid(3_600);
        let open = |hour: &i64| Calendar::Fx.expects_bar(hour * 3_600, Timeframe::H1);
        Ok((first..=last).filter(open).map(bar).collect())
    }

    fn predict(&mut self, _: &Features, _: Instant) -> Result<Probabilities, NoAnswer> {
        self.predicted += 1;
        self.clock.advance(Duration::from_millis(50));
        match self.predictions.pop_front() {
            Some(code) => Err(NoAnswer::Failed(CallError::new(code, "scripted"))),
            None => Ok(Probabilities::new([0.05, 0.05, 0.9]).unwrap()),
        }
    }

    fn identify(&mut self, _: Instant) -> Result<ModelIdentity, NoAnswer> {
        self.clock.advance(Duration::from_millis(900));
        Ok(ModelIdentity {
            model: "mlflow".to_owned(),
            version: "9.9".to_owned(),
        })
    }
}

struct World {
    clock: Clock,
    registry: Registry,
    health: Health,
    remotes: Scripted,
    cycle: Cycle,
}

impl World {
    fn new(unix: f64) -> World {
        let clock = Clock::driven(unix);
        let registry = Registry::in_memory();
        let telemetry = Telemetry::new(&registry, clock.now());
        let health = Health::new(clock.clone(), 3 * MINUTE, "hub");
        let config = Config::of("");
        let pace = Pace::in_memory("a test");
        let parts = (clock.clone(), telemetry.clone(), health.clone());
        let desk = DryRun::new(&config, pace, None, None, parts.0, parts.1, parts.2).unwrap();
        let cycle = Cycle::new(
            &config,
            Predictor::Hub,
            Box::new(desk),
            clock.clone(),
            telemetry,
            health.clone(),
        );
        let remotes = Scripted {
            clock: clock.clone(),
            fetched_from: Vec::new(),
            fetches: VecDeque::new(),
            predicted: 0,
            predictions: VecDeque::new(),
            behind: 0,
            clock_behind: 0,
        };
        World {
            clock,
            registry,
            health,
            remotes,
            cycle,
        }
    }

    fn run(&mut self) {
        assert_eq!(self.cycle.run(&mut self.remotes), Ended::Completed);
    }

    fn run_each_minute(&mut self, count: usize) {
        for _ in 0..count {
            self.clock.advance(MINUTE);
            self.run();
        }
    }

    fn value(&self, sample: &str) -> f64 {
        let page = self.registry.render();
        let line = page.lines().find(|line| {
            line.strip_prefix(sample)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        line.unwrap_or_else(|| panic!("no {sample}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }

    fn signals(&self) -> f64 {
        self.value("sentinel_trading_signals_total{action=\"BUY\"}")
    }

    fn skipped(&self, reason: &str) -> f64 {
        self.value(&format!(
            "sentinel_cycles_skipped_total{{reason=\"{reason}\"}}"
        ))
    }
}

#[test]
fn each_closed_bar_is_decided_on_once_and_nothing_is_called_before_the_next_one_is_due() {
    let mut world = World::new(START);
    world.run();
    assert_eq!((world.signals(), world.remotes.predicted), (1.0, 1));
    world.run_each_minute(58); // up to 10:58:30
    assert_eq!(
        (world.signals(), world.remotes.fetched_from.len()),
        (1.0, 1)
    );
    assert_eq!(world.skipped("no_new_bar"), 58.0);
    world.run_each_minute(2);
    assert_eq!(
        (world.signals(), world.remotes.fetched_from.len()),
        (2.0, 2)
    );
    // What is new, and the newest known one again.
    assert_eq!(world.remotes.fetched_from[1], 1_483_520_400);
    assert_eq!(world.value("sentinel_trading_cycles_total"), 61.0);
    assert_eq!(world.value("sentinel_trading_cycles_failed_total"), 0.0);
    assert_eq!(
        world.value("sentinel_signals_suppressed_total{reason=\"dry_run\"}"),
        2.0
    );
    assert_eq!(
        world.value("sentinel_model_info{model=\"mlflow\",origin=\"hub\",version=\"9.9\"}"),
        1.0
    );
}

#[test]
fn a_bar_whose_prediction_failed_is_tried_again_and_decided_on_once() {
    let mut world = World::new(START);
    world.remotes.predictions = [ErrorCode::Timeout, ErrorCode::Malformed].into();
    world.run();
    assert_eq!(world.signals(), 0.0);
    assert_eq!(
        world.health.report().status,
        crate::health::Status::Degraded
    );
    world.run_each_minute(4);
    assert_eq!((world.signals(), world.remotes.predicted), (1.0, 3));
    assert_eq!(world.value("sentinel_prediction_requests_total"), 3.0);
    assert_eq!(world.value("sentinel_prediction_failures_total"), 2.0);
    assert_eq!(
        world.value("sentinel_prediction_latency_seconds_count"),
        3.0
    );
    assert_eq!(world.value("sentinel_trading_cycles_failed_total"), 2.0);
    assert_eq!(world.remotes.fetched_from.len(), 1);
    assert_eq!(world.health.report().status, crate::health::Status::Ok);
}

#[test]
fn the_breaker_leaves_a_failing_server_alone_and_what_was_not_called_is_no_call() {
    let mut world = World::new(START);
    world.remotes.predictions = std::iter::repeat_n(ErrorCode::Connect, 3).collect();
    world.run();
    world.run_each_minute(2);
    let open = "sentinel_circuit_breaker_state{endpoint=\"hub\",state=\"open\"}";
    assert_eq!((world.remotes.predicted, world.value(open)), (3, 1.0));
    world.run_each_minute(1);
    assert_eq!(world.remotes.predicted, 3);
    assert_eq!(
        world.value("sentinel_api_calls_total{endpoint=\"hub\"}"),
        3.0
    );
    assert_eq!(world.value("sentinel_prediction_requests_total"), 3.0);
    let refused = "sentinel_api_errors_total{endpoint=\"hub\",error_code=\"breaker_open\"}";
    assert_eq!(world.value(refused), 1.0);
    assert!(
        world
            .health
            .report()
            .why
            .iter()
            .any(|why| why.contains("breaker"))
    );
    world.run_each_minute(2);
    assert_eq!((world.signals(), world.value(open)), (1.0, 0.0));
}

#[test]
fn a_feed_that_lags_makes_no_signal_of_its_old_bars() {
    let mut world = World::new(START);
    world.remotes.behind = 5;
    world.run();
    assert_eq!(world.signals(), 0.0);
    assert_eq!(
        world.value("sentinel_signals_suppressed_total{reason=\"stale_data\"}"),
        1.0
    );
    let why = world.health.report().why;
    assert!(why.iter().any(|why| why.contains("too old")), "{why:?}");
}

#[test]
fn over_the_weekend_nothing_is_called_and_nothing_is_stale() {
    // Friday 2017-01-06 21:00:30: the last bar of the week has just closed.
    let mut world = World::new(1_483_736_430.0);
    world.run();
    assert_eq!(
        world.value("sentinel_signals_suppressed_total{reason=\"market_closed\"}"),
        1.0
    );
    // Sunday 22:59:30, before the first bar of the week is over.
    for _ in 0..49 {
        world.clock.advance(HOUR);
        world.run();
    }
    assert_eq!(
        (world.remotes.fetched_from.len(), world.remotes.predicted),
        (1, 1)
    );
    assert_eq!(world.skipped("market_closed"), 48.0);
    assert_eq!(
        world.health.report().status,
        crate::health::Status::Ok,
        "{:?}",
        world.health.report()
    );
    world.clock.advance(HOUR);
    world.run();
    assert_eq!(world.remotes.predicted, 2);
}

#[test]
fn a_failed_fetch_fails_the_cycle_and_asks_the_model_nothing() {
    let mut world = World::new(START);
    world.remotes.fetches = [ErrorCode::Http5xx, ErrorCode::NoApiKey].into();
    world.run();
    world.run_each_minute(1);
    assert_eq!(world.value("sentinel_data_fetch_failed_total"), 2.0);
    assert_eq!(
        world.value("sentinel_api_calls_total{endpoint=\"eodhd\"}"),
        1.0
    );
    assert_eq!(
        world.value("sentinel_data_fetch_duration_seconds_count"),
        1.0
    );
    assert_eq!(world.remotes.predicted, 0);
    world.run_each_minute(1);
    assert_eq!(world.signals(), 1.0);
}

#[test]
fn the_decision_does_not_wait_for_the_name_of_the_model() {
    let mut world = World::new(START);
    world.run();
    let decided = "sentinel_stage_last_success_timestamp_seconds{stage=\"decide\"}";
    // A fetch and a prediction after the start; the question for the name takes longer than both.
    assert!((world.value(decided) - START - 0.15).abs() < 1e-3);
    assert!((world.value("sentinel_last_cycle_timestamp_unix") - START - 1.05).abs() < 1e-3);
}

#[test]
fn bars_that_a_wrong_clock_took_for_closed_are_asked_for_again_once_it_is_set() {
    // The clock is an hour ahead: what is forming looks closed, and nothing in the response tells.
    let mut world = World::new(START + 3_600.0);
    world.remotes.clock_behind = 1;
    world.run();
    let forming = world.cycle.history.bars().last().copied().unwrap();
    world.clock.step_wall(-3_600.0);
    world.remotes.clock_behind = 0;
    world.cycle.clock_was_set();
    world.run();
    assert_eq!(world.remotes.fetched_from.len(), 2);
    let newest = world.cycle.history.newest_open_time();
    assert!(newest < Some(forming.open_time), "{newest:?}");
    // It closes, comes with its real prices, and is not decided on a second time.
    let decided = world.signals();
    world.run_each_minute(61);
    let bars = world.cycle.history.bars();
    let closed = bars.iter().find(|bar| bar.open_time == forming.open_time);
    assert_ne!(closed.unwrap().close, forming.close);
    assert!(
        world.value("sentinel_last_bar_timestamp_seconds{source=\"eodhd\"}")
            >= forming.open_time as f64
    );
    assert_eq!(world.signals(), decided);
}

#[test]
fn while_the_breaker_is_open_the_health_still_tells_the_cause() {
    let mut world = World::new(START);
    world.remotes.fetches = std::iter::repeat_n(ErrorCode::Http5xx, 3).collect();
    world.run();
    world.run_each_minute(3);
    let why = world.health.report().why.join("\n");
    assert!(
        why.contains("breaker_open") && why.contains("http_5xx: scripted"),
        "{why}"
    );
}
