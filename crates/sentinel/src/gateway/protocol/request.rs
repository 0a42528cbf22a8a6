//! What the sentinel asks. Invariant: a [`Request`] encodes to exactly one sequence of bytes, and only those fields decode. Must not touch:
//! clocks; whether a request is timely is a question with the time as an argument.

use super::error::ProtocolError;
use super::fields::{Fields, object, string, string_or_null, wrong};
use super::json::Json;
use super::sign::Key;
use super::{Amount, IdempotencyKey, MessageId, Text, envelope};
use super::{CLOCK_TOLERANCE_MS, MAX_LIFETIME_MS, MAX_REQUEST_BYTES, VERSION};

/// Which way an order or a position goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Buy; a position that gains when the price rises.
    Buy,
    /// Sell; a position that gains when the price falls.
    Sell,
}

impl Side {
    /// The spelling on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Side::Buy => "BUY",
            Side::Sell => "SELL",
        }
    }

    pub(super) fn take(fields: &mut Fields) -> Result<Side, ProtocolError> {
        fields.one_of("side", "BUY or SELL", |text| {
            [Side::Buy, Side::Sell]
                .into_iter()
                .find(|side| side.as_str() == text)
        })
    }
}

/// A market order. What is not filled at once is cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The account that it is for; another one refuses it.
    pub account: Text,
    /// The broker's name of the instrument.
    pub symbol: Text,
    /// Buy or sell.
    pub side: Side,
    /// Lots, above zero.
    pub volume: Amount,
    /// The highest price to buy or the lowest to sell at; none is any price.
    pub worst_price: Option<Amount>,
    /// The number by which the terminal knows whose order it is, at most 2^31-1.
    pub magic: u32,
}

impl Order {
    /// As it is on the wire, zeros at the end of amounts included: what decides whether two orders are the same.
    pub(in crate::gateway) fn payload(&self) -> Json {
        object([
            ("account", string(&self.account)),
            ("symbol", string(&self.symbol)),
            ("side", string(self.side.as_str())),
            ("volume", string(self.volume)),
            ("worst_price", string_or_null(self.worst_price)),
            ("magic", Json::Integer(i64::from(self.magic))),
        ])
    }

    pub(in crate::gateway) fn take(mut payload: Fields) -> Result<Order, ProtocolError> {
        let order = Order {
            account: payload.name("account")?,
            symbol: payload.name("symbol")?,
            side: Side::take(&mut payload)?,
            volume: payload.positive("volume")?,
            worst_price: payload.positive_or_null("worst_price")?,
            magic: payload.magic()?,
        };
        payload.finish()?;
        Ok(order)
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestBody {
    /// Execute an order.
    Order(Order),
    /// What became of the order that was sent under this id; an id that is not known may not be executed afterwards.
    Status(MessageId),
    /// All open positions.
    Positions,
    /// Money and margin.
    Account,
    /// A sign of life.
    Heartbeat,
    /// Execute no further order, until a human at the gateway says otherwise.
    Kill {
        /// Why, for the gateway's log.
        reason: Text,
    },
}

impl RequestBody {
    /// The spelling on the wire.
    pub const fn kind(&self) -> &'static str {
        match self {
            RequestBody::Order(_) => "ORDER",
            RequestBody::Status(_) => "STATUS",
            RequestBody::Positions => "POSITIONS",
            RequestBody::Account => "ACCOUNT",
            RequestBody::Heartbeat => "HEARTBEAT",
            RequestBody::Kill { .. } => "KILL",
        }
    }

    fn payload(&self) -> Json {
        match self {
            RequestBody::Order(order) => order.payload(),
            RequestBody::Status(id) => object([("order_id", string(id))]),
            RequestBody::Kill { reason } => object([("reason", string(reason))]),
            RequestBody::Positions | RequestBody::Account | RequestBody::Heartbeat => object([]),
        }
    }

    fn take(kind: &str, mut payload: Fields) -> Result<RequestBody, ProtocolError> {
        let body = match kind {
            "ORDER" => return Ok(RequestBody::Order(Order::take(payload)?)),
            "STATUS" => RequestBody::Status(payload.id("order_id")?),
            "POSITIONS" => RequestBody::Positions,
            "ACCOUNT" => RequestBody::Account,
            "HEARTBEAT" => RequestBody::Heartbeat,
            "KILL" => RequestBody::Kill {
                reason: payload.sentence("reason")?,
            },
            _ => return Err(wrong("type", "a type of request")),
        };
        payload.finish()?;
        Ok(body)
    }
}

/// A message to the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Used once, for ever.
    pub id: MessageId,
    /// Of two orders with the same key only the first is executed. Other messages have their id here.
    pub idempotency_key: IdempotencyKey,
    /// Unix milliseconds of the sender's clock.
    pub sent_at: i64,
    /// Unix milliseconds after which nothing may come of it, at most [`MAX_LIFETIME_MS`] after `sent_at`.
    pub valid_until: i64,
    /// What is asked.
    pub body: RequestBody,
}

impl Request {
    /// The bytes to send, with the mac.
    ///
    /// # Errors
    /// When it would not be read again: a time, an amount or a text is out of the range of its field.
    pub fn encode(&self, key: &Key) -> Result<Vec<u8>, ProtocolError> {
        let body = object([
            ("version", Json::Integer(VERSION)),
            ("type", string(self.body.kind())),
            ("id", string(&self.id)),
            ("idempotency_key", string(self.idempotency_key.as_str())),
            ("sent_at", Json::Integer(self.sent_at)),
            ("valid_until", Json::Integer(self.valid_until)),
            ("payload", self.body.payload()),
        ]);
        let bytes = envelope::seal(body, key);
        Request::decode(&bytes, key)?;
        Ok(bytes)
    }

    /// A request that was signed with the key and is well formed. Whether it is timely, and came before, is not looked at.
    ///
    /// # Errors
    /// By the first reason of the contract: JSON, version, mac, fields.
    pub fn decode(bytes: &[u8], key: &Key) -> Result<Request, ProtocolError> {
        let mut fields = envelope::open(bytes, MAX_REQUEST_BYTES, key)?;
        let kind = fields.one_of("type", "a type of request", |text| Some(text.to_owned()))?;
        let payload = Fields::of(fields.take("payload")?, "payload")?;
        let request = Request {
            id: fields.id("id")?,
            idempotency_key: fields.key("idempotency_key")?,
            sent_at: fields.time("sent_at")?,
            valid_until: fields.time("valid_until")?,
            body: RequestBody::take(&kind, payload)?,
        };
        fields.finish()?;
        request.check_times()?;
        Ok(request)
    }

    /// Whether a gateway whose clock shows `now` may act on it. A kill is always timely.
    pub fn is_timely(&self, now: i64) -> bool {
        matches!(self.body, RequestBody::Kill { .. })
            || now <= self.valid_until && self.sent_at <= now.saturating_add(CLOCK_TOLERANCE_MS)
    }

    fn check_times(&self) -> Result<(), ProtocolError> {
        let lifetime = self.valid_until.checked_sub(self.sent_at);
        let is_good = self.sent_at >= 0
            && self.valid_until < 1 << 53
            && lifetime.is_some_and(|lifetime| (0..=MAX_LIFETIME_MS).contains(&lifetime));
        if !is_good {
            return Err(wrong("valid_until", "0 to 60000 ms after sent_at"));
        }
        Ok(())
    }
}
