//! Replies to bytes and back, and which request a reply answers. Invariant: a reply that was made for other bytes is never taken as the
//! answer, whatever id it has. Must not touch: clocks.

use super::error::{ProtocolError, Refusal};
use super::fields::{Fields, object, string, string_or_null, wrong};
use super::json::Json;
use super::reply::{
    Account, AccountMode, Code, Fill, Heartbeat, Killed, Placed, Position, Positions, Rejection,
    Reply, ReplyBody,
};
use super::sign::{Key, is_hex_32, sha256_hex};
use super::{MAX_POSITIONS, MAX_REPLY_BYTES, VERSION};
use super::{Request, RequestBody, Side, Text, envelope};

impl Reply {
    /// The bytes to send, with the mac.
    ///
    /// # Errors
    /// When it would not be read again: a time, an amount, a text or a list is out of the range of its field.
    pub fn encode(&self, key: &Key) -> Result<Vec<u8>, ProtocolError> {
        let body = object([
            ("version", Json::Integer(VERSION)),
            ("type", string(self.body.kind())),
            ("id", string_or_null(self.id.as_ref())),
            ("request_sha256", string(&self.request_sha256)),
            ("sent_at", Json::Integer(self.sent_at)),
            ("payload", self.body.payload()),
        ]);
        let bytes = envelope::seal(body, key);
        Reply::decode(&bytes, key)?;
        Ok(bytes)
    }

    /// A reply that was signed with the key and is well formed. Ask [`Reply::check_answers`] before it is believed.
    ///
    /// # Errors
    /// By the first reason of the contract: JSON, version, mac, fields.
    pub fn decode(bytes: &[u8], key: &Key) -> Result<Reply, ProtocolError> {
        let mut fields = envelope::open(bytes, MAX_REPLY_BYTES, key)?;
        let kind = fields.one_of("type", "a type of reply", |text| Some(text.to_owned()))?;
        let payload = Fields::of(fields.take("payload")?, "payload")?;
        let reply = Reply {
            id: fields.id_or_null("id")?,
            request_sha256: fields.one_of(
                "request_sha256",
                "64 small hexadecimal digits",
                |text| is_hex_32(text).then(|| text.to_owned()),
            )?,
            sent_at: fields.time("sent_at")?,
            body: ReplyBody::take(&kind, payload)?,
        };
        fields.finish()?;
        Ok(reply)
    }

    /// Whether this is the answer to a request that was sent as `bytes`.
    ///
    /// # Errors
    /// When it answers other bytes or another id, or cannot be an answer to such a request.
    pub fn check_answers(&self, request: &Request, bytes: &[u8]) -> Result<(), Refusal> {
        let is_its_id = self.id.as_ref().is_none_or(|id| *id == request.id);
        if self.request_sha256 != sha256_hex(bytes) || !is_its_id {
            return Err(Refusal::OtherRequest);
        }
        let fits = match (&request.body, &self.body) {
            (_, ReplyBody::Rejected(Rejection { order_id: None, .. }))
            | (RequestBody::Positions, ReplyBody::Positions(_))
            | (RequestBody::Account, ReplyBody::Account(_))
            | (RequestBody::Heartbeat, ReplyBody::Heartbeat(_))
            | (
                RequestBody::Kill { .. },
                ReplyBody::Kill(Killed {
                    is_killed: true, ..
                }),
            ) => true,
            // A repeated key is answered with the first order of that key, which has another id.
            (RequestBody::Order(order), ReplyBody::Filled(fill) | ReplyBody::Partial(fill)) => {
                fill.idempotency_key == request.idempotency_key
                    && fill.symbol == order.symbol
                    && fill.side == order.side
                    && fill.requested_volume == order.volume
            }
            (RequestBody::Order(order), ReplyBody::Placed(placed)) => {
                placed.idempotency_key == request.idempotency_key
                    && placed.symbol == order.symbol
                    && placed.side == order.side
                    && placed.requested_volume == order.volume
            }
            (RequestBody::Order(_), ReplyBody::Rejected(_)) => true,
            (RequestBody::Status(asked), ReplyBody::UnknownId(id)) => id == asked,
            (
                RequestBody::Status(_),
                ReplyBody::Filled(_)
                | ReplyBody::Partial(_)
                | ReplyBody::Placed(_)
                | ReplyBody::Rejected(_),
            ) => true,
            _ => false,
        };
        if fits {
            Ok(())
        } else {
            Err(Refusal::OtherAnswer)
        }
    }
}

