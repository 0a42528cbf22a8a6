//! What a sentinel's page promises: families, types, labels, their values, the bounds of histograms, and when a family has its first sample.
//!
//! Invariant: it is the sentinel's part of `docs/metrics.md`, which is written from the program's own declarations; a test holds the two
//! together. Nothing here is decided.

use metricsd_exporter::Kind;

/// What a label may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A text of bounded length and number.
    Text,
}

/// When a family has its first sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// From the first scrape on; a counter under every combination of its labels.
    Start,
    /// With the first stage that did its work.
    StageSuccess,
    /// With the first bar that was accepted.
    Bar,
    /// With the hundredth usable prediction of the embedded model.
    HundredPredictions,
    /// With the first heartbeat of a gateway.
    Heartbeat,
    /// When another machine told its time.
    ClockTold,
}

/// One family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Promised {
    /// The name in the TYPE line.
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// The labels of every series, without `le`.
    pub labels: &'static [(&'static str, Values)],
    /// Upper bounds of a histogram, ascending; infinity is the last one.
    pub bounds: &'static [f64],
    /// When there is a sample.
    pub first: First,
}

const fn family(
    name: &'static str,
    kind: Kind,
    labels: &'static [(&'static str, Values)],
    first: First,
) -> Promised {
    Promised {
        name,
        kind,
        labels,
        bounds: &[],
        first,
    }
}

const fn histogram(name: &'static str, bounds: &'static [f64]) -> Promised {
    Promised {
        name,
        kind: Kind::Histogram,
        labels: &[],
        bounds,
        first: First::Start,
    }
}

const ENDPOINT: Values = Values::OneOf(&["eodhd", "hub"]);
const ERROR_CODE: Values = Values::OneOf(&[
    "no_api_key",
    "timeout",
    "connect",
    "tls",
    "http_4xx",
    "http_429",
    "http_5xx",
    "empty_response",
    "malformed",
    "breaker_open",
    "other",
]);
const GUARDED: Values = Values::OneOf(&["eodhd", "hub", "gateway"]);
const BREAKER_STATE: Values = Values::OneOf(&["closed", "half_open", "open"]);
const REFERENCE: Values = Values::OneOf(&["hub", "gateway"]);
const SKIP_REASON: Values = Values::OneOf(&[
    "overrun",
    "market_closed",
    "no_new_bar",
    "halted",
    "shutdown",
]);
const SOURCE: Values = Values::OneOf(&["eodhd", "replay"]);
const DEFECT: Values = Values::OneOf(&[
    "gap",
    "duplicate",
    "out_of_order",
    "non_finite",
    "ohlc_violation",
    "future_bar",
    "unclosed_bar",
]);
const ORIGIN: Values = Values::OneOf(&["hub", "embedded"]);
const RESULT: Values = Values::OneOf(&[
    "filled",
    "partial",
    "placed",
    "rejected_requote",
    "rejected_price",
    "rejected_volume",
    "rejected_margin",
    "rejected_market_closed",
    "rejected_disabled",
    "rejected_other",
    "timeout",
    "malformed_reply",
]);
const LIMIT_ID: Values = Values::OneOf(&[
    "max_order_notional",
    "max_total_exposure",
    "max_symbol_exposure",
    "max_open_positions",
    "max_daily_loss_abs",
    "max_daily_loss_pct",
]);
const SUPPRESSION_REASON: Values = Values::OneOf(&[
    "below_threshold",
    "cooldown",
    "duplicate",
    "stale_data",
    "market_closed",
    "risk_limit",
    "breaker_open",
    "halted",
    "dry_run",
]);
const STAGE: Values = Values::OneOf(&["fetch", "features", "predict", "decide", "send"]);
const ACTION: Values = Values::OneOf(&["BUY", "SELL", "HOLD"]);
const ORDER_ACTION: Values = Values::OneOf(&["BUY", "SELL"]);
const TRADING_STATE: Values = Values::OneOf(&["active", "reducing", "halted"]);

const INF: f64 = f64::INFINITY;

