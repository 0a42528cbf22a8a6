//! The trading rules, each as a claim, over candles made for it. Windows of 2 and 3 bars; a session is told as lines of text, one per
//! thing that happened, so that a table can say what must happen and nothing else may.
#![allow(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use market::{Candle, Instrument, Symbol};
use proptest::prelude::*;
use rust_decimal::Decimal;
use shadow_session::execution::Execution;
use shadow_session::report::StepReport;
use shadow_session::risk::{LimitId, RiskLimits};
use shadow_session::session::{Session, SessionSettings};
use shadow_session::strategy::MaCrossoverParameters;

/// 2017-01-04 00:00 UTC.
const MIDNIGHT: i64 = 1_483_488_000;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// 10000 of balance, a tenth per entry, no costs, no limits.
fn settings() -> SessionSettings {
    SessionSettings {
        instrument: Instrument::of(&Symbol::new("EUR/USD")).unwrap(),
        start_balance: 10_000.into(),
        position_fraction: decimal("0.1"),
        execution: Execution::new(Decimal::ZERO, Decimal::ZERO),
        limits: RiskLimits {
            limits: [None; 6],
            warning_factor: decimal("0.8"),
        },
        strategy: MaCrossoverParameters {
            fast_window: 2,
            slow_window: 3,
            allow_short: false,
        },
    }
}

fn limited(id: LimitId, limit: &str) -> SessionSettings {
    let mut settings = settings();
    settings.limits.limits[id as usize] = Some(decimal(limit));
    settings
}

/// A candle that opens and closes at these prices.
fn candle(hour: i64, open: &str, close: &str) -> Candle {
    let (open, close) = (decimal(open), decimal(close));
    Candle::new(
        MIDNIGHT + hour * 3_600,
        [open, open.max(close), open.min(close), close],
        Decimal::ONE,
    )
    .unwrap()
}

/// Hourly candles of these closes, each opening at the close before it.
fn candles(closes: &[&str]) -> Vec<Candle> {
    let opens = std::iter::once(&closes[0]).chain(closes);
    closes
        .iter()
        .zip(opens)
        .enumerate()
        .map(|(hour, (close, open))| candle(hour as i64, open, close))
        .collect()
}

/// What happens after a warm-up of three candles, as `bar: fact`.
fn told(settings: SessionSettings, candles: &[Candle]) -> (Vec<String>, Session) {
    let mut session = Session::new(settings);
    let mut lines = Vec::new();
    for (bar, candle) in candles.iter().enumerate() {
        if bar < 3 {
            session.warm_up(candle);
        } else {
            lines.extend(
                facts(&session.step(candle))
                    .into_iter()
                    .map(|fact| format!("{bar}: {fact}")),
            );
        }
    }
    (lines, session)
}

fn facts(report: &StepReport) -> Vec<String> {
    let mut facts = Vec::new();
    for fill in &report.fills {
        let decision = fill.order.decision.as_str();
        facts.push(match fill.fill {
            Ok(fill) => format!(
                "{decision} filled {} at {}",
                fill.quantity.normalize(),
                fill.price.normalize()
            ),
            Err(_) => format!("{decision} not bookable"),
        });
    }
    if report.signal_changed {
        facts.push(format!("signal {}", report.signal));
    }
    for order in &report.orders {
        let risk = order
            .verdict
            .as_ref()
            .map_or("unchecked", |verdict| verdict.outcome.as_str());
        let retry = if order.retry { " again" } else { "" };
        let breached: Vec<&str> = order
            .verdict
            .iter()
            .flat_map(|verdict| verdict.breached.iter().map(|limit| limit.as_str()))
            .collect();
        let breached = if breached.is_empty() {
            String::new()
        } else {
            format!(" by {}", breached.join(" "))
        };
        facts.push(format!(
            "{}{retry} {} {}, {risk}{breached}",
            order.order.decision.as_str(),
            order.order.quantity.normalize(),
            order.result.as_str()
        ));
    }
    facts
}

