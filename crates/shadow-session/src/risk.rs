//! The six risk limits, on the state after the trade.
//!
//! Invariant: an order is allowed only when its notional and the state after it are known, whatever limits are set; a limit that is not
//! set is not enforced and has no utilisation. Nothing here changes a position: the verdict is a fact, and the session obeys it.

use rust_decimal::Decimal;

use crate::money::approximate;

/// One of the six limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitId {
    /// Notional of one order.
    MaxOrderNotional,
    /// Sum of |position| x price over all symbols.
    MaxTotalExposure,
    /// |position| x price of the order's symbol.
    MaxSymbolExposure,
    /// Symbols with a position.
    MaxOpenPositions,
    /// Loss of the UTC day, in quote currency.
    MaxDailyLossAbs,
    /// Loss of the UTC day, in percent of the equity it opened with.
    MaxDailyLossPct,
}

impl LimitId {
    /// All of them, in the order of their indices.
    pub const ALL: [LimitId; 6] = [
        LimitId::MaxOrderNotional,
        LimitId::MaxTotalExposure,
        LimitId::MaxSymbolExposure,
        LimitId::MaxOpenPositions,
        LimitId::MaxDailyLossAbs,
        LimitId::MaxDailyLossPct,
    ];

    /// The spelling in configurations, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            LimitId::MaxOrderNotional => "max_order_notional",
            LimitId::MaxTotalExposure => "max_total_exposure",
            LimitId::MaxSymbolExposure => "max_symbol_exposure",
            LimitId::MaxOpenPositions => "max_open_positions",
            LimitId::MaxDailyLossAbs => "max_daily_loss_abs",
            LimitId::MaxDailyLossPct => "max_daily_loss_pct",
        }
    }

    /// Whether this limit may block an order that only makes the position smaller. Only the order's own size may: blocking the way
    /// out because of exposure or losses would keep the very risk that the limit is about.
    const fn blocks_reducing_orders(self) -> bool {
        matches!(self, LimitId::MaxOrderNotional)
    }
}

/// The limits of a session; each is positive or not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RiskLimits {
    /// By [`LimitId`] index. Quote currency, except a count (positions) and percent.
    pub limits: [Option<Decimal>; 6],
    /// Warned from this share of a limit; above 0, at most 1.
    pub warning_factor: Decimal,
}

/// What the limits look at, apart from the order's own notional.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposure {
    /// |position| x last close. One symbol a session, so this is its exposure and the total.
    pub notional: Decimal,
    /// 1 when there is a position.
    pub open_positions: u32,
    /// Equity at last close.
    pub equity: Decimal,
    /// Equity before the first bar of this UTC day; `None` if it could not be computed, which only the loss limits need.
    pub day_open_equity: Option<Decimal>,
}

/// An order and what it leads to. `None` is an input that could not be computed, and closes the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposal {
    /// Quantity x last close.
    pub notional: Option<Decimal>,
    /// The state after the trade at last close, costs included.
    pub after: Option<Exposure>,
    /// Whether the order only makes the absolute position smaller.
    pub reduces: bool,
}

/// The strictest answer of one evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Nothing near a limit.
    Allow,
    /// Allowed, and a value is in the warning zone.
    Warn,
    /// A limit would be breached.
    Block,
    /// An input is missing: fails closed.
    Error,
}

impl Outcome {
    /// The spelling in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Allow => "allow",
            Outcome::Warn => "warn",
            Outcome::Block => "block",
            Outcome::Error => "error",
        }
    }

    /// Whether the order may be sent.
    pub const fn permits(self) -> bool {
        matches!(self, Outcome::Allow | Outcome::Warn)
    }
}

/// One evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The strictest answer.
    pub outcome: Outcome,
    /// The limits that block the order; not empty only when the outcome is `Block`.
    pub breached: Vec<LimitId>,
}

/// Utilisation by [`LimitId`] index: value / limit, clamped to 0..=1; `None` while the limit is not set.
pub type Utilisation = [Option<f64>; 6];

