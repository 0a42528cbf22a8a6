//! The same messages to this gateway and to the one in `ops/gateway`: the same replies, the same journal, the same book, and each of them
//! goes on with the other's journal.

use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sentinel::gateway::peer::{Journal, JournalFile, Peer, Record};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::messages::{SECRET, T, body, buy, message, order, read, signed};
use crate::python::{Python, folder};
use crate::rust::{ask, ledger, open};

/// A reply without what may differ: the words for people about a message that is none, and so the mac.
pub(crate) fn comparable(reply: &[u8]) -> Value {
    let mut reply = read(reply);
    let payload = &reply["payload"];
    let code = payload["code"].as_str().unwrap_or("");
    let is_no_message = ["malformed", "unsigned", "bad_mac", "version"].contains(&code);
    if is_no_message && payload["order_id"].is_null() {
        reply["payload"].as_object_mut().unwrap().remove("message");
        reply.as_object_mut().unwrap().remove("mac");
    }
    reply
}

/// Both gateways, each with a journal of its own.
pub(crate) struct Pair<'a> {
    python: &'a mut Python,
    rust: Option<Peer<JournalFile>>,
    folder: TempDir,
    is_swapped: bool,
    book: Value,
}

impl Pair<'_> {
    pub(crate) fn start(python: &mut Python, book: Value, now: i64) -> Pair<'_> {
        let mut pair = Pair {
            python,
            rust: None,
            folder: folder(),
            is_swapped: false,
            book,
        };
        if pair.book["prices"] == true {
            pair.book["prices"] = json!(pair.folder.path().join("prices"));
            pair.set_prices(&json!({"EURUSD": {"bid": "1.09990", "ask": "1.10010"}}));
        }
        pair.open(now);
        pair
    }

    fn journal(&self, is_rust: bool) -> PathBuf {
        self.folder
            .path()
            .join(if is_rust ^ self.is_swapped { "a" } else { "b" })
    }

    fn set_prices(&self, prices: &Value) {
        std::fs::write(self.folder.path().join("prices"), prices.to_string()).unwrap();
    }

    fn open(&mut self, now: i64) {
        self.python.open(&self.journal(false), &self.book, now);
        self.rust = Some(open(&self.journal(true), &self.book, now).unwrap());
    }

    fn close(&mut self) {
        self.python.stop();
        drop(self.rust.take());
    }

    pub(crate) fn compare(&mut self, frames: &[(i64, Vec<u8>)]) -> usize {
        let theirs = self.python.handle(frames);
        let rust = self.rust.as_mut().unwrap();
        let mut executed = 0;
        for ((now, frame), theirs) in frames.iter().zip(theirs) {
            let ours = ask(rust, frame, *now).map(|reply| comparable(&reply));
            let theirs = theirs.map(|reply| comparable(&reply));
            assert_eq!(
                ours,
                theirs,
                "at {now} to {}",
                String::from_utf8_lossy(frame)
            );
            let kind = ours.as_ref().and_then(|reply| reply["type"].as_str());
            executed += usize::from(matches!(kind, Some("FILLED" | "PARTIAL" | "PLACED")));
        }
        executed
    }

    fn records(&self, is_rust: bool) -> Vec<Record> {
        let bytes = std::fs::read(self.journal(is_rust)).unwrap();
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        lines
            .map(|line| Record::parse(&line[..line.len() - 1]).unwrap())
            .collect()
    }

    /// The same records in both journals, and the same book. Where the broker is the journal, the Python peer leaves the record of the
    /// beginning out, and the key is in that of the result.
    pub(crate) fn compare_books(&mut self, now: i64) {
        let [ours, theirs] = [true, false].map(|is_rust| {
            let records = self.records(is_rust).into_iter();
            let essential = records.filter(|record| !matches!(record, Record::Begin { .. }));
            let without_key = essential.map(|record| match record {
                Record::Result {
                    id, order, verdict, ..
                } => Record::Result {
                    id,
                    key: None,
                    order,
                    verdict,
                },
                other => other,
            });
            without_key.collect::<Vec<_>>()
        });
        assert_eq!(ours, theirs);
        assert_eq!(
            ledger(self.rust.as_ref().unwrap(), now),
            self.python.report(now)
        );
    }

    /// Ends both after the first `kept` records that the frame made, as a crash does, whose last line is half there. Where one of them
    /// writes more records than the other, it is none or all of them.
    fn crash(&mut self, frame: &[u8], now: i64, kept: usize) {
        let kept = match self.book["is_the_journal"].as_bool() {
            Some(false) => kept,
            _ if kept < 3 => 0,
            _ => usize::MAX,
        };
        let before = [true, false].map(|is_rust| self.records(is_rust).len());
        self.compare(&[(now, frame.to_vec())]);
        self.close();
        for (is_rust, before) in [true, false].into_iter().zip(before) {
            let bytes = std::fs::read(self.journal(is_rust)).unwrap();
            let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
            let end = before.saturating_add(kept).min(lines.len());
            let torn = lines
                .get(end)
                .map_or(&[][..], |line| &line[..line.len() / 2]);
            std::fs::write(
                self.journal(is_rust),
                [&lines[..end].concat(), torn].concat(),
            )
            .unwrap();
        }
        self.open(now);
    }

    fn restart(&mut self, now: i64, swap: bool, options: &Value) {
        self.close();
        self.is_swapped ^= swap;
        for (name, value) in options.as_object().unwrap() {
            self.book[name] = value.clone();
        }
        self.open(now);
    }

    fn release(&mut self, now: i64) {
        self.python.stop();
        self.python.release(&self.journal(false), now);
        let rust = self.rust.take().unwrap();
        let mut journal = rust.into_journal();
        journal.append(&Record::Release { at: now }).unwrap();
        drop(journal);
        self.open(now);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Send(Vec<Part>),
    /// The bytes of an earlier message again.
    Again(prop::sample::Index),
    Crash(Vec<Part>, usize),
    Restart(bool, Value),
    Release,
    Prices(u32, u32),
}

