//! Any window, any probabilities, any situation: what is recorded is what is read, and replaying it comes to the same.

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};

use super::*;
use crate::decide::TradingState;
use crate::gateway::guards::situation::{Position, Working};
use crate::gateway::intent_log::record::{HaltReason, Intent};

/// Bars whose numbers are anywhere in the range: ordinary prices, and such whose features may not be finite.
fn bars() -> impl Strategy<Value = Vec<Bar>> {
    let unit = prop_oneof![
        8 => Just(1.0),
        1 => Just(f64::MIN_POSITIVE / 1e6),
        1 => Just(f64::MAX / 1e3),
    ];
    let volume = prop_oneof![
        4 => 0.0..1e9_f64,
        1 => Just(-0.0),
        1 => Just(5e-324),
        1 => Just(f64::MAX / 1e3),
    ];
    let step = (0.9..1.1_f64, 0.0..0.01_f64, volume);
    let steps = prop::collection::vec(step, BAR_COUNT + 2);
    (unit, steps).prop_map(|(unit, steps)| {
        let bar = |(index, (close, spread, volume)): (usize, &(f64, f64, f64))| Bar {
            open_time: NOW / 1_000 + (index as i64 - BAR_COUNT as i64) * 3_600,
            open: close * unit,
            high: close * (1.0 + spread) * unit,
            low: close * (1.0 - spread) * unit,
            close: close * unit,
            volume: *volume,
        };
        steps.iter().enumerate().map(bar).collect()
    })
}

fn probabilities() -> impl Strategy<Value = Probabilities> {
    let corner = prop::sample::select(vec![
        [1.0, 0.0, 0.0],
        [0.0, -0.0, 1.0],
        [5e-324, 0.0, 1.0],
        [0.45, 0.1, 0.45],
    ]);
    let inner = (0.0..1.0_f64, 0.0..1.0_f64).prop_map(|(a, b)| {
        let (low, high) = (a.min(b), a.max(b));
        [low, high - low, 1.0 - high]
    });
    prop_oneof![1 => corner, 6 => inner].prop_map(|wire| Probabilities::new(wire).unwrap())
}

fn decimal() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        4 => (1_i64..2_000_000, 0_u32..6).prop_map(|(digits, scale)| Decimal::new(digits, scale)),
        1 => any::<i64>().prop_map(|digits| Decimal::new(digits, 0)),
        1 => (any::<u32>(), any::<u32>(), any::<u32>(), any::<bool>(), 0_u32..=28)
            .prop_map(|(lo, mid, hi, negative, scale)| Decimal::from_parts(lo, mid, hi, negative, scale)),
        1 => Just(Decimal::ZERO),
    ]
}

/// Now and then something; most often what speaks for an order.
fn rarely<T: std::fmt::Debug + Clone + 'static>(usual: T, other: T) -> impl Strategy<Value = T> {
    prop_oneof![24 => Just(usual), 1 => Just(other)]
}

/// Most often an amount that nothing speaks against.
fn often(usual: &str) -> impl Strategy<Value = Decimal> {
    prop_oneof![3 => Just(d(usual)), 1 => decimal()]
}

fn age() -> impl Strategy<Value = Duration> {
    prop_oneof![20 => 0_u64..10_000_000_000, 1 => any::<u64>()].prop_map(Duration::from_nanos)
}

fn book() -> impl Strategy<Value = Book> {
    let symbol = prop::sample::select(vec!["EURUSD", "GBPUSD", "\u{1b}\"\\é"]);
    let side = prop::sample::select(vec![Side::Buy, Side::Sell]);
    let entry = (symbol, side, decimal(), decimal());
    (
        prop_oneof![Just(Vec::new()), prop::collection::vec(entry, 1..4)],
        0_usize..3,
    )
        .prop_map(|(entries, working)| {
            let mut book = Book::default();
            for (index, (symbol, side, volume, unit_value)) in entries.into_iter().enumerate() {
                let symbol = symbol.to_owned();
                if index < working {
                    book.working.push(Working {
                        symbol,
                        side,
                        volume,
                        unit_value,
                    });
                } else {
                    book.positions.push(Position {
                        symbol,
                        volume,
                        unit_value,
                    });
                }
            }
            book
        })
}

