//! One step of a paper session: candle in, facts out.
//!
//! Invariant: decided at the close of a bar, filled at the open of the next, so no decision knows a price that it could not have
//! known. Nothing here reads a clock, logs, counts metrics or touches a file: the same candles give the same reports, always.

use market::{Candle, Instrument};
use rust_decimal::Decimal;

use crate::execution::Execution;
use crate::ledger::{Drawdown, Ledger, Mark, OutOfRange};
use crate::money::amount;
use crate::report::{Decision, FillReport, Order, OrderReport, OrderResult, StepReport, Totals};
use crate::risk::{Exposure, Proposal, RiskLimits};
use crate::strategy::{MaCrossover, MaCrossoverParameters, Signal};

const DAY_SECONDS: i64 = 86_400;

/// What a session trades, and how.
#[derive(Debug, Clone, Copy)]
pub struct SessionSettings {
    /// What is traded.
    pub instrument: Instrument,
    /// Cash at the beginning, quote currency, positive.
    pub start_balance: Decimal,
    /// Share of equity that an entry is worth; above 0, at most 1.
    pub position_fraction: Decimal,
    /// Costs of a fill.
    pub execution: Execution,
    /// Limits on the state after a trade.
    pub limits: RiskLimits,
    /// The strategy's parameters.
    pub strategy: MaCrossoverParameters,
}

/// A session between two candles.
#[derive(Debug, Clone)]
pub struct Session {
    settings: SessionSettings,
    strategy: MaCrossover,
    ledger: Ledger,
    drawdown: Drawdown,
    signal: Signal,
    /// Sent at the last close, to be filled at the next open.
    pending: Vec<Order>,
    /// An exit was decided and did not get through: it is tried again at every bar until it does or a new cross decides anew.
    exit_wanted: bool,
    /// Notional of the last order evaluated.
    order_notional: Decimal,
    /// UTC day of the last candle, and the equity before its first one.
    day: i64,
    day_open_equity: Option<Decimal>,
    /// Equity at the last close; `None` if it could not be computed.
    equity: Option<Decimal>,
    totals: Totals,
}

impl Session {
    /// Flat, with the starting balance in cash and no candle seen.
    pub fn new(settings: SessionSettings) -> Session {
        let start = settings.start_balance;
        Session {
            strategy: MaCrossover::new(&settings.strategy),
            ledger: Ledger::new(start),
            drawdown: Drawdown::new(start),
            signal: Signal::Flat,
            pending: Vec::new(),
            exit_wanted: false,
            order_notional: Decimal::ZERO,
            day: i64::MIN,
            day_open_equity: None,
            equity: Some(start),
            totals: Totals::default(),
            settings,
        }
    }

    /// A candle of the warm-up: it feeds the averages and nothing else. A cross in it is not traded: it is history, and the session
    /// was not there. The signal therefore stays flat until a cross is seen after the warm-up.
    pub fn warm_up(&mut self, candle: &Candle) {
        self.strategy.on_close(candle);
    }

    /// One closed candle.
    pub fn step(&mut self, candle: &Candle) -> StepReport {
        self.totals.steps += 1;
        self.open_day(candle);
        let fills = self.fill_pending(candle.open);
        let mark = self.ledger.mark(candle.close);
        self.equity = mark.map(|mark| mark.equity);
        if let Some(equity) = self.equity {
            self.drawdown.observe(equity);
        }
        let (signal_changed, orders) = match self.strategy.on_close(candle) {
            Some(target) => self.on_cross(target, candle.close),
            None if self.exit_wanted => (
                false,
                self.try_orders(&self.exits(None), true, candle.close),
            ),
            None => (false, Vec::new()),
        };
        let utilisation = self
            .exposure(&self.ledger, mark)
            .map(|held| self.settings.limits.utilisation(self.order_notional, &held));
        StepReport {
            fills,
            mark,
            signal: self.signal,
            signal_changed,
            orders,
            utilisation,
        }
    }

    /// The books.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Peak and deepest fall of equity at closes.
    pub fn drawdown(&self) -> &Drawdown {
        &self.drawdown
    }

    /// What it trades, and how.
    pub fn settings(&self) -> &SessionSettings {
        &self.settings
    }

    /// Orders that wait for a next open; at the end of the data they stay unfilled.
    pub fn pending(&self) -> &[Order] {
        &self.pending
    }

    /// Equity at the last close; `None` if it could not be computed.
    pub fn equity(&self) -> Option<Decimal> {
        self.equity
    }

    /// The signal in force.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// What was done so far.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// A day is that of the candle's opening, in UTC. It opens with the equity of the last close before it, so a fill at the first
    /// open of a day, and the jump of prices since the last close, belong to the new day.
    fn open_day(&mut self, candle: &Candle) {
        let day = candle.open_time.div_euclid(DAY_SECONDS);
        if day != self.day {
            self.day = day;
            self.day_open_equity = self.equity;
        }
    }

    fn fill_pending(&mut self, open: Decimal) -> Vec<FillReport> {
        let mut reports = Vec::new();
        for order in std::mem::take(&mut self.pending) {
            let fill = self
                .settings
                .execution
                .fill(order.side, order.quantity, open)
                .ok_or(OutOfRange);
            let booked = fill.and_then(|fill| self.ledger.apply(&fill).map(|()| fill));
            match booked {
                Ok(_) => self.totals.filled += 1,
                Err(OutOfRange) => {
                    self.totals.rejected += 1;
                    self.exit_wanted |= !order.decision.is_entry();
                }
            }
            reports.push(FillReport {
                order,
                fill: booked,
            });
        }
        reports
    }

