//! What a session exposes: names, types, labels and label values as other people's dashboards know them, and that every count of the
//! telemetry is the count of the session.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where it cannot go on"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use market::{Calendar, Candle, Defect, Instrument, Row, Sequence, Symbol, Timeframe};
use metricsd_client::Registry;
use rust_decimal::Decimal;
use shadow_session::execution::Execution;
use shadow_session::replay::Replay;
use shadow_session::risk::{LimitId, RiskLimits};
use shadow_session::session::{Session, SessionSettings};
use shadow_session::strategy::{MaCrossoverParameters, StrategyId};
use shadow_session::telemetry::Telemetry;

fn settings(limits: [Option<Decimal>; 6]) -> SessionSettings {
    SessionSettings {
        instrument: Instrument::of(&Symbol::new("EUR/USD")).unwrap(),
        start_balance: 10_000.into(),
        position_fraction: "0.1".parse().unwrap(),
        execution: Execution::new("0.0026".parse().unwrap(), 5.into()),
        limits: RiskLimits {
            limits,
            warning_factor: "0.8".parse().unwrap(),
        },
        strategy: MaCrossoverParameters {
            fast_window: 2,
            slow_window: 3,
            allow_short: false,
        },
    }
}

fn bar(hour: i64, close: &str) -> Row {
    let price: Decimal = close.parse().unwrap();
    Row::Candle(Candle::new(1_483_488_000 + hour * 3_600, [price; 4], Decimal::ONE).unwrap())
}

/// The text exposition after these rows, of which three are warm-up.
fn exposed(limits: [Option<Decimal>; 6], rows: &[Row]) -> String {
    let registry = Registry::in_memory();
    let session = Session::new(settings(limits));
    let telemetry = Telemetry::new(&registry, StrategyId::MaCrossover, &session);
    telemetry.record_degraded(registry.status().is_degraded());
    let sequence = Sequence::new(Timeframe::H1, Calendar::Fx);
    let mut replay = Replay::new(session, sequence, &telemetry, 3, Duration::from_secs(2));
    for row in rows {
        replay.take(row);
    }
    registry.render()
}

fn samples(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name, value.parse().unwrap()))
        .collect()
}

/// `name type`, then for each label its values.
fn shape(text: &str) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let mut families = BTreeMap::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            family = typed.to_owned();
            families.insert(family.clone(), BTreeMap::<String, BTreeSet<String>>::new());
        } else if let Some((_, rest)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let labels = families.get_mut(&family).unwrap();
            for pair in rest.split_once('}').unwrap().0.split(',') {
                let (name, value) = pair.split_once('=').unwrap();
                labels
                    .entry(name.to_owned())
                    .or_default()
                    .insert(value.trim_matches('"').to_owned());
            }
        }
    }
    families
}

