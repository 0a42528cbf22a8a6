//! The money of the simulated account: one net position per symbol.
//!
//! Invariant: what is computed is exact, decimals and a mean price of eight digits, so that two programs with the same fills have the same
//! account to the last digit. Must not touch: orders; what comes in are fills.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::quotes::{Quotes, quote};
use crate::gateway::protocol::{Account, AccountMode, Amount, Fill, Position, Side, Text};

const CURRENCY: &str = "USD";
const LEVERAGE: i64 = 100;
/// Digits of a price behind the point, at most; as many as the wire has.
const PRICE_DIGITS: u32 = 8;
const MONEY_DIGITS: u32 = 2;
const BALANCE_AT_FIRST: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, MONEY_DIGITS);

/// Balance and positions.
#[derive(Debug)]
pub(super) struct Portfolio {
    /// Units in one lot.
    contract: Decimal,
    balance: Decimal,
    positions: BTreeMap<Text, Held>,
}

#[derive(Debug)]
struct Held {
    /// Lots; below zero when sold, never zero.
    net: Decimal,
    /// The mean price.
    price: Decimal,
    ticket: Text,
    opened_at: i64,
    magic: u32,
}

impl Portfolio {
    pub(super) fn new(contract: Decimal) -> Portfolio {
        Portfolio {
            contract,
            balance: BALANCE_AT_FIRST,
            positions: BTreeMap::new(),
        }
    }

    /// Sums that no decimal can hold stay at its greatest: they cannot be written, and are not answered.
    pub(super) fn apply(&mut self, fill: &Fill, magic: u32) {
        let price = fill.price.value();
        let change = match fill.side {
            Side::Buy => fill.volume.value(),
            Side::Sell => -fill.volume.value(),
        };
        let anew = |net| Held {
            net,
            price,
            ticket: fill.ticket.clone(),
            opened_at: fill.executed_at,
            magic,
        };
        let held = match self.positions.remove(&fill.symbol) {
            None => anew(change),
            Some(held) => {
                let before = held.net;
                let after = before.saturating_add(change);
                let is_same_way = before.is_sign_positive() == change.is_sign_positive();
                if !is_same_way {
                    let closed = if before.abs() < change.abs() {
                        before
                    } else {
                        -change
                    };
                    let gain = closed
                        .saturating_mul(price - held.price)
                        .saturating_mul(self.contract);
                    self.balance = self.balance.saturating_add(gain);
                }
                if is_same_way {
                    let mean = mean_price(&held, change, price, after);
                    Held {
                        net: after,
                        price: mean,
                        ..held
                    }
                } else if after.is_zero() {
                    return;
                } else if after.is_sign_positive() == before.is_sign_positive() {
                    Held { net: after, ..held }
                } else {
                    anew(after)
                }
            }
        };
        self.positions.insert(fill.symbol.clone(), held);
    }

    /// What this volume binds at this price; none if that is beyond any decimal.
    pub(super) fn margin(&self, volume: Decimal, price: Decimal) -> Option<Decimal> {
        let value = volume.checked_mul(self.contract)?.checked_mul(price)?;
        value.checked_div(Decimal::from(LEVERAGE))
    }

    /// Free for new orders at current prices.
    pub(super) fn margin_free(&self, quotes: &Quotes) -> Option<Decimal> {
        let (equity, used) = self.equity_and_margin(quotes)?;
        equity.checked_sub(used)
    }

    fn equity_and_margin(&self, quotes: &Quotes) -> Option<(Decimal, Decimal)> {
        let mut equity = self.balance;
        for position in self.positions(quotes)? {
            equity = equity.checked_add(position.profit.value())?;
        }
        let mut used = Decimal::ZERO;
        for held in self.positions.values() {
            used = used.checked_add(self.margin(held.net.abs(), held.price)?)?;
        }
        Some((equity, used))
    }

    /// By symbol; none if one cannot be written.
    pub(super) fn positions(&self, quotes: &Quotes) -> Option<Vec<Position>> {
        let position = |(symbol, held)| self.position(symbol, held, quotes);
        self.positions.iter().map(position).collect()
    }

    fn position(&self, symbol: &Text, held: &Held, quotes: &Quotes) -> Option<Position> {
        let open_price = written(held.price, PRICE_DIGITS)?;
        let is_long = held.net.is_sign_positive();
        // Without a price now the last that is known has to do.
        let (bid, ask) = quote(quotes, symbol).unwrap_or((open_price, open_price));
        let current_price = if is_long { bid } else { ask };
        let gained = current_price.value().checked_sub(held.price)?;
        let profit = gained.checked_mul(held.net)?.checked_mul(self.contract)?;
        Some(Position {
            ticket: held.ticket.clone(),
            symbol: symbol.clone(),
            side: if is_long { Side::Buy } else { Side::Sell },
            volume: Amount::new(held.net.abs())?,
            open_price,
            current_price,
            profit: written(profit, MONEY_DIGITS)?,
            opened_at: held.opened_at,
            magic: held.magic,
        })
    }

    /// None if a sum cannot be written.
    pub(super) fn account(&self, account: &Text, quotes: &Quotes, now: i64) -> Option<Account> {
        let (equity, used) = self.equity_and_margin(quotes)?;
        let money = |amount| written(amount, MONEY_DIGITS);
        Some(Account {
            account: account.clone(),
            mode: AccountMode::Demo,
            currency: Text::name(CURRENCY)?,
            balance: money(self.balance)?,
            equity: money(equity)?,
            margin_used: money(used)?,
            margin_free: money(equity.checked_sub(used)?)?,
            leverage: LEVERAGE,
            as_of: now,
        })
    }
}

fn mean_price(held: &Held, change: Decimal, price: Decimal, after: Decimal) -> Decimal {
    let paid = held.net.checked_mul(held.price);
    let added = change.checked_mul(price);
    let sum = paid
        .zip(added)
        .and_then(|(paid, added)| paid.checked_add(added));
    let mean = sum.and_then(|sum| sum.checked_div(after));
    mean.map_or(held.price, |mean| digits(mean, PRICE_DIGITS))
}

/// With exactly so many digits behind the point; halves go to the even digit.
fn digits(value: Decimal, count: u32) -> Decimal {
    let mut value = value.round_dp(count);
    value.rescale(count);
    value
}

fn written(value: Decimal, count: u32) -> Option<Amount> {
    Amount::new(digits(value, count))
}
