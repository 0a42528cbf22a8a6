//! What the way to the gateway does to one message. Invariant: each is something that networks, hosts or attackers on the way do. Must not
//! touch: sockets.

use serde::{Deserialize, Serialize};

/// Which message of the protocol is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hit {
    /// The order on its way to the gateway.
    Order,
    /// The gateway's reply to it.
    OrderReply,
    /// The question what became of an order.
    Status,
    /// The reply to it.
    StatusReply,
    /// The reply to the question for the account.
    AccountReply,
    /// The reply to the question for the positions.
    PositionsReply,
}

impl Hit {
    /// Of the type of a request, and of a reply by the request that it answers.
    pub(super) fn of(request: &str, is_reply: bool) -> Option<Hit> {
        match (request, is_reply) {
            ("ORDER", false) => Some(Hit::Order),
            ("ORDER", true) => Some(Hit::OrderReply),
            ("STATUS", false) => Some(Hit::Status),
            ("STATUS", true) => Some(Hit::StatusReply),
            ("ACCOUNT", true) => Some(Hit::AccountReply),
            ("POSITIONS", true) => Some(Hit::PositionsReply),
            _ => None,
        }
    }
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// It is lost; the connection goes on.
    Lose,
    /// It comes soon enough.
    Delay,
    /// It comes when it is late.
    Late,
    /// It comes in pieces with pauses, late in the end.
    Trickle,
    /// It comes twice.
    Twice,
    /// One bit in the middle is another.
    Flip,
    /// The length in front of it is another.
    FlipLength,
    /// The connection ends in its place.
    CutBefore,
    /// The connection ends right behind it.
    CutBehind,
    /// The connection ends in the middle of it.
    CutWithin,
    /// It is taken out and comes over a later connection, behind the question what became of it.
    Overtaken,
    /// In its place comes a rejection that the gateway did not sign; of an order, which is lost.
    ForgeRejection,
    /// In its place comes an execution that the gateway did not sign; of an order, which is lost.
    ForgeFill,
    /// An order of before comes once more, in front of it.
    Replay,
    /// The gateway is killed before it comes.
    KillBefore,
    /// The gateway is killed while it works on it.
    KillBehind,
    /// The gateway stands still, and goes on when the order is late.
    Freeze,
}

/// One fault on order: the next message that is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WireFault {
    /// Which message.
    pub hit: Hit,
    /// What happens.
    pub act: Act,
}

impl WireFault {
    /// All that make sense.
    pub fn all() -> Vec<WireFault> {
        use Act::*;
        let of = |hit: Hit, acts: &[Act]| -> Vec<WireFault> {
            acts.iter()
                .map(|act| WireFault { hit, act: *act })
                .collect()
        };
        [
            of(
                Hit::Order,
                &[
                    Lose,
                    Delay,
                    Late,
                    Trickle,
                    Twice,
                    Flip,
                    FlipLength,
                    CutBefore,
                    CutBehind,
                    CutWithin,
                    Overtaken,
                    ForgeRejection,
                    ForgeFill,
                    Replay,
                    KillBefore,
                    KillBehind,
                    Freeze,
                ],
            ),
            of(
                Hit::OrderReply,
                &[
                    Lose,
                    Delay,
                    Late,
                    Trickle,
                    Twice,
                    Flip,
                    FlipLength,
                    CutBefore,
                    CutBehind,
                    CutWithin,
                    ForgeRejection,
                    ForgeFill,
                    KillBehind,
                ],
            ),
            of(
                Hit::StatusReply,
                &[Lose, Late, Flip, CutBefore, ForgeRejection, ForgeFill],
            ),
            of(Hit::AccountReply, &[Lose, Late, Flip, CutBefore]),
            of(Hit::PositionsReply, &[Lose, Late, Flip, CutBehind]),
        ]
        .concat()
    }
}