#[test]
fn the_families_have_the_names_types_labels_and_values_that_dashboards_know() {
    let rows: Vec<Row> = ["10", "10", "10", "12", "13"]
        .iter()
        .enumerate()
        .map(|(hour, close)| bar(hour as i64, close))
        .collect();
    let found = shape(&exposed(
        ["5000", "5000", "5000", "5", "500", "5"].map(|limit| Some(limit.parse().unwrap())),
        &rows,
    ));
    let limits = "max_order_notional max_total_exposure max_symbol_exposure max_open_positions max_daily_loss_abs max_daily_loss_pct";
    let reasons: Vec<String> = limits
        .split(' ')
        .map(|limit| format!("limit:{limit}"))
        .collect();
    let reasons = format!(
        "runtime:reject runtime:halt runtime:pause runtime:unknown {}",
        reasons.join(" ")
    );
    let strategy = ("strategy_id", "ma_crossover");
    let step_bounds = "1e-06 2.5e-06 1e-05 0.0001 0.001 0.01 0.1 1.0 10.0 +Inf";
    let expected: [(&str, &[(&str, &str)]); 21] = [
        (
            "peaktrade_risk_blocks_total counter",
            &[("reason", &reasons)],
        ),
        (
            "peaktrade_risk_checks_total counter",
            &[
                (
                    "check",
                    "live_limits.check_orders runtime_risk.evaluate_pre_order",
                ),
                ("result", "allow block warn disabled error"),
            ],
        ),
        (
            "peaktrade_risk_limit_utilization gauge",
            &[("limit_id", limits)],
        ),
        (
            "peaktrade_strategy_decisions_total counter",
            &[
                (
                    "decision",
                    "entry_long exit_long entry_short exit_short close_long close_short",
                ),
                strategy,
            ],
        ),
        (
            "peaktrade_strategy_position_gross_exposure gauge",
            &[("ccy", "USD"), strategy],
        ),
        (
            "peaktrade_strategy_signals_total counter",
            &[("signal", "long short flat"), strategy],
        ),
        (
            "shadow_session_candle_defects_total counter",
            &[(
                "defect",
                "gap duplicate out_of_order non_finite ohlc_violation unclosed",
            )],
        ),
        ("shadow_session_drawdown_ratio gauge", &[strategy]),
        ("shadow_session_equity_ratio gauge", &[strategy]),
        ("shadow_session_fees_quote_total counter", &[]),
        (
            "shadow_session_fills_total counter",
            &[("side", "buy sell")],
        ),
        ("shadow_session_last_candle_timestamp_seconds gauge", &[]),
        ("shadow_session_last_step_timestamp_seconds gauge", &[]),
        (
            "shadow_session_next_candle_due_timestamp_seconds gauge",
            &[],
        ),
        (
            "shadow_session_orders_total counter",
            &[("result", "filled rejected blocked")],
        ),
        ("shadow_session_realized_pnl_ratio gauge", &[strategy]),
        ("shadow_session_run_log_errors_total counter", &[]),
        (
            "shadow_session_step_duration_seconds histogram",
            &[("le", step_bounds)],
        ),
        ("shadow_session_steps_total counter", &[]),
        ("shadow_session_telemetry_degraded gauge", &[]),
        ("shadow_session_unrealized_pnl_ratio gauge", &[strategy]),
    ];
    let expected: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = expected
        .iter()
        .map(|(family, labels)| {
            let labels = labels.iter().map(|(name, values)| {
                (
                    (*name).to_owned(),
                    values.split(' ').map(str::to_owned).collect(),
                )
            });
            ((*family).to_owned(), labels.collect())
        })
        .collect();
    for (family, labels) in &expected {
        assert_eq!(found.get(family), Some(labels), "{family}");
    }
    assert_eq!(found.len(), expected.len(), "{:?}", found.keys());
}

#[test]
fn counters_exist_at_zero_before_the_first_candle_and_gauges_do_not() {
    let text = exposed([Some(Decimal::ONE); 6], &[]);
    let samples = samples(&text);
    assert_eq!(
        samples["peaktrade_risk_blocks_total{reason=\"limit:max_order_notional\"}"],
        0.0
    );
    assert_eq!(
        samples["shadow_session_candle_defects_total{defect=\"unclosed\"}"],
        0.0
    );
    let gauges: Vec<&&str> = samples
        .keys()
        .filter(|name| {
            name.contains("_ratio{")
                || name.contains("exposure{")
                || name.contains("utilization")
                || name.contains("timestamp")
        })
        .collect();
    assert!(gauges.is_empty(), "{gauges:?}");
    assert!(samples.values().all(|value| *value == 0.0));
}

#[test]
fn a_limit_that_is_not_set_has_no_utilisation_series() {
    let rows: Vec<Row> = ["10", "10", "10", "12", "13"]
        .iter()
        .enumerate()
        .map(|(hour, close)| bar(hour as i64, close))
        .collect();
    let mut limits = [None; 6];
    limits[LimitId::MaxSymbolExposure as usize] = Some(Decimal::from(2_000));
    let text = exposed(limits, &rows);
    let series: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("peaktrade_risk_limit_utilization{"))
        .collect();
    let name = "peaktrade_risk_limit_utilization{limit_id=\"max_symbol_exposure\"}";
    assert_eq!(series.len(), 1, "{series:?}");
    // 83.33 bought at 12, marked at 13: 1083.29 of 2000.
    assert!(
        (samples(&text)[name] - 0.541645).abs() < 1e-12,
        "{series:?}"
    );
}

