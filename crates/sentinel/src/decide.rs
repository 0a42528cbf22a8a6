//! From probabilities to BUY, SELL or HOLD, and why a signal is not sent.
//!
//! Invariant: a decision has exactly one [`Fate`], and only fresh data above the threshold make a signal. Must not touch: clock, network,
//! metrics; time is an argument.
//!
//! A decision is the greatest of the three probabilities; in a tie nothing is preferred over doing nothing, so HOLD wins. A BUY or SELL
//! whose confidence is above the threshold (strictly, as ever) on fresh data is a *signal*. A signal is sent or suppressed by the first
//! reason that holds.

use std::time::{Duration, Instant};

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

/// Why a BUY or SELL is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suppression {
    /// The confidence is not above the threshold: no signal.
    BelowThreshold,
    /// The newest bar is too old: no signal.
    StaleData,
    /// Trading is halted.
    Halted,
    /// Nobody trades now.
    MarketClosed,
    /// The bar was decided on before.
    Duplicate,
    /// Too soon after the signal before.
    Cooldown,
    /// As many orders as a day may have.
    RiskLimit,
    /// Orders are not sent in this mode.
    DryRun,
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

/// What becomes of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The decision is to do nothing.
    Hold,
    /// A BUY or SELL that is no signal.
    NoSignal(Suppression),
    /// A signal that is not sent.
    Suppressed(Suppression),
}

/// A decision on one closed bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// What the model says.
    pub action: Action,
    /// The greatest of the three probabilities.
    pub confidence: f64,
    /// What becomes of it.
    pub fate: Fate,
}

/// What is known of the world when a decision is due.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// Unix seconds of the opening of the bar that is decided on.
    pub bar_open_time: i64,
    /// Whether that bar is too old to act on.
    pub is_stale: bool,
    /// Whether the market trades now.
    pub is_market_open: bool,
    /// What may be sent.
    pub state: TradingState,
    /// Unix seconds, for the day's limit.
    pub unix: i64,
    /// For the cooldown.
    pub monotonic: Instant,
}

/// The settings of decisions, and what earlier ones leave behind.
#[derive(Debug)]
pub struct Decider {
    threshold: f64,
    cooldown: Duration,
    max_orders_per_day: u64,
    last_decided: Option<i64>,
    last_order: Option<Instant>,
    /// Days since the epoch (UTC), and orders in it.
    day: (i64, u64),
}

const DAY_SECONDS: i64 = 86_400;

impl Decider {
    /// `threshold` is in 0..=1, and a confidence has to be above it.
    pub fn new(threshold: f64, cooldown: Duration, max_orders_per_day: u64) -> Decider {
        Decider {
            threshold,
            cooldown,
            max_orders_per_day,
            last_decided: None,
            last_order: None,
            day: (0, 0),
        }
    }

    /// The bar that was decided on last, by its opening.
    pub fn last_decided(&self) -> Option<i64> {
        self.last_decided
    }

    /// Decide, and remember it. Cooldown and daily limit count the orders that would have been sent, so that a dry run suppresses what
    /// a live one would.
    pub fn decide(&mut self, probabilities: Probabilities, situation: &Situation) -> Decision {
        let (action, confidence) = choose(probabilities);
        let fate = match action {
            Action::Hold => Fate::Hold,
            Action::Buy | Action::Sell => self.fate(confidence, situation),
        };
        self.last_decided = self.last_decided.max(Some(situation.bar_open_time));
        Decision {
            action,
            confidence,
            fate,
        }
    }

    fn fate(&mut self, confidence: f64, situation: &Situation) -> Fate {
        if situation.is_stale {
            return Fate::NoSignal(Suppression::StaleData);
        }
        // Written so that NaN is below; probabilities have none.
        let is_above = confidence > self.threshold;
        if !is_above {
            return Fate::NoSignal(Suppression::BelowThreshold);
        }
        let day = situation.unix.div_euclid(DAY_SECONDS);
        if self.day.0 != day {
            self.day = (day, 0);
        }
        let cools_down = self.last_order.is_some_and(|last| {
            situation.monotonic.saturating_duration_since(last) < self.cooldown
        });
        let is_repeated = self
            .last_decided
            .is_some_and(|last| situation.bar_open_time <= last);
        Fate::Suppressed(match situation.state {
            TradingState::Halted => Suppression::Halted,
            _ if !situation.is_market_open => Suppression::MarketClosed,
            _ if is_repeated => Suppression::Duplicate,
            _ if cools_down => Suppression::Cooldown,
            _ if self.day.1 >= self.max_orders_per_day => Suppression::RiskLimit,
            // There is no position that an order could reduce.
            TradingState::Reducing => Suppression::RiskLimit,
            TradingState::Active => {
                self.last_order = Some(situation.monotonic);
                self.day.1 += 1;
                Suppression::DryRun
            }
        })
    }
}