/// What a message is made of, and how far the clock goes before it comes.
#[derive(Debug, Clone)]
struct Part {
    advance: i64,
    kind: &'static str,
    id: u8,
    key: u8,
    about: u8,
    sent: i64,
    lifetime: i64,
    payload: Value,
    tamper: Option<prop::sample::Index>,
}

impl Part {
    fn frame(&self, now: i64) -> Vec<u8> {
        let id = format!("m-{}", self.id);
        let (key, payload) = match self.kind {
            "ORDER" => (format!("bar-{}", self.key), self.payload.clone()),
            "STATUS" => (id.clone(), json!({"order_id": format!("m-{}", self.about)})),
            "KILL" => (id.clone(), json!({"reason": "Ω \" \\ why"})),
            _ => (id.clone(), json!({})),
        };
        let mut frame = signed(
            &body(
                self.kind,
                &id,
                &key,
                &payload,
                now + self.sent,
                self.lifetime,
            )
            .to_string(),
        );
        if let Some(place) = &self.tamper {
            let place = place.index(frame.len());
            frame[place] ^= 1;
        }
        frame
    }
}

fn payload() -> impl Strategy<Value = Value> {
    let good = prop::sample::select(vec!["0.10", "0.1", "0.01", "0.03", "0.07", "0.2", "1"]);
    let bad = prop::sample::select(vec!["50", "0.015", "100.01", "0.00000001"]);
    let volume = prop_oneof![12 => good, 1 => bad];
    let worst = prop::sample::select(vec![
        json!(null),
        json!(null),
        json!("1.10010"),
        json!("1.1"),
        json!("999999999999999.99999999"),
    ]);
    let symbol = prop::sample::select(vec!["EURUSD", "EURUSD", "GBPUSD", "Größe \u{1d11e}"]);
    let account = prop_oneof![30 => Just("1000001"), 1 => Just("2")];
    (volume, worst, symbol, account, any::<bool>(), prop::sample::select(vec![0, 7, i32::MAX])).prop_map(
        |(volume, worst, symbol, account, is_buy, magic)| {
            let side = if is_buy { "BUY" } else { "SELL" };
            json!({"account": account, "symbol": symbol, "side": side, "volume": volume, "worst_price": worst, "magic": magic})
        },
    )
}