    fn on_cross(&mut self, target: Signal, close: Decimal) -> (bool, Vec<OrderReport>) {
        let changed = target != self.signal;
        self.signal = target;
        self.totals.signals += u64::from(changed);
        // The cross decides anew: an exit that was still wanted is either decided again here or no longer wanted.
        self.exit_wanted = false;
        let mut decisions = self.exits(Some(target));
        // Whoever was blocked or too small at the last cross up holds nothing, so only this cross, not every bar, tries again.
        match target {
            Signal::Long if self.ledger.position() <= Decimal::ZERO => {
                decisions.push(Decision::EntryLong)
            }
            Signal::Short if self.ledger.position() >= Decimal::ZERO => {
                decisions.push(Decision::EntryShort)
            }
            _ => {}
        }
        (changed, self.try_orders(&decisions, false, close))
    }

    /// The order, if any, that leaves the position behind when `target` is wanted; `None` is a repeated exit, with nothing behind it.
    fn exits(&self, target: Option<Signal>) -> Vec<Decision> {
        let position = self.ledger.position();
        let exit = if position > Decimal::ZERO {
            match target {
                Some(Signal::Long) => return Vec::new(),
                Some(Signal::Short) => Decision::CloseLong,
                Some(Signal::Flat) | None => Decision::ExitLong,
            }
        } else if position < Decimal::ZERO {
            match target {
                Some(Signal::Short) => return Vec::new(),
                Some(Signal::Long) => Decision::CloseShort,
                Some(Signal::Flat) | None => Decision::ExitShort,
            }
        } else {
            return Vec::new();
        };
        vec![exit]
    }

    /// Form, evaluate and send the orders of one bar, each judged on the books as the ones before it leave them.
    fn try_orders(
        &mut self,
        decisions: &[Decision],
        retry: bool,
        close: Decimal,
    ) -> Vec<OrderReport> {
        self.exit_wanted = false;
        let mut books = self.ledger;
        let mut reports = Vec::with_capacity(decisions.len());
        for decision in decisions {
            let report = self.try_order(*decision, retry, close, &mut books);
            let sent = report.result == OrderResult::Sent;
            reports.push(report);
            if !sent {
                // A blocked exit stays wanted; a blocked entry does not. An entry behind an exit that was not sent is not tried:
                // it would add to the position that was to be left.
                self.exit_wanted = !decision.is_entry();
                break;
            }
        }
        reports
    }

    fn try_order(
        &mut self,
        decision: Decision,
        retry: bool,
        close: Decimal,
        books: &mut Ledger,
    ) -> OrderReport {
        self.totals.decisions += u64::from(!retry);
        let quantity = if decision.is_entry() {
            self.entry_quantity(close)
        } else {
            Some(books.position().abs())
        };
        let order = Order {
            decision,
            side: decision.side(),
            quantity: quantity.unwrap_or_default(),
        };
        if quantity.is_some_and(|quantity| quantity < self.settings.instrument.quantity_min) {
            self.totals.rejected += 1;
            return OrderReport {
                order,
                retry,
                verdict: None,
                result: OrderResult::BelowMinimum,
            };
        }
        let after = quantity.and_then(|_| self.project(&order, close, books));
        let notional = quantity.and_then(|quantity| amount(quantity.checked_mul(close)));
        let proposal = Proposal {
            notional,
            after: after.and_then(|after| self.exposure(&after, after.mark(close))),
            reduces: after.is_some_and(|after| reduces(books.position(), after.position())),
        };
        self.order_notional = notional.unwrap_or(self.order_notional);
        let verdict = self.settings.limits.check(&proposal);
        self.totals.risk_checks += 1;
        let result = match after {
            Some(after) if verdict.outcome.permits() => {
                *books = after;
                self.pending.push(order);
                OrderResult::Sent
            }
            _ => {
                self.totals.blocked += 1;
                OrderResult::Blocked
            }
        };
        OrderReport {
            order,
            retry,
            verdict: Some(verdict),
            result,
        }
    }

    /// The configured share of equity, at the last close, rounded down to the step; 0 without equity, `None` if not computable.
    fn entry_quantity(&self, close: Decimal) -> Option<Decimal> {
        let worth = self
            .equity?
            .max(Decimal::ZERO)
            .checked_mul(self.settings.position_fraction)?;
        self.settings
            .instrument
            .round_down(worth.checked_div(close)?)
    }

    /// The books if the order were filled at this close: the next open is not known yet, the costs are.
    fn project(&self, order: &Order, close: Decimal, books: &Ledger) -> Option<Ledger> {
        let fill = self
            .settings
            .execution
            .fill(order.side, order.quantity, close)?;
        let mut after = *books;
        after.apply(&fill).ok()?;
        Some(after)
    }

    fn exposure(&self, ledger: &Ledger, mark: Option<Mark>) -> Option<Exposure> {
        let mark = mark?;
        Some(Exposure {
            notional: mark.exposure,
            open_positions: u32::from(!ledger.position().is_zero()),
            equity: mark.equity,
            day_open_equity: self.day_open_equity,
        })
    }
}

/// Whether a trade only makes the absolute position smaller, without going through zero.
fn reduces(before: Decimal, after: Decimal) -> bool {
    let same_side = after.is_zero() || after.is_sign_negative() == before.is_sign_negative();
    same_side && after.abs() < before.abs()
}