impl ReplyBody {
    /// The spelling on the wire.
    pub const fn kind(&self) -> &'static str {
        match self {
            ReplyBody::Filled(_) => "FILLED",
            ReplyBody::Partial(_) => "PARTIAL",
            ReplyBody::Placed(_) => "PLACED",
            ReplyBody::Rejected(_) => "REJECTED",
            ReplyBody::UnknownId(_) => "UNKNOWN_ID",
            ReplyBody::Positions(_) => "POSITIONS",
            ReplyBody::Account(_) => "ACCOUNT",
            ReplyBody::Heartbeat(_) => "HEARTBEAT",
            ReplyBody::Kill(_) => "KILL",
        }
    }

    pub(in crate::gateway) fn payload(&self) -> Json {
        match self {
            ReplyBody::Filled(fill) | ReplyBody::Partial(fill) => object([
                ("order_id", string(&fill.order_id)),
                ("idempotency_key", string(fill.idempotency_key.as_str())),
                ("ticket", string(&fill.ticket)),
                ("symbol", string(&fill.symbol)),
                ("side", string(fill.side.as_str())),
                ("requested_volume", string(fill.requested_volume)),
                ("volume", string(fill.volume)),
                ("price", string(fill.price)),
                ("executed_at", Json::Integer(fill.executed_at)),
            ]),
            ReplyBody::Placed(placed) => object([
                ("order_id", string(&placed.order_id)),
                ("idempotency_key", string(placed.idempotency_key.as_str())),
                ("ticket", string(&placed.ticket)),
                ("symbol", string(&placed.symbol)),
                ("side", string(placed.side.as_str())),
                ("requested_volume", string(placed.requested_volume)),
                ("placed_at", Json::Integer(placed.placed_at)),
            ]),
            ReplyBody::Rejected(rejection) => object([
                ("order_id", string_or_null(rejection.order_id.as_ref())),
                ("code", string(rejection.code.as_str())),
                ("message", string(&rejection.message)),
            ]),
            ReplyBody::UnknownId(id) => object([("order_id", string(id))]),
            ReplyBody::Positions(list) => object([
                ("account", string(&list.account)),
                ("as_of", Json::Integer(list.as_of)),
                (
                    "positions",
                    Json::Array(list.positions.iter().map(Position::payload).collect()),
                ),
            ]),
            ReplyBody::Account(account) => account.payload(),
            ReplyBody::Heartbeat(heartbeat) => object([
                ("account", string(&heartbeat.account)),
                ("is_connected", Json::Bool(heartbeat.is_connected)),
                (
                    "is_trading_allowed",
                    Json::Bool(heartbeat.is_trading_allowed),
                ),
                ("is_killed", Json::Bool(heartbeat.is_killed)),
                ("started_at", Json::Integer(heartbeat.started_at)),
            ]),
            ReplyBody::Kill(killed) => object([
                ("is_killed", Json::Bool(killed.is_killed)),
                ("killed_at", Json::Integer(killed.killed_at)),
            ]),
        }
    }

    pub(in crate::gateway) fn take(
        kind: &str,
        mut payload: Fields,
    ) -> Result<ReplyBody, ProtocolError> {
        let fields = &mut payload;
        let body = match kind {
            "FILLED" => ReplyBody::Filled(take_fill(fields, true)?),
            "PARTIAL" => ReplyBody::Partial(take_fill(fields, false)?),
            "PLACED" => ReplyBody::Placed(Placed {
                order_id: fields.id("order_id")?,
                idempotency_key: fields.key("idempotency_key")?,
                ticket: fields.name("ticket")?,
                symbol: fields.name("symbol")?,
                side: Side::take(fields)?,
                requested_volume: fields.positive("requested_volume")?,
                placed_at: fields.time("placed_at")?,
            }),
            "REJECTED" => ReplyBody::Rejected(Rejection {
                order_id: fields.id_or_null("order_id")?,
                code: fields.one_of("code", "a code of the protocol", |text| {
                    Code::ALL.iter().copied().find(|code| code.as_str() == text)
                })?,
                message: fields.sentence("message")?,
            }),
            "UNKNOWN_ID" => ReplyBody::UnknownId(fields.id("order_id")?),
            "POSITIONS" => ReplyBody::Positions(take_positions(fields)?),
            "ACCOUNT" => ReplyBody::Account(Account::take(fields)?),
            "HEARTBEAT" => ReplyBody::Heartbeat(Heartbeat {
                account: fields.name("account")?,
                is_connected: fields.bool("is_connected")?,
                is_trading_allowed: fields.bool("is_trading_allowed")?,
                is_killed: fields.bool("is_killed")?,
                started_at: fields.time("started_at")?,
            }),
            "KILL" => ReplyBody::Kill(Killed {
                is_killed: fields.bool("is_killed")?,
                killed_at: fields.time("killed_at")?,
            }),
            _ => return Err(wrong("type", "a type of reply")),
        };
        payload.finish()?;
        Ok(body)
    }
}