fn part() -> impl Strategy<Value = Part> {
    let kind = prop_oneof![
        60 => Just("ORDER"), 20 => Just("STATUS"), 8 => Just("POSITIONS"), 8 => Just("ACCOUNT"), 4 => Just("HEARTBEAT"),
        1 => Just("KILL"),
    ];
    let advance = prop_oneof![6 => Just(0), 4 => Just(1), 3 => 2..1500_i64, 1 => Just(5001), 1 => Just(62_001), 1 => -3000..0_i64];
    let sent = prop_oneof![40 => Just(0), 1 => Just(-5000), 1 => Just(-5001), 1 => Just(2000), 1 => Just(2001), 1 => -62_000..0_i64];
    let lifetime =
        prop_oneof![30 => Just(5000), 6 => Just(60_000), 2 => Just(0), 1 => Just(60_001)];
    let ids = (0..80_u8, 0..60_u8, 0..80_u8);
    (
        advance,
        kind,
        ids,
        sent,
        lifetime,
        payload(),
        proptest::option::weighted(0.04, any::<prop::sample::Index>()),
    )
        .prop_map(
            |(advance, kind, (id, key, about), sent, lifetime, payload, tamper)| Part {
                advance,
                kind,
                id,
                key,
                about,
                sent,
                lifetime,
                payload,
                tamper,
            },
        )
}

fn later_options() -> impl Strategy<Value = Value> {
    let ratio = prop::sample::select(vec!["1", "1", "1", "0.5", "0.333", "0.9", "0.01", "0"]);
    let placed = prop::sample::select(vec![json!(null), json!(0), json!(1000), json!(7000)]);
    let reject = prop_oneof![30 => Just(json!(null)), 1 => Just(json!("requote")), 1 => Just(json!("other"))];
    (ratio, placed, reject, any::<bool>()).prop_map(|(ratio, placed, reject, is_the_journal)| {
        json!({"fill_ratio": ratio, "placed": placed, "reject": reject, "is_the_journal": is_the_journal})
    })
}

fn book() -> impl Strategy<Value = Value> {
    let fixed = prop::sample::select(vec![
        ("1.10000", "0.00020"),
        ("1.1", "0.0003"),
        ("150.12345678", "0"),
        ("0.00000007", "0.00000002"),
    ]);
    let contract = prop::sample::select(vec!["100000", "1000", "0.5"]);
    (later_options(), fixed, contract, any::<bool>()).prop_map(
        |(mut book, (mid, spread), contract, has_prices)| {
            if has_prices {
                book["prices"] = json!(true);
            } else {
                (book["mid"], book["spread"]) = (json!(mid), json!(spread));
            }
            book["contract"] = json!(contract);
            book
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        24 => proptest::collection::vec(part(), 1..4).prop_map(Step::Send),
        2 => any::<prop::sample::Index>().prop_map(Step::Again),
        2 => (proptest::collection::vec(part(), 1), 0..4_usize).prop_map(|(part, kept)| Step::Crash(part, kept)),
        2 => (any::<bool>(), later_options()).prop_map(|(swap, options)| Step::Restart(swap, options)),
        1 => Just(Step::Release),
        3 => (80_000..130_000_u32, 0..100_u32).prop_map(|(bid, spread)| Step::Prices(bid, spread)),
    ]
}

/// Goes through the steps; how many messages there were, and how many were answered with an execution.
fn play(python: &mut Python, book: Value, steps: Vec<Step>) -> (usize, usize) {
    let mut now = T;
    let mut pair = Pair::start(python, book, now);
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let mut executed = 0;
    for step in steps {
        match step {
            Step::Send(parts) => {
                let mut frames = Vec::new();
                for part in parts {
                    now += part.advance;
                    let frame = part.frame(now);
                    sent.push(frame.clone());
                    frames.push((now, frame));
                }
                executed += pair.compare(&frames);
            }
            Step::Again(which) if !sent.is_empty() => {
                let frame = which.get(&sent).clone();
                executed += pair.compare(&[(now, frame)]);
            }
            Step::Again(_) => {}
            Step::Crash(parts, kept) => {
                let frame = parts[0].frame(now);
                sent.push(frame.clone());
                pair.crash(&frame, now, kept);
            }
            Step::Restart(swap, options) => pair.restart(now, swap, &options),
            Step::Release => pair.release(now),
            Step::Prices(bid, spread) => {
                let price = |units: u32| format!("{}.{:05}", units / 100_000, units % 100_000);
                let quote = json!({"bid": price(bid), "ask": price(bid + spread)});
                pair.set_prices(&json!({"EURUSD": quote, "Größe \u{1d11e}": quote}));
            }
        }
    }
    pair.compare_books(now);
    pair.close();
    (sent.len(), executed)
}

#[test]
fn both_gateways_answer_the_same_to_the_same_messages_and_go_on_with_each_others_journals() {
    let test =
        "both_gateways_answer_the_same_to_the_same_messages_and_go_on_with_each_others_journals";
    let Some(python) = Python::start(test) else {
        return;
    };
    let python = std::cell::RefCell::new(python);
    let counts = std::cell::Cell::new((0, 0));
    let mut runner = TestRunner::new(Config {
        cases: 120,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    });
    let strategy = (book(), proptest::collection::vec(step(), 1..50));
    let outcome = runner.run(&strategy, |(book, steps)| {
        // A run that failed left its gateway open.
        let mut python = python.borrow_mut();
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            play(&mut python, book, steps)
        }));
        let Ok((sent, executed)) = played else {
            *python = Python::start(test).unwrap();
            return Err(TestCaseError::fail("they differ"));
        };
        counts.set((counts.get().0 + sent, counts.get().1 + executed));
        Ok(())
    });
    outcome.unwrap();
    let (sent, executed) = counts.get();
    assert!(
        sent > 2000 && executed > 150,
        "{sent} messages, {executed} answered with an execution"
    );
}

