//! The records of the journal, one JSON object to a line, as the peer in `ops/gateway` writes and reads them.
//!
//! Invariant: what parses has exactly the fields of its kind, and writes itself so that it parses again as the same. Must not touch: files.

use crate::gateway::protocol::fields::{Fields, string, string_or_null, wrong};
use crate::gateway::protocol::{
    Fill, IdempotencyKey, Json, MessageId, Order, Placed, ProtocolError, Rejection, ReplyBody, Text,
};

/// Longest line that is read: a reply has at most as many bytes, and a record little besides one.
const LINE_LEN_MAX_BYTES: usize = 1 << 17;

/// What an order was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Executed, whole.
    Filled(Fill),
    /// Executed in part, the rest is cancelled.
    Partial(Fill),
    /// The broker has it. Another verdict follows.
    Placed(Placed, Due),
    /// Not executed, and never will be.
    Rejected(Rejection),
}

/// When an order that was placed is filled by the simulated broker, in unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// When the broker would fill it.
    pub fill_at: i64,
    /// When the broker cancels it otherwise: the order's own `valid_until`.
    pub valid_until: i64,
}

impl Verdict {
    /// The answer that says it.
    pub fn reply(&self) -> ReplyBody {
        match self.clone() {
            Verdict::Filled(fill) => ReplyBody::Filled(fill),
            Verdict::Partial(fill) => ReplyBody::Partial(fill),
            Verdict::Placed(placed, _) => ReplyBody::Placed(placed),
            Verdict::Rejected(rejection) => ReplyBody::Rejected(rejection),
        }
    }

    fn members(&self) -> Vec<(&'static str, Json)> {
        let reply = self.reply();
        let mut members = vec![("type", string(reply.kind())), ("payload", reply.payload())];
        if let Verdict::Placed(_, due) = self {
            members.push(("fill_at", Json::Integer(due.fill_at)));
            members.push(("valid_until", Json::Integer(due.valid_until)));
        }
        members
    }
}

/// What must still be known after a power cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The broker is about to see an order.
    Begin {
        /// The order's id.
        id: MessageId,
        /// Its key, which is its own from now on.
        key: IdempotencyKey,
        /// What was ordered.
        order: Order,
    },
    /// What an order is answered.
    Result {
        /// The order's id.
        id: MessageId,
        /// Of an order that was refused before the broker saw it, the key that is its own from now on.
        key: Option<IdempotencyKey>,
        /// What was ordered.
        order: Order,
        /// What came of it.
        verdict: Verdict,
    },
    /// An order with the key and the payload of an earlier one, whose result is its answer.
    Alias {
        /// The repeated order's id.
        id: MessageId,
        /// The first order's id.
        of: MessageId,
    },
    /// An id that was asked for before it came: it is never executed.
    Revoked {
        /// The id.
        id: MessageId,
    },
    /// The kill switch was switched on.
    Kill {
        /// The message's id.
        id: MessageId,
        /// Why, as the sender says.
        reason: Text,
        /// Unix milliseconds.
        at: i64,
    },
    /// A human switched the kill switch off.
    Release {
        /// Unix milliseconds.
        at: i64,
    },
}

impl Record {
    /// The record as a line, with its end.
    pub fn line(&self) -> Vec<u8> {
        let mut line = self.json().canonical();
        line.push(b'\n');
        line
    }

    fn json(&self) -> Json {
        let (kind, mut members) = match self {
            Record::Begin { id, key, order } => {
                let key = string(key.as_str());
                let members = [("id", string(id)), ("key", key), ("order", order.payload())];
                ("begin", members.to_vec())
            }
            Record::Result {
                id,
                key,
                order,
                verdict,
            } => {
                let key = string_or_null(key.as_ref().map(IdempotencyKey::as_str));
                let members = [("id", string(id)), ("key", key), ("order", order.payload())];
                ("result", [&members[..], &verdict.members()].concat())
            }
            Record::Alias { id, of } => ("alias", vec![("id", string(id)), ("of", string(of))]),
            Record::Revoked { id } => ("revoked", vec![("id", string(id))]),
            Record::Kill { id, reason, at } => {
                let reason = string(reason);
                let members = [
                    ("id", string(id)),
                    ("reason", reason),
                    ("at", Json::Integer(*at)),
                ];
                ("kill", members.to_vec())
            }
            Record::Release { at } => ("release", vec![("at", Json::Integer(*at))]),
        };
        members.push(("record", string(kind)));
        let named = |(name, value): (&str, Json)| (name.to_owned(), value);
        Json::Object(members.into_iter().map(named).collect())
    }

    /// Reads a line without its end.
    ///
    /// # Errors
    /// When it is not a record with exactly the fields of its kind.
    pub fn parse(line: &[u8]) -> Result<Record, ProtocolError> {
        let mut fields = Fields::of(Json::parse(line, LINE_LEN_MAX_BYTES)?, "record")?;
        let wanted = "a kind of record";
        let kind = fields.one_of("record", wanted, |text| Some(text.to_owned()))?;
        let record = match kind.as_str() {
            "begin" => Record::Begin {
                id: fields.id("id")?,
                key: fields.key("key")?,
                order: take_order(&mut fields)?,
            },
            "result" => take_result(&mut fields)?,
            "alias" => Record::Alias {
                id: fields.id("id")?,
                of: fields.id("of")?,
            },
            "revoked" => Record::Revoked {
                id: fields.id("id")?,
            },
            "kill" => Record::Kill {
                id: fields.id("id")?,
                reason: fields.sentence("reason")?,
                at: fields.time("at")?,
            },
            "release" => Record::Release {
                at: fields.time("at")?,
            },
            _ => return Err(wrong("record", wanted)),
        };
        fields.finish()?;
        Ok(record)
    }
}

fn take_order(fields: &mut Fields) -> Result<Order, ProtocolError> {
    Order::take(Fields::of(fields.take("order")?, "order")?)
}

fn take_result(fields: &mut Fields) -> Result<Record, ProtocolError> {
    let id = fields.id("id")?;
    let key = fields.key_or_null("key")?;
    let order = take_order(fields)?;
    let kind = fields.one_of("type", "a verdict", |text| Some(text.to_owned()))?;
    let payload = Fields::of(fields.take("payload")?, "payload")?;
    let verdict = match ReplyBody::take(&kind, payload)? {
        ReplyBody::Filled(fill) if fill.order_id == id => Verdict::Filled(fill),
        ReplyBody::Partial(fill) if fill.order_id == id => Verdict::Partial(fill),
        ReplyBody::Placed(placed) if placed.order_id == id => {
            let due = Due {
                fill_at: fields.time("fill_at")?,
                valid_until: fields.time("valid_until")?,
            };
            Verdict::Placed(placed, due)
        }
        ReplyBody::Rejected(rejection) if rejection.order_id.as_ref() == Some(&id) => {
            Verdict::Rejected(rejection)
        }
        _ => return Err(wrong("payload", "a verdict about the order of the record")),
    };
    Ok(Record::Result {
        id,
        key,
        order,
        verdict,
    })
}
