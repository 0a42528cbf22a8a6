//! Ids, idempotency keys and free texts. Invariant: a value of these types may be on the wire as it is. Must not touch: how ids are made.

use std::fmt;

/// The id of one message, used once: 1 to 31 of `0-9 A-Z a-z . _ : -`, so that it fits into the comment of an MT5 deal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(String);

/// What makes two orders the same order: 1 to 64 of `0-9 A-Z a-z . _ : -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(String);

/// A text without control characters, of as many bytes as its field may have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(String);

fn is_plain(text: &str, max: usize) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    (1..=max).contains(&text.len()) && text.bytes().all(is_allowed)
}

impl MessageId {
    /// None if it is empty, longer than 31 or has another character.
    pub fn new(text: &str) -> Option<MessageId> {
        is_plain(text, 31).then(|| MessageId(text.to_owned()))
    }

    /// As it is on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl IdempotencyKey {
    /// None if it is empty, longer than 64 or has another character.
    pub fn new(text: &str) -> Option<IdempotencyKey> {
        is_plain(text, 64).then(|| IdempotencyKey(text.to_owned()))
    }

    /// As it is on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Text {
    /// Bytes of an account, a symbol or a ticket, at most.
    pub const NAME: usize = 64;
    /// Bytes of a reason or a message, at most.
    pub const SENTENCE: usize = 200;

    /// A name of 1 to 64 bytes; none if it is empty, longer or has a control character.
    pub fn name(text: &str) -> Option<Text> {
        (!text.is_empty()).then(|| Text::up_to(text, Text::NAME))?
    }

    /// A sentence of at most 200 bytes; none if it is longer or has a control character.
    pub fn sentence(text: &str) -> Option<Text> {
        Text::up_to(text, Text::SENTENCE)
    }

    pub(super) fn up_to(text: &str, max: usize) -> Option<Text> {
        let is_allowed = text.len() <= max && !text.bytes().any(|byte| byte.is_ascii_control());
        is_allowed.then(|| Text(text.to_owned()))
    }

    /// As it is on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
