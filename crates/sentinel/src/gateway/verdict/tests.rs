//! The table of the contract, and replies that look like verdicts and are none.

use super::*;
use crate::gateway::protocol::{Amount, IdempotencyKey, MessageId, Rejection as No, Text};

fn intent() -> Intent {
    Intent {
        id: IntentId::new("o-1").unwrap(),
        idempotency_key: IntentId::new("k-1").unwrap(),
        bar_open_time: 1,
        side: record::Side::Sell,
        symbol: "EURUSD".to_owned(),
        volume: "0.10".parse().unwrap(),
        valid_until_ms: 2,
        decided_at_ms: 1,
    }
}

fn fill() -> Fill {
    Fill {
        order_id: MessageId::new("o-1").unwrap(),
        idempotency_key: IdempotencyKey::new("k-1").unwrap(),
        ticket: Text::name("t").unwrap(),
        symbol: Text::name("EURUSD").unwrap(),
        side: protocol::Side::Sell,
        requested_volume: Amount::parse("0.1").unwrap(),
        volume: Amount::parse("0.1").unwrap(),
        price: Amount::parse("1.1").unwrap(),
        executed_at: 1,
    }
}

fn placed() -> Placed {
    let fill = fill();
    Placed {
        order_id: fill.order_id,
        idempotency_key: fill.idempotency_key,
        ticket: fill.ticket,
        symbol: fill.symbol,
        side: fill.side,
        requested_volume: fill.requested_volume,
        placed_at: 1,
    }
}

fn no(order_id: Option<&str>, code: Code) -> ReplyBody {
    ReplyBody::Rejected(No {
        order_id: order_id.map(|id| MessageId::new(id).unwrap()),
        code,
        message: Text::sentence("").unwrap(),
    })
}

fn both(body: &ReplyBody) -> (Outcome, Option<Found>) {
    let intent = intent();
    (
        outcome(body, &intent),
        found(body, &intent.id, Some(&intent)),
    )
}

/// The label of `sentinel_order_results_total`.
fn label(rejection: Rejection) -> &'static str {
    match rejection {
        Rejection::Requote => "rejected_requote",
        Rejection::Price => "rejected_price",
        Rejection::Volume => "rejected_volume",
        Rejection::Margin => "rejected_margin",
        Rejection::MarketClosed => "rejected_market_closed",
        Rejection::Disabled => "rejected_disabled",
        Rejection::Other => "rejected_other",
    }
}

#[test]
fn each_code_means_what_the_contract_says() {
    let contract = include_str!("../../../../../docs/gateway-protocol.md");
    let row = |code: Code| {
        let name = format!("`{}`", code.as_str());
        let mut rows = contract.lines().filter(|line| {
            let first = line.split('|').nth(1).unwrap_or_default();
            line.matches('|').count() == 5 && first.contains(&name)
        });
        let row = rows.next().unwrap_or_else(|| panic!("{name}"));
        assert_eq!(rows.next(), None, "{name}");
        row
    };
    for code in Code::ALL {
        let result = row(*code).split('|').nth(4).unwrap().trim().to_owned();
        let verdict = both(&no(Some("o-1"), *code));
        match rejection(*code) {
            Some(rejection) => {
                assert!(
                    result.starts_with(&format!("`{}`", label(rejection))),
                    "{code:?}: {result}"
                );
                assert_eq!(
                    verdict,
                    (Outcome::Rejected(rejection), Some(Found::Rejected))
                );
            }
            None => {
                assert_eq!(result, "none: no verdict", "{code:?}");
                assert_eq!(verdict, (Outcome::Unknown, None));
            }
        }
        // That this message was refused says nothing of the order.
        assert_eq!(both(&no(None, *code)), (Outcome::Unknown, None), "{code:?}");
    }
}

#[test]
fn an_execution_counts_with_its_volume_and_only_for_the_order_that_was_asked_for() {
    let volume = "0.1".parse().unwrap();
    let filled = ReplyBody::Filled(fill());
    assert_eq!(
        both(&filled),
        (Outcome::Filled { volume }, Some(Found::Filled { volume }))
    );
    let volume = "0.04".parse().unwrap();
    let partial = ReplyBody::Partial(Fill {
        volume: Amount::parse("0.04").unwrap(),
        ..fill()
    });
    assert_eq!(
        both(&partial),
        (Outcome::Partial { volume }, Some(Found::Filled { volume }))
    );
    assert_eq!(
        both(&ReplyBody::Placed(placed())),
        (Outcome::Placed, Some(Found::Placed))
    );
    // The result of an earlier order with the same key: nothing was executed on account of this one.
    let earlier = MessageId::new("o-0").unwrap();
    let refused = (Outcome::Rejected(Rejection::Other), Some(Found::Rejected));
    for body in [
        ReplyBody::Filled(Fill {
            order_id: earlier.clone(),
            ..fill()
        }),
        ReplyBody::Partial(Fill {
            order_id: earlier.clone(),
            ..fill()
        }),
        ReplyBody::Placed(Placed {
            order_id: earlier.clone(),
            ..placed()
        }),
    ] {
        assert_eq!(both(&body), refused, "{body:?}");
    }
}

#[test]
fn an_answer_about_something_else_proves_nothing() {
    type Change = fn(&mut Fill);
    let changes: [Change; 4] = [
        |fill| fill.idempotency_key = IdempotencyKey::new("k-2").unwrap(),
        |fill| fill.symbol = Text::name("GBPUSD").unwrap(),
        |fill| fill.side = protocol::Side::Buy,
        |fill| fill.requested_volume = Amount::parse("0.2").unwrap(),
    ];
    for change in changes {
        let mut fill = fill();
        change(&mut fill);
        let held = Placed {
            idempotency_key: fill.idempotency_key.clone(),
            symbol: fill.symbol.clone(),
            side: fill.side,
            requested_volume: fill.requested_volume,
            ..placed()
        };
        for body in [
            ReplyBody::Filled(fill.clone()),
            ReplyBody::Partial(fill),
            ReplyBody::Placed(held),
        ] {
            assert_eq!(both(&body), (Outcome::Unknown, None), "{body:?}");
        }
    }
    let unknown = |id| ReplyBody::UnknownId(MessageId::new(id).unwrap());
    // No answer to an order; to a question about it, the promise that it never will be executed.
    assert_eq!(
        both(&unknown("o-1")),
        (Outcome::Unknown, Some(Found::NeverArrived))
    );
    assert_eq!(both(&unknown("o-2")), (Outcome::Unknown, None));
}

#[test]
fn of_an_orphan_the_name_is_enough() {
    let id = IntentId::new("o-1").unwrap();
    let volume = "0.1".parse().unwrap();
    assert_eq!(
        found(&ReplyBody::Filled(fill()), &id, None),
        Some(Found::Filled { volume })
    );
    let other = IntentId::new("o-2").unwrap();
    assert_eq!(
        found(&ReplyBody::Filled(fill()), &other, None),
        Some(Found::Rejected)
    );
}
