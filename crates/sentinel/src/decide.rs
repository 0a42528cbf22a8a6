//! From probabilities to BUY, SELL or HOLD.
//!
//! Invariant: the same probabilities give the same decision, and in a tie nothing is preferred over doing nothing, so HOLD wins. Whether a
//! decision is a signal, and whether anything is sent, is for the guards alone. Must not touch: clock, network, metrics.

use crate::model::Probabilities;

/// What the model says to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Buy.
    Buy,
    /// Sell.
    Sell,
    /// Nothing.
    Hold,
}

impl Action {
    /// The spelling in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::Buy => "BUY",
            Action::Sell => "SELL",
            Action::Hold => "HOLD",
        }
    }
}

/// What may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TradingState {
    /// Everything.
    Active,
    /// Only what reduces a position. Without a position that is nothing.
    Reducing,
    /// Nothing.
    Halted,
}

impl TradingState {
    /// All of them.
    pub const ALL: [TradingState; 3] = [
        TradingState::Active,
        TradingState::Reducing,
        TradingState::Halted,
    ];

    /// The spelling in metrics and `/health`.
    pub const fn as_str(self) -> &'static str {
        match self {
            TradingState::Active => "active",
            TradingState::Reducing => "reducing",
            TradingState::Halted => "halted",
        }
    }
}

/// A decision on one closed bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// What the model says.
    pub action: Action,
    /// The greatest of the three probabilities.
    pub confidence: f64,
}

/// The greatest probability and what it is of; HOLD in every tie.
pub fn decide(probabilities: Probabilities) -> Decision {
    let [sell, hold, buy] = probabilities.to_array();
    let action = if buy > hold && buy > sell {
        Action::Buy
    } else if sell > hold && sell > buy {
        Action::Sell
    } else {
        Action::Hold
    };
    Decision {
        action,
        confidence: sell.max(hold).max(buy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_probability_decides_and_hold_wins_every_tie() {
        for (wire, action) in [
            ([0.7, 0.2, 0.1], Action::Sell),
            ([0.1, 0.2, 0.7], Action::Buy),
            ([0.2, 0.6, 0.2], Action::Hold),
            ([0.4, 0.4, 0.2], Action::Hold),
            ([0.2, 0.4, 0.4], Action::Hold),
            ([0.45, 0.1, 0.45], Action::Hold),
            ([1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0], Action::Hold),
        ] {
            let decision = decide(Probabilities::new(wire).unwrap());
            assert_eq!(decision.action, action, "{wire:?}");
            assert_eq!(decision.confidence, wire.into_iter().fold(0.0, f64::max));
        }
    }
}
