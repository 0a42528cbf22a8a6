//! The end of a session, for people (standard output) and for programs (`summary.json`).
//!
//! Invariant: both say the same numbers. Filled, rejected and blocked are the ones that the metrics counted.

use std::fmt;

use market::Defect;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::report::Totals;
use crate::session::Session;

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The feed has no more candles.
    EndOfData,
    /// `--duration` is over.
    Duration,
    /// A signal asked for it; its number.
    Signal(i32),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::EndOfData => f.write_str("end of data"),
            End::Duration => f.write_str("duration reached"),
            End::Signal(number) => match signal_hook::low_level::signal_name(*number) {
                Some(name) => f.write_str(name),
                None => write!(f, "signal {number}"),
            },
        }
    }
}

/// What a session did.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Why it ended.
    pub end: End,
    /// The run's name.
    pub run_id: String,
    /// Candles of the warm-up.
    pub warmup_candles: usize,
    /// Counts.
    pub totals: Totals,
    /// Orders that waited for a next open at the end.
    pub pending: usize,
    /// Units of base, and the symbol.
    pub position: Decimal,
    /// What was traded.
    pub symbol: &'static str,
    /// Quote currency of all amounts.
    pub currency: &'static str,
    /// Cash at the beginning.
    pub start_balance: Decimal,
    /// Equity at the last close; `None` if it could not be computed.
    pub equity: Option<Decimal>,
    /// Less all fees.
    pub realised: Decimal,
    /// At the last close.
    pub unrealised: Option<Decimal>,
    /// All fees.
    pub fees: Decimal,
    /// Deepest fall from a peak, as a ratio of the peak.
    pub max_drawdown: Decimal,
    /// By index in [`Defect::ALL`].
    pub defects: [u64; Defect::ALL.len()],
    /// What the fills take for granted.
    pub assumptions: Vec<String>,
}

impl Summary {
    /// Of a session at its end.
    pub fn of(
        session: &Session,
        end: End,
        run_id: &str,
        warmup_candles: usize,
        defects: [u64; Defect::ALL.len()],
    ) -> Summary {
        let (ledger, settings) = (session.ledger(), session.settings());
        Summary {
            end,
            run_id: run_id.to_owned(),
            warmup_candles,
            totals: *session.totals(),
            pending: session.pending().len(),
            position: ledger.position(),
            symbol: settings.instrument.symbol,
            currency: settings.instrument.quote.as_str(),
            start_balance: ledger.start(),
            equity: session.equity(),
            realised: ledger.realised(),
            // The identity of the ledger, so that this is the unrealised profit of the same price as the equity.
            unrealised: session
                .equity()
                .map(|equity| equity - ledger.start() - ledger.realised()),
            fees: ledger.fees(),
            max_drawdown: session.drawdown().deepest(),
            defects,
            assumptions: settings.execution.assumptions(),
        }
    }

    /// Filled, rejected and pending orders. Not the sum of `shadow_session_orders_total`, which counts results: that one has the blocked
    /// orders, which this leaves out, and lacks the pending ones, which have no result yet.
    pub fn orders(&self) -> u64 {
        self.totals.filled + self.totals.rejected + self.pending as u64
    }

    /// Filled orders to all that came to a result, in percent; 0 without any.
    pub fn fill_rate_percent(&self) -> f64 {
        let ended = self.totals.filled + self.totals.rejected;
        if ended == 0 {
            0.0
        } else {
            self.totals.filled as f64 * 100.0 / ended as f64
        }
    }

    /// For programs: counts as numbers, decimals as strings.
    pub fn to_json(&self) -> Value {
        let totals = &self.totals;
        let defects: serde_json::Map<String, Value> = Defect::ALL
            .into_iter()
            .map(|defect| {
                (
                    defect.as_str().to_owned(),
                    self.defects[defect as usize].into(),
                )
            })
            .collect();
        json!({
            "run_id": self.run_id,
            "end": self.end.to_string(),
            "warmup_candles": self.warmup_candles,
            "steps": totals.steps,
            "signals": totals.signals,
            "decisions": totals.decisions,
            "risk_checks": totals.risk_checks,
            "orders": self.orders(),
            "filled": totals.filled,
            "rejected": totals.rejected,
            "blocked": totals.blocked,
            "pending": self.pending,
            "fill_rate_percent": self.fill_rate_percent(),
            "symbol": self.symbol,
            "currency": self.currency,
            "position": self.position.normalize(),
            "start_balance": self.start_balance.normalize(),
            "equity": self.equity.map(|equity| equity.normalize()),
            "realised_pnl": self.realised.normalize(),
            "unrealised_pnl": self.unrealised.map(|unrealised| unrealised.normalize()),
            "fees": self.fees.normalize(),
            "max_drawdown_ratio": self.max_drawdown.round_dp(10).normalize(),
            "candle_defects": defects,
            "fill_assumptions": self.assumptions,
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = &self.totals;
        let currency = self.currency;
        // Rounded here: the library's own precision cuts digits off.
        let money = |amount: Option<Decimal>| {
            amount.map_or("not computable".to_owned(), |amount| {
                format!("{:.2} {currency}", amount.round_dp(2))
            })
        };
        let mut line = |name: &str, value: String| writeln!(f, "{:<19}{value}", format!("{name}:"));
        line("Steps", totals.steps.to_string())?;
        line("Total Orders", self.orders().to_string())?;
        line("Filled", totals.filled.to_string())?;
        line("Rejected", totals.rejected.to_string())?;
        line("Blocked (Risk)", totals.blocked.to_string())?;
        line("Fill Rate", format!("{:.1} %", self.fill_rate_percent()))?;
        line(
            "Current Position",
            format!("{:.6} {}", self.position.round_dp(6), self.symbol),
        )?;
        line("Pending Orders", self.pending.to_string())?;
        line("Signals", totals.signals.to_string())?;
        line("Equity", money(self.equity))?;
        line("Realised PnL", money(Some(self.realised)))?;
        line("Unrealised PnL", money(self.unrealised))?;
        line("Fees", money(Some(self.fees)))?;
        line(
            "Max Drawdown",
            format!(
                "{:.2} %",
                (self.max_drawdown * Decimal::ONE_HUNDRED).round_dp(2)
            ),
        )?;
        line("Candle Defects", self.defects_in_words())?;
        line("Ended By", self.end.to_string())?;
        line("Run", self.run_id.clone())?;
        writeln!(f, "Fill assumptions:")?;
        self.assumptions
            .iter()
            .try_for_each(|assumption| writeln!(f, "  - {assumption}"))
    }
}

impl Summary {
    fn defects_in_words(&self) -> String {
        let found: Vec<String> = Defect::ALL
            .into_iter()
            .filter(|defect| self.defects[*defect as usize] > 0)
            .map(|defect| format!("{} {}", self.defects[defect as usize], defect.as_str()))
            .collect();
        if found.is_empty() {
            "none".to_owned()
        } else {
            found.join(", ")
        }
    }
}
