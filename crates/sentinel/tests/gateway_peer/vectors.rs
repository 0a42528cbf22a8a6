//! `docs/gateway-protocol-vectors.json` through the whole gateway.

use std::path::Path;

use sentinel::gateway::protocol::{Request, sha256_hex};
use serde_json::Value;

use crate::messages::{T, key, read};
use crate::python::folder;
use crate::rust::{ask, fills, open};

fn vectors() -> Value {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/gateway-protocol-vectors.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn frame(vector: &Value) -> Vec<u8> {
    match vector["wire_hex"].as_str() {
        Some(digits) => (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect(),
        None => vector["wire"].as_str().unwrap().as_bytes().to_vec(),
    }
}

#[test]
fn every_exchange_has_the_replies_and_the_fills_of_its_vector() {
    let vectors = vectors();
    let exchanges = vectors["exchanges"].as_array().unwrap();
    assert!(exchanges.len() >= 32, "the exchanges are there");
    for exchange in exchanges {
        let folder = folder();
        let journal = folder.path().join("journal");
        let steps = exchange["steps"].as_array().unwrap();
        let start = |now| Some(open(&journal, &exchange["book"], now).unwrap());
        let mut peer = start(steps[0]["now"].as_i64().unwrap());
        for (index, step) in steps.iter().enumerate() {
            let name = format!("{}, step {}", exchange["name"], index + 1);
            let now = step["now"].as_i64().unwrap();
            if step["restart_before"] == true {
                drop(peer.take());
                peer = start(now);
            }
            let sent = frame(step);
            let reply = read(&ask(peer.as_mut().unwrap(), &sent, now).unwrap());
            let asked: Value = serde_json::from_slice(&sent).unwrap();
            assert_eq!(reply["request_sha256"], sha256_hex(&sent), "{name}");
            assert_eq!(reply["id"], asked["id"], "{name}");
            assert_eq!(reply["sent_at"], now, "{name}");
            assert_eq!(reply["type"], step["reply_type"], "{name}");
            for (field, wanted) in step["payload"].as_object().unwrap() {
                assert_eq!(reply["payload"][field], *wanted, "{name}, {field}");
            }
        }
        let wanted: Vec<_> = exchange["fills"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_str().unwrap())
            .collect();
        assert_eq!(fills(&peer.unwrap()), wanted, "{}", exchange["name"]);
    }
}

/// The verdict of steps 1 to 4, of which a refusal leaves nothing behind.
fn verdict(sent: &[u8]) -> Option<String> {
    let folder = folder();
    let journal = folder.path().join("journal");
    let mut peer = open(&journal, &Value::Null, T).unwrap();
    let reply = read(&ask(&mut peer, sent, T).unwrap());
    let code = reply["payload"]["code"].as_str();
    let code =
        code.filter(|code| ["malformed", "version", "unsigned", "bad_mac"].contains(code))?;
    assert_eq!(reply["type"], "REJECTED");
    assert_eq!(reply["payload"]["order_id"], Value::Null);
    assert_eq!(
        std::fs::metadata(&journal).unwrap().len(),
        0,
        "nothing is left behind"
    );
    Some(code.to_owned())
}

#[test]
fn every_message_of_the_vectors_is_refused_with_its_code_or_not_at_all() {
    let vectors = vectors();
    for vector in vectors["messages"].as_array().unwrap() {
        // A reply is signed, but nothing that a gateway acts on.
        let wanted = (vector["kind"] == "reply").then_some("malformed");
        assert_eq!(
            verdict(&frame(vector)).as_deref(),
            wanted,
            "{}",
            vector["name"]
        );
    }
    let mut judged = 0;
    for vector in vectors["wire"].as_array().unwrap() {
        // A vector of a reply says nothing of what a gateway makes of it; that it is none of the requests does.
        let decoded = Request::decode(&frame(vector), &key()).err();
        let wanted = match vector["kind"].as_str() {
            Some("request") => vector["code"].as_str(),
            _ => decoded.map(|error| error.code().as_str()),
        };
        let found = verdict(&frame(vector));
        assert_eq!(found.as_deref(), wanted, "{}", vector["name"]);
        judged += 1;
    }
    assert!(judged > 80, "{judged} messages were judged");
}