impl RiskLimits {
    /// Judge an order before it is sent.
    pub fn check(&self, proposal: &Proposal) -> Verdict {
        let mut verdict = Verdict {
            outcome: Outcome::Allow,
            breached: Vec::new(),
        };
        let (Some(notional), Some(after)) = (proposal.notional, proposal.after) else {
            // Also when no set limit looks at it, and also on the way out: what cannot be computed now cannot be booked either.
            verdict.outcome = Outcome::Error;
            return verdict;
        };
        for id in LimitId::ALL {
            let Some(limit) = self.limits[id as usize] else {
                continue;
            };
            let may_block = id.blocks_reducing_orders() || !proposal.reduces;
            let outcome = match measure(id, limit, notional, &after) {
                // Breached only above the limit: a limit of 1000 allows an order of exactly 1000.
                Some((value, limit)) if value > limit && may_block => {
                    verdict.breached.push(id);
                    Outcome::Block
                }
                Some((value, limit))
                    if limit
                        .checked_mul(self.warning_factor)
                        .is_some_and(|from| value >= from) =>
                {
                    Outcome::Warn
                }
                Some(_) => Outcome::Allow,
                // A value that could not have blocked this order is not needed to let it through.
                None if may_block => Outcome::Error,
                None => Outcome::Allow,
            };
            verdict.outcome = verdict.outcome.max(outcome);
        }
        if verdict.outcome == Outcome::Error {
            // With an input missing the order stops for that reason; a breach beside it is no more certain than the rest.
            verdict.breached.clear();
        }
        verdict
    }

    /// How much of each limit the held position uses. `order_notional` is that of the last order evaluated, 0 before the first:
    /// between orders there is no other value for that limit.
    pub fn utilisation(&self, order_notional: Decimal, held: &Exposure) -> Utilisation {
        let loss = held
            .day_open_equity
            .map(|day_open| (approximate(day_open - held.equity), day_open));
        let mut utilisation = [None; 6];
        for id in LimitId::ALL {
            let Some(limit) = self.limits[id as usize] else {
                continue;
            };
            let limit = approximate(limit);
            let ratio = match id {
                LimitId::MaxOrderNotional => approximate(order_notional) / limit,
                LimitId::MaxTotalExposure | LimitId::MaxSymbolExposure => {
                    approximate(held.notional) / limit
                }
                LimitId::MaxOpenPositions => f64::from(held.open_positions) / limit,
                LimitId::MaxDailyLossAbs | LimitId::MaxDailyLossPct => {
                    let Some((loss, day_open)) = loss else {
                        continue;
                    };
                    match id {
                        LimitId::MaxDailyLossAbs => loss / limit,
                        // A day that opened without equity has used all of any percentage up as soon as it loses.
                        _ if day_open <= Decimal::ZERO => f64::from(u8::from(loss > 0.0)),
                        _ => loss * 100.0 / (limit * approximate(day_open)),
                    }
                }
            };
            // A profit is a negative loss: its share of a loss limit is 0.
            utilisation[id as usize] = Some(ratio.clamp(0.0, 1.0));
        }
        utilisation
    }
}

