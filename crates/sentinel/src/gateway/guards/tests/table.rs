//! One row a refusal: a case that is permitted, one thing changed, and what the guards say.

use super::super::refusal::Reason;
use super::*;

/// Reason, refusal, what is in the log, what is changed.
type Row = (Reason, Refusal, fn(&mut IntentLog<Disk>), Change);

#[test]
fn each_guard_says_no_by_itself_and_by_its_reason() {
    use Input::*;
    use LimitId::*;
    use Reason as R;
    let table: &[Row] = &[
        (R::RiskLimit, Refusal::Absurd(Clock), untouched, |c| {
            c.situation.now_ms = 0
        }),
        (R::StaleData, Refusal::StaleBar, untouched, |c| {
            c.situation.is_bar_stale = true
        }),
        (R::BelowThreshold, Refusal::BelowThreshold, untouched, |c| {
            c.request.confidence = 0.6
        }),
        (R::BelowThreshold, Refusal::BelowThreshold, untouched, |c| {
            c.request.confidence = f64::NAN
        }),
        (R::BelowThreshold, Refusal::BelowThreshold, untouched, |c| {
            c.request.confidence = f64::INFINITY
        }),
        (R::RiskLimit, Refusal::Absurd(Bar), untouched, |c| {
            c.request.bar_open_time = NOW / 1_000 + 1
        }),
        (R::StaleData, Refusal::Late, untouched, |c| {
            c.request.valid_until_ms = NOW
        }),
        (R::RiskLimit, Refusal::Absurd(Validity), untouched, |c| {
            c.request.valid_until_ms = i64::MAX
        }),
        (R::Halted, Refusal::KillSwitch, untouched, |c| {
            c.situation.is_killed = true
        }),
        (R::Halted, Refusal::LogUnavailable, untouched, |c| {
            c.situation.log = None
        }),
        (
            R::Halted,
            Refusal::Halted(Some(HaltReason::DailyLoss)),
            |log| {
                log.tighten(TradingState::Halted, HaltReason::DailyLoss, NOW)
                    .unwrap()
            },
            |_| {},
        ),
        (
            R::Halted,
            Refusal::OutcomeUnknown,
            |log| {
                let state = log.state().unwrap().clone();
                let mut earlier = request();
                earlier.bar_open_time -= 1;
                let permit = Guards::new(settings())
                    .unwrap()
                    .check(&earlier, &situation(&state))
                    .unwrap();
                let recorded = permit.record(log, id("a"), id("b")).unwrap();
                log.outcome(&recorded.intent().id, Outcome::Unknown, NOW)
                    .unwrap();
            },
            |_| {},
        ),
        (R::Halted, Refusal::NotReconciled, untouched, |c| {
            c.situation.is_reconciled = false
        }),
        (R::BreakerOpen, Refusal::NoHeartbeat, untouched, |c| {
            c.situation.peer = None
        }),
        (R::DryRun, Refusal::WrongAccount, untouched, |c| {
            c.situation.peer.as_mut().unwrap().account = "7002".to_owned()
        }),
        (R::Halted, Refusal::PeerKilled, untouched, |c| {
            c.situation.peer.as_mut().unwrap().is_killed = true
        }),
        (R::Halted, Refusal::PeerDisabled, untouched, |c| {
            c.situation.peer.as_mut().unwrap().is_trading_allowed = false
        }),
        (R::StaleData, Refusal::ClockOffset(2_001), untouched, |c| {
            c.situation.peer.as_mut().unwrap().clock_offset_ms = 2_001
        }),
        (R::StaleData, Refusal::ClockOffset(-2_001), untouched, |c| {
            c.situation.peer.as_mut().unwrap().clock_offset_ms = -2_001
        }),
        (R::MarketClosed, Refusal::MarketClosed, untouched, |c| {
            c.situation.is_market_open = false
        }),
        (
            R::Duplicate,
            Refusal::Duplicate,
            |log| log.considered(BAR).unwrap(),
            |_| {},
        ),
        (
            R::Duplicate,
            Refusal::Duplicate,
            |log| log.considered(BAR + 1).unwrap(),
            |_| {},
        ),
        (
            R::Cooldown,
            Refusal::Cooldown,
            |log| ordered(log, &[29]),
            |_| {},
        ),
        // A clock that was set back does not shorten the wait.
        (
            R::Cooldown,
            Refusal::Cooldown,
            |log| ordered(log, &[-60]),
            |_| {},
        ),
        (
            R::RiskLimit,
            Refusal::OrdersPerMinute,
            |log| ordered(log, &[59, 31]),
            |c| c.settings.orders_per_minute = 2,
        ),
        (
            R::RiskLimit,
            Refusal::OrdersPerDay,
            |log| ordered(log, &[7_200, 3_600, 90]),
            |_| {},
        ),
        (R::BreakerOpen, Refusal::BreakerOpen, untouched, |c| {
            c.situation.breaker = breaker::State::Open
        }),
        (R::BreakerOpen, Refusal::BreakerOpen, untouched, |c| {
            c.situation.breaker = breaker::State::HalfOpen
        }),
        (R::DryRun, Refusal::NotArmed, untouched, |c| {
            c.settings.arm.is_live = false
        }),
        (R::DryRun, Refusal::NotArmed, untouched, |c| {
            c.settings.arm.confirm = "7002".to_owned()
        }),
        (R::DryRun, Refusal::NotArmed, untouched, |c| {
            c.settings.arm = Arm {
                is_live: true,
                ..Arm::default()
            }
        }),
        (R::DryRun, Refusal::WrongAccount, untouched, |c| {
            c.situation.account.as_mut().unwrap().value.id = "7002".to_owned()
        }),
        (R::RiskLimit, Refusal::Missing(Account), untouched, |c| {
            c.situation.account = None
        }),
        (R::RiskLimit, Refusal::Missing(Positions), untouched, |c| {
            c.situation.book = None
        }),
        (R::StaleData, Refusal::Stale(Account), untouched, |c| {
            c.situation.account.as_mut().unwrap().age += Duration::from_nanos(1)
        }),
        (R::StaleData, Refusal::Stale(Positions), untouched, |c| {
            c.situation.book.as_mut().unwrap().age += Duration::from_nanos(1)
        }),
        (R::RiskLimit, Refusal::Absurd(Account), untouched, |c| {
            c.situation.account.as_mut().unwrap().value.equity = Decimal::MIN
        }),
        (R::RiskLimit, Refusal::Absurd(Symbol), untouched, |c| {
            c.request.symbol.clear()
        }),
        (R::RiskLimit, Refusal::Absurd(Volume), untouched, |c| {
            c.request.volume = Decimal::ZERO
        }),
        (R::RiskLimit, Refusal::Absurd(Volume), untouched, |c| {
            c.request.volume = Decimal::MAX
        }),
        (R::RiskLimit, Refusal::Absurd(UnitValue), untouched, |c| {
            c.request.unit_value = d("-1")
        }),
        (R::RiskLimit, Refusal::Absurd(Cost), untouched, |c| {
            c.request.cost = d("-0.01")
        }),
        (R::RiskLimit, Refusal::Absurd(Positions), untouched, |c| {
            book(c).positions = vec![position("A", "0")]
        }),
        (R::RiskLimit, Refusal::Absurd(Positions), untouched, |c| {
            book(c).positions = vec![position("A", "1"), position("A", "-1")]
        }),
        (R::RiskLimit, Refusal::Absurd(Arithmetic), untouched, |c| {
            c.request.volume = d("1.0000000000000000000000000001")
        }),
        (
            R::RiskLimit,
            Refusal::ReducingOnly,
            |log| {
                log.tighten(TradingState::Reducing, HaltReason::Operator, NOW)
                    .unwrap()
            },
            |_| {},
        ),
        (
            R::RiskLimit,
            Refusal::Limits(vec![MaxOrderNotional]),
            untouched,
            |c| limit(c, MaxOrderNotional, "1099.99"),
        ),
        (
            R::RiskLimit,
            Refusal::Limits(vec![MaxSymbolExposure]),
            untouched,
            |c| limit(c, MaxSymbolExposure, "1099.99"),
        ),
        (
            R::RiskLimit,
            Refusal::Limits(vec![MaxTotalExposure]),
            untouched,
            |c| {
                limit(c, MaxTotalExposure, "2199.99");
                book(c).positions = vec![position("GBPUSD", "-0.01")];
            },
        ),
        (
            R::RiskLimit,
            Refusal::Limits(vec![MaxOpenPositions]),
            untouched,
            |c| {
                limit(c, MaxOpenPositions, "1");
                book(c).positions = vec![position("GBPUSD", "-0.01")];
            },
        ),
        // The cost of the trade takes the day over its limit.
        (
            R::RiskLimit,
            Refusal::Limits(vec![MaxDailyLossAbs, MaxDailyLossPct]),
            untouched,
            |c| {
                limit(c, MaxDailyLossAbs, "500");
                limit(c, MaxDailyLossPct, "5");
                c.situation.account.as_mut().unwrap().value.equity = d("9500.49");
            },
        ),
        (R::RiskLimit, Refusal::Missing(DayOpening), untouched, |c| {
            limit(c, MaxDailyLossAbs, "500");
            // A day later, whose opening nobody told.
            c.situation.now_ms += 86_400_000;
            c.request.valid_until_ms += 86_400_000;
        }),
    ];
    for (index, (reason, refusal, prepare, change)) in table.iter().enumerate() {
        let found = check(*prepare, *change).unwrap_err();
        assert_eq!(&found, refusal, "case {index}");
        assert_eq!(found.reason(), *reason, "case {index}");
        assert!(!found.to_string().is_empty());
    }
    let reasons: std::collections::BTreeSet<_> = table.iter().map(|case| case.0).collect();
    assert_eq!(
        reasons.len(),
        Reason::ALL.len(),
        "every reason is in the table"
    );
}
