//! The journal cut off at every byte: what a kill or a power cut leaves. No order is executed twice, and what was answered stays so.

use std::collections::HashSet;
use std::path::Path;

use sentinel::gateway::peer::{Book, Journal, JournalError, JournalFile, Peer, Record};
use serde_json::{Value, json};

use crate::messages::{T, body, buy, key, message, order, read, signed, status};
use crate::python::folder;
use crate::rust::{ask, fills, journal as reopen, ledger, open, options};

/// A reply, and how long the journal was when it was given.
struct Said {
    frame: Vec<u8>,
    reply: Value,
    journal_len: usize,
}

impl Said {
    fn asked(&self) -> Value {
        serde_json::from_slice(&self.frame).unwrap()
    }

    /// Whether it says something of an order for ever.
    fn is_verdict(&self) -> bool {
        self.asked()["type"] == "ORDER" && !self.reply["payload"]["order_id"].is_null()
    }
}

fn sell(volume: &str) -> Value {
    let mut payload = buy(volume);
    payload["side"] = json!("SELL");
    payload
}

/// Orders with every kind of end, among them repeated ones, one that was declared unknown, a late one, and a kill.
fn script() -> Vec<(i64, Vec<u8>)> {
    let late = signed(&body("ORDER", "o-6", "bar-6", &buy("0.05"), T - 70_000, 1000).to_string());
    let frames = [
        (0, order("o-1", "bar-1", &buy("0.10"), T)),
        (1, order("o-2", "bar-1", &buy("0.10"), T)),
        (2, order("o-3", "bar-1", &sell("0.10"), T)),
        (3, order("o-4", "bar-4", &sell("0.03"), T)),
        (4, status("s-1", "o-9", T)),
        (5, order("o-9", "bar-9", &buy("0.01"), T)),
        (6, order("o-5", "bar-5", &buy("0.015"), T)),
        (7, late),
        (8, order("o-7", "bar-6", &buy("0.05"), T)),
        (700, status("s-2", "o-1", T)),
        (1400, order("o-10", "bar-10", &sell("0.20"), T)),
        (1401, message("ACCOUNT", "a-1", &json!({}), T)),
        (
            1402,
            message("KILL", "kill-1", &json!({"reason": "why"}), T),
        ),
        (1403, order("o-8", "bar-8", &buy("0.10"), T)),
        (2500, message("POSITIONS", "p-1", &json!({}), T)),
    ];
    frames
        .into_iter()
        .map(|(after, frame)| (T + after, frame))
        .collect()
}

fn play(journal: &Path, book: &Value) -> Vec<Said> {
    let mut peer = open(journal, book, T).unwrap();
    let said = script().into_iter().map(|(now, frame)| Said {
        reply: read(&ask(&mut peer, &frame, now).unwrap()),
        frame,
        journal_len: std::fs::read(journal).unwrap().len(),
    });
    said.collect()
}

/// What a gateway that goes on after `len` bytes of the journal owes to those it answered.
fn check_promises(journal: &Path, book: &Value, said: &[Said], len: usize) {
    let begun: Vec<_> = JournalFile::read(journal)
        .unwrap()
        .begun()
        .iter()
        .map(|begun| begun.id.to_string())
        .collect();
    let now = T + 3000;
    let mut peer = open(journal, book, now).unwrap();
    let before = fills(&peer);
    let answered = said.iter().filter(|said| said.journal_len <= len);
    for (index, said) in answered.clone().enumerate() {
        let asked = said.asked();
        if said.is_verdict() {
            let question = status(&format!("q-{index}"), asked["id"].as_str().unwrap(), now);
            let found = read(&ask(&mut peer, &question, now).unwrap());
            let (was, is) = (&said.reply, &found);
            if was["type"] == "PLACED" && is["type"] != "PLACED" {
                assert_eq!(
                    is["payload"]["order_id"], was["payload"]["order_id"],
                    "at {len}"
                );
            } else {
                assert_eq!(
                    (&is["type"], &is["payload"]),
                    (&was["type"], &was["payload"]),
                    "at {len}"
                );
            }
            let again = read(&ask(&mut peer, &said.frame, now).unwrap());
            assert_eq!(again["payload"]["code"], "replayed", "at {len}");
            assert_eq!(again["payload"]["order_id"], Value::Null, "at {len}");
        }
        if asked["type"] == "KILL" {
            let pulse = message("HEARTBEAT", &format!("h-{index}"), &json!({}), now);
            assert_eq!(
                read(&ask(&mut peer, &pulse, now).unwrap())["payload"]["is_killed"],
                true,
                "at {len}"
            );
        }
    }
    for id in &begun {
        let found = read(&ask(&mut peer, &status(&format!("b-{id}"), id, now), now).unwrap());
        assert_eq!(found["payload"]["code"], "other", "at {len}");
    }
    // Whoever has the bytes of all messages sends them once more.
    for said in said {
        ask(&mut peer, &said.frame, now);
    }
    ask(
        &mut peer,
        &message("ACCOUNT", "a-last", &json!({}), now + 40_000),
        now + 40_000,
    );
    let after = fills(&peer);
    assert_eq!(after[..before.len()], before, "at {len}");
    assert_eq!(
        after.iter().collect::<HashSet<_>>().len(),
        after.len(),
        "at {len}: {after:?}"
    );
    let keys: HashSet<_> = peer
        .book()
        .fills()
        .iter()
        .map(|fill| fill.idempotency_key.as_str())
        .collect();
    assert_eq!(
        keys.len(),
        after.len(),
        "at {len}: a key was executed twice"
    );
    for id in &begun {
        assert!(
            !after.contains(id),
            "at {len}: {id} was executed although that was not known before"
        );
    }
    for said in answered {
        let was_promised = |id: &Value| {
            assert!(
                !after.iter().any(|fill| fill == id),
                "at {len}: {id} was promised not to be"
            )
        };
        match said.reply["type"].as_str() {
            Some("UNKNOWN_ID" | "REJECTED") => was_promised(&said.reply["payload"]["order_id"]),
            Some("KILL") => was_promised(&json!("o-8")),
            _ => {}
        }
    }
    let known = ledger(&peer, now);
    drop(peer);
    assert_eq!(
        ledger(&open(journal, book, now).unwrap(), now),
        known,
        "at {len}: a restart changes something"
    );
}