fn check(name: &str, settings: SessionSettings, candles: &[Candle], expected: &[&str]) -> Session {
    let (lines, session) = told(settings, candles);
    assert_eq!(lines, expected, "{name}");
    session
}

#[test]
fn a_decision_at_a_close_is_filled_at_the_next_open_with_slippage_and_fee() {
    let mut settings = settings();
    settings.execution = Execution::new(decimal("0.01"), decimal("100"));
    let bars = [
        candle(0, "10", "10"),
        candle(1, "10", "10"),
        candle(2, "10", "10"),
        candle(3, "10", "12"),
        candle(4, "13", "14"),
    ];
    let session = check(
        "buy",
        settings,
        &bars,
        &[
            "3: signal long",
            "3: entry_long 83.33 sent, allow",
            "4: entry_long filled 83.33 at 13.13",
        ],
    );
    // 83.33 x 13.13 = 1094.1229; fee 10.941229; marked at the close of 14.
    assert_eq!(session.ledger().cash(), decimal("8894.935871"));
    assert_eq!(session.ledger().fees(), decimal("10.941229"));
    assert_eq!(
        session.equity(),
        Some(decimal("8894.935871") + decimal("83.33") * decimal("14"))
    );
}

#[test]
fn a_cross_up_enters_and_a_cross_down_exits() {
    let bars = candles(&["10", "10", "10", "12", "12", "9", "9"]);
    let expected = [
        "3: signal long",
        "3: entry_long 83.33 sent, allow",
        "4: entry_long filled 83.33 at 12",
        "5: signal flat",
        "5: exit_long 83.33 sent, allow",
        "6: exit_long filled 83.33 at 9",
    ];
    let session = check("there and back", settings(), &bars, &expected);
    assert_eq!(
        (session.ledger().position(), session.ledger().realised()),
        (Decimal::ZERO, decimal("-249.99"))
    );
}

#[test]
fn an_entry_is_the_fraction_of_equity_at_the_last_close_rounded_down_to_the_step() {
    // (balance, fraction, close, quantity)
    for (balance, fraction, close, quantity) in [
        ("10000", "0.1", "12", "83.33"),
        ("10000", "1", "12", "833.33"),
        ("10000", "0.1", "3", "333.33"),
        ("12345.67", "0.5", "7", "881.83"),
        ("10000", "0.1", "1000", "1"),
    ] {
        let mut settings = settings();
        (settings.start_balance, settings.position_fraction) =
            (decimal(balance), decimal(fraction));
        let half = (decimal(close) / decimal("2")).to_string();
        let bars = candles(&[&half, &half, &half, close]);
        check(
            balance,
            settings,
            &bars,
            &[
                "3: signal long",
                &format!("3: entry_long {quantity} sent, allow"),
            ],
        );
    }
    // Equity, not the balance at the start: 250 were lost in between.
    let bars = candles(&["10", "10", "10", "12", "12", "9", "9", "12"]);
    let (lines, _) = told(settings(), &bars);
    assert_eq!(
        lines.last().unwrap(),
        "7: entry_long 81.25 sent, allow",
        "a tenth of 9750.01 / 12"
    );
}

#[test]
fn an_order_below_the_smallest_size_is_not_sent_and_counts_as_rejected() {
    let mut settings = settings();
    settings.start_balance = 119.into();
    let bars = candles(&["10", "10", "10", "12", "13", "8", "12", "12"]);
    let expected = [
        "3: signal long",
        "3: entry_long 0.99 below_minimum, unchecked",
        "5: signal flat",
        "7: signal long",
        "7: entry_long 0.99 below_minimum, unchecked",
    ];
    let session = check("119 x 0.1 / 12 = 0.9916", settings, &bars, &expected);
    assert_eq!(
        (
            session.totals().rejected,
            session.totals().decisions,
            session.totals().risk_checks
        ),
        (2, 2, 0)
    );
}

