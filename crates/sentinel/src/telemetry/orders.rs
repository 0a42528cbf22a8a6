//! The families of orders and of the gateway. Invariant: they exist from the start, and a dry run moves none of them. Must not touch:
//! decisions.

use std::time::Duration;

use metricsd_client::{Counter, CounterFamily, Gauge, GaugeFamily, GaugeMode, Histogram, Registry};

use super::Telemetry;
use super::labels::{
    ClockReference, LimitLabel, LimitLabels, OrderActionLabels, OrderResult, ReferenceLabels,
    ResultLabels, order_action,
};
use crate::gateway::guards::limits::Utilisation;
use crate::gateway::intent_log::record::Side;

/// What only an order gateway can move: it exists from the start, so that a dashboard built today sees the first order.
#[derive(Debug, Clone)]
pub(super) struct OrderFamilies {
    signals_executed: CounterFamily<OrderActionLabels>,
    send_latency: Histogram,
    send_failures: Counter,
    results: CounterFamily<ResultLabels>,
    roundtrip: Histogram,
    slippage: Histogram,
    gateway_last_heartbeat: Gauge,
    clock_offset: GaugeFamily<ReferenceLabels>,
}

impl OrderFamilies {
    pub(super) fn register(registry: &Registry) -> OrderFamilies {
        OrderFamilies {
            signals_executed: registry.counter_family("sentinel_trading_signals_executed_total", "Signals that a gateway executed, in part, or took, each order once; none in a dry run."),
            send_latency: registry.histogram("sentinel_zmq_send_latency_seconds", "Time from the end of the checks until an order was handed over, of those that were answered; nothing in a dry run.", &[1e-4, 1e-3, 0.01, 0.05, 0.1, 0.5, 1.0]),
            send_failures: registry.counter("sentinel_zmq_send_failures_total", "Orders that could not be handed over and never will be; none in a dry run."),
            results: registry.counter_family("sentinel_order_results_total", "What came of orders that were handed over, first time-outs included; none in a dry run."),
            roundtrip: registry.histogram("sentinel_order_roundtrip_seconds", "Time from sending an order to the reply; nothing in a dry run.", &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0]),
            slippage: registry.histogram("sentinel_order_slippage_basis_points", "Fill price against decision price, positive is adverse; nothing in a dry run.", &[-10.0, -5.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0]),
            gateway_last_heartbeat: registry.gauge("sentinel_gateway_last_heartbeat_timestamp_seconds", "Unix time of the last heartbeat of a gateway; absent in a dry run, which has none.", GaugeMode::LiveMax),
            clock_offset: registry.gauge_family("sentinel_clock_offset_seconds", "Local clock less that of another machine; absent while nothing tells its time.", GaugeMode::LiveMax),
        }
    }
}

impl Telemetry {
    /// An order was executed, whole or in part, or is held by the broker. Once for each order.
    pub fn record_executed(&self, side: Side) {
        let labels = OrderActionLabels {
            action: order_action(side),
        };
        self.orders.signals_executed.with(&labels).inc();
    }

    /// What came of handing an order over.
    pub fn record_order_result(&self, result: OrderResult) {
        self.orders.results.with(&ResultLabels { result }).inc();
    }

    /// An answered order: how long it took until it was handed over, and from there to the reply.
    pub fn record_order_times(&self, handover: Duration, roundtrip: Duration) {
        self.orders.send_latency.observe_duration(handover);
        self.orders.roundtrip.observe_duration(roundtrip);
    }

    /// An order could not be handed over.
    pub fn record_send_failure(&self) {
        self.orders.send_failures.inc();
    }

    /// How much worse an execution was than the price of the decision, in hundredths of a percent.
    pub fn record_slippage(&self, bps: f64) {
        self.orders.slippage.observe(bps);
    }

    /// When the gateway's last heartbeat came.
    pub fn record_gateway_heartbeat(&self, unix: f64) {
        self.orders.gateway_last_heartbeat.set(unix);
    }

    /// How far the local clock is ahead of the gateway's.
    pub fn record_gateway_clock_offset(&self, seconds: f64) {
        let labels = ReferenceLabels {
            reference: ClockReference::Gateway,
        };
        self.orders.clock_offset.with(&labels).set(seconds);
    }

    /// How much of each limit is used; one that is not set or not known stays as it is.
    pub fn record_risk(&self, used: &Utilisation) {
        for (limit_id, ratio) in LimitLabel::ALL.iter().zip(used) {
            if let Some(ratio) = ratio {
                let labels = LimitLabels {
                    limit_id: *limit_id,
                };
                self.risk_utilisation.with(&labels).set(*ratio);
            }
        }
    }

    /// How far equity is below its peak, as a share of it.
    pub fn record_drawdown(&self, ratio: f64) {
        self.drawdown.set(ratio);
    }
}
