//! One cycle: fetch what is new, build features, predict, decide; and what each of these means for metrics and health.
//!
//! Invariant: each closed bar is decided on at most once, and nothing that failed, is missing or is too old leads to a signal. A bar whose
//! prediction failed is tried again at the next tick, as long as it is the newest. No remote is called before the next bar is due.

mod fetching;
mod guarded;
mod predicting;

use std::time::Duration;

use market::eodhd::History;
use market::{Calendar, Timeframe};
use tracing::{info, warn};

use crate::calls::{NoAnswer, Remotes};
use crate::clock::{Clock, Now};
use crate::config::Config;
use crate::decide::{Decider, Fate, Situation, TradingState};
use crate::error_code::ErrorCode;
use crate::features::{self, FeatureError, Features};
use crate::health::{Failure, Health};
use crate::http::CallError;
use crate::model::{CONFIDENCE_BOUNDS, EmbeddedModel, ModelIdentity, Probabilities};
use crate::telemetry::{
    BreakerEndpoint, BreakerLabel, Drift, Endpoint, SkipReason, Stage, Telemetry,
};
use guarded::Guarded;

/// Who predicts. Chosen at the start; nothing takes the other's place.
#[derive(Debug)]
pub enum Predictor {
    /// The model server, behind [`Remotes`].
    Hub,
    /// The model in this program.
    Embedded(Box<EmbeddedModel>),
}

/// What a cycle came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It is over, whether its stages worked or not.
    Completed,
    /// The end of the program was asked for in the middle.
    Stopped,
}

/// Why a cycle did not come to a decision.
enum Undecided {
    /// Nothing to decide on: no failure.
    Nothing(SkipReason),
    /// A stage failed, which is recorded.
    Failed,
    Stopped,
}

/// What one cycle leaves to the next.
#[derive(Debug)]
pub struct Cycle {
    clock: Clock,
    telemetry: Telemetry,
    health: Health,
    calendar: Calendar,
    interval: Timeframe,
    stale_after: Duration,
    fetch_timeout: Duration,
    predict_timeout: Duration,
    lookback_bars: usize,
    history: History,
    /// Unix seconds at which the next bar is due; none before the first.
    next_bar_due: Option<i64>,
    /// Opening of the newest bar, while it waits for its decision.
    pending: Option<i64>,
    decider: Decider,
    predictor: Predictor,
    identity: Option<ModelIdentity>,
    is_identified: bool,
    drift: Option<Drift>,
    eodhd: Guarded,
    hub: Guarded,
}

impl Cycle {
    /// Nothing seen yet.
    pub fn new(
        config: &Config,
        predictor: Predictor,
        clock: Clock,
        telemetry: Telemetry,
        health: Health,
    ) -> Cycle {
        let drift = match &predictor {
            Predictor::Hub => None,
            Predictor::Embedded(model) => {
                // The last bound is 1, which nothing exceeds: one bucket for each share.
                let inner = &CONFIDENCE_BOUNDS[..CONFIDENCE_BOUNDS.len() - 1];
                Drift::new(inner, model.reference().shares())
            }
        };
        let start = clock.now().monotonic;
        let (interval, calendar) = (config.interval.value, config.calendar.value);
        let identity = match &predictor {
            // Until the server tells more.
            Predictor::Hub => ModelIdentity {
                model: "mlflow".to_owned(),
                version: "unknown".to_owned(),
            },
            Predictor::Embedded(model) => model.identity().clone(),
        };
        let mut cycle = Cycle {
            clock,
            telemetry,
            health,
            calendar,
            interval,
            stale_after: config.stale_after.value,
            fetch_timeout: config.fetch_timeout.value,
            predict_timeout: config.predict_timeout.value,
            lookback_bars: config.lookback_bars.value,
            history: History::new(interval, calendar, config.lookback_bars.value),
            next_bar_due: None,
            pending: None,
            decider: Decider::new(
                config.threshold.value,
                config.cooldown.value,
                config.max_orders_per_day.value,
            ),
            predictor,
            identity: None,
            is_identified: false,
            drift,
            eodhd: Guarded::new(BreakerEndpoint::Eodhd, start),
            hub: Guarded::new(BreakerEndpoint::Hub, start),
        };
        cycle.record_model(identity);
        cycle
    }

    /// One cycle, from now to its end or the end of the program.
    pub fn run(&mut self, remotes: &mut dyn Remotes) -> Ended {
        let begin = self.clock.now();
        let outcome = self.decide_on_newest(remotes);
        let end = self.clock.now();
        self.record_breakers(end);
        let has_failed = match outcome {
            Ok(()) => false,
            Err(Undecided::Nothing(reason)) => {
                self.telemetry.record_skipped(reason, 1);
                false
            }
            Err(Undecided::Failed) => true,
            Err(Undecided::Stopped) => {
                self.telemetry.record_skipped(SkipReason::Shutdown, 1);
                return Ended::Stopped;
            }
        };
        let duration = end.monotonic.saturating_duration_since(begin.monotonic);
        self.health.cycle_completed(end);
        self.telemetry.record_cycle(end, duration, has_failed);
        Ended::Completed
    }

