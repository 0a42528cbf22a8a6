//! Names and prices of orders.

use std::collections::BTreeSet;

use super::super::terms::order_id;
use super::*;
use crate::decide::{Action, decide};
use crate::gateway::intent_log::record::Side;
use crate::gateway::protocol::{IdempotencyKey, MessageId};

#[test]
fn a_key_is_of_one_bar_alone_and_is_one_of_the_wire_whatever_the_account_is_called() {
    let mut keys = BTreeSet::new();
    let long = "x".repeat(64);
    for account in ["7001", "7001.EURUSD", "Konto 7", &long] {
        for (symbol, interval) in [
            ("EURUSD", Timeframe::H1),
            ("EURUSD", Timeframe::M1),
            ("USDJPY", Timeframe::H1),
        ] {
            for bar in [0, 3_600, 1_483_531_200] {
                let terms = Terms {
                    account: Text::name(account).unwrap(),
                    symbol: Text::name(symbol).unwrap(),
                    interval,
                    ..terms()
                };
                let key = terms.idempotency_key(bar);
                assert_eq!(key, terms.idempotency_key(bar));
                assert!(IdempotencyKey::new(key.as_str()).is_some(), "{key}");
                assert!(keys.insert(key.clone()), "{key} is of two bars");
            }
        }
    }
    assert_eq!(terms().idempotency_key(7).as_str(), "7001.EURUSD.1h.7");
}

#[test]
fn an_order_has_a_name_of_its_own_also_when_the_log_begins_anew() {
    let names: BTreeSet<_> = (0..1_000).map(|_| order_id(3)).collect();
    assert_eq!(names.len(), 1_000);
    for seq in [0, u64::MAX] {
        let id = order_id(seq);
        assert!(MessageId::new(id.as_str()).is_some(), "{id}");
    }
}

fn candidate(close: f64, check: impl FnOnce(&Candidate<'_>)) {
    let bar = Bar {
        open_time: NOON - 3_600,
        open: close,
        high: close,
        low: close,
        close,
        volume: 1.0,
    };
    let identity = ModelIdentity {
        model: "m".to_owned(),
        version: "1".to_owned(),
    };
    check(&Candidate {
        bars: &[bar],
        features: &Features::new([0.5; 23]).unwrap(),
        model: &Model::hub(&identity),
        bar,
        probabilities: Probabilities::new(BUY).unwrap(),
        stale_from: NOON + 3,
        calendar: Calendar::Always,
    });
}

#[test]
fn the_worst_price_is_rounded_to_the_careful_side_and_0_is_any_price() {
    for (close, bps, buy, sell) in [
        (1.1, 20, Some("1.1022"), Some("1.0978")),
        (1.12345, 20, Some("1.1256969"), Some("1.1212031")),
        // 1.123456789 and 20 of 10000 have more digits than the wire.
        (1.123_456_789, 20, Some("1.12570370"), Some("1.12120988")),
        (1.1, 0, None, None),
    ] {
        let terms = Terms {
            worst_price_bps: bps,
            ..terms()
        };
        candidate(close, |candidate| {
            for (side, wanted) in [(Side::Buy, buy), (Side::Sell, sell)] {
                let order = terms.order(candidate, side).unwrap();
                let found = order.worst_price.map(|price| price.value());
                assert_eq!(found, wanted.map(d), "{close} {bps} {side:?}");
            }
        });
    }
}

#[test]
fn an_order_lives_no_longer_than_its_bar_and_is_worth_what_it_may_cost() {
    let clock = Clock::driven(NOON as f64);
    candidate(1.1, |candidate| {
        let decision = decide(candidate.probabilities);
        assert_eq!(decision.action, Action::Buy);
        let request =
            |currency| terms().request(candidate, Side::Buy, decision, clock.now(), currency);
        let asked = request(Some("USD"));
        // valid_for is 5 s, and the bar is too old after 3.
        assert_eq!(asked.valid_until_ms, (NOON + 3) * 1_000);
        assert_eq!(asked.unit_value, d("110220"));
        assert_eq!(asked.cost, d("4.4"));
        // In another currency than the account's nobody knows the value.
        assert_eq!(request(Some("EUR")).unit_value, Decimal::ZERO);
    });
    for close in [0.0, -1.1, f64::NAN, f64::INFINITY, 1e300, 1e-300] {
        candidate(close, |candidate| {
            let decision = decide(candidate.probabilities);
            let now = clock.now();
            let request = terms().request(candidate, Side::Buy, decision, now, Some("USD"));
            assert_eq!(request.unit_value, Decimal::ZERO, "{close}");
        });
    }
}
