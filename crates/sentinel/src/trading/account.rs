//! The gateway's account and positions: what they are worth, what is ours of them, and how they are held against the limits.
//!
//! Invariant: what cannot be valued is given to the guards as worth nothing, which they refuse; it is never left out. A day's loss beyond its
//! limit halts for good. Must not touch: orders.

use std::time::Duration;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use tracing::warn;

use super::ask::Budget;
use super::{Terms, Trader};
use crate::clock::Now;
use crate::gateway::guards::limits::{self, LimitId};
use crate::gateway::guards::refusal::{Input, Refusal};
use crate::gateway::guards::situation::{self, Aged, Book, Working};
use crate::gateway::intent_log::record::HaltReason;
use crate::gateway::intent_log::state::{OpenIntent, day_of};
use crate::gateway::intent_log::storage::Storage;
use crate::gateway::link::{Exchange, Gateway};
use crate::gateway::protocol::{self, ReplyBody, RequestBody, Side};

/// What the gateway told, and when it was asked for it.
#[derive(Debug, Clone)]
pub(super) struct Known<T> {
    pub(super) value: T,
    asked: Now,
    /// How old it was when it was told: both times are the gateway's, so that no difference of the clocks is in it.
    lag: Duration,
    /// The gateway's clock then, in Unix milliseconds.
    told_ms: i64,
}

impl<T> Known<T> {
    fn new(value: T, asked: Now, told_ms: i64, as_of_ms: i64) -> Known<T> {
        let lag_ms = told_ms.saturating_sub(as_of_ms).max(0);
        Known {
            value,
            asked,
            lag: Duration::from_millis(lag_ms.unsigned_abs()),
            told_ms,
        }
    }

    fn aged<U>(&self, now: Now, value: U) -> Aged<U> {
        let passed = now
            .monotonic
            .saturating_duration_since(self.asked.monotonic);
        // Monotonic time stands still while the machine sleeps, and a wall clock that is set back makes nothing younger.
        let on_the_wall =
            Duration::try_from_secs_f64(now.unix - self.asked.unix).unwrap_or_default();
        Aged {
            value,
            age: passed.max(on_the_wall).saturating_add(self.lag),
        }
    }
}

impl<G: Gateway, S: Storage> Trader<G, S> {
    /// Asks for account and positions, and does what follows of them. What was known before is forgotten. Whether both came, and are not of
    /// a time that is too long ago: a gateway may answer at once with what it heard from its broker before it lost it.
    pub(super) fn refresh(&mut self, budget: &Budget) -> bool {
        self.is_refreshed = true;
        (self.account, self.positions) = (None, None);
        let asked = self.clock.now();
        let Some(Exchange::Answered { reply, .. }) = self.ask(RequestBody::Account, budget) else {
            return false;
        };
        let ReplyBody::Account(account) = reply.body else {
            return false;
        };
        let as_of = account.as_of;
        let account = Known::new(account, asked, reply.sent_at, as_of);
        let is_stale = self.is_stale(&account);
        self.account = Some(account);
        if is_stale {
            return false;
        }
        self.mind_the_day();
        let asked = self.clock.now();
        let Some(Exchange::Answered { reply, .. }) = self.ask(RequestBody::Positions, budget)
        else {
            return false;
        };
        let ReplyBody::Positions(positions) = reply.body else {
            return false;
        };
        let as_of = positions.as_of;
        let positions = Known::new(positions, asked, reply.sent_at, as_of);
        let is_stale = self.is_stale(&positions);
        self.positions = Some(positions);
        if is_stale {
            return false;
        }
        self.record_risk();
        true
    }

    fn is_stale<T>(&self, known: &Known<T>) -> bool {
        known.lag > self.settings.stale_after
    }

    /// What the gateway told last, or did not tell, that every order would be refused for.
    pub(super) fn standing(&self) -> Option<String> {
        let (account, positions) = (self.account.as_ref(), self.positions.as_ref());
        if account.is_some_and(|account| self.is_stale(account)) {
            return Some(Refusal::Stale(Input::Account).to_string());
        }
        if positions.is_some_and(|positions| self.is_stale(positions)) {
            return Some(Refusal::Stale(Input::Positions).to_string());
        }
        let (Some(account), Some(_)) = (account, positions) else {
            return self
                .is_reconciled()
                .then(|| "the gateway does not tell its account and positions".to_owned());
        };
        let symbol = self.terms.symbol();
        let currency = account.value.currency.as_str();
        if self
            .terms
            .lot_value(symbol, Decimal::ONE, currency)
            .is_none()
        {
            return Some(format!(
                "an order in {symbol} cannot be valued: the account's currency is {currency}"
            ));
        }
        if self.unvalued().is_some() {
            return None;
        }
        let placed = self.log.state()?.placed();
        let book = self.guards_book(self.clock.now(), placed)?;
        let refusal = limits::held(&book.value, symbol).err()?;
        Some(format!(
            "{refusal}: each symbol has to be held on one side, and orders that the gateway holds have to be in {symbol}"
        ))
    }

