//! What `/health` tells: whether the daemon does its work, stage by stage, and if not, why.
//!
//! Invariant: *ok* means that the last attempt of every stage worked, that a prediction exists and that the data are fresh. *stalled* is
//! computed when somebody asks, from the time that passed, so that a loop that hangs cannot look well.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::clock::{Clock, Now};
use crate::decide::TradingState;
use crate::telemetry::Stage;
use crate::trading::{PeerReport, TradingReport};

/// The stages that a dry run has, in their order.
const STAGES: [Stage; 4] = [Stage::Fetch, Stage::Features, Stage::Predict, Stage::Decide];

/// In one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything works.
    Ok,
    /// The loop runs, and something in it does not work; `why` tells what.
    Degraded,
    /// No cycle completed for too long.
    Stalled,
}

/// The answer of `/health`. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// In one word.
    pub status: Status,
    /// One sentence for each reason; empty when all is well.
    pub why: Vec<String>,
    /// Seconds since the last cycle was over; none before the first.
    pub last_cycle_age_seconds: Option<f64>,
    /// What may be sent.
    pub trading_state: &'static str,
    /// Why not everything; none while everything may be.
    pub trading_state_reason: Option<&'static str>,
    /// Since when, in Unix seconds.
    pub trading_state_since: Option<f64>,
    /// What the daemon does with a signal.
    pub mode: &'static str,
    /// Who predicts.
    pub model: &'static str,
    /// The stages.
    pub stages: Vec<StageReport>,
    /// The gateway; none in a dry run.
    pub gateway: Option<PeerReport>,
    /// What is worth knowing and no reason for alarm.
    pub notes: Vec<String>,
    /// How often the wall clock was set while the daemon ran.
    pub clock_steps: u64,
    /// By how much it was set last, in seconds.
    pub last_clock_step_seconds: Option<f64>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageReport {
    /// Its name.
    pub stage: &'static str,
    /// When it last did its work.
    pub last_success: Option<f64>,
    /// What kept it from its work at the last attempt; none after a success.
    pub error: Option<Failure>,
}

/// Why a stage failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// A finite kind: an error code of a call, or of the features.
    pub kind: &'static str,
    /// One sentence, without secrets.
    pub detail: String,
    /// When.
    pub at: f64,
}

/// What is known, shared by the loop and whoever asks.
#[derive(Debug, Clone)]
pub struct Health(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    start: Now,
    stalled_after: Duration,
    model: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_cycle: Option<Instant>,
    stages: [StageState; STAGES.len()],
    open_breakers: Vec<&'static str>,
    /// None before the first report: then nothing is sent.
    trading: Option<TradingReport>,
    /// From when on the data are stale, in Unix seconds.
    stale_from: Option<i64>,
    steps: u64,
    last_step: Option<f64>,
}

#[derive(Debug, Default, Clone)]
struct StageState {
    last_success: Option<f64>,
    error: Option<Failure>,
}

