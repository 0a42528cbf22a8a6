//! Our own positions: what our executions lead to, from a position that the gateway told.
//!
//! Invariant: a position is known only while every execution since its basing is; what cannot be told exactly makes it unknown. Must not
//! touch: storage.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::record::{Intent, Side};
use crate::gateway::exact;

/// Symbols with a position that is known, at most.
pub(super) const SYMBOLS_MAX: usize = 256;
/// Longest symbol.
pub(super) const SYMBOL_LEN_MAX_BYTES: usize = 64;

/// Net lots by symbol; below 0 when short. A symbol that is absent is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct OwnPositions(BTreeMap<String, Decimal>);

impl OwnPositions {
    /// Net lots.
    pub(super) fn of(&self, symbol: &str) -> Option<Decimal> {
        self.0.get(symbol).copied()
    }

    /// Whether a position of this symbol and volume can be taken in.
    pub(super) fn fits(&self, symbol: &str, volume: Decimal) -> bool {
        let has_room = self.0.contains_key(symbol) || self.0.len() < SYMBOLS_MAX;
        has_room
            && (1..=SYMBOL_LEN_MAX_BYTES).contains(&symbol.len())
            && volume.abs() <= exact::AMOUNT_MAX
    }

    pub(super) fn base(&mut self, symbol: &str, volume: Decimal) {
        if self.fits(symbol, volume) {
            self.0.insert(symbol.to_owned(), volume);
        } else {
            self.0.remove(symbol);
        }
    }

    /// So many lots of this order were executed; unknown lots, or more than was asked for, leave the position unknown.
    pub(super) fn executed(&mut self, intent: &Intent, volume: Option<Decimal>) {
        let Some(held) = self.of(&intent.symbol) else {
            return;
        };
        let sum = volume
            .filter(|volume| *volume > Decimal::ZERO && *volume <= intent.volume)
            .and_then(|volume| match intent.side {
                Side::Buy => exact::add(held, volume),
                Side::Sell => exact::sub(held, volume),
            });
        match sum {
            Some(sum) => self.base(&intent.symbol, sum),
            None => {
                self.0.remove(&intent.symbol);
            }
        }
    }

    /// Something was executed and nobody knows of what.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}
