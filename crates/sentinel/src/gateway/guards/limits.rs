//! The six risk limits, on the state after the trade.
//!
//! Invariant: a limit is breached only above it; an order that only reduces a position is held against its own size and nothing else;
//! what cannot be computed exactly is a refusal. A limit that is not set is not enforced and has no utilisation. Must not touch: clocks.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::refusal::{Input, Refusal};
use super::situation::{Book, Request};
use crate::gateway::exact;
use crate::gateway::intent_log::record::Side;

/// Greatest amount of money, value of a lot, volume or limit that makes sense.
pub const AMOUNT_MAX: Decimal = exact::AMOUNT_MAX;
/// Positions and working orders beyond which a book makes no sense.
pub const BOOK_MAX: usize = 10_000;

/// One of the six limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitId {
    /// Value of one order.
    MaxOrderNotional,
    /// Value of all positions, working orders counted at their worst.
    MaxTotalExposure,
    /// The same of the order's symbol.
    MaxSymbolExposure,
    /// Symbols with a position or a working order.
    MaxOpenPositions,
    /// Loss of the UTC day, in the account's currency.
    MaxDailyLossAbs,
    /// Loss of the UTC day, in percent of the equity it began with.
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
}

/// The limits, by [`LimitId`] index: in the account's currency, a count, or percent; each above 0 or not set.
pub type RiskLimits = [Option<Decimal>; 6];

/// Limits on disk: an object of all six names, `null` for one that is not set. Another name or a missing one is an error.
pub(crate) mod by_name {
    use std::collections::BTreeMap;

    use rust_decimal::Decimal;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{LimitId, RiskLimits};

    pub(crate) fn serialize<S: Serializer>(limits: &RiskLimits, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(LimitId::ALL.map(|id| (id.as_str(), limits[id as usize])))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<RiskLimits, D::Error> {
        let mut named = BTreeMap::<String, Option<Decimal>>::deserialize(from)?;
        let mut limits = RiskLimits::default();
        for id in LimitId::ALL {
            limits[id as usize] = named
                .remove(id.as_str())
                .ok_or_else(|| D::Error::missing_field(id.as_str()))?;
        }
        match named.into_keys().next() {
            None => Ok(limits),
            Some(name) => Err(D::Error::custom(format!("{name:?} is no limit"))),
        }
    }
}

/// Utilisation by [`LimitId`] index: value / limit, clamped to 0..=1; `None` while the limit is not set or the value not known.
pub type Utilisation = [Option<f64>; 6];

/// What the limits look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// Value of all positions.
    pub total: Decimal,
    /// Value of the position in the symbol that was asked for.
    pub symbol: Decimal,
    /// Symbols with a position or a working order.
    pub open_positions: u32,
}

/// One symbol of a book.
#[derive(Debug, Clone, Copy, Default)]
struct Holding {
    volume: Decimal,
    working_buys: Decimal,
    working_sells: Decimal,
    unit_value: Decimal,
}

impl Holding {
    /// The greatest position that any subset of the working orders leads to, as a value.
    fn worst(&self) -> Option<Decimal> {
        let up = exact::add(self.volume, self.working_buys)?.abs();
        let down = exact::sub(self.volume, self.working_sells)?.abs();
        exact::mul(up.max(down), self.unit_value)
    }
}

type Holdings<'a> = BTreeMap<&'a str, Holding>;

/// The book by symbol, if it makes sense.
fn holdings(book: &Book) -> Result<Holdings<'_>, Refusal> {
    let absurd = Refusal::Absurd(Input::Positions);
    if book.positions.len() + book.working.len() > BOOK_MAX {
        return Err(absurd);
    }
    let mut holdings = Holdings::new();
    for position in &book.positions {
        let is_sound = is_amount(position.volume.abs())
            && is_amount(position.unit_value)
            && !position.symbol.is_empty();
        let holding = Holding {
            volume: position.volume,
            unit_value: position.unit_value,
            ..Holding::default()
        };
        // Long and short at once cannot be told from one position said twice.
        if !is_sound || holdings.insert(&position.symbol, holding).is_some() {
            return Err(absurd);
        }
    }
    for order in &book.working {
        if !is_amount(order.volume) || !is_amount(order.unit_value) || order.symbol.is_empty() {
            return Err(absurd);
        }
        let holding = holdings.entry(&order.symbol).or_default();
        holding.unit_value = holding.unit_value.max(order.unit_value);
        let sum = match order.side {
            Side::Buy => &mut holding.working_buys,
            Side::Sell => &mut holding.working_sells,
        };
        *sum = exact::add(*sum, order.volume).ok_or(Refusal::Absurd(Input::Arithmetic))?;
    }
    Ok(holdings)
}

/// Above 0, and not beyond what makes sense.
pub(super) fn is_amount(value: Decimal) -> bool {
    value > Decimal::ZERO && value <= AMOUNT_MAX
}

fn exposure(holdings: &Holdings<'_>, symbol: &str) -> Option<Exposure> {
    let mut exposure = Exposure {
        total: Decimal::ZERO,
        symbol: Decimal::ZERO,
        open_positions: 0,
    };
    for (name, holding) in holdings {
        let worst = holding.worst()?;
        exposure.total = exact::add(exposure.total, worst)?;
        exposure.open_positions += u32::from(!worst.is_zero());
        if *name == symbol {
            exposure.symbol = worst;
        }
    }
    Some(exposure)
}

/// What a book holds now.
///
/// # Errors
/// The book makes no sense.
pub fn held(book: &Book, symbol: &str) -> Result<Exposure, Refusal> {
    exposure(&holdings(book)?, symbol).ok_or(Refusal::Absurd(Input::Arithmetic))
}