/// The greatest probability and what it is of; HOLD in every tie.
pub fn choose(probabilities: Probabilities) -> (Action, f64) {
    let [sell, hold, buy] = probabilities.to_array();
    let action = if buy > hold && buy > sell {
        Action::Buy
    } else if sell > hold && sell > buy {
        Action::Sell
    } else {
        Action::Hold
    };
    (action, sell.max(hold).max(buy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation(bar_open_time: i64) -> Situation {
        Situation {
            bar_open_time,
            is_stale: false,
            is_market_open: true,
            state: TradingState::Active,
            unix: 1_000_000_000,
            monotonic: Instant::now(),
        }
    }

    fn probabilities(wire: [f64; 3]) -> Probabilities {
        Probabilities::new(wire).unwrap()
    }

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
            let decision =
                Decider::new(0.0, Duration::ZERO, 9).decide(probabilities(wire), &situation(1));
            assert_eq!(decision.action, action, "{wire:?}");
            assert_eq!(decision.confidence, wire.into_iter().fold(0.0, f64::max));
        }
    }

    #[test]
    fn only_a_confidence_above_the_threshold_is_a_signal() {
        for (threshold, fate) in [
            (0.69, Fate::Suppressed(Suppression::DryRun)),
            (0.7, Fate::NoSignal(Suppression::BelowThreshold)),
            (0.71, Fate::NoSignal(Suppression::BelowThreshold)),
        ] {
            let decision = Decider::new(threshold, Duration::ZERO, 9)
                .decide(probabilities([0.1, 0.2, 0.7]), &situation(1));
            assert_eq!(decision.fate, fate, "{threshold}");
        }
    }

    #[test]
    fn each_reason_suppresses_and_the_gravest_is_named() {
        use Suppression::*;
        let open = situation(5);
        for (changed, fate) in [
            (
                Situation {
                    is_stale: true,
                    state: TradingState::Halted,
                    ..open
                },
                Fate::NoSignal(StaleData),
            ),
            (
                Situation {
                    is_market_open: false,
                    state: TradingState::Halted,
                    ..open
                },
                Fate::Suppressed(Halted),
            ),
            (
                Situation {
                    is_market_open: false,
                    bar_open_time: 4,
                    ..open
                },
                Fate::Suppressed(MarketClosed),
            ),
            (
                Situation {
                    bar_open_time: 4,
                    ..open
                },
                Fate::Suppressed(Duplicate),
            ),
            (
                Situation {
                    state: TradingState::Reducing,
                    ..open
                },
                Fate::Suppressed(RiskLimit),
            ),
        ] {
            let mut decider = Decider::new(0.5, Duration::ZERO, 9);
            decider.last_decided = Some(4);
            let decision = decider.decide(probabilities([0.1, 0.2, 0.7]), &changed);
            assert_eq!(decision.fate, fate, "{changed:?}");
        }
    }

    #[test]
    fn cooldown_and_daily_limit_count_what_would_have_been_sent() {
        let mut decider = Decider::new(0.5, Duration::from_secs(60), 2);
        let begin = situation(1);
        let mut fates = Vec::new();
        for (bar, seconds) in [(1, 0), (2, 59), (3, 60), (4, 200), (5, DAY_SECONDS as u64)] {
            let now = Situation {
                bar_open_time: bar,
                monotonic: begin.monotonic + Duration::from_secs(seconds),
                unix: begin.unix + seconds as i64,
                ..begin
            };
            fates.push(decider.decide(probabilities([0.7, 0.2, 0.1]), &now).fate);
        }
        use Suppression::*;
        assert_eq!(
            fates,
            [DryRun, Cooldown, DryRun, RiskLimit, DryRun].map(Fate::Suppressed)
        );
    }
}
