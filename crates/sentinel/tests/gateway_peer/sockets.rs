//! Real processes and real sockets: what is dropped, who gets which answer, and `kill -9` among orders.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::messages::{buy, message, order, status};
use crate::process::{DEADLINE, Dealer, Site, now};

fn pulse(id: &str) -> Vec<u8> {
    message("HEARTBEAT", id, &json!({}), now())
}

#[test]
fn a_message_of_several_frames_is_dropped_and_the_next_one_answered() {
    let site = Site::new();
    let gateway = site.gateway(&[]);
    let dealer = Dealer::connect(&gateway.endpoint, None);
    let stray = order("o-1", "bar-1", &buy("0.10"), now());
    for frames in [
        vec![vec![], stray.clone()],
        vec![stray.clone(), vec![]],
        vec![stray.clone(); 3],
        vec![vec![]; 2],
    ] {
        dealer.0.send_multipart(frames, 0).unwrap();
    }
    assert_eq!(
        dealer.ask(&pulse("h-1"))["id"],
        "h-1",
        "the first answer is that to the first message"
    );
    assert_eq!(
        dealer.ask(&status("s-1", "o-1", now()))["type"],
        "UNKNOWN_ID"
    );
    assert_eq!(
        dealer.ask(b"")["payload"]["code"],
        "malformed",
        "an empty frame is a message, if none of ours"
    );
}

#[test]
fn a_frame_that_is_too_large_is_not_answered_and_ends_nothing() {
    let site = Site::new();
    let gateway = site.gateway(&[]);
    let dealer = Dealer::connect(&gateway.endpoint, None);
    assert_eq!(dealer.ask(&pulse("h-0"))["id"], "h-0");
    let mut largest = pulse("h-largest");
    largest.resize(8192, b' ');
    assert_eq!(dealer.ask(&largest)["id"], "h-largest");
    let mut large = order("o-1", "bar-1", &buy("0.10"), now());
    large.resize(8193, b' ');
    dealer.send(&large);
    // The connection is closed; what is sent before the socket has noticed is lost.
    let deadline = Instant::now() + DEADLINE;
    for number in 1.. {
        assert!(Instant::now() < deadline, "the gateway answers no more");
        dealer.send(&pulse(&format!("h-{number}")));
        if let Some(reply) = dealer.receive_within(Duration::from_millis(200)) {
            assert_eq!(reply["type"], "HEARTBEAT");
            break;
        }
    }
    assert_eq!(site.book()["orders"], json!([]));
}

#[test]
fn clients_at_once_get_their_own_answers() {
    let site = Site::new();
    let gateway = site.gateway(&[]);
    let clients = ["a", "b", "c"].map(|name| (name, Dealer::connect(&gateway.endpoint, None)));
    for number in 0..20 {
        for (name, dealer) in &clients {
            dealer.send(&order(
                &format!("{name}-{number}"),
                &format!("{name}-{number}"),
                &buy("0.01"),
                now(),
            ));
        }
    }
    for number in 0..20 {
        for (name, dealer) in &clients {
            let reply = dealer.receive();
            assert_eq!(
                (&reply["type"], &reply["id"]),
                (&json!("FILLED"), &json!(format!("{name}-{number}")))
            );
        }
    }
    let book = site.book();
    let tickets: HashSet<_> = book["fills"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fill| fill["ticket"].to_string())
        .collect();
    assert_eq!(tickets.len(), 60, "each fill has a ticket of its own");
}

#[test]
fn a_client_that_comes_back_under_its_routing_id_is_answered_on_the_new_connection() {
    let site = Site::new();
    let gateway = site.gateway(&[]);
    let old = Dealer::connect(&gateway.endpoint, Some("sentinel"));
    assert_eq!(old.ask(&pulse("h-1"))["id"], "h-1");
    // The old connection is still there, as after a cable was pulled.
    let new = Dealer::connect(&gateway.endpoint, Some("sentinel"));
    assert_eq!(new.ask(&pulse("h-2"))["id"], "h-2");
    assert_eq!(old.receive_within(Duration::ZERO), None);
}

