//! Each check fails when what it is about is not so. Invariant: the evidence that is spoiled holds every check before.

use serde_json::json;

use super::{Check, judge};
use crate::child::STEPS;
use crate::evidence::Evidence;
use crate::evidence::audit::{Audit, Permitted};
use crate::evidence::book::{Book, Fill};
use crate::evidence::diary::{Death, Diary, KillWindow};
use crate::evidence::intents::Intents;
use crate::evidence::page::Page;
use crate::proxy::{Seen, SeenOrder};
use crate::remotes::{Asked, INTERVAL};
use crate::run::BEGIN;
use crate::schedule::Counts;
use crate::sentinel_process::Said;
use crate::verdict::Verdict;

const SEED: u64 = 1;

/// The first bar from `from` on of which the model says that.
fn bar_of(verdict: Verdict, from: i64) -> i64 {
    let mut bars = (from..).step_by(60);
    bars.find(|bar| Verdict::of(SEED, *bar) == verdict).unwrap()
}

/// Three orders: bought and answered, sold and found out about later, bought and late.
fn story() -> (Evidence, Audit) {
    let first = bar_of(Verdict::Buy, BEGIN);
    let second = bar_of(Verdict::Sell, first + INTERVAL);
    let third = bar_of(Verdict::Buy, second + INTERVAL);
    let orders = [
        ("o1", first, "BUY"),
        ("o2", second, "SELL"),
        ("o3", third, "BUY"),
    ];
    let mut intents = Intents::default();
    let mut seq = 0;
    let mut note = |intents: &mut Intents, record| {
        seq += 1;
        intents.take(json!({"seq": seq, "record": record}));
    };
    note(&mut intents, json!({"kind": "snapshot", "state": {}}));
    let mut evidence = evidence();
    let mut audit = Audit::default();
    for (id, bar, side) in orders {
        let at_ms = (bar + INTERVAL) * 1_000 + 2_000;
        let (key, valid_until) = (format!("k.{bar}"), at_ms + 5_000);
        note(
            &mut intents,
            json!({"kind": "decided", "intent": {"id": id, "idempotency_key": key, "bar_open_time": bar, "side": side.to_lowercase(),
                "valid_until_ms": valid_until, "decided_at_ms": at_ms}}),
        );
        let outcome = match id {
            "o1" => json!({"filled": {"volume": "0.02"}}),
            "o2" => json!("unknown"),
            _ => json!({"rejected": "other"}),
        };
        note(
            &mut intents,
            json!({"kind": "outcome", "id": id, "outcome": outcome, "at_ms": at_ms}),
        );
        if id == "o2" {
            let found = json!({"filled": {"volume": "0.02"}});
            note(
                &mut intents,
                json!({"kind": "reconciled", "id": id, "found": found, "at_ms": at_ms + 20_000}),
            );
        }
        if id != "o3" {
            evidence.book.fills.push(Fill {
                id: id.to_owned(),
                key: key.clone(),
                side: side.to_owned(),
                volume: "0.02".parse().unwrap(),
                executed_at: at_ms + 100,
            });
        }
        evidence.seen.orders.push(SeenOrder {
            id: id.to_owned(),
            key,
            side: side.to_owned(),
            sent_at: at_ms,
            valid_until,
            at_ms,
        });
        evidence.asked.push(Asked {
            at_ms: at_ms - 100,
            bar: Some(bar),
            is_spoiled: false,
        });
        audit.permitted.push(Permitted {
            id: id.to_owned(),
            bar,
            at_ms,
        });
    }
    evidence.intents = intents;
    // As many decisions as signals that are counted, and those that kills have lost.
    audit.decisions = 3 + 5;
    audit.actions = [("BUY".to_owned(), 5), ("SELL".to_owned(), 3)].into();
    (evidence, audit)
}

fn evidence() -> Evidence {
    let said = Said {
        trading: "active".to_owned(),
        is_reconciled: true,
        position: Some("0.00".to_owned()),
        ..Said::default()
    };
    let mut diary = Diary {
        bars: 100,
        cycles_answered: 10,
        halted_seen: 1,
        kill_windows: vec![KillWindow {
            from: (BEGIN - 600) * 1_000,
            to: (BEGIN - 300) * 1_000,
        }],
        ..Diary::default()
    };
    for step in STEPS {
        diary.died(Death::At(step.to_owned()));
    }
    for name in [
        "feed away 3",
        "fetch hang",
        "fetch slow drip",
        "fetch garbage",
        "hub away 3",
        "predict hang",
        "predict slow drip",
        "predict garbage",
        "gateway away 0",
        "wire Order Freeze",
        "wire Order Late",
        "wire Order Flip",
    ] {
        diary.trouble(name.to_owned(), true);
    }
    let spoiled = Asked {
        at_ms: 0,
        bar: None,
        is_spoiled: true,
    };
    let late = ("REJECTED".to_owned(), Some("late".to_owned()));
    Evidence {
        book: Book {
            orders: [("o3".to_owned(), late)].into(),
            ..Book::default()
        },
        intents: Intents::default(),
        audit: "nowhere".into(),
        page: Page(page()),
        seen: Seen {
            requests: [("KILL".to_owned(), 1)].into(),
            ..Seen::default()
        },
        asked: vec![spoiled],
        diary,
        planned: Counts::default(),
        last_said: Some(said),
        seed: SEED,
    }
}

