//! A simulated broker: fills at a fixed price or at one from a file, at once or later. It moves no money.
//!
//! Invariant: the book is nothing but the sum of the executions in the journal, so it is the same after a restart. Must not touch: the
//! journal, the clock, the network; the file with prices is read by [`quotes`].

use std::collections::BTreeSet;

use rust_decimal::{Decimal, RoundingStrategy};

use super::portfolio::Portfolio;
use super::quotes::{self, Quotes};
use super::record::{Due, Verdict};
use crate::gateway::protocol::{
    Account, Amount, Code, Fill, IdempotencyKey, MessageId, Order, Placed, Position, Rejection,
    Side, Text,
};

/// The account that is traded unless another one is named.
pub const ACCOUNT: &str = "1000001";
/// Volumes are hundredths of a lot, 0.01 to 100.
const VOLUME_DIGITS: u32 = 2;
const VOLUME_MIN: Decimal = Decimal::from_parts(1, 0, 0, false, VOLUME_DIGITS);
const VOLUME_MAX: Decimal = Decimal::ONE_HUNDRED;

/// How the simulated broker is.
#[derive(Debug, Clone)]
pub struct Options {
    /// The account that is traded; orders for another one are refused.
    pub account: Text,
    /// Prices.
    pub quotes: Quotes,
    /// Units of the base in one lot.
    pub contract: Amount,
    /// The part of each order that is filled, 0 to 1.
    pub fill_ratio: Amount,
    /// Refuse every order with this code.
    pub reject: Option<Code>,
    /// Milliseconds from PLACED to the fill; none fills at once.
    pub placed_ms: Option<i64>,
}

/// A refusal by the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub code: Code,
    /// Why, for a human.
    pub message: String,
}

impl Refused {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Refused {
        Refused {
            code,
            message: message.into(),
        }
    }

    /// The verdict about an order.
    pub fn of(self, id: &MessageId) -> Verdict {
        Verdict::Rejected(Rejection {
            order_id: Some(id.clone()),
            code: self.code,
            message: sentence(&self.message),
        })
    }
}

