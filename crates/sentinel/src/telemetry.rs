//! All metrics of the sentinel, declared in one struct; no metric name stands anywhere else.
//!
//! Invariant: recording cannot fail, block or change what is decided. 37 families are the program's, with the names, types and labels of
//! the contract; `sentinel_telemetry_…` and `sentinel_build_info` are about the program itself. Counters and histograms exist at zero from
//! the start, a gauge once its value is known.

mod drift;
mod labels;
mod orders;

use std::time::Duration;

use market::eodhd::DefectCounts;
use metricsd_client::{Counter, CounterFamily, Gauge, GaugeFamily, GaugeMode, Histogram, Registry};

use crate::clock::Now;
use crate::decide::{Decision, TradingState};
use crate::error_code::ErrorCode;
use crate::model::ModelIdentity;
use crate::trading::Fate;

pub use drift::Drift;
use labels::{
    ActionLabels, BreakerLabels, DefectLabels, EndpointLabels, ErrorLabels, LimitLabel,
    LimitLabels, ModelLabels, ModelName, ModelVersion, SkipLabels, Source, SourceLabels,
    StageLabels, StateLabels, SuppressionLabels, Version, VersionLabels,
};
pub use labels::{BreakerEndpoint, BreakerLabel, Endpoint, OrderResult, Origin, SkipReason, Stage};
use orders::OrderFamilies;

/// From the start to the first cycle, bar or heartbeat before anything counts as late.
pub const GRACE: Duration = Duration::from_secs(120);

/// All metrics of the daemon.
#[derive(Debug, Clone)]
pub struct Telemetry {
    cycles: Counter,
    cycles_failed: Counter,
    cycle_duration: Histogram,
    fetch_duration: Histogram,
    fetches_failed: Counter,
    feature_build_duration: Histogram,
    prediction_requests: Counter,
    prediction_failures: Counter,
    prediction_latency: Histogram,
    last_confidence: Gauge,
    signals: CounterFamily<ActionLabels>,
    api_calls: CounterFamily<EndpointLabels>,
    api_errors: CounterFamily<ErrorLabels>,
    uptime: Gauge,
    last_cycle: Gauge,

    next_cycle_due: Gauge,
    cycles_skipped: CounterFamily<SkipLabels>,
    stage_last_success: GaugeFamily<StageLabels>,
    last_bar: GaugeFamily<SourceLabels>,
    next_bar_due: GaugeFamily<SourceLabels>,
    defects: CounterFamily<DefectLabels>,
    breaker_state: GaugeFamily<BreakerLabels>,
    model_info: GaugeFamily<ModelLabels>,
    confidence: Histogram,
    stability_index: Gauge,
    suppressed: CounterFamily<SuppressionLabels>,
    trading_state: GaugeFamily<StateLabels>,
    risk_utilisation: GaugeFamily<LimitLabels>,
    drawdown: Gauge,

    endpoint_failures: Counter,
    orders: OrderFamilies,
}

/// Name of the family of which one series lives; the others are of models that are not in use any more, at 0.
pub const MODEL_INFO: &str = "sentinel_model_info";

impl Telemetry {
    /// Register everything, and set what is known from the first moment: states, due times, uptime.
    pub fn new(registry: &Registry, start: Now) -> Telemetry {
        let telemetry = Telemetry::register(registry);
        telemetry.record_uptime(Duration::ZERO);
        telemetry.last_confidence.set(0.0);
        // The start stands for the last cycle until there is one: a zero would be an age of half a century.
        telemetry.last_cycle.set(start.unix);
        let due = start.unix + GRACE.as_secs_f64();
        telemetry.next_cycle_due.set(due);
        telemetry.record_next_bar_due(due);
        telemetry.record_state(TradingState::Active);
        for endpoint in BreakerEndpoint::ALL {
            telemetry.record_breaker(*endpoint, BreakerLabel::Closed);
        }
        // Nothing is held and nothing is lost while nothing is sent.
        for limit_id in LimitLabel::ALL {
            let labels = LimitLabels {
                limit_id: *limit_id,
            };
            telemetry.risk_utilisation.with(&labels).set(0.0);
        }
        telemetry.drawdown.set(0.0);
        registry
            .gauge_family::<VersionLabels>(
                "sentinel_build_info",
                "What is running.",
                GaugeMode::LiveMax,
            )
            .with(&VersionLabels {
                version: Version::new(env!("CARGO_PKG_VERSION")),
            })
            .set(1.0);
        telemetry
    }

