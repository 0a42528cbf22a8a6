//! The terms of an order: account, symbol, volume, worst price, lifetime, names.
//!
//! Invariant: the same bar always has the same idempotency key, and no other bar has it. A price is rounded so that the order becomes more
//! careful. Must not touch: clocks, storage.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use market::Timeframe;
use rust_decimal::{Decimal, RoundingStrategy};

use super::{Candidate, millis};
use crate::clock::Now;
use crate::config::Config;
use crate::decide::{Action, Decision};
use crate::gateway::guards::situation::Request;
use crate::gateway::intent_log::record::{IntentId, Side};
use crate::gateway::protocol::{self, Amount, Order, Text};

/// Digits behind the point of a price on the wire.
const PRICE_DIGITS: u32 = 8;
/// Longest idempotency key.
const KEY_LEN_MAX_BYTES: usize = 64;

/// The terms of all orders of a run.
#[derive(Debug, Clone)]
pub struct Terms {
    pub(super) account: Text,
    pub(super) symbol: Text,
    pub(super) interval: Timeframe,
    pub(super) volume: Amount,
    pub(super) worst_price_bps: u32,
    pub(super) valid_for: Duration,
    pub(super) magic: u32,
    pub(super) contract_sizes: BTreeMap<String, Decimal>,
}

/// A term cannot be on the wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// The account or the symbol.
    #[error("{0}: found `{1}`, accepted: 1 to 64 bytes without control characters")]
    Name(&'static str, String),
    /// The volume.
    #[error(
        "gateway.volume: found {0}, accepted: an amount above 0 with at most 8 digits behind the point"
    )]
    Volume(Decimal),
}

impl Terms {
    /// The terms that a configuration sets. A dry run has no account.
    ///
    /// # Errors
    /// A name or the volume cannot be on the wire.
    pub fn of(config: &Config) -> Result<Terms, TermsError> {
        let name = |what, text: &str| {
            Text::name(text).ok_or_else(|| TermsError::Name(what, text.to_owned()))
        };
        let gateway = &config.gateway;
        let account = config
            .live
            .as_ref()
            .map_or("none", |live| live.arm.account.as_str());
        let volume = gateway.volume.value;
        let sizes = gateway.contract_sizes.iter();
        Ok(Terms {
            account: name("arm.account", account)?,
            symbol: name("market.symbol", &config.symbol.value)?,
            interval: config.interval.value,
            volume: Amount::new(volume)
                .filter(|amount| amount.is_positive())
                .ok_or(TermsError::Volume(volume))?,
            worst_price_bps: gateway.worst_price_bps.value,
            valid_for: gateway.valid_for.value,
            magic: gateway.magic.value,
            contract_sizes: sizes
                .map(|(symbol, size)| (symbol.clone(), size.value))
                .collect(),
        })
    }

    /// The account that is traded.
    pub(super) fn account(&self) -> &str {
        self.account.as_str()
    }

    /// What is traded.
    pub(super) fn symbol(&self) -> &str {
        self.symbol.as_str()
    }

    /// Whose orders and positions are ours.
    pub(super) const fn magic(&self) -> u32 {
        self.magic
    }

    /// The price that is decided at, the very number that the bar's close is written as.
    pub(super) fn decision_price(candidate: &Candidate<'_>) -> Option<Decimal> {
        Decimal::from_str_exact(&candidate.bar.close.to_string())
            .ok()
            .filter(|price| *price > Decimal::ZERO)
    }

    /// The highest price to buy or the lowest to sell at; any price is `Some(None)`, and one that cannot be computed `None`.
    fn worst_price(&self, side: Side, price: Decimal) -> Option<Option<Amount>> {
        if self.worst_price_bps == 0 {
            return Some(None);
        }
        let share = Decimal::new(i64::from(self.worst_price_bps), 4);
        let (factor, rounding) = match side {
            Side::Buy => (Decimal::ONE.checked_add(share)?, RoundingStrategy::ToZero),
            Side::Sell => (
                Decimal::ONE.checked_sub(share)?,
                RoundingStrategy::AwayFromZero,
            ),
        };
        let worst = price
            .checked_mul(factor)?
            .round_dp_with_strategy(PRICE_DIGITS, rounding);
        let amount = Amount::new(worst).filter(|amount| amount.is_positive())?;
        Some(Some(amount))
    }