#[test]
fn crosses_inside_the_warm_up_are_not_traded_and_the_first_one_after_it_is() {
    let inside = candles(&["9", "9", "9", "12", "13"]);
    let mut session = Session::new(settings());
    inside.iter().for_each(|candle| session.warm_up(candle));
    let report = session.step(&candle(5, "13", "14"));
    assert!(
        facts(&report).is_empty(),
        "above since the warm-up: flat until a cross is seen"
    );
    let session = check(
        "at the first bar after it",
        settings(),
        &candles(&["9", "9", "9", "12"]),
        &["3: signal long", "3: entry_long 83.33 sent, allow"],
    );
    assert_eq!(session.totals().steps, 1);
    check(
        "a first cross down changes nothing",
        settings(),
        &candles(&["9", "9", "9", "8", "7"]),
        &[],
    );
}

#[test]
fn a_blocked_entry_stays_flat_and_is_tried_again_only_at_a_new_cross() {
    let bars = candles(&["10", "10", "10", "12", "13", "14", "8", "7", "12", "13"]);
    let expected = [
        "3: signal long",
        "3: entry_long 83.33 blocked, block by max_order_notional",
        "6: signal flat",
        "8: signal long",
        "8: entry_long 83.33 blocked, block by max_order_notional",
    ];
    let session = check(
        "999.96 above 999",
        limited(LimitId::MaxOrderNotional, "999"),
        &bars,
        &expected,
    );
    assert_eq!(
        (
            session.totals().blocked,
            session.totals().decisions,
            session.totals().risk_checks
        ),
        (2, 2, 2)
    );
    assert!(session.ledger().position().is_zero() && session.pending().is_empty());
}

#[test]
fn a_touch_that_turns_back_up_is_a_new_cross_for_a_blocked_entry() {
    // Equal averages at bar 5, above again at bar 6: the signal was long all the time and does not change.
    let bars = candles(&["10", "10", "10", "12", "12", "12", "13"]);
    let expected = [
        "3: signal long",
        "3: entry_long 83.33 blocked, block by max_order_notional",
        "6: entry_long 76.92 blocked, block by max_order_notional",
    ];
    check(
        "touch",
        limited(LimitId::MaxOrderNotional, "999"),
        &bars,
        &expected,
    );
}

#[test]
fn a_blocked_exit_stays_wanted_and_is_tried_again_at_every_bar_until_it_goes_through() {
    let bars = candles(&[
        "10", "10", "10", "11", "20", "30", "25", "20", "15", "12", "11",
    ]);
    let expected = [
        "3: signal long",
        "3: entry_long 90.9 sent, warn",
        "4: entry_long filled 90.9 at 11",
        "7: signal flat",
        "7: exit_long 90.9 blocked, block by max_order_notional",
        "8: exit_long again 90.9 blocked, block by max_order_notional",
        "9: exit_long again 90.9 sent, warn",
        "10: exit_long filled 90.9 at 12",
    ];
    let session = check(
        "1818, 1363.5, 1090.8 against 1100",
        limited(LimitId::MaxOrderNotional, "1100"),
        &bars,
        &expected,
    );
    let totals = session.totals();
    assert_eq!(
        (
            totals.decisions,
            totals.risk_checks,
            totals.blocked,
            totals.filled
        ),
        (2, 4, 2, 2),
        "a retry is no decision"
    );
}

#[test]
fn an_exit_that_is_still_wanted_is_forgotten_at_a_cross_back_up() {
    let bars = candles(&["10", "10", "10", "11", "20", "30", "25", "20", "40", "40"]);
    let expected = [
        "3: signal long",
        "3: entry_long 90.9 sent, warn",
        "4: entry_long filled 90.9 at 11",
        "7: signal flat",
        "7: exit_long 90.9 blocked, block by max_order_notional",
        "8: signal long",
    ];
    let session = check(
        "long again",
        limited(LimitId::MaxOrderNotional, "1100"),
        &bars,
        &expected,
    );
    assert_eq!(session.ledger().position(), decimal("90.9"));
}

