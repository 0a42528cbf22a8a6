//! What requests and replies have in common: the mac around the fields. Invariant: no field but `version` and `mac` is looked at before the
//! mac is known to be right. Must not touch: the meaning of the fields.

use super::VERSION;
use super::error::ProtocolError;
use super::fields::{Fields, string};
use super::json::Json;
use super::sign::Key;

/// The canonical bytes of an object with its mac.
pub(super) fn seal(body: Json, key: &Key) -> Vec<u8> {
    let mac = key.mac(&body.canonical());
    let Json::Object(mut members) = body else {
        unreachable!("only objects are sealed");
    };
    members.insert("mac".to_owned(), string(mac));
    Json::Object(members).canonical()
}

/// The fields of bytes that were signed with the key; `version` and `mac` are taken.
pub(super) fn open(bytes: &[u8], max: usize, key: &Key) -> Result<Fields, ProtocolError> {
    let Json::Object(mut members) = Json::parse(bytes, max)? else {
        return Err(ProtocolError::NoVersion);
    };
    match members.get("version") {
        Some(Json::Integer(VERSION)) => {}
        Some(Json::Integer(other)) => return Err(ProtocolError::Version(*other)),
        _ => return Err(ProtocolError::NoVersion),
    }
    let mac = members.remove("mac").ok_or(ProtocolError::Unsigned)?;
    let body = Json::Object(members);
    match mac {
        Json::String(mac) if key.is_mac(&body.canonical(), &mac) => {}
        _ => return Err(ProtocolError::BadMac),
    }
    let mut fields = Fields::of(body, "message")?;
    fields.take("version")?;
    Ok(fields)
}