#[test]
fn every_prefix_of_the_journal_keeps_every_promise() {
    for book in [
        json!({}),
        json!({"fill_ratio": "0.5"}),
        json!({"placed": 0}),
        json!({"placed": 1000}),
        json!({"placed": 70_000}),
    ] {
        let folder = folder();
        let journal = folder.path().join("journal");
        let said = play(&journal, &book);
        let whole = std::fs::read(&journal).unwrap();
        let cut = folder.path().join("cut");
        let mut boundaries = 0;
        let mut last = 0;
        for len in 0..=whole.len() {
            std::fs::write(&cut, &whole[..len]).unwrap();
            drop(reopen(&cut).unwrap());
            let is_boundary = len == 0 || whole[len - 1] == b'\n';
            if is_boundary {
                last = len;
                boundaries += 1;
            }
            // What is torn is cut off, so that every other length comes to the same as a whole number of lines.
            assert_eq!(std::fs::read(&cut).unwrap(), whole[..last], "at {len}");
            if is_boundary {
                check_promises(&cut, &book, &said, len);
            }
        }
        assert!(boundaries > 12, "{boundaries} records");
    }
}

/// A journal on a disk that takes so many records, and then fails after the bytes of one more.
struct Failing(JournalFile, usize);

impl Journal for Failing {
    fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        self.0.append(record)?;
        self.1 = self
            .1
            .checked_sub(1)
            .ok_or(JournalError::Broken("journal".into()))?;
        Ok(())
    }
}

#[test]
fn what_may_not_be_on_the_disk_is_not_answered() {
    let mut failed = 0;
    for count in 0..14 {
        let folder = folder();
        let path = folder.path().join("journal");
        let (journal, known) = reopen(&path).unwrap();
        let book = Book::new(options(&json!({})), known.executions());
        let mut peer = Peer::start(key(), Failing(journal, count), known, book, T).unwrap();
        let mut said = Vec::new();
        let mut is_whole = true;
        for (now, frame) in script() {
            let Ok(answer) = peer.handle(&frame, now) else {
                is_whole = false;
                break;
            };
            let reply = read(&answer.unwrap().bytes);
            said.push(Said {
                frame,
                reply,
                journal_len: 0,
            });
        }
        failed += usize::from(!is_whole);
        drop(peer.into_journal());
        check_promises(&path, &json!({}), &said, usize::MAX);
    }
    assert_eq!(failed, 14, "each of them failed before the end");
}

#[test]
fn damage_before_the_last_line_is_a_reason_not_to_start_and_is_left_as_it_is() {
    let folder = folder();
    let journal = folder.path().join("journal");
    drop(play(&journal, &json!({"placed": 1000})));
    let whole = std::fs::read(&journal).unwrap();
    let mut lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let refusal = |bytes: &[u8]| {
        std::fs::write(&journal, bytes).unwrap();
        let refusal = open(&journal, &Value::Null, T).unwrap_err().to_string();
        assert_eq!(std::fs::read(&journal).unwrap(), bytes);
        refusal
    };
    for (bad, reason) in [
        (&b"\n"[..], "not JSON"),
        (b"\0\0\0\n", "not JSON"),
        (b"{}\n", "record: missing"),
        (
            b"{\"record\":\"release\",\"at\":1,\"more\":1}\n",
            "unknown field",
        ),
        (
            b"{\"record\":\"alias\",\"id\":\"a\",\"of\":\"nobody\"}\n",
            "an order repeats one without a verdict",
        ),
        (lines[0], "an order begins that was there before"),
        (lines[1], "an order is placed twice"),
    ] {
        let damaged = [&lines[..2].concat(), bad, &lines[2..].concat()].concat();
        let refusal = refusal(&damaged);
        assert!(
            refusal.contains("line 3 of the journal is damaged") && refusal.contains(reason),
            "{refusal}"
        );
    }
    lines.remove(0);
    assert!(
        refusal(&lines.concat()).contains("line 1"),
        "a line is missing"
    );
}