#[test]
fn exposure_position_count_and_loss_limits_never_block_the_way_out() {
    let bars = candles(&["10", "10", "10", "11", "20", "30", "25", "20", "15"]);
    let prefix = [
        "3: signal long",
        "3: entry_long 90.9 sent, warn",
        "4: entry_long filled 90.9 at 11",
        "7: signal flat",
    ];
    for id in [LimitId::MaxTotalExposure, LimitId::MaxSymbolExposure] {
        // 90.9 x 11 = 999.9 enters, 90.9 x 20 = 1818 is far above the limit and leaves. After it nothing is held: allowed without warning.
        let mut expected = prefix.to_vec();
        expected.extend([
            "7: exit_long 90.9 sent, allow",
            "8: exit_long filled 90.9 at 20",
        ]);
        check(id.as_str(), limited(id, "1100"), &bars, &expected);
    }
    let losing = candles(&["10", "10", "10", "11", "11", "5", "5"]);
    for (id, limit) in [
        (LimitId::MaxDailyLossAbs, "100"),
        (LimitId::MaxDailyLossPct, "1"),
    ] {
        let expected = [
            "3: signal long",
            "3: entry_long 90.9 sent, allow",
            "4: entry_long filled 90.9 at 11",
            "5: signal flat",
            "5: exit_long 90.9 sent, warn",
            "6: exit_long filled 90.9 at 5",
        ];
        check(id.as_str(), limited(id, limit), &losing, &expected);
    }
}

#[test]
fn a_day_that_lost_too_much_allows_no_entry_and_the_next_utc_day_does() {
    // 545.4 are lost by 06:00; the cross up at 07:00 is blocked, the one of the next day is not. Bars 8.. are moved to the next day.
    let mut bars = candles(&[
        "10", "10", "10", "11", "11", "5", "5", "9", "4", "4", "9", "9",
    ]);
    for (index, bar) in bars.iter_mut().enumerate().skip(8) {
        bar.open_time = MIDNIGHT + 86_400 + index as i64 * 3_600;
    }
    for (id, limit) in [
        (LimitId::MaxDailyLossAbs, "500"),
        (LimitId::MaxDailyLossPct, "5"),
    ] {
        let blocked = format!("7: entry_long 105.05 blocked, block by {}", id.as_str());
        let expected = [
            "3: signal long",
            "3: entry_long 90.9 sent, allow",
            "4: entry_long filled 90.9 at 11",
            "5: signal flat",
            "5: exit_long 90.9 sent, warn",
            "6: exit_long filled 90.9 at 5",
            "7: signal long",
            &blocked,
            "9: signal flat",
            "10: signal long",
            "10: entry_long 105.05 sent, allow",
            "11: entry_long filled 105.05 at 9",
        ];
        check(id.as_str(), limited(id, limit), &bars, &expected);
    }
}

#[test]
fn a_day_opens_with_the_equity_of_the_last_close_before_it() {
    // Held over midnight: the fall at the first bar of the new day is that day's loss.
    let mut bars = candles(&["10", "10", "10", "12", "12", "12", "9"]);
    bars[6].open_time = MIDNIGHT + 86_400;
    let (_, session) = told(limited(LimitId::MaxDailyLossAbs, "500"), &bars[..6]);
    let mut session = session;
    let report = session.step(&bars[6]);
    let used = report.utilisation.unwrap()[LimitId::MaxDailyLossAbs as usize];
    assert_eq!(used, Some(249.99 / 500.0), "83.33 x 3");
    let later = Candle::new(MIDNIGHT + 2 * 86_400, [decimal("9"); 4], Decimal::ONE).unwrap();
    let used = session.step(&later).utilisation.unwrap()[LimitId::MaxDailyLossAbs as usize];
    assert_eq!(used, Some(0.0), "a new day begins at nothing lost");
}