fn state() -> impl Strategy<Value = State> {
    let order = (0_i64..200_000, any::<bool>());
    let orders = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(order, 1..4)];
    let halted = rarely(None, Some(TradingState::Halted));
    let opening = prop::option::weighted(0.9, often("10000.00"));
    (orders, halted, opening, rarely(false, true)).prop_map(|(orders, halted, opening, reduces)| {
        let mut state = State::default();
        let mut records = Vec::new();
        if let Some(equity) = opening {
            records.push(IntentRecord::DayOpened {
                day: files::day(NOW),
                equity,
            });
        }
        for (index, (ago_ms, is_open)) in orders.into_iter().enumerate() {
            let name = id(&format!("before-{index}"));
            records.push(IntentRecord::Decided {
                intent: Intent {
                    bar_open_time: NOW / 1_000 - 100_000,
                    decided_at_ms: NOW - ago_ms,
                    valid_until_ms: NOW,
                    ..intent(&name)
                },
            });
            if !is_open || index > 0 {
                let outcome = Outcome::Filled { volume: d("0.01") };
                records.push(IntentRecord::Outcome {
                    id: name,
                    outcome,
                    at_ms: NOW,
                });
            }
        }
        if let Some(state) = halted.or(reduces.then_some(TradingState::Reducing)) {
            records.push(IntentRecord::Tightened {
                state,
                reason: HaltReason::Operator,
                at_ms: NOW,
            });
        }
        for (seq, record) in records.iter().enumerate() {
            state.absorb(seq as u64 + 1, record);
        }
        state
    })
}

fn intent(name: &IntentId) -> Intent {
    Intent {
        id: name.clone(),
        idempotency_key: name.clone(),
        bar_open_time: 0,
        side: Side::Buy,
        symbol: "EURUSD".to_owned(),
        volume: d("0.01"),
        valid_until_ms: 0,
        decided_at_ms: 0,
    }
}

/// What is known, apart from the log.
fn world() -> impl Strategy<Value = Situation<'static>> {
    let flags = (
        rarely(false, true),
        rarely(false, true),
        rarely(true, false),
        rarely(true, false),
    );
    let breaker = rarely(breaker::State::Closed, breaker::State::HalfOpen);
    let peer = (rarely(true, false), rarely(false, true), -2_020_i64..2_020);
    let account = (rarely("7001", "7002"), often("9999.5"), age());
    (
        flags,
        breaker,
        rarely(true, false),
        peer,
        account,
        (book(), age()),
    )
        .prop_map(
            |(flags, breaker, has_peer, peer, account, book)| Situation {
                is_killed: flags.0,
                is_bar_stale: flags.1,
                is_market_open: flags.2,
                is_reconciled: flags.3,
                peer: has_peer.then(|| Peer {
                    account: "7001".to_owned(),
                    is_trading_allowed: peer.0,
                    is_killed: peer.1,
                    clock_offset_ms: peer.2,
                }),
                breaker,
                account: Some(Aged {
                    value: Account {
                        id: account.0.to_owned(),
                        equity: account.1,
                    },
                    age: account.2,
                }),
                book: Some(Aged {
                    value: book.0,
                    age: book.1,
                }),
                ..situation(0, Box::leak(Box::default()))
            },
        )
}

fn decision() -> impl Strategy<Value = Made> {
    let terms = (often("0.01"), often("110000"), rarely(1_000_i64, -1));
    (
        probabilities(),
        any::<bool>(),
        state(),
        world(),
        terms,
        rarely(true, false),
    )
        .prop_map(
            |(
                probabilities,
                is_embedded,
                state,
                world,
                (volume, unit_value, valid_ms),
                has_log,
            )| {
                let mut made = Made::buy(0);
                made.probabilities = probabilities;
                if is_embedded {
                    made.model = Model::embedded(&EmbeddedModel::shipped());
                }
                made.situation = world;
                made.situation.log = has_log.then(|| &*Box::leak(Box::new(state)));
                made.request.volume = volume;
                made.request.unit_value = unit_value;
                made.request.valid_until_ms = NOW + valid_ms;
                made
            },
        )
}

/// Three decisions that follow each other in one file, over windows that shift by one bar.
fn audit() -> impl Strategy<Value = (Vec<Bar>, Vec<Made>, bool, f64)> {
    let decisions = prop::collection::vec(decision(), 3);
    let threshold = prop_oneof![Just(0.0), Just(0.45), 0.0..1.0_f64];
    (bars(), decisions, any::<bool>(), threshold)
}