    fn decide_on_newest(&mut self, remotes: &mut dyn Remotes) -> Result<(), Undecided> {
        let now = self.clock.now();
        if self.is_bar_due(now) {
            self.fetch(remotes)?;
        }
        let Some(bar) = self.pending else {
            return Err(Undecided::Nothing(self.why_nothing(now)));
        };
        let features = self.build_features()?;
        let probabilities = self.predict(&features, remotes)?;
        self.decide(bar, probabilities);
        // Behind the decision, which does not wait for it.
        self.identify_hub(remotes);
        Ok(())
    }

    /// The wall clock was set. Which bar is closed was judged by it, so none of the bars is trusted any more: all are asked for again at the
    /// next tick. What was decided on stays decided on.
    pub fn clock_was_set(&mut self) {
        self.history = History::new(self.interval, self.calendar, self.lookback_bars);
        self.next_bar_due = None;
        self.pending = None;
    }

    fn why_nothing(&self, now: Now) -> SkipReason {
        if self.calendar.is_open_at(now.unix_seconds()) {
            SkipReason::NoNewBar
        } else {
            SkipReason::MarketClosed
        }
    }

    fn build_features(&mut self) -> Result<Features, Undecided> {
        let begin = self.clock.now();
        let built = features::build(self.history.bars());
        let end = self.clock.now();
        self.telemetry
            .record_features(end.monotonic.saturating_duration_since(begin.monotonic));
        match built {
            Ok(features) => {
                self.succeeded(Stage::Features, end);
                Ok(features)
            }
            Err(error) => {
                // The same bars give the same error: only a new bar is worth another try.
                self.pending = None;
                let kind = match error {
                    FeatureError::TooFew { .. } => "too_few_bars",
                    FeatureError::NotFinite { .. } => "not_finite",
                    FeatureError::OutOfOrder { .. } => "out_of_order",
                    FeatureError::Defective { .. } => "defective_bar",
                };
                self.failed(Stage::Features, kind, error.to_string());
                Err(Undecided::Failed)
            }
        }
    }

    fn decide(&mut self, bar: i64, probabilities: Probabilities) {
        let now = self.clock.now();
        let is_stale = self
            .next_bar_due
            .is_some_and(|due| now.unix > self.stale_from(due) as f64);
        let situation = Situation {
            bar_open_time: bar,
            is_stale,
            is_market_open: self.calendar.is_open_at(now.unix_seconds()),
            state: TradingState::Active,
            unix: now.unix_seconds(),
            monotonic: now.monotonic,
        };
        let decision = self.decider.decide(probabilities, &situation);
        self.pending = None;
        self.telemetry.record_decision(&decision);
        self.succeeded(Stage::Decide, now);
        let [sell, hold, buy] = probabilities.to_array();
        let fate = match decision.fate {
            Fate::Hold => "hold".to_owned(),
            Fate::NoSignal(reason) => format!("no signal: {reason:?}"),
            Fate::Suppressed(reason) => format!("signal, not sent: {reason:?}"),
        };
        info!(bar, sell, hold, buy, action = ?decision.action, fate, "decided");
    }

    fn record_breakers(&self, now: Now) {
        let mut open = Vec::new();
        for guarded in [&self.eodhd, &self.hub] {
            let state = guarded.state(now.monotonic);
            self.telemetry.record_breaker(guarded.label(), state);
            if state == BreakerLabel::Open {
                open.push(guarded.label().as_str());
            }
        }
        self.health.set_open_breakers(open);
    }

    fn succeeded(&self, stage: Stage, now: Now) {
        self.telemetry.record_success(stage, now.unix);
        self.health.succeeded(stage, now.unix);
    }

    fn call_failed(&self, stage: Stage, endpoint: Endpoint, error: &CallError) {
        self.telemetry.record_call_error(endpoint, error.code);
        self.failed(stage, error.code.as_str(), error.detail.clone());
    }

    fn failed(&self, stage: Stage, kind: &'static str, detail: String) {
        warn!(%stage, kind, detail, "a stage failed");
        let at = self.clock.now().unix;
        self.health.failed(stage, Failure { kind, detail, at });
    }
}

/// Whether anything went over the network, or at least was tried.
fn was_called<T>(answer: &Result<T, NoAnswer>) -> bool {
    match answer {
        Ok(_) => true,
        Err(NoAnswer::Failed(error)) => error.code != ErrorCode::NoApiKey,
        Err(NoAnswer::Stopped) => false,
    }
}

#[cfg(test)]
mod tests;
