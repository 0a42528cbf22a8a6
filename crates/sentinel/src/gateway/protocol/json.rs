//! JSON without floats and without duplicate keys, and its canonical bytes (RFC 8785).
//!
//! Invariant: two values that are equal have the same canonical bytes, whatever the order of keys they were read in. Must not touch: the
//! meaning of fields. Without floats the canonical form is short to say: keys in the order of their UTF-16 code units, no white space,
//! escapes as short as can be.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::error::ProtocolError;

/// Arrays and objects within each other, at most.
const MAX_DEPTH: usize = 8;
/// The greatest integer that every JSON reader has exactly.
const MAX_INTEGER: i64 = (1 << 53) - 1;

/// A value that may be on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number of at most 2^53-1 in size.
    Integer(i64),
    /// A text.
    String(String),
    /// A list.
    Array(Vec<Json>),
    /// Members by their names.
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// Reads at most `max` bytes.
    ///
    /// # Errors
    /// For what is larger, no JSON in UTF-8, nested too deep, has a number that is no integer or a key twice.
    pub fn parse(bytes: &[u8], max: usize) -> Result<Json, ProtocolError> {
        if bytes.len() > max {
            return Err(ProtocolError::TooLarge {
                found: bytes.len(),
                max,
            });
        }
        let reason = RefCell::new(None);
        let seed = Reader {
            depth: 0,
            reason: &reason,
        };
        let mut source = serde_json::Deserializer::from_slice(bytes);
        let read = seed
            .deserialize(&mut source)
            .and_then(|value| source.end().map(|()| value));
        read.map_err(|error| {
            let typed = reason.take();
            typed.unwrap_or_else(|| ProtocolError::NotJson(place(&error)))
        })
    }

    /// The canonical bytes.
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = String::new();
        self.write(&mut out);
        out.into_bytes()
    }

    fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Integer(value) => out.push_str(&value.to_string()),
            Json::String(value) => write_string(value, out),
            Json::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Json::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
                out.push('{');
                for (index, (name, value)) in members.into_iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_string(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// Where the reader stopped; its own words could repeat what was sent.
fn place(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}

/// Reads one value. The typed reason takes a way of its own, because the error of the reader below is a text.
struct Reader<'a> {
    depth: usize,
    reason: &'a RefCell<Option<ProtocolError>>,
}

impl Reader<'_> {
    fn fail<E: serde::de::Error>(&self, reason: ProtocolError) -> E {
        *self.reason.borrow_mut() = Some(reason);
        E::custom("refused")
    }

    fn inner<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.fail(ProtocolError::TooDeep(MAX_DEPTH)));
        }
        Ok(Reader {
            depth: self.depth + 1,
            reason: self.reason,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Json;

    fn deserialize<D: serde::Deserializer<'de>>(self, source: D) -> Result<Json, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Json, E> {
        if !(-MAX_INTEGER..=MAX_INTEGER).contains(&value) {
            return Err(self.fail(ProtocolError::NotAnInteger));
        }
        Ok(Json::Integer(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Json, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => Err(self.fail(ProtocolError::NotAnInteger)),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Json, E> {
        Err(self.fail(ProtocolError::NotAnInteger))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        // What is too deep is said before what is in it.
        while let Some(item) = items.next_element_seed(self.inner()?)? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let inner = self.inner::<A::Error>()?;
        let mut object = BTreeMap::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Reader { ..inner })?;
            if object.contains_key(&name) {
                return Err(self.fail(ProtocolError::DuplicateKey(name)));
            }
            object.insert(name, value);
        }
        Ok(Json::Object(object))
    }
}