#[test]
fn exposure_and_worth_follow_the_price_at_every_step_without_an_order() {
    for (close, exposure) in [("13", 1_083.29), ("14", 1_166.62), ("15.5", 1_291.615)] {
        let rows: Vec<Row> = ["10", "10", "10", "12", "13", close]
            .iter()
            .enumerate()
            .map(|(hour, close)| bar(hour as i64, close))
            .collect();
        let text = exposed([None; 6], &rows);
        let samples = samples(&text);
        assert_eq!(
            samples["peaktrade_strategy_position_gross_exposure{ccy=\"USD\",strategy_id=\"ma_crossover\"}"],
            exposure
        );
        // Bought 83.33 at 13 x 1.0005 with a fee of 2.818...: both ratios are of 10000.
        let equity = samples["shadow_session_equity_ratio{strategy_id=\"ma_crossover\"}"];
        let realised = samples["shadow_session_realized_pnl_ratio{strategy_id=\"ma_crossover\"}"];
        let unrealised =
            samples["shadow_session_unrealized_pnl_ratio{strategy_id=\"ma_crossover\"}"];
        assert!(
            (equity - 1.0 - realised - unrealised).abs() < 1e-12,
            "{equity} {realised} {unrealised}"
        );
        assert!(realised < 0.0, "the fee of the entry is lost at once");
    }
}

#[test]
fn blocks_checks_decisions_and_defects_are_counted_as_they_happen() {
    let unusable = |hour: i64| Row::Unusable {
        open_time: 1_483_488_000 + hour * 3_600,
        defect: Defect::NonFinite,
    };
    // A cross up that two limits block, a duplicate, a nan, a gap, and a bar that is not over before the year 2100.
    let far = Row::Candle(Candle::new(4_102_444_800, [Decimal::ONE; 4], Decimal::ONE).unwrap());
    let rows = [
        bar(0, "10"),
        bar(1, "10"),
        bar(2, "10"),
        bar(3, "12"),
        bar(3, "12"),
        unusable(4),
        bar(5, "13"),
        bar(7, "14"),
        bar(6, "14"),
        far,
    ];
    let mut limits = [None; 6];
    limits[LimitId::MaxOrderNotional as usize] = Some(Decimal::from(999));
    limits[LimitId::MaxTotalExposure as usize] = Some(Decimal::from(10));
    let text = exposed(limits, &rows);
    let samples = samples(&text);
    let expected = [
        (
            "peaktrade_strategy_signals_total{signal=\"long\",strategy_id=\"ma_crossover\"}",
            1.0,
        ),
        (
            "peaktrade_strategy_decisions_total{decision=\"entry_long\",strategy_id=\"ma_crossover\"}",
            1.0,
        ),
        (
            "peaktrade_risk_checks_total{check=\"live_limits.check_orders\",result=\"block\"}",
            1.0,
        ),
        (
            "peaktrade_risk_checks_total{check=\"live_limits.check_orders\",result=\"allow\"}",
            0.0,
        ),
        (
            "peaktrade_risk_blocks_total{reason=\"limit:max_order_notional\"}",
            1.0,
        ),
        (
            "peaktrade_risk_blocks_total{reason=\"limit:max_total_exposure\"}",
            1.0,
        ),
        (
            "peaktrade_risk_blocks_total{reason=\"limit:max_symbol_exposure\"}",
            0.0,
        ),
        ("shadow_session_orders_total{result=\"blocked\"}", 1.0),
        ("shadow_session_orders_total{result=\"filled\"}", 0.0),
        ("shadow_session_steps_total", 3.0),
        (
            "shadow_session_candle_defects_total{defect=\"duplicate\"}",
            1.0,
        ),
        (
            "shadow_session_candle_defects_total{defect=\"non_finite\"}",
            1.0,
        ),
        ("shadow_session_candle_defects_total{defect=\"gap\"}", 1.0),
        (
            "shadow_session_candle_defects_total{defect=\"out_of_order\"}",
            1.0,
        ),
        (
            "shadow_session_candle_defects_total{defect=\"unclosed\"}",
            1.0,
        ),
        (
            "shadow_session_last_candle_timestamp_seconds",
            (1_483_488_000 + 7 * 3_600) as f64,
        ),
    ];
    for (name, value) in expected {
        assert_eq!(samples[name], value, "{name}");
    }
    let due = samples["shadow_session_next_candle_due_timestamp_seconds"]
        - samples["shadow_session_last_step_timestamp_seconds"];
    assert!(
        (due - 2.0).abs() < 1e-3,
        "the next candle is due an interval after the last: {due}"
    );
}