impl Health {
    /// Nothing is known yet. After `stalled_after` without a completed cycle the daemon counts as stalled.
    pub fn new(clock: Clock, stalled_after: Duration, model: &'static str) -> Health {
        let start = clock.now();
        Health(Arc::new(Shared {
            clock,
            start,
            stalled_after,
            model,
            state: Mutex::default(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stage did its work.
    pub fn succeeded(&self, stage: Stage, unix: f64) {
        if let Some(at) = STAGES.iter().position(|known| *known == stage) {
            self.lock().stages[at] = StageState {
                last_success: Some(unix),
                error: None,
            };
        }
    }

    /// A stage did not.
    pub fn failed(&self, stage: Stage, failure: Failure) {
        if let Some(at) = STAGES.iter().position(|known| *known == stage) {
            self.lock().stages[at].error = Some(failure);
        }
    }

    /// A cycle is over, failed or not.
    pub fn cycle_completed(&self, now: Now) {
        self.lock().last_cycle = Some(now.monotonic);
    }

    /// Which circuit breakers are open.
    pub fn set_open_breakers(&self, open: Vec<&'static str>) {
        self.lock().open_breakers = open;
    }

    /// How trading is.
    pub fn set_trading(&self, report: TradingReport) {
        self.lock().trading = Some(report);
    }

    /// From when on the newest bar is too old, in Unix seconds.
    pub fn set_stale_from(&self, unix: i64) {
        self.lock().stale_from = Some(unix);
    }

    /// The wall clock was set by so many seconds.
    pub fn clock_stepped(&self, seconds: f64) {
        let mut state = self.lock();
        state.steps += 1;
        state.last_step = Some(seconds);
    }

    /// Whether no cycle completed for too long.
    pub fn is_stalled(&self) -> bool {
        self.report().status == Status::Stalled
    }

    /// Whether every stage works.
    pub fn report(&self) -> Report {
        let now = self.0.clock.now();
        let state = self.lock();
        let since = state.last_cycle.unwrap_or(self.0.start.monotonic);
        let idle = now.monotonic.saturating_duration_since(since);
        let is_stalled = idle > self.0.stalled_after;
        let mut why = Vec::new();
        if is_stalled {
            why.push(format!(
                "no cycle completed for {:.0} s",
                idle.as_secs_f64()
            ));
        } else if state.last_cycle.is_none() {
            why.push("no cycle has completed yet".to_owned());
        }
        for (stage, known) in STAGES.iter().zip(&state.stages) {
            if let Some(error) = &known.error {
                why.push(format!("{stage} failed: {}: {}", error.kind, error.detail));
            }
        }
        why.extend(
            state
                .open_breakers
                .iter()
                .map(|endpoint| format!("the circuit breaker in front of {endpoint} is open")),
        );
        if state.stages[2].last_success.is_none() && state.last_cycle.is_some() {
            why.push("no prediction since the start".to_owned());
        }
        if state.stale_from.is_some_and(|from| now.unix > from as f64) {
            why.push("the newest bar is too old to act on".to_owned());
        }
        let stages = STAGES.iter().zip(&state.stages);
        let trading = state.trading.as_ref();
        why.extend(
            trading
                .iter()
                .flat_map(|trading| trading.why.iter().cloned()),
        );
        let mut gateway = trading.and_then(|trading| trading.gateway.clone());
        if let Some(gateway) = &mut gateway {
            gateway.last_heartbeat_age_seconds = gateway
                .seen
                .map(|seen| now.monotonic.saturating_duration_since(seen).as_secs_f64());
        }
        let millis = |ms: i64| ms as f64 / 1e3;
        Report {
            status: match (is_stalled, why.is_empty()) {
                (true, _) => Status::Stalled,
                (false, true) => Status::Ok,
                (false, false) => Status::Degraded,
            },
            why,
            last_cycle_age_seconds: state.last_cycle.map(|_| idle.as_secs_f64()),
            trading_state: trading
                .map_or(TradingState::Active, |trading| trading.state)
                .as_str(),
            trading_state_reason: trading.and_then(|trading| trading.state_reason),
            trading_state_since: trading
                .and_then(|trading| trading.state_since_ms)
                .map(millis),
            mode: match trading.is_some_and(|trading| trading.is_live) {
                true => "live",
                false => "dry_run",
            },
            gateway,
            notes: trading.map_or(Vec::new(), |trading| trading.notes.clone()),
            model: self.0.model,
            stages: stages
                .map(|(stage, known)| StageReport {
                    stage: stage.as_str(),
                    last_success: known.last_success,
                    error: known.error.clone(),
                })
                .collect(),
            clock_steps: state.steps,
            last_clock_step_seconds: state.last_step,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_well(clock: &Clock) -> Health {
        let health = Health::new(clock.clone(), Duration::from_secs(180), "hub");
        for stage in STAGES {
            health.succeeded(stage, clock.now().unix);
        }
        health.cycle_completed(clock.now());
        health
    }

    fn failure(kind: &'static str) -> Failure {
        Failure {
            kind,
            detail: "words".to_owned(),
            at: 0.0,
        }
    }

    #[test]
    fn the_first_cycle_makes_it_ok_and_each_fault_degrades_until_it_is_over() {
        let clock = Clock::driven(1e9);
        let health = Health::new(clock.clone(), Duration::from_secs(180), "hub");
        assert_eq!(health.report().status, Status::Degraded);
        let health = all_well(&clock);
        assert_eq!(health.report().status, Status::Ok, "{:?}", health.report());
        for stage in STAGES {
            health.failed(stage, failure("timeout"));
            let report = health.report();
            assert_eq!(report.status, Status::Degraded);
            assert_eq!(report.why, [format!("{stage} failed: timeout: words")]);
            health.succeeded(stage, clock.now().unix);
        }
        health.set_open_breakers(vec!["hub"]);
        assert_eq!(health.report().status, Status::Degraded);
        health.set_open_breakers(Vec::new());
        health.set_stale_from(1_000_000_060);
        assert_eq!(health.report().status, Status::Ok);
        clock.advance(Duration::from_secs(61));
        assert_eq!(health.report().status, Status::Degraded);
    }

    #[test]
    fn a_loop_that_hangs_is_stalled_whatever_it_said_before_it_hung() {
        let clock = Clock::driven(1e9);
        let health = all_well(&clock);
        clock.advance(Duration::from_secs(180));
        assert_eq!(health.report().status, Status::Ok);
        clock.advance(Duration::from_secs(1));
        assert_eq!(health.report().status, Status::Stalled);
        // Also one that never completed its first cycle, whatever the wall clock says.
        let health = Health::new(clock.clone(), Duration::from_secs(180), "hub");
        clock.step_wall(-1e6);
        clock.advance(Duration::from_secs(181));
        assert!(health.is_stalled());
        assert_eq!(health.report().last_cycle_age_seconds, None);
    }

    #[test]
    fn what_keeps_orders_back_degrades_and_the_age_of_a_heartbeat_is_that_of_the_moment() {
        let clock = Clock::driven(1e9);
        let health = all_well(&clock);
        let mut report = TradingReport::dry_run(TradingState::Active, vec!["a note".to_owned()]);
        health.set_trading(report.clone());
        assert_eq!(health.report().status, Status::Ok);
        assert_eq!(health.report().notes, ["a note"]);
        report.is_live = true;
        report.why = vec!["words".to_owned()];
        report.gateway = Some(PeerReport {
            is_answering: true,
            account: None,
            is_trading_allowed: None,
            is_killed: None,
            last_heartbeat: Some(1e9),
            last_heartbeat_age_seconds: None,
            roundtrip_seconds: None,
            clock_offset_seconds: None,
            breaker: "closed",
            reconciliation: String::new(),
            reconciled_at: None,
            orders: Vec::new(),
            seen: Some(clock.now().monotonic),
        });
        health.set_trading(report);
        clock.advance(Duration::from_secs(7));
        let report = health.report();
        assert_eq!((report.status, report.mode), (Status::Degraded, "live"));
        assert_eq!(report.why, ["words"]);
        let gateway = report.gateway.unwrap();
        assert_eq!(gateway.last_heartbeat_age_seconds, Some(7.0));
    }

    #[test]
    fn without_a_prediction_it_is_not_ok_although_nothing_failed() {
        let clock = Clock::driven(1e9);
        let health = Health::new(clock.clone(), Duration::from_secs(180), "hub");
        health.succeeded(Stage::Fetch, clock.now().unix);
        health.cycle_completed(clock.now());
        let report = health.report();
        assert_eq!(report.status, Status::Degraded);
        assert_eq!(report.why, ["no prediction since the start"]);
    }
}