fn page() -> std::collections::BTreeMap<String, f64> {
    [
        (
            "sentinel_trading_signals_executed_total{action=\"BUY\"}",
            1.0,
        ),
        (
            "sentinel_trading_signals_executed_total{action=\"SELL\"}",
            1.0,
        ),
        ("sentinel_order_results_total{result=\"filled\"}", 1.0),
        ("sentinel_order_results_total{result=\"timeout\"}", 1.0),
        (
            "sentinel_order_results_total{result=\"rejected_other\"}",
            1.0,
        ),
        ("sentinel_trading_signals_total{action=\"BUY\"}", 2.0),
        ("sentinel_trading_signals_total{action=\"SELL\"}", 1.0),
        ("sentinel_trading_cycles_total", 10.0),
    ]
    .map(|(series, value)| (series.to_owned(), value))
    .into()
}

fn failing(checks: &[Check]) -> Vec<&'static str> {
    let failing = checks.iter().filter(|check| !check.holds());
    failing.map(|check| check.name).collect()
}

#[test]
fn a_story_in_which_all_witnesses_agree_holds_every_check() {
    let (evidence, audit) = story();
    let checks = judge(&evidence, &audit);
    assert_eq!(failing(&checks), [""; 0], "{checks:#?}");
}

type Spoil = fn(&mut Evidence, &mut Audit);

/// What is not so, and the check that has to find it.
const LIES: [(&str, Spoil); 22] = [
    ("no duplicate order for a bar", |e, _| {
        e.book.fills[1].executed_at = e.book.fills[0].executed_at + 1
    }),
    ("no duplicate order for a bar", |e, _| {
        e.book.fills[1].key = e.book.fills[0].key.clone()
    }),
    ("no duplicate order for a bar", |e, _| {
        e.book.repeated.insert("o2".to_owned(), "o1".to_owned());
    }),
    (
        "no order is sent again, nor another in its place",
        |e, _| e.seen.orders.push(e.seen.orders[0].clone()),
    ),
    (
        "no order is sent again, nor another in its place",
        |e, _| {
            let other = SeenOrder {
                id: "o9".to_owned(),
                ..e.seen.orders[0].clone()
            };
            e.seen.orders.push(other);
        },
    ),
    (
        "no order is sent while the outcome of another is not known",
        |e, _| e.seen.orders[2].at_ms = e.seen.orders[1].at_ms + 10_000,
    ),
    ("no order from stale, short or malformed input", |e, _| {
        e.asked[1].is_spoiled = true
    }),
    ("no order from stale, short or malformed input", |e, _| {
        e.asked[1].bar = None
    }),
    ("no order from stale, short or malformed input", |e, _| {
        e.seen.orders[0].sent_at += 60_000
    }),
    ("no order from stale, short or malformed input", |e, _| {
        e.seen.orders[0].side = "SELL".to_owned()
    }),
    ("no order is executed late", |e, _| {
        e.book.fills[0].executed_at += 5_000
    }),
    ("every unknown outcome was reconciled", |e, _| {
        let mut only = Intents::default();
        only.take(json!({"seq": 1, "record": {"kind": "decided", "intent": {"id": "o1"}}}));
        e.intents = only;
    }),
    ("intent log and gateway's book agree", |e, _| {
        e.book.fills.remove(0);
    }),
    ("intent log and gateway's book agree", |e, _| {
        e.book.fills[0].volume = "0.01".parse().unwrap_or_default()
    }),
    ("the intent log only grew", |e, _| {
        e.intents
            .take(json!({"seq": 2, "record": {"kind": "relaxed"}}))
    }),
    ("audit and gateway's book agree", |_, audit| {
        audit.permitted.remove(0);
    }),
    (
        "position, executions and the sentinel's own count agree",
        |e, _| e.book.position = "0.02".parse().unwrap_or_default(),
    ),
    ("nothing is sent while the kill switch is on", |e, _| {
        e.diary.kill_windows[0].to = i64::MAX
    }),
    ("nothing is sent while the kill switch is on", |e, _| {
        e.diary.surprises.push("a reset".to_owned())
    }),
    ("executed signals are counted", |e, _| {
        e.page.0.insert(
            "sentinel_trading_signals_executed_total{action=\"BUY\"}".to_owned(),
            2.0,
        );
    }),
    ("results of orders are counted", |e, _| {
        e.page.0.insert(
            "sentinel_order_results_total{result=\"filled\"}".to_owned(),
            0.0,
        );
    }),
    ("cycles are counted", |e, _| e.diary.cycles_answered = 11),
];

#[test]
fn every_lie_is_found_by_the_check_that_is_about_it() {
    for (index, (name, spoil)) in LIES.into_iter().enumerate() {
        let (mut evidence, mut audit) = story();
        spoil(&mut evidence, &mut audit);
        let checks = judge(&evidence, &audit);
        assert!(failing(&checks).contains(&name), "lie {index}: {checks:#?}");
    }
}

#[test]
fn what_was_not_tried_does_not_hold() {
    let (mut evidence, mut audit) = story();
    evidence
        .diary
        .deaths
        .remove(&Death::At("Answered".to_owned()));
    evidence.diary.met.remove("wire Order Freeze");
    evidence.book.orders.clear();
    audit.decisions -= 1;
    let checks = judge(&evidence, &audit);
    assert_eq!(
        failing(&checks),
        [
            "no order is executed late",
            "the sentinel was killed between any two steps of an order",
            "every remote was killed, frozen, slowed and corrupted",
        ]
    );
}
