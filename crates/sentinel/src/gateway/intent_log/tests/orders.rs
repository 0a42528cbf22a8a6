//! Placed orders, own positions, a dry run's orders, and what older and later formats say.

use super::super::format::FORMAT;
use super::*;
use crate::gateway::intent_log::state::PLACED_MAX;

fn lots(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn refused(result: Result<(), LogError>) -> Contradiction {
    match result {
        Err(LogError::Contradiction(contradiction)) => contradiction,
        other => panic!("{other:?}"),
    }
}

fn fresh() -> (Simulated, IntentLog<Simulated>) {
    let disk = Simulated::default();
    let (log, _) = IntentLog::open_in(disk.clone(), NOW, ROTATE_LEN_BYTES).unwrap();
    (disk, log)
}

fn place(log: &mut IntentLog<Simulated>, bar: i64) -> IntentId {
    let order = intent(bar);
    let id = order.id.clone();
    log.decided(order).unwrap();
    log.outcome(&id, Outcome::Placed, NOW).unwrap();
    id
}

#[test]
fn a_placed_order_keeps_no_other_back_and_is_followed_up_until_it_is_told_what_became_of_it() {
    for verdict in [
        Found::Filled {
            volume: lots("0.01"),
        },
        Found::Rejected,
        Found::NeverArrived,
        Found::ClosedByOperator,
    ] {
        let (disk, mut log) = fresh();
        let id = place(&mut log, 1);
        let state = log.state().unwrap();
        assert!(!state.has_open());
        assert_eq!(
            (state.placed()[0].intent.clone(), state.placed()[0].stage),
            (intent(1), Stage::Placed)
        );
        // Another one is decided, and closed, while it is placed.
        log.decided(intent(2)).unwrap();
        log.outcome(&intent(2).id, FILLED, NOW).unwrap();
        // What says nothing new is not recorded.
        for silent in [Outcome::Placed, Outcome::Unknown] {
            let result = log.outcome(&id, silent, NOW);
            assert_eq!(refused(result), Contradiction::PlacedAlready);
        }
        let result = log.reconciled(&id, Found::Placed, NOW);
        assert_eq!(refused(result), Contradiction::PlacedAlready);
        // Over a restart, which goes by the records, and another, which goes by the snapshot.
        let (log, _) = open(&disk);
        let (mut log, _) = open(&log.storage);
        assert_eq!(log.state().unwrap().placed().len(), 1);
        log.reconciled(&id, verdict, NOW).unwrap();
        assert!(log.state().unwrap().placed().is_empty());
        let result = log.reconciled(&id, verdict, NOW);
        assert_eq!(refused(result), Contradiction::NoSuchIntent);
    }
}

#[test]
fn an_order_that_status_finds_placed_is_no_unknown_outcome_any_more() {
    let (_, mut log) = fresh();
    log.decided(intent(1)).unwrap();
    let id = intent(1).id;
    log.outcome(&id, Outcome::Unknown, NOW).unwrap();
    assert!(log.state().unwrap().has_open());
    log.reconciled(&id, Found::Placed, NOW).unwrap();
    let state = log.state().unwrap();
    assert_eq!((state.has_open(), state.placed().len()), (false, 1));
    log.outcome(&id, FILLED, NOW).unwrap();
    assert!(log.state().unwrap().placed().is_empty());
}

#[test]
fn no_more_orders_are_decided_than_can_be_followed_up() {
    let (_, mut log) = fresh();
    for bar in 1..=PLACED_MAX as i64 {
        place(&mut log, bar);
    }
    assert_eq!(
        refused(log.decided(intent(999))),
        Contradiction::TooManyPlaced
    );
    log.reconciled(&intent(1).id, Found::Rejected, NOW).unwrap();
    log.decided(intent(999)).unwrap();
}

#[test]
fn each_execution_moves_the_position_from_where_the_gateway_said_it_was() {
    let (disk, mut log) = fresh();
    let position = |log: &IntentLog<Simulated>| log.state().unwrap().own_position("EURUSD");
    place(&mut log, 1);
    assert_eq!(
        refused(log.position_based("EURUSD", lots("1"), NOW)),
        Contradiction::PositionUnsettled
    );
    log.position_based("GBPUSD", lots("-2"), NOW).unwrap();
    log.outcome(&intent(1).id, FILLED, NOW).unwrap();
    assert_eq!(position(&log), None, "nobody has said where it began");
    log.position_based("EURUSD", lots("-0.015"), NOW).unwrap();
    let sell = |bar| Intent {
        side: record::Side::Sell,
        volume: lots("0.1"),
        ..intent(bar)
    };
    for (order, outcome, expected) in [
        (intent(2), FILLED, "-0.005"),
        (
            sell(3),
            Outcome::Partial {
                volume: lots("0.03"),
            },
            "-0.035",
        ),
        (sell(4), Outcome::Rejected(Rejection::Requote), "-0.035"),
        (intent(5), FILLED, "-0.025"),
    ] {
        let id = order.id.clone();
        log.decided(order).unwrap();
        assert_eq!(
            refused(log.position_based("GBPUSD", lots("9"), NOW)),
            Contradiction::PositionUnsettled
        );
        log.outcome(&id, outcome, NOW).unwrap();
        assert_eq!(position(&log), Some(lots(expected)), "{id}");
    }
    place(&mut log, 6);
    log.reconciled(&intent(6).id, FOUND_FILLED, NOW).unwrap();
    assert_eq!(position(&log), Some(lots("-0.015")));
    let (log, _) = open(&disk);
    assert_eq!(position(&log), Some(lots("-0.015")));
    let other = log.state().unwrap().own_position("GBPUSD");
    assert_eq!(other, Some(lots("-2")));
}

#[test]
fn what_cannot_be_told_exactly_leaves_the_position_unknown() {
    let based = || {
        let (_, mut log) = fresh();
        log.position_based("EURUSD", lots("1"), NOW).unwrap();
        log.decided(intent(1)).unwrap();
        log
    };
    let id = intent(1).id;
    for outcome in [
        Outcome::Executed,
        // More than was asked for, and nothing.
        Outcome::Filled {
            volume: lots("0.02"),
        },
        Outcome::Partial {
            volume: Decimal::ZERO,
        },
    ] {
        let mut log = based();
        log.outcome(&id, outcome, NOW).unwrap();
        let state = log.state().unwrap();
        assert_eq!(
            (state.own_position("EURUSD"), state.has_open()),
            (None, false),
            "{outcome:?}"
        );
        log.position_based("EURUSD", lots("1.01"), NOW).unwrap();
    }
    let mut log = based();
    log.reconciled(&id, Found::ClosedByOperator, NOW).unwrap();
    assert_eq!(log.state().unwrap().own_position("EURUSD"), None);
    for (symbol, volume) in [("", "1"), (&"S".repeat(65), "1"), ("X", "1000000000001")] {
        assert_eq!(
            refused(log.position_based(symbol, lots(volume), NOW)),
            Contradiction::NoSuchPosition
        );
    }
}

#[test]
fn an_accepted_reset_takes_the_gateways_position_anew_and_a_wrong_one_changes_nothing() {
    let (_, mut log) = fresh();
    log.position_based("EURUSD", lots("1"), NOW).unwrap();
    log.tighten(TradingState::Halted, HaltReason::PositionMismatch, NOW)
        .unwrap();
    log.reset_attempt(false, NOW).unwrap();
    assert_eq!(log.state().unwrap().own_position("EURUSD"), Some(lots("1")));
    log.reset_attempt(true, NOW).unwrap();
    assert_eq!(log.state().unwrap().own_position("EURUSD"), None);
}

#[test]
fn an_order_that_a_dry_run_withholds_counts_as_one_that_was_sent() {
    let (disk, mut log) = fresh();
    log.withheld(1, NOW).unwrap();
    log.withheld(2, NOW + 1_000).unwrap();
    assert_eq!(refused(log.withheld(2, NOW)), Contradiction::BarDecided);
    assert_eq!(refused(log.considered(1)), Contradiction::BarDecided);
    assert_eq!(refused(log.decided(intent(2))), Contradiction::BarDecided);
    let (mut log, _) = open(&disk);
    let state = log.state().unwrap();
    assert_eq!(
        (
            state.last_decided_bar(),
            state.last_order_ms(),
            state.orders_in_day(NOW),
            state.orders_in_minute(NOW + 60_000),
            state.has_open()
        ),
        (Some(2), Some(NOW + 1_000), 2, 1, false)
    );
    log.tighten(TradingState::Halted, HaltReason::Operator, NOW)
        .unwrap();
    assert_eq!(refused(log.withheld(3, NOW)), Contradiction::Halted);
}

/// Lines with their checksums, numbered from 1.
fn lines(records: &[&str]) -> Vec<u8> {
    let numbered = records.iter().enumerate().map(|(index, record)| {
        let rest = format!(r#""seq":{},"record":{record}}}"#, index + 1);
        let crc = crc32fast::hash(rest.as_bytes());
        format!("{{\"crc32\":\"{crc:08x}\",{rest}\n")
    });
    numbered.collect::<String>().into_bytes()
}

/// A whole log as the first format had it.
const OF_FORMAT_1: [&str; 9] = [
    r#"{"kind":"snapshot","state":{"trading":"active","reason":null,"last_decided_bar":null,"open":[],"orphans":[],"recent_orders_ms":[],"last_order_ms":null,"order_day":-9223372036854775808,"orders_in_day":0,"day_opening":null,"resets_refused":0,"last_seq":0}}"#,
    r#"{"kind":"decided","intent":{"id":"a","idempotency_key":"ka","bar_open_time":1,"side":"buy","symbol":"EURUSD","volume":"0.01","valid_until_ms":1700049605000,"decided_at_ms":1700049600000}}"#,
    r#"{"kind":"outcome","id":"a","outcome":"filled","at_ms":1700049600000}"#,
    r#"{"kind":"decided","intent":{"id":"b","idempotency_key":"kb","bar_open_time":2,"side":"buy","symbol":"EURUSD","volume":"0.01","valid_until_ms":1700049605000,"decided_at_ms":1700049600000}}"#,
    r#"{"kind":"outcome","id":"b","outcome":"partial","at_ms":1700049600000}"#,
    r#"{"kind":"decided","intent":{"id":"c","idempotency_key":"kc","bar_open_time":3,"side":"buy","symbol":"EURUSD","volume":"0.01","valid_until_ms":1700049605000,"decided_at_ms":1700049600000}}"#,
    r#"{"kind":"outcome","id":"c","outcome":{"rejected":"margin"},"at_ms":1700049600000}"#,
    r#"{"kind":"decided","intent":{"id":"d","idempotency_key":"kd","bar_open_time":4,"side":"buy","symbol":"EURUSD","volume":"0.01","valid_until_ms":1700049605000,"decided_at_ms":1700049600000}}"#,
    r#"{"kind":"reconciled","id":"d","found":"executed","at_ms":1700049600000}"#,
];

fn with_file(text: Vec<u8>) -> Simulated {
    let disk = Simulated::default();
    disk.put(&super::super::replay::file_name(1), text);
    disk
}

#[test]
fn a_log_of_the_first_format_is_read_and_goes_on() {
    let disk = with_file(lines(&OF_FORMAT_1));
    let (mut log, opened) = open(&disk);
    assert_eq!((opened.is_new, opened.damage), (false, vec![]));
    let state = log.state().unwrap();
    assert_eq!(
        (
            state.trading(),
            state.has_open(),
            state.placed().len(),
            state.own_position("EURUSD"),
            state.last_decided_bar(),
            state.orders_in_day(NOW)
        ),
        (TradingState::Active, false, 0, None, Some(4), 4)
    );
    log.position_based("EURUSD", lots("1"), NOW).unwrap();
    log.decided(intent(9)).unwrap();
    log.outcome(&intent(9).id, FILLED, NOW).unwrap();
    let (log, opened) = open(&log.storage);
    assert_eq!(opened.damage, []);
    assert_eq!(
        log.state().unwrap().own_position("EURUSD"),
        Some(lots("1.01"))
    );
}

#[test]
fn a_log_of_a_later_format_is_refused_whole_and_left_as_it_is() {
    let later = OF_FORMAT_1[0].replacen(
        "\"state\"",
        &format!("\"format\":{},\"state\"", FORMAT + 1),
        1,
    );
    let text = lines(&[&later, OF_FORMAT_1[1]]);
    let disk = with_file(text.clone());
    let error = IntentLog::open_in(disk.clone(), NOW, SMALL).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("the intent log has format 3, this program reads up to 2"),
        "{error}"
    );
    assert_eq!(disk.names().len(), 1);
    assert_eq!(disk.contents(&disk.names()[0]), text);
}
