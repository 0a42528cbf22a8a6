//! The guards: what the tests of them have in common, and the permit itself.

mod edges;
mod model;
mod reset;
mod table;

use std::time::Duration;

use super::situation::{Account, Aged, Peer, Position};
use super::*;
use crate::gateway::intent_log::IntentLog;
use crate::gateway::intent_log::error::LogError;
use crate::gateway::intent_log::record::{Found, HaltReason, IntentId, Outcome, Side};
use crate::gateway::intent_log::storage::Disk;

/// Noon of some day, Unix milliseconds.
pub(super) const NOW: i64 = 1_700_049_600_000;
const BAR: i64 = NOW / 1_000 - 3_600;

pub(super) fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub(super) fn settings() -> Settings {
    Settings {
        threshold: 0.6,
        cooldown: Duration::from_secs(30),
        orders_per_minute: 5,
        orders_per_day: 3,
        stale_after: Duration::from_secs(10),
        limits: [None; 6],
        arm: Arm {
            is_live: true,
            account: "7001".to_owned(),
            confirm: "7001".to_owned(),
        },
    }
}

/// Buys 0.01 lots of 100 000 at 1.10: 1100.
pub(super) fn request() -> Request {
    Request {
        bar_open_time: BAR,
        confidence: 0.7,
        symbol: "EURUSD".to_owned(),
        side: Side::Buy,
        volume: d("0.01"),
        unit_value: d("110000"),
        cost: d("0.5"),
        valid_until_ms: NOW + 5_000,
    }
}

fn fresh<T>(value: T) -> Option<Aged<T>> {
    let age = Duration::from_secs(10);
    Some(Aged { value, age })
}

fn position(symbol: &str, volume: &str) -> Position {
    Position {
        symbol: symbol.to_owned(),
        volume: d(volume),
        unit_value: d("110000"),
    }
}

/// Nothing speaks against an order: an account of 10 000 without positions.
pub(super) fn situation(log: &State) -> Situation<'_> {
    Situation {
        now_ms: NOW,
        log: Some(log),
        is_killed: false,
        is_bar_stale: false,
        is_market_open: true,
        is_reconciled: true,
        peer: Some(Peer {
            account: "7001".to_owned(),
            is_trading_allowed: true,
            is_killed: false,
            clock_offset_ms: 2_000,
        }),
        breaker: breaker::State::Closed,
        account: fresh(Account {
            id: "7001".to_owned(),
            equity: d("10000"),
        }),
        book: fresh(Book::default()),
    }
}

struct Case {
    settings: Settings,
    request: Request,
    situation: Situation<'static>,
}

type Change = fn(&mut Case);

/// What the guards say after a change to a case that is permitted, over a log that is left as `prepare` leaves it.
fn check(prepare: fn(&mut IntentLog<Disk>), change: Change) -> Result<Permit, Refusal> {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = IntentLog::open(directory.path(), NOW - 100).unwrap();
    log.day_opened(NOW, d("10000")).unwrap();
    prepare(&mut log);
    let state: &'static State = Box::leak(Box::new(log.state().unwrap().clone()));
    let mut case = Case {
        settings: settings(),
        request: request(),
        situation: situation(state),
    };
    change(&mut case);
    Guards::new(case.settings)
        .unwrap()
        .check(&case.request, &case.situation)
}

fn untouched(_: &mut IntentLog<Disk>) {}

fn id(text: &str) -> IntentId {
    IntentId::new(text).unwrap()
}

/// Orders that were filled, each some seconds before now.
fn ordered(log: &mut IntentLog<Disk>, seconds_ago: &[i64]) {
    let mut settings = settings();
    (settings.cooldown, settings.orders_per_day) = (Duration::ZERO, 100);
    let guards = Guards::new(settings).unwrap();
    for (index, ago) in seconds_ago.iter().enumerate() {
        let state = log.state().unwrap().clone();
        let mut situation = situation(&state);
        situation.now_ms = NOW - ago * 1_000;
        let mut request = request();
        request.valid_until_ms = situation.now_ms + 1;
        request.bar_open_time = BAR - 10_000 + index as i64;
        let name = id(&format!("before-{index}"));
        let permit = guards.check(&request, &situation).unwrap();
        let recorded = permit.record(log, name.clone(), name.clone()).unwrap();
        assert_eq!(recorded.intent().id, name);
        log.outcome(
            &name,
            Outcome::Filled {
                volume: Decimal::ONE,
            },
            NOW,
        )
        .unwrap();
    }
}

fn limit(case: &mut Case, id: LimitId, value: &str) {
    case.settings.limits[id as usize] = Some(d(value));
}

fn book(case: &mut Case) -> &mut Book {
    &mut case.situation.book.as_mut().unwrap().value
}

#[test]
fn with_nothing_against_it_an_order_is_permitted() {
    let permit = check(untouched, |_| {}).unwrap();
    assert_eq!(
        (permit.side, permit.volume, permit.checked_at_ms),
        (Side::Buy, d("0.01"), NOW)
    );
}

#[test]
fn a_permit_is_void_once_anything_else_is_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = IntentLog::open(directory.path(), NOW).unwrap();
    let state = log.state().unwrap().clone();
    let guards = Guards::new(settings()).unwrap();
    let ask = || guards.check(&request(), &situation(&state)).unwrap();
    let (first, second, third) = (ask(), ask(), ask());
    let recorded = first.record(&mut log, id("1"), id("k1")).unwrap();
    assert_eq!(recorded.intent().bar_open_time, BAR);
    assert!(matches!(
        second.record(&mut log, id("2"), id("k2")),
        Err(LogError::PermitOutdated)
    ));
    log.tighten(TradingState::Halted, HaltReason::KillSwitch, NOW)
        .unwrap();
    assert!(matches!(
        third.record(&mut log, id("3"), id("k3")),
        Err(LogError::PermitOutdated)
    ));
    assert_eq!(log.state().unwrap().open().len(), 1);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let with = |change: fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        Guards::new(settings).is_err()
    };
    assert!(!with(|_| {}));
    assert!(with(|s| s.threshold = f64::NAN));
    assert!(with(|s| s.threshold = 1.1));
    assert!(with(|s| s.orders_per_minute = 1_025));
    assert!(with(|s| s.limits[3] = Some(Decimal::ZERO)));
    assert!(with(|s| s.limits[0] = Some(Decimal::MAX)));
}

#[test]
fn a_recorded_order_does_not_leave_late_or_past_the_kill_switch() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = IntentLog::open(directory.path(), NOW).unwrap();
    let state = log.state().unwrap().clone();
    let guards = Guards::new(settings()).unwrap();
    let permit = guards.check(&request(), &situation(&state)).unwrap();
    let recorded = permit.record(&mut log, id("1"), id("k1")).unwrap();
    assert_eq!(recorded.may_leave(NOW, false), Ok(()));
    assert_eq!(recorded.may_leave(NOW + 4_999, false), Ok(()));
    assert_eq!(recorded.may_leave(NOW + 5_000, false), Err(Refusal::Late));
    assert_eq!(recorded.may_leave(NOW - 1, false), Err(Refusal::Late));
    assert_eq!(recorded.may_leave(NOW, true), Err(Refusal::KillSwitch));
    let withheld = recorded.intent().id.clone();
    log.reconciled(&withheld, Found::NeverSent, NOW).unwrap();
    assert!(!log.state().unwrap().has_open());
}
