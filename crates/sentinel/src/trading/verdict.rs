//! What an exchange proves of an order: the link's part of it around [`gateway::verdict`](crate::gateway::verdict).
//!
//! Invariant: only a signed reply that is a verdict on this very order ends the doubt; silence, a refused message and the end of the
//! program do not. Must not touch: storage, metrics, clocks.

use rust_decimal::Decimal;

use crate::gateway::intent_log::record::{Found, Intent, IntentId, Outcome, Rejection};
use crate::gateway::link::{Exchange, NotSent};
use crate::gateway::protocol::{MessageId, ReplyBody};
use crate::gateway::verdict;
use crate::telemetry::OrderResult;

/// What came of handing an order to the link.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OrderEnd {
    /// What is written down.
    pub(super) outcome: Outcome,
    /// What is counted; nothing where the gateway's reply is no verdict, or the program ends.
    pub(super) result: Option<OrderResult>,
    /// The mean price of the execution.
    pub(super) price: Option<Decimal>,
    /// The order that the bar was traded with before, if it was.
    pub(super) traded_before: Option<MessageId>,
}

/// What came of handing an order to the link.
///
/// # Errors
/// It has not left and will not.
pub(super) fn of_order(exchange: &Exchange, intent: &Intent) -> Result<OrderEnd, NotSent> {
    let unknown = |result| OrderEnd {
        outcome: Outcome::Unknown,
        result,
        price: None,
        traded_before: None,
    };
    let body = match exchange {
        Exchange::NotSent(why) => return Err(why.clone()),
        Exchange::Unknown {
            was_malformed: true,
        } => return Ok(unknown(Some(OrderResult::MalformedReply))),
        Exchange::Unknown {
            was_malformed: false,
        } => return Ok(unknown(Some(OrderResult::Timeout))),
        Exchange::Stopped => return Ok(unknown(None)),
        Exchange::Answered { reply, .. } => &reply.body,
    };
    let outcome = verdict::outcome(body, intent);
    let is_taken = outcome.is_taken();
    Ok(OrderEnd {
        outcome,
        result: match (outcome, body) {
            (Outcome::Filled { .. } | Outcome::Executed, _) => Some(OrderResult::Filled),
            (Outcome::Partial { .. }, _) => Some(OrderResult::Partial),
            (Outcome::Placed, _) => Some(OrderResult::Placed),
            (Outcome::Rejected(why), _) => Some(rejected(why)),
            (Outcome::Unknown, ReplyBody::Rejected(_)) => None,
            (Outcome::Unknown, _) => Some(OrderResult::MalformedReply),
        },
        price: price(body).filter(|_| is_taken),
        traded_before: named(body)
            .filter(|other| !is_taken && other.as_str() != intent.id.as_str())
            .cloned(),
    })
}

/// What asking for the status of an order has found, and the mean price of its execution; nothing if that is no verdict.
pub(super) fn of_status(
    exchange: &Exchange,
    id: &IntentId,
    intent: Option<&Intent>,
) -> Option<(Found, Option<Decimal>)> {
    let Exchange::Answered { reply, .. } = exchange else {
        return None;
    };
    let found = verdict::found(&reply.body, id, intent)?;
    let price = price(&reply.body).filter(|_| matches!(found, Found::Filled { .. }));
    Some((found, price))
}

fn price(body: &ReplyBody) -> Option<Decimal> {
    match body {
        ReplyBody::Filled(fill) | ReplyBody::Partial(fill) => Some(fill.price.value()),
        _ => None,
    }
}

/// The order that an execution is of.
fn named(body: &ReplyBody) -> Option<&MessageId> {
    match body {
        ReplyBody::Filled(fill) | ReplyBody::Partial(fill) => Some(&fill.order_id),
        ReplyBody::Placed(placed) => Some(&placed.order_id),
        _ => None,
    }
}

const fn rejected(why: Rejection) -> OrderResult {
    match why {
        Rejection::Requote => OrderResult::RejectedRequote,
        Rejection::Price => OrderResult::RejectedPrice,
        Rejection::Volume => OrderResult::RejectedVolume,
        Rejection::Margin => OrderResult::RejectedMargin,
        Rejection::MarketClosed => OrderResult::RejectedMarketClosed,
        Rejection::Disabled => OrderResult::RejectedDisabled,
        Rejection::Other => OrderResult::RejectedOther,
    }
}
