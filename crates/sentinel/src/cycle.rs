//! One cycle: fetch what is new, build features, predict, decide; and what each of these means for metrics and health.
//!
//! Invariant: each closed bar is decided on at most once, and nothing that failed, is missing or is too old leads to a signal. A bar whose
//! prediction failed is tried again at the next tick, as long as it is the newest. No remote is called before the next bar is due.

mod fetching;
mod guarded;
mod predicting;

use std::fmt;
use std::time::Duration;

use market::eodhd::History;
use market::{Calendar, Timeframe};
use tracing::{info, warn};

use crate::audit::Model;
use crate::calls::{NoAnswer, Remotes};
use crate::clock::{Clock, Now};
use crate::config::Config;
use crate::error_code::ErrorCode;
use crate::features::{self, BAR_COUNT, FeatureError, Features};
use crate::gateway::guards::refusal::Reason;
use crate::health::{Failure, Health};
use crate::http::CallError;
use crate::model::{CONFIDENCE_BOUNDS, EmbeddedModel, ModelIdentity, Probabilities};
use crate::telemetry::{
    BreakerEndpoint, BreakerLabel, Drift, Endpoint, SkipReason, Stage, Telemetry,
};
use crate::trading::{Candidate, Desk, Fate};
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
    desk: Box<dyn Desk>,
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
        desk: Box<dyn Desk>,
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
            desk,
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
        self.desk.begin_cycle();
        let outcome = self.decide_on_newest(remotes);
        self.desk.end_cycle();
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
        if self.pending.is_none() {
            return Err(Undecided::Nothing(self.why_nothing(now)));
        }
        let features = self.build_features()?;
        let probabilities = self.predict(&features, remotes)?;
        self.decide(&features, probabilities);
        // Behind the decision, which does not wait for it.
        self.identify_hub(remotes);
        Ok(())
    }

    /// About once a second between two cycles.
    pub fn beat(&mut self) {
        self.desk.beat();
    }

    /// The program ends.
    pub fn end(&mut self) {
        self.desk.end();
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

    fn decide(&mut self, features: &Features, probabilities: Probabilities) {
        self.pending = None;
        let bars = self.history.bars();
        let (Some(bar), Some(due)) = (bars.last().copied(), self.next_bar_due) else {
            return;
        };
        let window = &bars[bars.len().saturating_sub(BAR_COUNT)..];
        let model = match (&self.predictor, &self.identity) {
            (Predictor::Embedded(model), _) => Model::embedded(model),
            (Predictor::Hub, Some(identity)) => Model::hub(identity),
            (Predictor::Hub, None) => return,
        };
        let candidate = Candidate {
            bars: window,
            features,
            model: &model,
            bar,
            probabilities,
            stale_from: self.stale_from(due),
            calendar: self.calendar,
        };
        let (decision, fate) = self.desk.consider(&candidate);
        let now = self.clock.now();
        self.telemetry.record_decision(&decision, &fate);
        self.succeeded(Stage::Decide, now);
        if matches!(fate, Fate::Executed | Fate::Rejected) {
            self.telemetry.record_success(Stage::Send, now.unix);
        }
        let [sell, hold, buy] = probabilities.to_array();
        let action = decision.action.as_str();
        let fate = match fate {
            Fate::Hold => "hold".to_owned(),
            Fate::Refused(refusal) => match refusal.reason() {
                Reason::BelowThreshold | Reason::StaleData => format!("no signal: {refusal}"),
                reason => format!("signal, not sent: {}: {refusal}", reason.as_str()),
            },
            Fate::NotSent => "signal, could not be sent".to_owned(),
            Fate::Executed => "signal, executed".to_owned(),
            Fate::Rejected => "signal, refused by the gateway".to_owned(),
            Fate::Unknown => "signal, outcome unknown".to_owned(),
        };
        info!(
            bar = bar.open_time,
            sell, hold, buy, action, fate, "decided"
        );
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

impl fmt::Debug for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cycle")
            .field("pending", &self.pending)
            .field("next_bar_due", &self.next_bar_due)
            .finish_non_exhaustive()
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
