//! The whole book as JSON, for people and tests; the members are those of the peer in `ops/gateway`.
//!
//! Invariant: it is made of the journal alone, so it is right beside a running gateway as well. Must not touch: files.

use serde_json::{Value, json};

use super::book::Book;
use super::known::Known;
use crate::gateway::protocol::{Json, ReplyBody};

/// Account, positions, fills and the verdict of every order. Account and positions are `null` if a sum cannot be written.
pub fn report(known: &Known, book: &Book, now: i64) -> Value {
    let account = book.account(now).map(ReplyBody::Account);
    let positions = book.positions().map(|positions| {
        let items = positions.iter().map(|position| value(&position.payload()));
        items.collect::<Vec<_>>()
    });
    let fills = book.fills().iter().cloned().map(ReplyBody::Filled);
    let orders = known.judged().map(|(id, judged)| {
        let reply = judged.verdict.reply();
        json!({"id": id.as_str(), "type": reply.kind(), "payload": value(&reply.payload())})
    });
    let repeated = known.repeated().iter();
    let repeated = repeated.map(|(id, of)| (id.to_string(), Value::from(of.as_str())));
    let revoked = known.revoked().iter().map(|id| id.as_str());
    json!({
        "account": account.map(|account| value(&account.payload())),
        "positions": positions,
        "fills": fills.map(|fill| value(&fill.payload())).collect::<Vec<_>>(),
        "orders": orders.collect::<Vec<_>>(),
        "repeated": repeated.collect::<serde_json::Map<_, _>>(),
        "revoked": revoked.collect::<Vec<_>>(),
        "killed_at": known.killed_at(),
    })
}

fn value(json: &Json) -> Value {
    serde_json::from_slice(&json.canonical()).expect("canonical bytes are JSON")
}