#[test]
fn neither_gateway_leaves_a_position_out_of_an_answer() {
    let Some(mut python) = Python::start("neither_gateway_leaves_a_position_out_of_an_answer")
    else {
        return;
    };
    let mut pair = Pair::start(&mut python, json!({"contract": "1"}), T);
    let mut frames = Vec::new();
    for number in 0..=200 {
        let mut payload = buy("0.01");
        payload["symbol"] = json!(format!("S{number}"));
        frames.push((
            T,
            order(&format!("o-{number}"), &format!("k-{number}"), &payload, T),
        ));
        if number >= 198 {
            frames.push((
                T,
                message("POSITIONS", &format!("p-{number}"), &json!({}), T),
            ));
        }
    }
    assert_eq!(pair.compare(&frames), 201);
    let question = |id: &str| message("POSITIONS", id, &json!({}), T);
    assert!(
        ask(pair.rust.as_mut().unwrap(), &question("p-x"), T).is_none(),
        "201 are not answered"
    );
    pair.python.handle(&[(T, question("p-x"))]);
    pair.compare_books(T);
    pair.close();
}

#[test]
fn a_journal_is_locked_and_its_damage_is_found_by_both() {
    let Some(mut python) = Python::start("a_journal_is_locked_and_its_damage_is_found_by_both")
    else {
        return;
    };
    let folder = folder();
    let journal = folder.path().join("journal");
    let mut rust = open(&journal, &Value::Null, T).unwrap();
    assert!(
        python
            .try_open(&journal, &json!({}), T)
            .unwrap_err()
            .contains("in use by another peer")
    );
    ask(&mut rust, &order("o-1", "k-1", &buy("0.10"), T), T).unwrap();
    drop(rust);
    python.open(&journal, &json!({}), T);
    let refusal = JournalFile::open(&journal).unwrap_err().to_string();
    assert!(
        refusal.contains("belongs to another running gateway"),
        "{refusal}"
    );
    python.stop();
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes[3] = b'~';
    std::fs::write(&journal, &bytes).unwrap();
    assert!(
        python
            .try_open(&journal, &json!({}), T)
            .unwrap_err()
            .contains("line 1")
    );
    let refusal = open(&journal, &Value::Null, T).unwrap_err().to_string();
    assert!(
        refusal.contains("line 1 of the journal is damaged"),
        "{refusal}"
    );
    assert_eq!(
        std::fs::read(&journal).unwrap(),
        bytes,
        "what is damaged is left as it is"
    );
    assert!(!refusal.contains(SECRET));
}