/// An order and what it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Projection {
    notional: Decimal,
    after: Exposure,
    equity: Decimal,
    /// Whether the order only makes the absolute position smaller, whatever becomes of the working ones.
    pub(super) is_reducing: bool,
}

/// The state after the trade.
pub(super) fn project(
    request: &Request,
    book: &Book,
    equity: Decimal,
) -> Result<Projection, Refusal> {
    let mut holdings = holdings(book)?;
    let compute = || {
        let holding = holdings.entry(&request.symbol).or_default();
        let before = holding.volume;
        holding.unit_value = holding.unit_value.max(request.unit_value);
        let (signed, same_side, is_opposite) = match request.side {
            Side::Buy => (request.volume, holding.working_buys, before < Decimal::ZERO),
            Side::Sell => (
                -request.volume,
                holding.working_sells,
                before > Decimal::ZERO,
            ),
        };
        let is_reducing = is_opposite && exact::add(request.volume, same_side)? <= before.abs();
        holding.volume = exact::add(before, signed)?;
        Some(Projection {
            notional: exact::mul(request.volume, holding.unit_value)?,
            after: exposure(&holdings, &request.symbol)?,
            equity: exact::sub(equity, request.cost)?,
            is_reducing,
        })
    };
    let mut compute = compute;
    compute().ok_or(Refusal::Absurd(Input::Arithmetic))
}

/// Holds the state after the trade against the limits.
pub(super) fn enforce(
    limits: &RiskLimits,
    projection: &Projection,
    day_opening: Option<Decimal>,
) -> Result<(), Refusal> {
    let mut breached = Vec::new();
    for id in LimitId::ALL {
        let Some(limit) = limits[id as usize] else {
            continue;
        };
        // Blocking the way out because of exposure or losses would keep the very risk that the limit is about.
        if projection.is_reducing && id != LimitId::MaxOrderNotional {
            continue;
        }
        let (value, limit) = match id {
            LimitId::MaxOrderNotional => (projection.notional, limit),
            LimitId::MaxTotalExposure => (projection.after.total, limit),
            LimitId::MaxSymbolExposure => (projection.after.symbol, limit),
            LimitId::MaxOpenPositions => (Decimal::from(projection.after.open_positions), limit),
            LimitId::MaxDailyLossAbs => (loss(projection.equity, day_opening)?, limit),
            LimitId::MaxDailyLossPct => percent(limit, projection.equity, day_opening)?,
        };
        if value > limit {
            breached.push(id);
        }
    }
    if breached.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Limits(breached))
    }
}

/// The limits of the day's loss that this equity breaches, without any further order. What cannot be computed breaches nothing here: an
/// order is refused for it, and a halt needs a loss that is known.
pub fn lost(limits: &RiskLimits, equity: Decimal, day_opening: Option<Decimal>) -> Vec<LimitId> {
    let breached = |id: &LimitId| {
        let limit = limits[*id as usize]?;
        let (value, limit) = match id {
            LimitId::MaxDailyLossAbs => (loss(equity, day_opening).ok()?, limit),
            LimitId::MaxDailyLossPct => percent(limit, equity, day_opening).ok()?,
            _ => return None,
        };
        (value > limit).then_some(*id)
    };
    LimitId::ALL.iter().filter_map(breached).collect()
}

/// Below 0 on a day in profit, which breaches nothing.
fn loss(equity: Decimal, day_opening: Option<Decimal>) -> Result<Decimal, Refusal> {
    let opening = day_opening.ok_or(Refusal::Missing(Input::DayOpening))?;
    exact::sub(opening, equity).ok_or(Refusal::Absurd(Input::Arithmetic))
}

/// Loss and limit, both times a hundred times the opening: multiplying is exact where dividing would round.
fn percent(
    limit: Decimal,
    equity: Decimal,
    day_opening: Option<Decimal>,
) -> Result<(Decimal, Decimal), Refusal> {
    let loss = loss(equity, day_opening)?;
    // Percent of nothing is no number.
    let opening = day_opening
        .filter(|opening| is_amount(*opening))
        .ok_or(Refusal::Absurd(Input::DayOpening))?;
    exact::mul(loss, Decimal::ONE_HUNDRED)
        .zip(exact::mul(limit, opening))
        .ok_or(Refusal::Absurd(Input::Arithmetic))
}

/// How much of each limit is used. `order_notional` is that of the last order, 0 before the first. For metrics only.
pub fn utilisation(
    limits: &RiskLimits,
    order_notional: Decimal,
    held: &Exposure,
    equity: Decimal,
    day_opening: Option<Decimal>,
) -> Utilisation {
    let loss = || day_opening?.checked_sub(equity)?.to_f64();
    let mut utilisation = [None; 6];
    for id in LimitId::ALL {
        let ratio = || {
            let limit = limits[id as usize]?.to_f64()?;
            let value = match id {
                LimitId::MaxOrderNotional => order_notional.to_f64()?,
                LimitId::MaxTotalExposure => held.total.to_f64()?,
                LimitId::MaxSymbolExposure => held.symbol.to_f64()?,
                LimitId::MaxOpenPositions => f64::from(held.open_positions),
                LimitId::MaxDailyLossAbs => loss()?,
                LimitId::MaxDailyLossPct => {
                    let opening = day_opening?.to_f64()?;
                    // A day that began without equity has used all of any percentage up as soon as it loses.
                    if opening <= 0.0 {
                        return Some(f64::from(u8::from(loss()? > 0.0)));
                    }
                    loss()? * 100.0 / opening
                }
            };
            Some(value / limit)
        };
        utilisation[id as usize] = ratio()
            .filter(|ratio| !ratio.is_nan())
            .map(|ratio| ratio.clamp(0.0, 1.0));
    }
    utilisation
}