/// Writes what the program would decide, and compares; the words of the verdicts, or none where there are no features.
fn check(
    (bars, decisions, is_embedded, threshold): (Vec<Bar>, Vec<Made>, bool, f64),
) -> Result<Vec<String>, TestCaseError> {
    let model = EmbeddedModel::shipped();
    let mut start = start();
    start.configuration.guards.threshold = threshold;
    start.configuration.guards.limits = [
        None,
        Some(d("1e9")),
        None,
        Some(d("2")),
        None,
        Some(d("5.5")),
    ];
    start.configuration.model = if is_embedded {
        Origin::Embedded
    } else {
        Origin::Hub
    };
    let guards = Guards::new(start.configuration.guards.clone()).unwrap();
    let disk = Simulated::default();
    let mut audit = Audit::open_in(disk.clone(), &start, ROTATE_LEN_BYTES).unwrap();
    let (mut written, mut verdicts) = (Vec::new(), Vec::new());
    for (shift, mut made) in decisions.into_iter().enumerate() {
        made.bars = bars[shift..shift + BAR_COUNT].to_vec();
        let Ok(features) = features::build(&made.bars) else {
            return Ok(Vec::new());
        };
        made.features = features;
        if is_embedded {
            let Ok(probabilities) = model.predict(&features) else {
                return Ok(Vec::new());
            };
            made.probabilities = probabilities;
            made.model = Model::embedded(&model);
        } else {
            made.model = Made::buy(0).model;
        }
        let decide::Decision { action, confidence } = decide::decide(made.probabilities);
        let terms = made.request;
        made.request = Request {
            bar_open_time: made.bars[BAR_COUNT - 1].open_time,
            volume: terms.volume,
            unit_value: terms.unit_value,
            valid_until_ms: terms.valid_until_ms,
            ..request(0, action, confidence)
        };
        made.verdict = match guards.check(&made.request, &made.situation) {
            Err(refusal) => Verdict::refused(&refusal),
            Ok(_) => Verdict::Permitted {
                id: id("o"),
                idempotency_key: id("k"),
                valid_until_ms: made.request.valid_until_ms,
            },
        };
        let decision = made.decision();
        audit.decision(&decision).unwrap();
        let word = match &decision.verdict {
            Verdict::Refused { reason, .. } => reason.as_str().to_owned(),
            verdict => verdict.to_string().split(' ').next().unwrap().to_owned(),
        };
        verdicts.push(word);
        written.push(made);
    }
    let report = replayed(&disk);
    prop_assert!(
        report.is_good() && report.findings.is_empty(),
        "{:?}",
        report.findings
    );
    prop_assert_eq!(report.reproduced, 3);
    // And not only by what came out: each value by itself, floats by their bits.
    let bits = |bars: &[Bar]| Digest::of_bars(bars);
    let mut window = Vec::new();
    for (made, record) in written.iter().zip(&lines(&disk)[1..]) {
        let Record::Decision(record) = record else {
            panic!("{record:?}");
        };
        let decision = made.decision();
        let expected = DecisionRecord::of(
            &decision,
            start.configuration.interval,
            audit.configuration_sha256,
        )
        .unwrap();
        window = window::shift(&window, record.bars());
        prop_assert_eq!(bits(&window), bits(&made.bars));
        let mut record = (**record).clone();
        record.set_bars(&[]);
        prop_assert_eq!(
            record.probabilities.map(f64::to_bits),
            expected.probabilities.map(f64::to_bits)
        );
        prop_assert_eq!(&record, &expected);
        // Equal decimals may differ in their digits; the text has them all.
        prop_assert_eq!(
            serde_json::to_string(&record).unwrap(),
            serde_json::to_string(&expected).unwrap()
        );
    }
    Ok(verdicts)
}

#[test]
fn whatever_is_decided_is_reproduced() {
    let seen = RefCell::new(BTreeSet::new());
    let runs = Runs {
        cases: 200,
        ..Runs::default()
    };
    let result = TestRunner::new(runs).run(&audit(), |case| {
        seen.borrow_mut().extend(check(case)?);
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    let seen = seen.into_inner();
    for verdict in [
        "hold",
        "permitted",
        "below_threshold",
        "halted",
        "risk_limit",
        "stale_data",
    ] {
        assert!(seen.contains(verdict), "{verdict} was not tried: {seen:?}");
    }
}
