//! The families of orders. Invariant: they are declared, and at zero or absent as long as nothing can be sent. Must not touch: decisions.

use metricsd_client::{Counter, CounterFamily, Gauge, GaugeFamily, GaugeMode, Histogram, Registry};

use super::labels::{OrderActionLabels, ReferenceLabels, ResultLabels};

/// What only an order gateway can move: it exists from the start, so that a dashboard built today sees the first order.
#[derive(Debug, Clone)]
pub(super) struct OrderFamilies {
    _signals_executed: CounterFamily<OrderActionLabels>,
    _send_latency: Histogram,
    _send_failures: Counter,
    _results: CounterFamily<ResultLabels>,
    _roundtrip: Histogram,
    _slippage: Histogram,
    _gateway_last_heartbeat: Gauge,
    _clock_offset: GaugeFamily<ReferenceLabels>,
}

impl OrderFamilies {
    pub(super) fn register(registry: &Registry) -> OrderFamilies {
        OrderFamilies {
            _signals_executed: registry.counter_family("sentinel_trading_signals_executed_total", "Signals that a gateway executed; none in a dry run."),
            _send_latency: registry.histogram("sentinel_zmq_send_latency_seconds", "Time of sending an order; nothing in a dry run.", &[1e-4, 1e-3, 0.01, 0.05, 0.1, 0.5, 1.0]),
            _send_failures: registry.counter("sentinel_zmq_send_failures_total", "Orders that could not be sent; none in a dry run."),
            _results: registry.counter_family("sentinel_order_results_total", "Replies of a gateway to orders; none in a dry run."),
            _roundtrip: registry.histogram("sentinel_order_roundtrip_seconds", "Time from sending an order to the reply; nothing in a dry run.", &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0]),
            _slippage: registry.histogram("sentinel_order_slippage_basis_points", "Fill price against decision price, positive is adverse; nothing in a dry run.", &[-10.0, -5.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0]),
            _gateway_last_heartbeat: registry.gauge("sentinel_gateway_last_heartbeat_timestamp_seconds", "Unix time of the last heartbeat of a gateway; absent in a dry run, which has none.", GaugeMode::LiveMax),
            _clock_offset: registry.gauge_family("sentinel_clock_offset_seconds", "Local clock less that of another machine; absent while nothing tells its time.", GaugeMode::LiveMax),
        }
    }
}