#[test]
fn a_profit_of_any_size_blocks_nothing() {
    let bars = candles(&["10", "10", "10", "11", "200", "150", "90", "300", "300"]);
    let mut settings = limited(LimitId::MaxDailyLossAbs, "1");
    settings.limits.limits[LimitId::MaxDailyLossPct as usize] = Some(decimal("0.001"));
    let expected = [
        "3: signal long",
        "3: entry_long 90.9 sent, allow",
        "4: entry_long filled 90.9 at 11",
        "6: signal flat",
        "6: exit_long 90.9 sent, allow",
        "7: exit_long filled 90.9 at 90",
        "7: signal long",
        "7: entry_long 5.72 sent, allow",
        "8: entry_long filled 5.72 at 300",
    ];
    check("a day with 7000 of profit", settings, &bars, &expected);
}

#[test]
fn limits_are_held_against_the_state_after_the_trade_with_its_costs() {
    // 83.33 x 12 = 999.96 of exposure; the costs of getting there (10 % fee) are a loss of the day before anything is filled.
    for (id, limit, verdict) in [
        (LimitId::MaxTotalExposure, "999.96", "sent, warn"),
        (
            LimitId::MaxTotalExposure,
            "999.95",
            "blocked, block by max_total_exposure",
        ),
        (LimitId::MaxOpenPositions, "1", "sent, warn"),
        (LimitId::MaxDailyLossAbs, "99.996", "sent, warn"),
        (
            LimitId::MaxDailyLossAbs,
            "99.995",
            "blocked, block by max_daily_loss_abs",
        ),
        (LimitId::MaxDailyLossPct, "0.99996", "sent, warn"),
        (
            LimitId::MaxDailyLossPct,
            "0.99995",
            "blocked, block by max_daily_loss_pct",
        ),
    ] {
        let mut settings = limited(id, limit);
        settings.execution = Execution::new(decimal("0.1"), Decimal::ZERO);
        check(
            limit,
            settings,
            &candles(&["10", "10", "10", "12"]),
            &["3: signal long", &format!("3: entry_long 83.33 {verdict}")],
        );
    }
}

#[test]
fn where_shorts_are_allowed_a_cross_down_closes_and_enters_short() {
    let mut settings = settings();
    settings.strategy.allow_short = true;
    let bars = candles(&["10", "10", "10", "12", "12", "9", "9", "12", "12"]);
    let expected = [
        "3: signal long",
        "3: entry_long 83.33 sent, allow",
        "4: entry_long filled 83.33 at 12",
        "5: signal short",
        "5: close_long 83.33 sent, allow",
        "5: entry_short 108.33 sent, allow",
        "6: close_long filled 83.33 at 9",
        "6: entry_short filled 108.33 at 9",
        "7: signal long",
        "7: close_short 108.33 sent, allow",
        "7: entry_long 78.54 sent, allow",
        "8: close_short filled 108.33 at 12",
        "8: entry_long filled 78.54 at 12",
    ];
    let session = check("long, short, long", settings, &bars, &expected);
    assert_eq!(session.ledger().realised(), decimal("-574.98"));
}

#[test]
fn an_entry_behind_an_exit_that_was_not_sent_is_not_tried() {
    let mut settings = limited(LimitId::MaxOrderNotional, "1100");
    settings.strategy.allow_short = true;
    let bars = candles(&["10", "10", "10", "11", "20", "30", "25", "20", "12", "12"]);
    let expected = [
        "3: signal long",
        "3: entry_long 90.9 sent, warn",
        "4: entry_long filled 90.9 at 11",
        "7: signal short",
        "7: close_long 90.9 blocked, block by max_order_notional",
        "8: exit_long again 90.9 sent, warn",
        "9: exit_long filled 90.9 at 12",
    ];
    check("only the way out is repeated", settings, &bars, &expected);
}

