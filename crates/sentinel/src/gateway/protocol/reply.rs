//! What the gateway answers. Invariant: a reply names the bytes that it answers, and only FILLED, PARTIAL and PLACED are executions. Must
//! not touch: clocks.

use super::{Amount, IdempotencyKey, MessageId, Side, Text};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// Why an order or a message is refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name),* }

        impl Code {
            /// All of them.
            pub const ALL: &[Code] = &[$(Code::$name),*];

            /// The spelling on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text),* }
            }
        }
    };
}

codes! {
    /// The broker has no price at this moment.
    Requote = "requote",
    /// The price is worse than the order allows, or off.
    Price = "price",
    /// The volume is not one that can be traded.
    Volume = "volume",
    /// Not enough free margin.
    Margin = "margin",
    /// Nobody trades this symbol now.
    MarketClosed = "market_closed",
    /// Trading is not allowed: kill switch, terminal, or another account.
    Disabled = "disabled",
    /// Any other reason of the broker.
    Other = "other",
    /// Outside of its time by the gateway's clock.
    Late = "late",
    /// No mac.
    Unsigned = "unsigned",
    /// Another mac.
    BadMac = "bad_mac",
    /// The id, or the key for another order, was used before.
    Replayed = "replayed",
    /// Another version.
    Version = "version",
    /// Not a message of this protocol.
    Malformed = "malformed",
}

/// An execution, whole or in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    /// The first order with its key.
    pub order_id: MessageId,
    /// Its key.
    pub idempotency_key: IdempotencyKey,
    /// The broker's name of the deal.
    pub ticket: Text,
    /// As in the order.
    pub symbol: Text,
    /// As in the order.
    pub side: Side,
    /// Lots that were asked for.
    pub requested_volume: Amount,
    /// Lots that were executed; the rest is cancelled.
    pub volume: Amount,
    /// The mean price of the execution.
    pub price: Amount,
    /// Unix milliseconds of the gateway's clock.
    pub executed_at: i64,
}

/// An order that the broker has taken and not filled yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The first order with its key.
    pub order_id: MessageId,
    /// Its key.
    pub idempotency_key: IdempotencyKey,
    /// The broker's name of the order.
    pub ticket: Text,
    /// As in the order.
    pub symbol: Text,
    /// As in the order.
    pub side: Side,
    /// Lots that were asked for.
    pub requested_volume: Amount,
    /// Unix milliseconds of the gateway's clock.
    pub placed_at: i64,
}

/// A no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The order that was not executed and will not be; none means that only this message was refused, which says nothing of any order.
    pub order_id: Option<MessageId>,
    /// Why.
    pub code: Code,
    /// Why, for a human.
    pub message: Text,
}

/// An open position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The broker's name of it.
    pub ticket: Text,
    /// The instrument.
    pub symbol: Text,
    /// Which way.
    pub side: Side,
    /// Lots.
    pub volume: Amount,
    /// The mean price of opening.
    pub open_price: Amount,
    /// The price at which it could be closed.
    pub current_price: Amount,
    /// In the account's currency, not realised.
    pub profit: Amount,
    /// Unix milliseconds.
    pub opened_at: i64,
    /// Whose it is.
    pub magic: u32,
}

/// All open positions of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positions {
    /// The account.
    pub account: Text,
    /// Unix milliseconds.
    pub as_of: i64,
    /// At most [`super::MAX_POSITIONS`].
    pub positions: Vec<Position>,
}

/// Whose money it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountMode {
    /// Nobody's.
    Demo,
    /// Real money.
    Real,
}

impl AccountMode {
    /// The spelling on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            AccountMode::Demo => "demo",
            AccountMode::Real => "real",
        }
    }
}

/// Money and margin, in the account's currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The account.
    pub account: Text,
    /// Demo or real.
    pub mode: AccountMode,
    /// Its currency, 1 to 16 bytes.
    pub currency: Text,
    /// Without open positions.
    pub balance: Amount,
    /// With open positions at current prices.
    pub equity: Amount,
    /// Bound by open positions.
    pub margin_used: Amount,
    /// Free for new ones.
    pub margin_free: Amount,
    /// 1 to 10000.
    pub leverage: i64,
    /// Unix milliseconds.
    pub as_of: i64,
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// The account that is traded.
    pub account: Text,
    /// Whether the terminal reaches the broker.
    pub is_connected: bool,
    /// Whether an order could be executed as far as the gateway knows.
    pub is_trading_allowed: bool,
    /// Whether the kill switch is on.
    pub is_killed: bool,
    /// Unix milliseconds of the gateway's start: another value is another process.
    pub started_at: i64,
}

/// The kill switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Killed {
    /// Always true in answer to a kill.
    pub is_killed: bool,
    /// Unix milliseconds of the first kill since it was last released.
    pub killed_at: i64,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyBody {
    /// The whole volume was executed.
    Filled(Fill),
    /// Less than the whole volume was executed, the rest is cancelled.
    Partial(Fill),
    /// The broker has it.
    Placed(Placed),
    /// No.
    Rejected(Rejection),
    /// No order came under this id, and none will be executed any more.
    UnknownId(MessageId),
    /// All positions.
    Positions(Positions),
    /// Money.
    Account(Account),
    /// Alive.
    Heartbeat(Heartbeat),
    /// Killed.
    Kill(Killed),
}

/// A message from the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The id of the request; none if the gateway could not read it.
    pub id: Option<MessageId>,
    /// The SHA-256 of the bytes of the request, 64 small hexadecimal digits.
    pub request_sha256: String,
    /// Unix milliseconds of the gateway's clock.
    pub sent_at: i64,
    /// What is answered.
    pub body: ReplyBody,
}