/// The value after the trade and the limit it is held against, in the same unit.
fn measure(
    id: LimitId,
    limit: Decimal,
    notional: Decimal,
    after: &Exposure,
) -> Option<(Decimal, Decimal)> {
    // Loss only: a day in profit has a negative loss, which breaches nothing. Lazy, since the other limits do without it.
    let day_open = || after.day_open_equity;
    let loss = || day_open()?.checked_sub(after.equity);
    match id {
        LimitId::MaxOrderNotional => Some((notional, limit)),
        LimitId::MaxTotalExposure | LimitId::MaxSymbolExposure => Some((after.notional, limit)),
        LimitId::MaxOpenPositions => Some((Decimal::from(after.open_positions), limit)),
        LimitId::MaxDailyLossAbs => Some((loss()?, limit)),
        // The percentage as an amount: multiplying is exact where dividing would round. Percent of nothing is no number.
        LimitId::MaxDailyLossPct => Some((
            loss()?,
            limit
                .checked_mul(day_open().filter(|day_open| *day_open > Decimal::ZERO)?)?
                .checked_div(Decimal::ONE_HUNDRED)?,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LimitId::*;

    const UNSET: [Option<Decimal>; 6] = [None; 6];

    fn only(id: LimitId, limit: &str) -> RiskLimits {
        let mut limits = UNSET;
        limits[id as usize] = Some(limit.parse().unwrap());
        RiskLimits {
            limits,
            warning_factor: "0.8".parse().unwrap(),
        }
    }

    /// An order of notional 1000 that leads to exposure 2000 in one position, on a day that opened at 10000 with equity at `equity`.
    fn proposal(equity: &str, reduces: bool) -> Proposal {
        Proposal {
            notional: Some(1000.into()),
            after: Some(Exposure {
                notional: 2000.into(),
                open_positions: 1,
                equity: equity.parse().unwrap(),
                day_open_equity: Some(10_000.into()),
            }),
            reduces,
        }
    }

    fn check(id: LimitId, limit: &str, proposal: &Proposal) -> (&'static str, Vec<LimitId>) {
        let verdict = only(id, limit).check(proposal);
        (verdict.outcome.as_str(), verdict.breached)
    }

    #[test]
    fn a_limit_is_breached_above_it_and_warned_from_the_factor_of_it() {
        let table = [
            (MaxOrderNotional, "1000", "10000", "warn"),
            (MaxOrderNotional, "999.99", "10000", "block"),
            (MaxOrderNotional, "1250", "10000", "warn"),
            (MaxOrderNotional, "1250.01", "10000", "allow"),
            (MaxTotalExposure, "2000", "10000", "warn"),
            (MaxTotalExposure, "1999.99", "10000", "block"),
            (MaxTotalExposure, "2500.01", "10000", "allow"),
            (MaxSymbolExposure, "2000", "10000", "warn"),
            (MaxSymbolExposure, "1999.99", "10000", "block"),
            (MaxOpenPositions, "1", "10000", "warn"),
            (MaxOpenPositions, "2", "10000", "allow"),
            (MaxDailyLossAbs, "500", "9500", "warn"),
            (MaxDailyLossAbs, "500", "9499.99", "block"),
            (MaxDailyLossAbs, "500", "9600", "warn"),
            (MaxDailyLossAbs, "500", "9600.01", "allow"),
            (MaxDailyLossPct, "5", "9500", "warn"),
            (MaxDailyLossPct, "5", "9499.99", "block"),
            (MaxDailyLossPct, "5", "9600.01", "allow"),
            // A profit, however large, is no loss.
            (MaxDailyLossAbs, "500", "10600", "allow"),
            (MaxDailyLossPct, "5", "20000", "allow"),
        ];
        for (id, limit, equity, outcome) in table {
            let breached = if outcome == "block" {
                vec![id]
            } else {
                Vec::new()
            };
            assert_eq!(
                check(id, limit, &proposal(equity, false)),
                (outcome, breached),
                "{id:?} {limit} {equity}"
            );
        }
    }

    #[test]
    fn a_reducing_order_is_blocked_by_its_own_size_and_by_nothing_else() {
        for (id, limit, outcome) in [
            (MaxOrderNotional, "999", "block"),
            (MaxTotalExposure, "1", "warn"),
            (MaxSymbolExposure, "1", "warn"),
            (MaxOpenPositions, "0.5", "warn"),
            (MaxDailyLossAbs, "1", "warn"),
            (MaxDailyLossPct, "0.01", "warn"),
        ] {
            assert_eq!(
                check(id, limit, &proposal("9000", true)).0,
                outcome,
                "{id:?}"
            );
            assert_eq!(
                check(id, limit, &proposal("9000", false)).0,
                "block",
                "{id:?}"
            );
        }
    }

    #[test]
    fn a_missing_input_stops_every_order_with_an_error_whatever_limits_are_set() {
        let known = proposal("10000", false);
        let no_notional = Proposal {
            notional: None,
            ..known
        };
        let no_after = Proposal {
            after: None,
            ..known
        };
        let no_day = Proposal {
            after: known.after.map(|after| Exposure {
                day_open_equity: Some(Decimal::ZERO),
                ..after
            }),
            ..known
        };
        for missing in [no_notional, no_after] {
            for reduces in [false, true] {
                let proposal = Proposal { reduces, ..missing };
                for id in LimitId::ALL {
                    assert_eq!(
                        check(id, "100000", &proposal),
                        ("error", Vec::new()),
                        "{id:?} {proposal:?}"
                    );
                }
                let unlimited = RiskLimits {
                    limits: UNSET,
                    warning_factor: "0.8".parse().unwrap(),
                };
                assert_eq!(
                    unlimited.check(&proposal).outcome,
                    Outcome::Error,
                    "{proposal:?}"
                );
            }
        }
        // A percentage of nothing is not known either; an order that this limit cannot block does not wait for it.
        assert_eq!(check(MaxDailyLossPct, "5", &no_day), ("error", Vec::new()));
        assert_eq!(
            check(
                MaxDailyLossPct,
                "5",
                &Proposal {
                    reduces: true,
                    ..no_day
                }
            ),
            ("allow", Vec::new())
        );
        assert_eq!(check(MaxDailyLossAbs, "5", &no_day), ("allow", Vec::new()));
    }

    #[test]
    fn a_day_that_opened_with_unknown_equity_stops_what_the_loss_limits_could_stop_and_nothing_else()
     {
        for id in LimitId::ALL {
            let is_of_losses = matches!(id, MaxDailyLossAbs | MaxDailyLossPct);
            for reduces in [false, true] {
                let mut unknown = proposal("10000", reduces);
                unknown.after.as_mut().unwrap().day_open_equity = None;
                let expected = if is_of_losses && !reduces {
                    "error"
                } else {
                    "allow"
                };
                assert_eq!(
                    check(id, "100000", &unknown).0,
                    expected,
                    "{id:?} {reduces}"
                );
                let used = only(id, "100000").utilisation(1.into(), &unknown.after.unwrap());
                assert_eq!(used[id as usize].is_none(), is_of_losses, "{id:?}");
            }
        }
    }

    #[test]
    fn every_breached_limit_is_named_once_and_none_beside_an_error() {
        let limits = RiskLimits {
            limits: [Some(1.into()); 6],
            warning_factor: "0.8".parse().unwrap(),
        };
        let verdict = limits.check(&proposal("9000", false));
        assert_eq!(verdict.outcome, Outcome::Block);
        assert_eq!(
            verdict.breached,
            [
                MaxOrderNotional,
                MaxTotalExposure,
                MaxSymbolExposure,
                MaxDailyLossAbs,
                MaxDailyLossPct
            ]
        );
        let verdict = limits.check(&Proposal {
            after: None,
            ..proposal("9000", false)
        });
        assert_eq!(
            verdict,
            Verdict {
                outcome: Outcome::Error,
                breached: Vec::new()
            }
        );
    }

    #[test]
    fn without_limits_everything_is_allowed_and_nothing_is_utilised() {
        let limits = RiskLimits {
            limits: UNSET,
            warning_factor: "0.8".parse().unwrap(),
        };
        assert_eq!(
            limits.check(&proposal("-5000", false)).outcome,
            Outcome::Allow
        );
        let held = proposal("9000", false).after.unwrap();
        assert_eq!(limits.utilisation(1000.into(), &held), [None; 6]);
    }

    #[test]
    fn utilisation_is_the_share_of_the_limit_between_nothing_and_all_of_it() {
        let table = [
            (MaxOrderNotional, "4000", "10000", 0.25),
            (MaxOrderNotional, "500", "10000", 1.0),
            (MaxTotalExposure, "5000", "10000", 0.4),
            (MaxSymbolExposure, "4000", "10000", 0.5),
            (MaxOpenPositions, "5", "10000", 0.2),
            (MaxDailyLossAbs, "500", "9900", 0.2),
            (MaxDailyLossPct, "5", "9900", 0.2),
            (MaxDailyLossAbs, "500", "10100", 0.0),
            (MaxDailyLossPct, "5", "10100", 0.0),
            (MaxDailyLossAbs, "500", "0", 1.0),
        ];
        for (id, limit, equity, expected) in table {
            let held = proposal(equity, false).after.unwrap();
            let utilisation = only(id, limit).utilisation(1000.into(), &held);
            assert_eq!(
                utilisation[id as usize],
                Some(expected),
                "{id:?} {limit} {equity}"
            );
            assert_eq!(
                utilisation.iter().flatten().count(),
                1,
                "a limit that is not set has no utilisation"
            );
        }
        let broke = Exposure {
            notional: 0.into(),
            open_positions: 0,
            equity: (-1).into(),
            day_open_equity: Some(Decimal::ZERO),
        };
        assert_eq!(
            only(MaxDailyLossPct, "5").utilisation(0.into(), &broke)[MaxDailyLossPct as usize],
            Some(1.0)
        );
    }
}