#[test]
fn an_order_that_was_placed_is_filled_when_it_is_asked_for() {
    let site = Site::new();
    let gateway = site.gateway(&["--placed", "0"]);
    let dealer = Dealer::connect(&gateway.endpoint, None);
    let placed = dealer.ask(&order("o-1", "bar-1", &buy("0.10"), now()));
    assert_eq!(placed["type"], "PLACED");
    assert_eq!(site.book()["fills"], json!([]));
    let filled = dealer.ask(&status("s-1", "o-1", now()));
    assert_eq!(filled["type"], "FILLED");
    assert_eq!(filled["payload"]["ticket"], placed["payload"]["ticket"]);
    assert_eq!(site.book()["fills"], json!([filled["payload"]]));
}

/// Orders are sent without waiting, and the process is killed after so many answers: somewhere among its writes.
#[test]
fn killed_among_orders_it_answers_them_as_before_and_executes_none_twice() {
    let site = Site::new();
    let mut frames: Vec<(String, Vec<u8>)> = Vec::new();
    let mut verdicts: BTreeMap<String, Value> = BTreeMap::new();
    let mut questions = 0;
    for round in 0..10 {
        let gateway = site.gateway(&[]);
        let dealer = Dealer::connect(&gateway.endpoint, None);
        for (id, frame) in &frames {
            questions += 1;
            let reply = dealer.ask(&status(&format!("s-{questions}"), id, now()));
            let verdict = json!([reply["type"], reply["payload"]]);
            let was = verdicts
                .entry(id.clone())
                .or_insert_with(|| verdict.clone());
            assert_eq!(*was, verdict, "{id} in round {round}");
            let again = dealer.ask(frame);
            if again["payload"]["order_id"].is_null() {
                assert_eq!(again["payload"]["code"], "replayed");
            } else {
                // It had been declared unknown just before.
                assert_eq!(again["payload"]["code"], "late");
                verdicts.insert(id.clone(), json!([again["type"], again["payload"]]));
            }
        }
        let begin = frames.len();
        for number in 0..6 {
            let id = format!("o-{round}-{number}");
            let frame = order(&id, &id, &buy("0.01"), now());
            dealer.send(&frame);
            frames.push((id, frame));
        }
        for (id, _) in &frames[begin..begin + round % 6] {
            let reply = dealer.receive();
            assert_eq!(
                (&reply["type"], reply["id"].as_str()),
                (&json!("FILLED"), Some(id.as_str()))
            );
            verdicts.insert(id.clone(), json!([reply["type"], reply["payload"]]));
        }
        gateway.kill();
    }
    let book = site.book();
    let fills = book["fills"].as_array().unwrap();
    let ids: Vec<_> = fills
        .iter()
        .map(|fill| fill["order_id"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids.iter().collect::<HashSet<_>>().len(),
        ids.len(),
        "{ids:?}"
    );
    for (id, verdict) in &verdicts {
        assert_eq!(
            ids.contains(&id.as_str()),
            verdict[0] == "FILLED",
            "{id}: {verdict}"
        );
    }
}

#[test]
fn a_journal_that_cannot_be_written_ends_it_without_an_answer() {
    let site = Site::new();
    let mut gateway = site.gateway_on_a_small_disk();
    let dealer = Dealer::connect(&gateway.endpoint, None);
    let deadline = Instant::now() + DEADLINE;
    let mut sent = Vec::new();
    let mut filled = Vec::new();
    let (status, said) = loop {
        assert!(Instant::now() < deadline, "it did not end");
        if let Some(reply) = dealer.receive_within(Duration::from_millis(20)) {
            filled.push(reply["payload"].clone());
        } else if let Some(ended) = gateway.ended() {
            break ended;
        }
        if sent.len() == filled.len() {
            let id = format!("o-{}", sent.len());
            dealer.send(&order(&id, &id, &buy("0.01"), now()));
            sent.push(id);
        }
    };
    assert_eq!(status.code(), Some(1), "{said}");
    let last = said.lines().last().unwrap();
    let wanted = "sentinel: journal: cannot write the journal: File too large";
    assert!(last.starts_with(wanted), "{said}");
    assert!(
        !filled.is_empty() && sent.len() == filled.len() + 1,
        "{said}"
    );
    // On a disk with space again the order without an answer is surely not executed.
    let gateway = site.gateway(&[]);
    let dealer = Dealer::connect(&gateway.endpoint, None);
    let verdict = dealer.ask(&status_of(sent.last().unwrap()));
    assert_ne!(verdict["type"], "FILLED");
    assert_eq!(site.book()["fills"], json!(filled));
}

fn status_of(id: &str) -> Vec<u8> {
    status("s-last", id, now())
}
