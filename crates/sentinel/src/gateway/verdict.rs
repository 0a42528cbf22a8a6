//! From what a gateway answers to what the intent log says of the order: the table of `docs/gateway-protocol.md`.
//!
//! Invariant: a verdict is about the very order that was asked for; what is about another one, contradicts it or proves nothing is outcome
//! unknown. Must not touch: storage, clocks.
//!
//! An answer with the id of another order says that the key was known: the gateway has that order's result to tell, and has executed and will
//! execute nothing on account of this one.

use super::intent_log::record::{self, Found, Intent, IntentId, Outcome, Rejection};
use super::protocol::{self, Code, Fill, Placed, ReplyBody};

/// What the reply to an ORDER proves of it.
pub fn outcome(body: &ReplyBody, intent: &Intent) -> Outcome {
    match body {
        ReplyBody::Filled(fill) | ReplyBody::Partial(fill) if is_of_key(fill, intent) => {
            let volume = fill.volume.value();
            match body {
                _ if !is_named(&fill.order_id, &intent.id) => Outcome::Rejected(Rejection::Other),
                ReplyBody::Partial(_) => Outcome::Partial { volume },
                _ => Outcome::Filled { volume },
            }
        }
        ReplyBody::Placed(placed) if is_placed_of_key(placed, intent) => {
            if is_named(&placed.order_id, &intent.id) {
                Outcome::Placed
            } else {
                Outcome::Rejected(Rejection::Other)
            }
        }
        ReplyBody::Rejected(no) if no.order_id.is_some() => {
            rejection(no.code).map_or(Outcome::Unknown, Outcome::Rejected)
        }
        _ => Outcome::Unknown,
    }
}

/// What the reply to a STATUS proves of the order that was asked for; none if nothing. Of an orphan there is only its id.
pub fn found(body: &ReplyBody, id: &IntentId, intent: Option<&Intent>) -> Option<Found> {
    let executed = |fill: &Fill| {
        if intent.is_some_and(|intent| !is_of_key(fill, intent)) {
            return None;
        }
        Some(if is_named(&fill.order_id, id) {
            Found::Filled {
                volume: fill.volume.value(),
            }
        } else {
            Found::Rejected
        })
    };
    match body {
        ReplyBody::Filled(fill) | ReplyBody::Partial(fill) => executed(fill),
        ReplyBody::Placed(placed) => {
            if intent.is_some_and(|intent| !is_placed_of_key(placed, intent)) {
                return None;
            }
            Some(if is_named(&placed.order_id, id) {
                Found::Placed
            } else {
                Found::Rejected
            })
        }
        ReplyBody::Rejected(no) if no.order_id.is_some() => {
            rejection(no.code).map(|_| Found::Rejected)
        }
        ReplyBody::UnknownId(unknown) if is_named(unknown, id) => Some(Found::NeverArrived),
        _ => None,
    }
}

/// Why an order was not taken, for a rejection that names an order; none if the code is no verdict.
pub const fn rejection(code: Code) -> Option<Rejection> {
    match code {
        Code::Requote => Some(Rejection::Requote),
        Code::Price => Some(Rejection::Price),
        Code::Volume => Some(Rejection::Volume),
        Code::Margin => Some(Rejection::Margin),
        Code::MarketClosed => Some(Rejection::MarketClosed),
        Code::Disabled => Some(Rejection::Disabled),
        Code::Other | Code::Late | Code::Replayed => Some(Rejection::Other),
        Code::Unsigned | Code::BadMac | Code::Version | Code::Malformed => None,
    }
}

impl From<record::Side> for protocol::Side {
    fn from(side: record::Side) -> protocol::Side {
        match side {
            record::Side::Buy => protocol::Side::Buy,
            record::Side::Sell => protocol::Side::Sell,
        }
    }
}

fn is_named(answered: &protocol::MessageId, id: &IntentId) -> bool {
    answered.as_str() == id.as_str()
}

/// Whether the execution is one of the order or of the first one with its key.
fn is_of_key(fill: &Fill, intent: &Intent) -> bool {
    fill.idempotency_key.as_str() == intent.idempotency_key.as_str()
        && fill.symbol.as_str() == intent.symbol
        && fill.side == intent.side.into()
        && fill.requested_volume.value() == intent.volume
}

fn is_placed_of_key(placed: &Placed, intent: &Intent) -> bool {
    placed.idempotency_key.as_str() == intent.idempotency_key.as_str()
        && placed.symbol.as_str() == intent.symbol
        && placed.side == intent.side.into()
        && placed.requested_volume.value() == intent.volume
}

#[cfg(test)]
mod tests;