/// Every family of the program, by name as `docs/metrics.md` has them.
pub const FAMILIES: [Promised; 39] = [
    family(
        "sentinel_account_drawdown_ratio",
        Kind::Gauge,
        &[],
        First::Start,
    ),
    family(
        "sentinel_api_calls_total",
        Kind::Counter,
        &[("endpoint", ENDPOINT)],
        First::Start,
    ),
    family(
        "sentinel_api_errors_total",
        Kind::Counter,
        &[("endpoint", ENDPOINT), ("error_code", ERROR_CODE)],
        First::Start,
    ),
    family(
        "sentinel_build_info",
        Kind::Gauge,
        &[("version", Values::Text)],
        First::Start,
    ),
    family(
        "sentinel_circuit_breaker_state",
        Kind::Gauge,
        &[("endpoint", GUARDED), ("state", BREAKER_STATE)],
        First::Start,
    ),
    family(
        "sentinel_clock_offset_seconds",
        Kind::Gauge,
        &[("reference", REFERENCE)],
        First::ClockTold,
    ),
    family(
        "sentinel_cycles_skipped_total",
        Kind::Counter,
        &[("reason", SKIP_REASON)],
        First::Start,
    ),
    family(
        "sentinel_daemon_uptime_seconds",
        Kind::Gauge,
        &[],
        First::Start,
    ),
    histogram(
        "sentinel_data_fetch_duration_seconds",
        &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, INF],
    ),
    family(
        "sentinel_data_fetch_failed_total",
        Kind::Counter,
        &[],
        First::Start,
    ),
    histogram(
        "sentinel_feature_build_duration_seconds",
        &[
            0.000001, 0.00001, 0.000025, 0.00005, 0.0001, 0.001, 0.01, 0.1, 0.5, 1.0, 2.0, INF,
        ],
    ),
    family(
        "sentinel_gateway_last_heartbeat_timestamp_seconds",
        Kind::Gauge,
        &[],
        First::Heartbeat,
    ),
    family(
        "sentinel_last_bar_timestamp_seconds",
        Kind::Gauge,
        &[("source", SOURCE)],
        First::Bar,
    ),
    family(
        "sentinel_last_cycle_timestamp_unix",
        Kind::Gauge,
        &[],
        First::Start,
    ),
    family(
        "sentinel_last_prediction_confidence",
        Kind::Gauge,
        &[],
        First::Start,
    ),
    family(
        "sentinel_market_data_defects_total",
        Kind::Counter,
        &[("defect", DEFECT)],
        First::Start,
    ),
    family(
        "sentinel_model_info",
        Kind::Gauge,
        &[
            ("model", Values::Text),
            ("version", Values::Text),
            ("origin", ORIGIN),
        ],
        First::Start,
    ),
    family(
        "sentinel_next_bar_due_timestamp_seconds",
        Kind::Gauge,
        &[("source", SOURCE)],
        First::Start,
    ),
    family(
        "sentinel_next_cycle_due_timestamp_seconds",
        Kind::Gauge,
        &[],
        First::Start,
    ),
    family(
        "sentinel_order_results_total",
        Kind::Counter,
        &[("result", RESULT)],
        First::Start,
    ),
    histogram(
        "sentinel_order_roundtrip_seconds",
        &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, INF],
    ),
    histogram(
        "sentinel_order_slippage_basis_points",
        &[
            -10.0, -5.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, INF,
        ],
    ),
    histogram(
        "sentinel_prediction_confidence_ratio",
        &[
            0.34, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, INF,
        ],
    ),
    family(
        "sentinel_prediction_failures_total",
        Kind::Counter,
        &[],
        First::Start,
    ),
    histogram(
        "sentinel_prediction_latency_seconds",
        &[
            0.000001, 0.00001, 0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0,
            5.0, INF,
        ],
    ),
    family(
        "sentinel_prediction_population_stability_index",
        Kind::Gauge,
        &[],
        First::HundredPredictions,
    ),
    family(
        "sentinel_prediction_requests_total",
        Kind::Counter,
        &[],
        First::Start,
    ),
    family(
        "sentinel_risk_limit_utilization_ratio",
        Kind::Gauge,
        &[("limit_id", LIMIT_ID)],
        First::Start,
    ),
    family(
        "sentinel_signals_suppressed_total",
        Kind::Counter,
        &[("reason", SUPPRESSION_REASON)],
        First::Start,
    ),
    family(
        "sentinel_stage_last_success_timestamp_seconds",
        Kind::Gauge,
        &[("stage", STAGE)],
        First::StageSuccess,
    ),
    family(
        "sentinel_telemetry_endpoint_failures_total",
        Kind::Counter,
        &[],
        First::Start,
    ),
    histogram(
        "sentinel_trading_cycle_duration_seconds",
        &[0.0001, 0.001, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, INF],
    ),
    family(
        "sentinel_trading_cycles_total",
        Kind::Counter,
        &[],
        First::Start,
    ),
    family(
        "sentinel_trading_cycles_failed_total",
        Kind::Counter,
        &[],
        First::Start,
    ),
    family(
        "sentinel_trading_signals_total",
        Kind::Counter,
        &[("action", ACTION)],
        First::Start,
    ),
    family(
        "sentinel_trading_signals_executed_total",
        Kind::Counter,
        &[("action", ORDER_ACTION)],
        First::Start,
    ),
    family(
        "sentinel_trading_state",
        Kind::Gauge,
        &[("state", TRADING_STATE)],
        First::Start,
    ),
    family(
        "sentinel_zmq_send_failures_total",
        Kind::Counter,
        &[],
        First::Start,
    ),
    histogram(
        "sentinel_zmq_send_latency_seconds",
        &[0.0001, 0.001, 0.01, 0.05, 0.1, 0.5, 1.0, INF],
    ),
];

/// Calls that telemetry refused: of the client library in the program, whose defects are its own.
pub const DEFECTS: Promised = family(
    "sentinel_telemetry_defects_total",
    Kind::Counter,
    &[("defect", Values::Text)],
    First::Start,
);

/// The promise of a family; none if it is none of a sentinel.
pub fn promised(name: &str) -> Option<&'static Promised> {
    let all = FAMILIES.iter().chain([&DEFECTS]);
    all.into_iter().find(|promised| promised.name == name)
}