fn take_fill(fields: &mut Fields, is_whole: bool) -> Result<Fill, ProtocolError> {
    let fill = Fill {
        order_id: fields.id("order_id")?,
        idempotency_key: fields.key("idempotency_key")?,
        ticket: fields.name("ticket")?,
        symbol: fields.name("symbol")?,
        side: Side::take(fields)?,
        requested_volume: fields.positive("requested_volume")?,
        volume: fields.positive("volume")?,
        price: fields.positive("price")?,
        executed_at: fields.time("executed_at")?,
    };
    let fits = if is_whole {
        fill.volume == fill.requested_volume
    } else {
        fill.volume < fill.requested_volume
    };
    if fits {
        Ok(fill)
    } else {
        Err(wrong("volume", "the whole for FILLED, less for PARTIAL"))
    }
}

fn take_positions(fields: &mut Fields) -> Result<Positions, ProtocolError> {
    let wanted = "a list of at most 200 positions";
    let account = fields.name("account")?;
    let as_of = fields.time("as_of")?;
    let items = match fields.take("positions")? {
        Json::Array(items) if items.len() <= MAX_POSITIONS => items,
        _ => return Err(wrong("positions", wanted)),
    };
    let positions = items
        .into_iter()
        .map(Position::take)
        .collect::<Result<_, _>>()?;
    Ok(Positions {
        account,
        as_of,
        positions,
    })
}

impl Position {
    pub(in crate::gateway) fn payload(&self) -> Json {
        object([
            ("ticket", string(&self.ticket)),
            ("symbol", string(&self.symbol)),
            ("side", string(self.side.as_str())),
            ("volume", string(self.volume)),
            ("open_price", string(self.open_price)),
            ("current_price", string(self.current_price)),
            ("profit", string(self.profit)),
            ("opened_at", Json::Integer(self.opened_at)),
            ("magic", Json::Integer(i64::from(self.magic))),
        ])
    }

    fn take(item: Json) -> Result<Position, ProtocolError> {
        let mut fields = Fields::of(item, "positions")?;
        let position = Position {
            ticket: fields.name("ticket")?,
            symbol: fields.name("symbol")?,
            side: Side::take(&mut fields)?,
            volume: fields.positive("volume")?,
            open_price: fields.positive("open_price")?,
            current_price: fields.positive("current_price")?,
            profit: fields.amount("profit")?,
            opened_at: fields.time("opened_at")?,
            magic: fields.magic()?,
        };
        fields.finish()?;
        Ok(position)
    }
}

impl Account {
    fn payload(&self) -> Json {
        object([
            ("account", string(&self.account)),
            ("mode", string(self.mode.as_str())),
            ("currency", string(&self.currency)),
            ("balance", string(self.balance)),
            ("equity", string(self.equity)),
            ("margin_used", string(self.margin_used)),
            ("margin_free", string(self.margin_free)),
            ("leverage", Json::Integer(self.leverage)),
            ("as_of", Json::Integer(self.as_of)),
        ])
    }

    fn take(fields: &mut Fields) -> Result<Account, ProtocolError> {
        Ok(Account {
            account: fields.name("account")?,
            mode: fields.one_of("mode", "demo or real", |text| {
                [AccountMode::Demo, AccountMode::Real]
                    .into_iter()
                    .find(|mode| mode.as_str() == text)
            })?,
            currency: fields.one_of("currency", "a text of 1 to 16 bytes", |text| {
                Text::name(text).filter(|text| text.as_str().len() <= 16)
            })?,
            balance: fields.amount("balance")?,
            equity: fields.amount("equity")?,
            margin_used: fields.amount("margin_used")?,
            margin_free: fields.amount("margin_free")?,
            leverage: fields.integer("leverage", 1, 10_000)?,
            as_of: fields.time("as_of")?,
        })
    }
}
