//! All metrics of a session, declared in one struct; no metric name stands anywhere else.
//!
//! Invariant: recording cannot fail, block or change what is traded. Handles are looked up once, since a step must cost less than a
//! microsecond. Label values are enums; there is no label for a symbol, an order or a run.

mod labels;

use std::time::Duration;

use market::Defect;
use metricsd_client::{
    Counter, CounterFamily, CurrencyCode, Gauge, GaugeFamily, GaugeMode, Histogram, Registry,
};

use crate::ledger::{Ledger, Mark};
use crate::money::approximate;
use crate::report::{OrderResult, StepReport};
use crate::risk::{LimitId, Verdict};
use crate::session::Session;
use crate::strategy::StrategyId;

use labels::{
    BlockLabels, CheckLabel, CheckLabels, DecisionLabels, DefectLabels, ExposureLabels, FillLabels,
    LimitLabels, OrderLabels, OrderResultLabel, SignalLabels, StrategyLabel, StrategyLabels,
    block_reason, check_result, decision, defect_label, limit_label, side, signal,
};

/// A step takes well below a microsecond; the upper bounds are for machines that swap.
const STEP_DURATION_BUCKETS_SECONDS: [f64; 9] =
    [1e-6, 2.5e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0];

/// All metrics of a session.
#[derive(Debug)]
pub struct Telemetry {
    strategy: StrategyLabel,
    start_balance: f64,

    decisions: CounterFamily<DecisionLabels>,
    signals: CounterFamily<SignalLabels>,
    /// |position| x last close in quote currency, at every step, and 0 at an orderly end.
    gross_exposure: Gauge,
    risk_checks: CounterFamily<CheckLabels>,
    /// By `LimitId` index. A limit that is not set is never touched, and its series does not exist.
    risk_utilisation: [Gauge; 6],
    risk_blocks: CounterFamily<BlockLabels>,

    steps: Counter,
    step_duration: Histogram,
    orders: CounterFamily<OrderLabels>,
    fills: CounterFamily<FillLabels>,
    fees: Counter,
    equity_ratio: Gauge,
    drawdown_ratio: Gauge,
    realized_pnl_ratio: Gauge,
    unrealized_pnl_ratio: Gauge,
    candle_defects: CounterFamily<DefectLabels>,
    last_candle: Gauge,
    next_candle_due: Gauge,
    last_step: Gauge,
    telemetry_degraded: Gauge,
    run_log_errors: Counter,
}

/// The clock's part in a step; wall times in Unix seconds.
#[derive(Debug, Clone, Copy)]
pub struct StepTimes {
    /// When the candle was taken.
    pub now: f64,
    /// When the next candle should have arrived, by the pace of the feed.
    pub next_due: f64,
    /// How long the step took.
    pub duration: Duration,
}

impl Telemetry {
    /// Register everything. Counters exist at zero from here on; gauges from their first value.
    pub fn new(registry: &Registry, strategy: StrategyId, session: &Session) -> Telemetry {
        let strategy = match strategy {
            StrategyId::MaCrossover => StrategyLabel::MaCrossover,
        };
        let labels = StrategyLabels {
            strategy_id: strategy,
        };
        let of_strategy = |name: &str, help: &str, mode| {
            registry
                .gauge_family::<StrategyLabels>(name, help, mode)
                .with(&labels)
                .clone()
        };
        let ccy = CurrencyCode::new(session.settings().instrument.quote.as_str());
        Telemetry {
            strategy,
            start_balance: approximate(session.settings().start_balance),
            decisions: registry.counter_family(
                "peaktrade_strategy_decisions_total",
                "Orders by reason, on each cross that forms an order; counted before the risk check.",
            ),
            signals: registry.counter_family(
                "peaktrade_strategy_signals_total",
                "Signal changes, by the new signal.",
            ),
            gross_exposure: registry
                .gauge_family::<ExposureLabels>(
                    "peaktrade_strategy_position_gross_exposure",
                    "Absolute position times last close, in quote currency.",
                    GaugeMode::LiveMax,
                )
                .with(&ExposureLabels {
                    strategy_id: strategy,
                    ccy,
                })
                .clone(),
            risk_checks: registry.counter_family(
                "peaktrade_risk_checks_total",
                "Risk evaluations, by the strictest result.",
            ),
            risk_utilisation: utilisation_gauges(&registry.gauge_family(
                "peaktrade_risk_limit_utilization",
                "Share of a risk limit in use, clamped to 0..1; absent while the limit is not set.",
                GaugeMode::LiveMax,
            )),
            risk_blocks: registry.counter_family(
                "peaktrade_risk_blocks_total",
                "Breached limits of blocked orders, by reason.",
            ),
            steps: registry.counter(
                "shadow_session_steps_total",
                "Closed candles stepped through, warm-up excluded.",
            ),
            step_duration: registry.histogram(
                "shadow_session_step_duration_seconds",
                "Time of one step: fills, worth, strategy, risk, orders.",
                &STEP_DURATION_BUCKETS_SECONDS,
            ),
            orders: registry.counter_family(
                "shadow_session_orders_total",
                "Orders, by what became of them.",
            ),
            fills: registry.counter_family("shadow_session_fills_total", "Fills, by side."),
            fees: registry.counter(
                "shadow_session_fees_quote_total",
                "Fees paid, in quote currency.",
            ),
            equity_ratio: of_strategy(
                "shadow_session_equity_ratio",
                "Equity to starting balance.",
                GaugeMode::LiveMax,
            ),
            drawdown_ratio: of_strategy(
                "shadow_session_drawdown_ratio",
                "Fall of equity from its peak, to the peak.",
                GaugeMode::LiveMax,
            ),
            realized_pnl_ratio: of_strategy(
                "shadow_session_realized_pnl_ratio",
                "Realised profit and loss less fees, to starting balance.",
                GaugeMode::LiveSum,
            ),
            unrealized_pnl_ratio: of_strategy(
                "shadow_session_unrealized_pnl_ratio",
                "Unrealised profit and loss, to starting balance.",
                GaugeMode::LiveSum,
            ),
            candle_defects: registry.counter_family(
                "shadow_session_candle_defects_total",
                "Defects of candles, by kind; a gap counts once, however long.",
            ),
            last_candle: registry.gauge(
                "shadow_session_last_candle_timestamp_seconds",
                "Opening time of the last candle used, in the time of the feed.",
                GaugeMode::LiveMax,
            ),
            next_candle_due: registry.gauge(
                "shadow_session_next_candle_due_timestamp_seconds",
                "Wall time by which the next candle should have arrived, by the pace of the feed; 0 after an orderly end.",
                GaugeMode::LiveMax,
            ),
            last_step: registry.gauge(
                "shadow_session_last_step_timestamp_seconds",
                "Wall time of the last step.",
                GaugeMode::LiveMax,
            ),
            telemetry_degraded: registry.gauge(
                "shadow_session_telemetry_degraded",
                "1 while what is recorded cannot be seen from outside.",
                GaugeMode::LiveMax,
            ),
            run_log_errors: registry.counter(
                "shadow_session_run_log_errors_total",
                "Failed writes of the run log; each costs the events that it held and those of the next second.",
            ),
        }
    }

