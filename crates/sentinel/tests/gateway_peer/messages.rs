//! Messages as a client writes them, and signed ones that no client would write.

use hmac::{Hmac, KeyInit, Mac};
use program::secret::Secret;
use sentinel::gateway::protocol::{Json, Key, MAX_REPLY_BYTES, Reply};
use serde_json::{Value, json};
use sha2::Sha256;

pub(crate) const SECRET: &str = "vectors-only.never-use-this-secret";

/// Unix milliseconds at which the tests begin.
pub(crate) const T: i64 = 1_763_802_000_000;

pub(crate) fn key() -> Key {
    Key::new(&Secret::new(SECRET).unwrap()).unwrap()
}

/// A message without its mac.
pub(crate) fn body(
    kind: &str,
    id: &str,
    key: &str,
    payload: &Value,
    sent_at: i64,
    lifetime: i64,
) -> Value {
    json!({
        "version": 1, "type": kind, "id": id, "idempotency_key": key, "payload": payload,
        "sent_at": sent_at, "valid_until": sent_at + lifetime,
    })
}

/// With the mac of what the text means or, if it means nothing, of its bytes; the mac becomes its last member.
pub(crate) fn signed(text: &str) -> Vec<u8> {
    let canonical = Json::parse(text.as_bytes(), MAX_REPLY_BYTES)
        .map_or_else(|_| text.as_bytes().to_vec(), |value| value.canonical());
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(&canonical);
    let digits: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let open = text.strip_suffix('}').unwrap_or(text);
    format!("{open},\"mac\":\"{digits}\"}}").into_bytes()
}

pub(crate) fn message(kind: &str, id: &str, payload: &Value, sent_at: i64) -> Vec<u8> {
    signed(&body(kind, id, id, payload, sent_at, 5000).to_string())
}

pub(crate) fn buy(volume: &str) -> Value {
    json!({"account": "1000001", "symbol": "EURUSD", "side": "BUY", "volume": volume, "worst_price": null, "magic": 7})
}

pub(crate) fn order(id: &str, key: &str, payload: &Value, sent_at: i64) -> Vec<u8> {
    signed(&body("ORDER", id, key, payload, sent_at, 60_000).to_string())
}

pub(crate) fn status(id: &str, of: &str, sent_at: i64) -> Vec<u8> {
    message("STATUS", id, &json!({"order_id": of}), sent_at)
}

/// A reply that is signed, as plain JSON.
pub(crate) fn read(bytes: &[u8]) -> Value {
    Reply::decode(bytes, &key())
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)));
    serde_json::from_slice(bytes).unwrap()
}