    /// What one lot of a symbol is worth in the account's currency, at this price of its quote currency; `None` where that is not known.
    pub(super) fn lot_value(
        &self,
        symbol: &str,
        price: Decimal,
        currency: &str,
    ) -> Option<Decimal> {
        let size = self.contract_sizes.get(symbol)?;
        let quote = symbol.get(symbol.len().checked_sub(3)?..)?;
        if quote != currency {
            return None;
        }
        price.checked_mul(*size)
    }

    /// What is asked of the guards. What cannot be computed is zero, which they refuse. `currency` is the account's, if it is known.
    pub(super) fn request(
        &self,
        candidate: &Candidate<'_>,
        side: Side,
        decision: Decision,
        now: Now,
        currency: Option<&str>,
    ) -> Request {
        let price = Terms::decision_price(candidate);
        let worst = price.and_then(|price| Some((price, self.worst_price(side, price)?)));
        // Both at the price at which the order costs most.
        let values = worst.and_then(|(price, worst)| {
            let worst = worst.map_or(price, Amount::value);
            // Before the account has told its currency, that of the symbol.
            let symbol = self.symbol.as_str();
            let quote = symbol.get(symbol.len().checked_sub(3)?..)?;
            let currency = currency.unwrap_or(quote);
            let unit_value = self.lot_value(symbol, price.max(worst), currency)?;
            let distance = self.lot_value(symbol, (worst - price).abs(), currency)?;
            Some((unit_value, distance.checked_mul(self.volume.value())?))
        });
        let (unit_value, cost) = values.unwrap_or_default();
        let now_ms = millis(now);
        let valid_for = i64::try_from(self.valid_for.as_millis()).unwrap_or(i64::MAX);
        Request {
            bar_open_time: candidate.bar.open_time,
            confidence: decision.confidence,
            symbol: self.symbol.as_str().to_owned(),
            side,
            volume: self.volume.value(),
            unit_value,
            cost,
            valid_until_ms: now_ms
                .saturating_add(valid_for)
                .min(candidate.stale_from.saturating_mul(1_000)),
        }
    }

    /// The order itself; `None` when its worst price cannot be computed.
    pub(super) fn order(&self, candidate: &Candidate<'_>, side: Side) -> Option<Order> {
        let price = Terms::decision_price(candidate)?;
        Some(Order {
            account: self.account.clone(),
            symbol: self.symbol.clone(),
            side: match side {
                Side::Buy => protocol::Side::Buy,
                Side::Sell => protocol::Side::Sell,
            },
            volume: self.volume,
            worst_price: self.worst_price(side, price)?,
            magic: self.magic,
        })
    }

    /// What makes two orders the same order: account, symbol, interval and bar. The log is not needed for it, so a bar that was traded is
    /// not traded again by a sentinel that has lost its log.
    pub(super) fn idempotency_key(&self, bar_open_time: i64) -> IntentId {
        let text = format!(
            "{}.{}.{}.{bar_open_time}",
            self.account, self.symbol, self.interval
        );
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        let text = if text.len() <= KEY_LEN_MAX_BYTES && text.bytes().all(is_plain) {
            text
        } else {
            // 64 digits; a readable key has points in it and is none of these.
            protocol::sha256_hex(text.as_bytes())
        };
        IntentId::new(&text).expect("1 to 64 plain characters")
    }
}

/// Which way a decision goes; none for HOLD.
pub(super) const fn side_of(action: Action) -> Option<Side> {
    match action {
        Action::Buy => Some(Side::Buy),
        Action::Sell => Some(Side::Sell),
        Action::Hold => None,
    }
}

/// A name for the order that follows this record of the log: at most 31 plain characters, and nobody else's, also if the log is lost.
pub(super) fn order_id(last_seq: u64) -> IntentId {
    // The seed of every new hasher is random; the standard library has no plainer source.
    let random = RandomState::new().hash_one(last_seq);
    let seq = last_seq % 10_u64.pow(12);
    IntentId::new(&format!("o{seq}-{random:016x}")).expect("at most 30 plain characters")
}
