//! Takes the fields of an object one by one, of a message or of a record of the simulated gateway's journal. Invariant: a field that nobody took is an error, as is one that is missing or of another type.
//! Must not touch: bytes.

use std::collections::BTreeMap;

use super::error::ProtocolError;
use super::json::Json;
use super::{Amount, IdempotencyKey, MessageId, Text};

/// An object whose fields are taken out.
#[derive(Debug)]
pub(in crate::gateway) struct Fields(BTreeMap<String, Json>);

/// The greatest unix milliseconds and integers at all.
const MAX_TIME: i64 = (1 << 53) - 1;

impl Fields {
    pub(in crate::gateway) fn of(
        value: Json,
        field: &'static str,
    ) -> Result<Fields, ProtocolError> {
        match value {
            Json::Object(members) => Ok(Fields(members)),
            _ => Err(wrong(field, "an object")),
        }
    }

    pub(in crate::gateway) fn take(&mut self, field: &'static str) -> Result<Json, ProtocolError> {
        self.0.remove(field).ok_or(ProtocolError::Missing(field))
    }

    /// Nothing may be left.
    pub(in crate::gateway) fn finish(self) -> Result<(), ProtocolError> {
        match self.0.into_keys().next() {
            Some(name) => Err(ProtocolError::Unknown(name)),
            None => Ok(()),
        }
    }

    fn string(
        &mut self,
        field: &'static str,
        wanted: &'static str,
    ) -> Result<String, ProtocolError> {
        match self.take(field)? {
            Json::String(text) => Ok(text),
            _ => Err(wrong(field, wanted)),
        }
    }

    /// One of a finite list of names.
    pub(in crate::gateway) fn one_of<T>(
        &mut self,
        field: &'static str,
        wanted: &'static str,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ProtocolError> {
        let text = self.string(field, wanted)?;
        find(&text).ok_or(wrong(field, wanted))
    }

    pub(in crate::gateway) fn id(
        &mut self,
        field: &'static str,
    ) -> Result<MessageId, ProtocolError> {
        self.one_of(field, "an id of 1 to 31 plain characters", MessageId::new)
    }

    /// An id or `null`.
    pub(in crate::gateway) fn id_or_null(
        &mut self,
        field: &'static str,
    ) -> Result<Option<MessageId>, ProtocolError> {
        if self.0.get(field) == Some(&Json::Null) {
            self.0.remove(field);
            return Ok(None);
        }
        self.id(field).map(Some)
    }

    pub(in crate::gateway) fn key(
        &mut self,
        field: &'static str,
    ) -> Result<IdempotencyKey, ProtocolError> {
        let wanted = "a key of 1 to 64 plain characters";
        self.one_of(field, wanted, IdempotencyKey::new)
    }

    /// A key or `null`.
    pub(in crate::gateway) fn key_or_null(
        &mut self,
        field: &'static str,
    ) -> Result<Option<IdempotencyKey>, ProtocolError> {
        if self.0.get(field) == Some(&Json::Null) {
            self.0.remove(field);
            return Ok(None);
        }
        self.key(field).map(Some)
    }

    pub(in crate::gateway) fn name(&mut self, field: &'static str) -> Result<Text, ProtocolError> {
        let wanted = "a text of 1 to 64 bytes without control characters";
        self.one_of(field, wanted, Text::name)
    }

    pub(in crate::gateway) fn sentence(
        &mut self,
        field: &'static str,
    ) -> Result<Text, ProtocolError> {
        let wanted = "a text of at most 200 bytes without control characters";
        self.one_of(field, wanted, Text::sentence)
    }

    pub(in crate::gateway) fn amount(
        &mut self,
        field: &'static str,
    ) -> Result<Amount, ProtocolError> {
        self.one_of(field, "a decimal number in a string", Amount::parse)
    }

    /// An amount greater than zero.
    pub(in crate::gateway) fn positive(
        &mut self,
        field: &'static str,
    ) -> Result<Amount, ProtocolError> {
        let wanted = "a decimal number above zero in a string";
        self.one_of(field, wanted, |text| {
            Amount::parse(text).filter(|amount| amount.is_positive())
        })
    }

    /// An amount greater than zero, or `null`.
    pub(in crate::gateway) fn positive_or_null(
        &mut self,
        field: &'static str,
    ) -> Result<Option<Amount>, ProtocolError> {
        if self.0.get(field) == Some(&Json::Null) {
            self.0.remove(field);
            return Ok(None);
        }
        self.positive(field).map(Some)
    }

    /// An integer from `low` to `high`.
    pub(in crate::gateway) fn integer(
        &mut self,
        field: &'static str,
        low: i64,
        high: i64,
    ) -> Result<i64, ProtocolError> {
        match self.take(field)? {
            Json::Integer(value) if (low..=high).contains(&value) => Ok(value),
            _ => Err(wrong(field, "an integer of its range")),
        }
    }

    /// Unix milliseconds.
    pub(in crate::gateway) fn time(&mut self, field: &'static str) -> Result<i64, ProtocolError> {
        self.integer(field, 0, MAX_TIME)
    }

    /// The number by which a terminal knows whose order it is.
    pub(in crate::gateway) fn magic(&mut self) -> Result<u32, ProtocolError> {
        let value = self.integer("magic", 0, i64::from(i32::MAX))?;
        u32::try_from(value).map_err(|_| wrong("magic", "an integer of its range"))
    }

    pub(in crate::gateway) fn bool(&mut self, field: &'static str) -> Result<bool, ProtocolError> {
        match self.take(field)? {
            Json::Bool(value) => Ok(value),
            _ => Err(wrong(field, "true or false")),
        }
    }
}

pub(in crate::gateway) fn wrong(field: &'static str, wanted: &'static str) -> ProtocolError {
    ProtocolError::Wrong { field, wanted }
}

/// An object of these members.
pub(in crate::gateway) fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    let named = members.map(|(name, value)| (name.to_owned(), value));
    Json::Object(named.into_iter().collect())
}

/// A string.
pub(in crate::gateway) fn string(text: impl ToString) -> Json {
    Json::String(text.to_string())
}

/// A string, or `null`.
pub(in crate::gateway) fn string_or_null(text: Option<impl ToString>) -> Json {
    text.map_or(Json::Null, string)
}