    fn register(registry: &Registry) -> Telemetry {
        let counter = |name, help| registry.counter(name, help);
        let gauge = |name, help| registry.gauge(name, help, GaugeMode::LiveMax);
        let histogram = |name, help, bounds: &[f64]| registry.histogram(name, help, bounds);
        Telemetry {
            cycles: counter("sentinel_trading_cycles_total", "Cycles completed, failed ones and those without a new bar included."),
            cycles_failed: counter("sentinel_trading_cycles_failed_total", "Cycles in which a stage failed."),
            cycle_duration: histogram("sentinel_trading_cycle_duration_seconds", "Time of a cycle.", &[1e-4, 1e-3, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0]),
            fetch_duration: histogram("sentinel_data_fetch_duration_seconds", "Time of a call for bars, failed ones included.", &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0]),
            fetches_failed: counter("sentinel_data_fetch_failed_total", "Fetches that gave no bars; also those for which no call was made."),
            feature_build_duration: histogram("sentinel_feature_build_duration_seconds", "Time of building one set of features.", &[1e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 1.0, 2.0]),
            prediction_requests: counter("sentinel_prediction_requests_total", "Predictions asked for, of the hub or the embedded model."),
            prediction_failures: counter("sentinel_prediction_failures_total", "Predictions asked for and not usable."),
            prediction_latency: histogram("sentinel_prediction_latency_seconds", "Time of a prediction, failed ones included.", &[1e-6, 1e-5, 1e-4, 1e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0]),
            last_confidence: gauge("sentinel_last_prediction_confidence", "Winning probability of the last usable prediction; 0 before the first."),
            signals: registry.counter_family("sentinel_trading_signals_total", "Decisions by action, each bar once: HOLD, and BUY or SELL on fresh data above the threshold."),
            api_calls: registry.counter_family("sentinel_api_calls_total", "Calls over the network that were made."),
            api_errors: registry.counter_family("sentinel_api_errors_total", "Calls over the network that failed or could not be made, by reason."),
            uptime: gauge("sentinel_daemon_uptime_seconds", "Time since the start, by the monotonic clock."),
            last_cycle: gauge("sentinel_last_cycle_timestamp_unix", "Unix time of the end of the last cycle; of the start before the first."),
            next_cycle_due: gauge("sentinel_next_cycle_due_timestamp_seconds", "Unix time by which the next cycle should have completed."),
            cycles_skipped: registry.counter_family("sentinel_cycles_skipped_total", "Scheduled cycles that did not run, or had nothing to do, by reason."),
            stage_last_success: registry.gauge_family("sentinel_stage_last_success_timestamp_seconds", "Unix time of the last success of each stage; absent before the first.", GaugeMode::LiveMax),
            last_bar: registry.gauge_family("sentinel_last_bar_timestamp_seconds", "Open time of the newest bar accepted; absent before the first.", GaugeMode::LiveMax),
            next_bar_due: registry.gauge_family("sentinel_next_bar_due_timestamp_seconds", "Unix time by which the next bar should be available, market calendar applied.", GaugeMode::LiveMax),
            defects: registry.counter_family("sentinel_market_data_defects_total", "Defects of bars, by kind."),
            breaker_state: registry.gauge_family("sentinel_circuit_breaker_state", "State of each circuit breaker, 1 for the state in force.", GaugeMode::LiveMax),
            model_info: registry.gauge_family(MODEL_INFO, "Model in use, 1.", GaugeMode::LiveMax),
            confidence: histogram("sentinel_prediction_confidence_ratio", "Winning probability of usable predictions.", &[0.34, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0]),
            stability_index: gauge("sentinel_prediction_population_stability_index", "PSI of recent winning probabilities against the training data; absent before 100 predictions and for models without a reference."),
            suppressed: registry.counter_family("sentinel_signals_suppressed_total", "BUY or SELL decisions that a guard kept from being sent, by reason."),
            trading_state: registry.gauge_family("sentinel_trading_state", "What may be sent, 1 for the state in force.", GaugeMode::LiveMax),
            risk_utilisation: registry.gauge_family("sentinel_risk_limit_utilization_ratio", "Share of a risk limit in use, clamped to 0..1; 0 in a dry run, which holds nothing.", GaugeMode::LiveMax),
            drawdown: gauge("sentinel_account_drawdown_ratio", "Fall of equity from its peak; 0 in a dry run, which holds nothing."),
            orders: OrderFamilies::register(registry),
            endpoint_failures: counter("sentinel_telemetry_endpoint_failures_total", "Failed attempts to listen on the address of the metrics."),
        }
    }

    /// A cycle is over.
    pub fn record_cycle(&self, end: Now, duration: Duration, has_failed: bool) {
        if has_failed {
            self.cycles_failed.inc();
        }
        self.cycle_duration.observe_duration(duration);
        self.last_cycle.set(end.unix);
        // Last, so that whoever sees the count sees the rest.
        self.cycles.inc();
    }

    /// By when the next cycle should be over.
    pub fn record_next_cycle_due(&self, unix: f64) {
        self.next_cycle_due.set(unix);
    }

    /// Ticks without a cycle that does its work.
    pub fn record_skipped(&self, reason: SkipReason, count: u64) {
        self.cycles_skipped
            .with(&SkipLabels { reason })
            .add(count as f64);
    }

    /// A stage did its work.
    pub fn record_success(&self, stage: Stage, unix: f64) {
        self.stage_last_success
            .with(&StageLabels { stage })
            .set(unix);
    }

    /// A call over the network was made, whatever came of it.
    pub fn record_call(&self, endpoint: Endpoint) {
        self.api_calls.with(&EndpointLabels { endpoint }).inc();
    }

    /// A call over the network failed, or was not made.
    pub fn record_call_error(&self, endpoint: Endpoint, code: ErrorCode) {
        let error_code = labels::error_code(code);
        self.api_errors
            .with(&ErrorLabels {
                endpoint,
                error_code,
            })
            .inc();
    }

    /// How long a call for bars took.
    pub fn record_fetch(&self, duration: Duration) {
        self.fetch_duration.observe_duration(duration);
    }

    /// No bars came of it.
    pub fn record_fetch_failure(&self) {
        self.fetches_failed.inc();
    }

    /// Defects of one response.
    pub fn record_defects(&self, defects: &DefectCounts) {
        for (kind, count) in defects.iter().filter(|(_, count)| *count > 0) {
            let labels = DefectLabels {
                defect: labels::defect(kind),
            };
            self.defects.with(&labels).add(count as f64);
        }
    }

    /// The newest bar, by its opening.
    pub fn record_last_bar(&self, open_time: i64) {
        let labels = SourceLabels {
            source: Source::Eodhd,
        };
        self.last_bar.with(&labels).set(open_time as f64);
    }

    /// By when the next bar should be there.
    pub fn record_next_bar_due(&self, unix: f64) {
        let labels = SourceLabels {
            source: Source::Eodhd,
        };
        self.next_bar_due.with(&labels).set(unix);
    }

    /// How long one set of features took.
    pub fn record_features(&self, duration: Duration) {
        self.feature_build_duration.observe_duration(duration);
    }

    /// A prediction was asked for and answered or not, in that time.
    pub fn record_prediction(&self, latency: Duration, confidence: Option<f64>) {
        self.prediction_requests.inc();
        self.prediction_latency.observe_duration(latency);
        match confidence {
            Some(confidence) => {
                self.last_confidence.set(confidence);
                self.confidence.observe(confidence);
            }
            None => self.prediction_failures.inc(),
        }
    }

    /// How far predictions are from the reference.
    pub fn record_stability_index(&self, index: f64) {
        self.stability_index.set(index);
    }

    /// A bar was decided on, and what became of it.
    pub fn record_decision(&self, decision: &Decision, fate: &Fate) {
        if *fate == Fate::Hold || fate.is_signal() {
            let action = labels::action(decision.action);
            self.signals.with(&ActionLabels { action }).inc();
        }
        if let Fate::Refused(refusal) = fate {
            let reason = labels::suppression(refusal.reason());
            self.suppressed.with(&SuppressionLabels { reason }).inc();
        }
    }

    /// State of a circuit breaker.
    pub fn record_breaker(&self, endpoint: BreakerEndpoint, now: BreakerLabel) {
        for state in BreakerLabel::ALL {
            let labels = BreakerLabels {
                endpoint,
                state: *state,
            };
            self.breaker_state.with(&labels).set(one_if(*state == now));
        }
    }

    /// What may be sent.
    pub fn record_state(&self, now: TradingState) {
        for state in TradingState::ALL {
            let labels = StateLabels {
                state: labels::state(state),
            };
            self.trading_state.with(&labels).set(one_if(state == now));
        }
    }

    /// The model in use, and the one that it replaces, whose series goes to 0: an endpoint of this program leaves it out.
    pub fn record_model(
        &self,
        before: Option<&ModelIdentity>,
        now: &ModelIdentity,
        origin: Origin,
    ) {
        let set = |identity: &ModelIdentity, value| {
            let labels = ModelLabels {
                model: ModelName::new(&identity.model),
                version: ModelVersion::new(&identity.version),
                origin,
            };
            self.model_info.with(&labels).set(value);
        };
        if let Some(before) = before {
            set(before, 0.0);
        }
        set(now, 1.0);
    }

    /// Time since the start.
    pub fn record_uptime(&self, uptime: Duration) {
        self.uptime.set(uptime.as_secs_f64());
    }

    /// The address of the metrics could not be listened on.
    pub fn record_endpoint_failure(&self) {
        self.endpoint_failures.inc();
    }
}

fn one_if(condition: bool) -> f64 {
    f64::from(u8::from(condition))
}