/// A text for people, cut to what a reply may have.
pub(super) fn sentence(text: &str) -> Text {
    let mut end = text.len().min(Text::SENTENCE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let plain = text[..end].replace(|letter: char| letter.is_ascii_control(), "?");
    Text::sentence(&plain).expect("it was cut and has no control characters")
}

/// The account, the positions and the fills.
#[derive(Debug)]
pub struct Book {
    options: Options,
    portfolio: Portfolio,
    fills: Vec<Fill>,
    /// Every one that was given out.
    tickets: BTreeSet<Text>,
}

impl Book {
    /// The book after these executions, each with the magic number of its order.
    pub fn new(options: Options, executions: &[(Verdict, u32)]) -> Book {
        let mut book = Book {
            portfolio: Portfolio::new(options.contract.value()),
            options,
            fills: Vec::new(),
            tickets: BTreeSet::new(),
        };
        for (verdict, magic) in executions {
            book.apply(verdict, *magic);
        }
        book
    }

    /// The account that is traded.
    pub fn account_name(&self) -> &Text {
        &self.options.account
    }

    /// All fills, the oldest first.
    pub fn fills(&self) -> &[Fill] {
        &self.fills
    }

    /// What the broker makes of an order. Changes nothing: [`Book::apply`] does, once the verdict is on the disk.
    ///
    /// # Errors
    /// When it refuses the order.
    pub fn execute(
        &self,
        id: &MessageId,
        key: &IdempotencyKey,
        order: &Order,
        valid_until: i64,
        now: i64,
    ) -> Result<Verdict, Refused> {
        if let Some(code) = self.options.reject {
            return Err(Refused::new(code, "as the option says"));
        }
        if order.account != self.options.account {
            let message = "the order is for another account";
            return Err(Refused::new(Code::Disabled, message));
        }
        let ticket = (self.tickets.len() + 1).to_string();
        let placed = Placed {
            order_id: id.clone(),
            idempotency_key: key.clone(),
            ticket: Text::name(&ticket).expect("digits are a name"),
            symbol: order.symbol.clone(),
            side: order.side,
            requested_volume: order.volume,
            placed_at: now,
        };
        let verdict = self.fill(&placed, order, now)?;
        let Some(delay) = self.options.placed_ms else {
            return Ok(verdict);
        };
        let due = Due {
            fill_at: now.saturating_add(delay),
            valid_until,
        };
        Ok(Verdict::Placed(placed, due))
    }

    /// What became of an order that was placed; none as long as the broker only has it. It is filled when it is due, and cancelled if that
    /// is later than the order may live.
    pub fn follow_up(
        &self,
        placed: &Placed,
        due: Due,
        order: &Order,
        now: i64,
    ) -> Option<Result<Verdict, Refused>> {
        if now < due.fill_at && now <= due.valid_until {
            return None;
        }
        if due.fill_at > due.valid_until {
            let message = "cancelled, it was not filled in its time";
            return Some(Err(Refused::new(Code::Late, message)));
        }
        Some(self.fill(placed, order, due.fill_at))
    }

    fn fill(&self, placed: &Placed, order: &Order, now: i64) -> Result<Verdict, Refused> {
        let volume = order.volume.value();
        let is_step = volume == volume.trunc_with_scale(VOLUME_DIGITS);
        if !(VOLUME_MIN..=VOLUME_MAX).contains(&volume) || !is_step {
            let message = format!("from {VOLUME_MIN} to {VOLUME_MAX} in steps of {VOLUME_MIN}");
            return Err(Refused::new(Code::Volume, message));
        }
        let (bid, ask) = quotes::quote(&self.options.quotes, &order.symbol)?;
        let price = match order.side {
            Side::Buy => ask,
            Side::Sell => bid,
        };
        let is_worse = order.worst_price.is_some_and(|worst| match order.side {
            Side::Buy => price > worst,
            Side::Sell => price < worst,
        });
        if is_worse {
            return Err(Refused::new(Code::Price, format!("the price is {price}")));
        }
        let filled = (volume * self.options.fill_ratio.value())
            .round_dp_with_strategy(VOLUME_DIGITS, RoundingStrategy::ToZero);
        if filled.is_zero() {
            let message = "nothing can be had at this price";
            return Err(Refused::new(Code::Requote, message));
        }
        // What cannot be computed or written is more than anybody has.
        let margin = self.portfolio.margin(filled, price.value());
        let free = self.portfolio.margin_free(&self.options.quotes);
        let is_enough = margin
            .zip(free)
            .is_some_and(|(needed, free)| needed <= free);
        let mut written = filled;
        written.rescale(VOLUME_DIGITS);
        let (true, Some(volume_filled)) = (is_enough, Amount::new(written)) else {
            return Err(Refused::new(Code::Margin, "not enough free margin"));
        };
        let fill = Fill {
            order_id: placed.order_id.clone(),
            idempotency_key: placed.idempotency_key.clone(),
            ticket: placed.ticket.clone(),
            symbol: order.symbol.clone(),
            side: order.side,
            requested_volume: order.volume,
            volume: volume_filled,
            price,
            executed_at: now,
        };
        Ok(if filled == volume {
            Verdict::Filled(fill)
        } else {
            Verdict::Partial(fill)
        })
    }

    /// Books an execution whose verdict is on the disk.
    pub fn apply(&mut self, verdict: &Verdict, magic: u32) {
        let fill = match verdict {
            Verdict::Filled(fill) | Verdict::Partial(fill) => fill,
            Verdict::Placed(placed, _) => {
                self.tickets.insert(placed.ticket.clone());
                return;
            }
            Verdict::Rejected(_) => return,
        };
        self.tickets.insert(fill.ticket.clone());
        self.fills.push(fill.clone());
        self.portfolio.apply(fill, magic);
    }

    /// All open positions; none if one of them cannot be written.
    pub fn positions(&self) -> Option<Vec<Position>> {
        self.portfolio.positions(&self.options.quotes)
    }

    /// Money and margin; none if they cannot be written.
    pub fn account(&self, now: i64) -> Option<Account> {
        self.portfolio
            .account(&self.options.account, &self.options.quotes, now)
    }
}