    /// Everything that a step says.
    pub fn record_step(
        &self,
        report: &StepReport,
        session: &Session,
        open_time: i64,
        times: &StepTimes,
    ) {
        self.steps.inc();
        for fill in &report.fills {
            match fill.fill {
                Ok(fill) => {
                    self.order(OrderResultLabel::Filled);
                    self.fills
                        .with(&FillLabels {
                            side: side(fill.side),
                        })
                        .inc();
                    self.fees.add(approximate(fill.fee));
                }
                Err(_) => self.order(OrderResultLabel::Rejected),
            }
        }
        if report.signal_changed {
            self.signals
                .with(&SignalLabels {
                    strategy_id: self.strategy,
                    signal: signal(report.signal),
                })
                .inc();
        }
        for order in &report.orders {
            if !order.retry {
                self.decisions
                    .with(&DecisionLabels {
                        strategy_id: self.strategy,
                        decision: decision(order.order.decision),
                    })
                    .inc();
            }
            match order.result {
                OrderResult::Sent => {} // counted when it meets its price
                OrderResult::Blocked => self.order(OrderResultLabel::Blocked),
                OrderResult::BelowMinimum => self.order(OrderResultLabel::Rejected),
            }
            if let Some(verdict) = &order.verdict {
                self.record_verdict(verdict);
            }
        }
        self.record_state(report, session);
        self.last_candle.set(open_time as f64);
        self.last_step.set(times.now);
        self.next_candle_due.set(times.next_due);
        self.step_duration.observe(times.duration.as_secs_f64());
    }

    fn record_verdict(&self, verdict: &Verdict) {
        self.risk_checks
            .with(&CheckLabels {
                check: CheckLabel::LiveLimits,
                result: check_result(verdict.outcome),
            })
            .inc();
        for limit in &verdict.breached {
            self.risk_blocks
                .with(&BlockLabels {
                    reason: block_reason(*limit),
                })
                .inc();
        }
    }

    fn record_state(&self, report: &StepReport, session: &Session) {
        if let Some(mark) = &report.mark {
            self.record_worth(
                mark,
                session.ledger(),
                approximate(session.drawdown().peak()),
            );
        }
        for (gauge, utilisation) in self
            .risk_utilisation
            .iter()
            .zip(report.utilisation.iter().flatten())
        {
            if let Some(utilisation) = utilisation {
                gauge.set(*utilisation);
            }
        }
    }

    fn record_worth(&self, mark: &Mark, ledger: &Ledger, peak: f64) {
        let equity = approximate(mark.equity);
        self.gross_exposure.set(approximate(mark.exposure));
        self.equity_ratio.set(equity / self.start_balance);
        self.drawdown_ratio.set(1.0 - equity / peak);
        self.realized_pnl_ratio
            .set(approximate(ledger.realised()) / self.start_balance);
        self.unrealized_pnl_ratio
            .set(approximate(mark.unrealised) / self.start_balance);
    }

    /// A defect of a candle, whether it was used (a gap before it) or not.
    pub fn record_defect(&self, defect: Defect) {
        self.candle_defects
            .with(&DefectLabels {
                defect: defect_label(defect),
            })
            .inc();
    }

    /// A failed write of the run log.
    pub fn record_run_log_error(&self) {
        self.run_log_errors.inc();
    }

    /// Whether what is recorded can be seen from outside.
    pub fn record_degraded(&self, degraded: bool) {
        self.telemetry_degraded.set(f64::from(u8::from(degraded)));
    }

    /// An orderly end. A paper position ends with its session, so that nobody reads a dead session's exposure as held; the
    /// utilisations stay as they were, for whoever looks at how close the session came.
    pub fn record_end(&self) {
        self.gross_exposure.set(0.0);
        // No candle is due any more. Zero and not infinity: the greatest value of all shards is shown, and an ended session must
        // never stand above a live one that is late.
        self.next_candle_due.set(0.0);
    }

    fn order(&self, result: OrderResultLabel) {
        self.orders.with(&OrderLabels { result }).inc();
    }
}

fn utilisation_gauges(family: &GaugeFamily<LimitLabels>) -> [Gauge; 6] {
    LimitId::ALL.map(|id| {
        family
            .with(&LimitLabels {
                limit_id: limit_label(id),
            })
            .clone()
    })
}