#[test]
fn an_order_of_the_last_bar_stays_pending_and_is_no_fill() {
    let session = check(
        "end",
        settings(),
        &candles(&["10", "10", "10", "12"]),
        &["3: signal long", "3: entry_long 83.33 sent, allow"],
    );
    assert_eq!((session.pending().len(), session.totals().filled), (1, 0));
    assert!(session.ledger().position().is_zero());
}

#[test]
fn a_state_that_cannot_be_computed_fails_closed() {
    // 10^11 of quote currency at a price of 10^-10 are 10^21 units, more than can be booked exactly.
    let mut settings = settings();
    settings.start_balance = 1_000_000_000_000_u64.into();
    let bars = candles(&[
        "0.0000000001",
        "0.0000000001",
        "0.0000000001",
        "0.0000000002",
        "0.0000000003",
    ]);
    let session = check(
        "too many units",
        settings,
        &bars,
        &[
            "3: signal long",
            "3: entry_long 500000000000000000000 blocked, error",
        ],
    );
    assert_eq!(
        (session.totals().blocked, session.totals().risk_checks),
        (1, 1)
    );
    assert!(session.pending().is_empty());
}

#[test]
fn a_day_that_opens_with_equity_nobody_can_compute_keeps_nobody_in_a_position() {
    // At the last close of the day the position is worth more than 10^15, and the next day opens without equity.
    let bars = [
        candle(19, "1", "1"),
        candle(20, "1", "1"),
        candle(21, "1", "1"),
        candle(22, "1", "2"),
        candle(23, "2", "899999999"),
        candle(24, "2", "1"),
        candle(25, "1", "0.5"),
        candle(26, "0.5", "0.4"),
    ];
    for limit in [
        None,
        Some(LimitId::MaxOrderNotional),
        Some(LimitId::MaxDailyLossAbs),
    ] {
        let mut settings = settings();
        settings.start_balance = 1_000_000_000_000_u64.into();
        if let Some(id) = limit {
            settings.limits.limits[id as usize] = Some(900_000_000_000_000_u64.into());
        }
        let (lines, session) = told(settings, &bars);
        assert!(
            lines.iter().any(|line| line.contains("exit_long filled")),
            "{limit:?}: {lines:?}"
        );
        assert_eq!(session.totals().blocked, 0, "{limit:?}");
    }
}

#[test]
fn an_order_that_cannot_be_booked_at_its_price_is_rejected_and_an_exit_is_wanted_again() {
    let mut settings = settings();
    settings.start_balance = 200_000_000.into();
    let bars = [
        candle(0, "10", "10"),
        candle(1, "10", "10"),
        candle(2, "10", "10"),
        candle(3, "10", "12"),
        candle(4, "800000000", "12"), // an open at which the entry is worth 10^15
        candle(5, "12", "9"),
        candle(6, "9", "12"),
        candle(7, "12", "12"),
        candle(8, "12", "9"),
        candle(9, "899999999", "9"),
        candle(10, "9", "9"),
    ];
    let expected = [
        "3: signal long",
        "3: entry_long 1666666.66 sent, allow",
        "4: entry_long not bookable",
        "5: signal flat",
        "7: signal long",
        "7: entry_long 1666666.66 sent, allow",
        "8: entry_long filled 1666666.66 at 12",
        "8: signal flat",
        "8: exit_long 1666666.66 sent, allow",
        "9: exit_long not bookable",
        "9: exit_long again 1666666.66 sent, allow",
        "10: exit_long filled 1666666.66 at 9",
    ];
    let session = check("absurd opens", settings, &bars, &expected);
    assert_eq!((session.totals().rejected, session.totals().filled), (2, 2));
}