    /// The equity that a day begins with, and the end of trading when too much of it is lost.
    fn mind_the_day(&mut self) {
        let Some(account) = &self.account else {
            return;
        };
        let told_ms = account.told_ms;
        let (equity, is_ours) = (
            account.value.equity.value(),
            account.value.account.as_str() == self.terms.account(),
        );
        // Another account's money says nothing about the day of this one.
        if !is_ours {
            return;
        }
        self.peak = self.peak.max(Some(equity));
        let now_ms = self.now_ms();
        let Some(state) = self.log.state() else {
            return;
        };
        // A clock that is a day or a year ahead would leave the days until then without an opening.
        if day_of(told_ms) == day_of(now_ms)
            && state.day_opening_equity(now_ms).is_none()
            && let Err(error) = self.log.day_opened(now_ms, equity)
        {
            warn!(%error, "the day's opening equity is not on disk");
        }
        let opening = self
            .log
            .state()
            .and_then(|state| state.day_opening_equity(now_ms));
        self.peak = self.peak.max(opening);
        let lost = limits::lost(&self.settings.limits, equity, opening);
        if !lost.is_empty() {
            let names: Vec<_> = lost.iter().copied().map(LimitId::as_str).collect();
            let why = format!("the day's loss is beyond {}", names.join(" and "));
            self.halt(HaltReason::DailyLoss, &why);
        }
    }

    /// The account for the guards.
    pub(super) fn guards_account(&self, now: Now) -> Option<Aged<situation::Account>> {
        let known = self.account.as_ref()?;
        Some(known.aged(
            now,
            situation::Account {
                id: known.value.account.as_str().to_owned(),
                equity: known.value.equity.value(),
            },
        ))
    }

    /// Positions and working orders for the guards.
    pub(super) fn guards_book(&self, now: Now, placed: &[OpenIntent]) -> Option<Aged<Book>> {
        let known = self.positions.as_ref()?;
        let currency = self.currency()?;
        let mut book = book(&known.value, &self.terms, currency);
        book.working = placed
            .iter()
            .map(|order| Working {
                symbol: order.intent.symbol.clone(),
                side: order.intent.side,
                volume: order.intent.volume,
                // The price is of one symbol. Another one's order is worth nothing that is known.
                unit_value: self
                    .last_price
                    .filter(|_| order.intent.symbol == self.terms.symbol())
                    .and_then(|price| self.terms.lot_value(&order.intent.symbol, price, currency))
                    .unwrap_or_default(),
            })
            .collect();
        Some(known.aged(now, book))
    }

    /// The account's currency.
    pub(super) fn currency(&self) -> Option<&str> {
        Some(self.account.as_ref()?.value.currency.as_str())
    }

    fn record_risk(&self) {
        let (Some(account), Some(state)) = (&self.account, self.log.state()) else {
            return;
        };
        let equity = account.value.equity.value();
        let now = self.clock.now();
        if let Some(book) = self.guards_book(now, state.placed())
            && let Ok(held) = limits::held(&book.value, self.terms.symbol())
        {
            let opening = state.day_opening_equity(self.now_ms());
            let used = limits::utilisation(
                &self.settings.limits,
                self.last_notional,
                &held,
                equity,
                opening,
            );
            self.telemetry.record_risk(&used);
        }
        if let Some(drawdown) = self.peak.and_then(|peak| drawdown(peak, equity)) {
            self.telemetry.record_drawdown(drawdown);
        }
    }
}

/// Fall of equity from its peak, as a share of the peak.
fn drawdown(peak: Decimal, equity: Decimal) -> Option<f64> {
    if peak <= Decimal::ZERO {
        return None;
    }
    let fall = peak.checked_sub(equity)?.checked_div(peak)?.to_f64()?;
    Some(fall.max(0.0))
}

/// The positions by symbol and side. A symbol that is held on both sides is in it twice, which the guards refuse.
fn book(told: &protocol::Positions, terms: &Terms, currency: &str) -> Book {
    let mut positions: Vec<situation::Position> = Vec::new();
    for one in &told.positions {
        let volume = signed(one);
        let unit_value = terms
            .lot_value(one.symbol.as_str(), one.current_price.value(), currency)
            .unwrap_or_default();
        let same = positions.iter_mut().find(|known| {
            known.symbol == one.symbol.as_str()
                && (known.volume > Decimal::ZERO) == (volume > Decimal::ZERO)
        });
        match same {
            Some(known) => {
                // Saturates where it makes no sense any more, which the guards refuse.
                known.volume = known.volume.saturating_add(volume);
                // Worth nothing stays worth nothing.
                known.unit_value = if known.unit_value.is_zero() || unit_value.is_zero() {
                    Decimal::ZERO
                } else {
                    known.unit_value.max(unit_value)
                };
            }
            None => positions.push(situation::Position {
                symbol: one.symbol.as_str().to_owned(),
                volume,
                unit_value,
            }),
        }
    }
    Book {
        positions,
        working: Vec::new(),
    }
}

/// Net lots in a symbol that carry our magic number; below 0 when short.
pub(super) fn own_net(told: &protocol::Positions, symbol: &str, magic: u32) -> Decimal {
    told.positions
        .iter()
        .filter(|one| one.magic == magic && one.symbol.as_str() == symbol)
        .fold(Decimal::ZERO, |sum, one| sum.saturating_add(signed(one)))
}

fn signed(position: &protocol::Position) -> Decimal {
    match position.side {
        Side::Buy => position.volume.value(),
        Side::Sell => -position.volume.value(),
    }
}