#[test]
fn utilisation_follows_the_position_at_every_step_and_the_order_limit_its_last_order() {
    let mut settings = settings();
    settings.limits.limits =
        ["2000", "2000", "4000", "5", "500", "5"].map(|limit| Some(decimal(limit)));
    let mut session = Session::new(settings);
    let bars = candles(&["10", "10", "10", "12", "12", "15", "8", "8"]);
    let mut used = Vec::new();
    for (bar, candle) in bars.iter().enumerate() {
        if bar < 3 {
            session.warm_up(candle);
        } else {
            used.push(
                session
                    .step(candle)
                    .utilisation
                    .unwrap()
                    .map(|used| (used.unwrap() * 1e4).round() / 1e4),
            );
        }
    }
    let expected = [
        [0.5, 0.0, 0.0, 0.0, 0.0, 0.0],      // evaluated, not yet filled
        [0.5, 0.5, 0.25, 0.2, 0.0, 0.0],     // filled at 12
        [0.5, 0.625, 0.3125, 0.2, 0.0, 0.0], // marked at 15, without an order
        [0.3333, 0.3333, 0.1667, 0.2, 0.6666, 0.6666], // exit evaluated at 8: 666.64 of 2000; 333.32 of 500 lost
        [0.3333, 0.0, 0.0, 0.0, 0.6666, 0.6666],       // flat; what the day lost stays lost
    ];
    assert_eq!(used, expected);
}

prop_compose! {
    fn any_settings()(
        fraction in 1_i64..=100,
        (fee, slippage) in (0_i64..100, 0_i64..500),
        allow_short in any::<bool>(),
        limits in prop::array::uniform6(prop::option::of(1_i64..3_000)),
        balance in 1_i64..10_000_000,
    ) -> SessionSettings {
        let mut settings = settings();
        settings.start_balance = Decimal::new(balance, 2);
        settings.position_fraction = Decimal::new(fraction, 2);
        settings.execution = Execution::new(Decimal::new(fee, 4), Decimal::new(slippage, 1));
        settings.strategy.allow_short = allow_short;
        settings.limits.limits = limits.map(|limit| limit.map(Decimal::from));
        settings
    }
}

prop_compose! {
    fn any_candles()(prices in prop::collection::vec((1_i64..40, 1_i64..40), 4..120)) -> Vec<Candle> {
        prices
            .iter()
            .enumerate()
            .map(|(hour, (open, close))| candle(hour as i64 * 5, &open.to_string(), &close.to_string()))
            .collect()
    }
}

proptest! {
    #[test]
    fn equity_adds_up_and_every_order_is_counted_once_whatever_happens(settings in any_settings(), candles in any_candles()) {
        let mut session = Session::new(settings);
        let mut formed = 0;
        for candle in &candles {
            let report = session.step(candle);
            formed += report.orders.len() as u64;
            let (ledger, mark) = (session.ledger(), report.mark.unwrap());
            prop_assert_eq!(mark.equity, ledger.start() + ledger.realised() + mark.unrealised);
            prop_assert_eq!(mark.equity, ledger.cash() + ledger.position() * candle.close);
            prop_assert!(settings.strategy.allow_short || ledger.position() >= Decimal::ZERO);
            for (limit, used) in settings.limits.limits.iter().zip(report.utilisation.unwrap()) {
                prop_assert_eq!(limit.is_some(), used.is_some());
                prop_assert!(used.is_none_or(|used| (0.0..=1.0).contains(&used)));
            }
            for order in &report.orders {
                let sent = order.result.as_str() == "sent";
                prop_assert_eq!(sent, order.verdict.as_ref().is_some_and(|verdict| verdict.outcome.permits()));
            }
        }
        let totals = session.totals();
        prop_assert_eq!(formed, totals.filled + totals.rejected + totals.blocked + session.pending().len() as u64);
    }

    #[test]
    fn a_step_depends_on_no_later_candle(settings in any_settings(), candles in any_candles(), cut in 0_usize..120) {
        let cut = cut.min(candles.len());
        let steps = |candles: &[Candle]| {
            let mut session = Session::new(settings);
            candles.iter().map(|candle| session.step(candle)).collect::<Vec<_>>()
        };
        prop_assert_eq!(&steps(&candles)[..cut], &steps(&candles[..cut])[..]);
    }
}
