//! The labels of a session's metrics: closed lists, and how the session's own types map onto them.
//!
//! Invariant: a value is spelled here as it is everywhere else (a test holds the two together), and there is no label for a symbol, an
//! order or a run.

use market::Defect;
use metricsd_client::{CurrencyCode, label_set, label_value};

use crate::ledger::Side;
use crate::report::Decision;
use crate::risk::{LimitId, Outcome};
use crate::strategy::Signal;

label_value! {
    /// A strategy that exists.
    pub(super) enum StrategyLabel { MaCrossover = "ma_crossover" }
}
label_value! {
    /// Why an order was formed.
    pub(super) enum DecisionLabel {
        EntryLong = "entry_long", ExitLong = "exit_long", EntryShort = "entry_short", ExitShort = "exit_short",
        CloseLong = "close_long", CloseShort = "close_short",
    }
}
label_value! {
    /// A direction.
    pub(super) enum SignalLabel { Long = "long", Short = "short", Flat = "flat" }
}
label_value! {
    /// Which risk evaluation. The second is of other programs on the same dashboards and stays at zero here.
    pub(super) enum CheckLabel { LiveLimits = "live_limits.check_orders", RuntimeRisk = "runtime_risk.evaluate_pre_order" }
}
label_value! {
    /// The strictest answer of an evaluation. A session has no switch for its limits, so `disabled` stays at zero.
    pub(super) enum CheckResultLabel { Allow = "allow", Block = "block", Warn = "warn", Disabled = "disabled", Error = "error" }
}
label_value! {
    /// A risk limit.
    pub(super) enum LimitLabel {
        OrderNotional = "max_order_notional", TotalExposure = "max_total_exposure", SymbolExposure = "max_symbol_exposure",
        OpenPositions = "max_open_positions", DailyLossAbs = "max_daily_loss_abs", DailyLossPct = "max_daily_loss_pct",
    }
}
label_value! {
    /// What blocked an order. The `runtime:` reasons are of other programs on the same dashboards and stay at zero here.
    pub(super) enum BlockReason {
        RuntimeReject = "runtime:reject", RuntimeHalt = "runtime:halt", RuntimePause = "runtime:pause", RuntimeUnknown = "runtime:unknown",
        LimitOrderNotional = "limit:max_order_notional", LimitTotalExposure = "limit:max_total_exposure",
        LimitSymbolExposure = "limit:max_symbol_exposure", LimitOpenPositions = "limit:max_open_positions",
        LimitDailyLossAbs = "limit:max_daily_loss_abs", LimitDailyLossPct = "limit:max_daily_loss_pct",
    }
}
label_value! {
    /// What became of an order in the end.
    pub(super) enum OrderResultLabel { Filled = "filled", Rejected = "rejected", Blocked = "blocked" }
}
label_value! {
    /// Buy or sell.
    pub(super) enum SideLabel { Buy = "buy", Sell = "sell" }
}
label_value! {
    /// What was wrong with a candle.
    pub(super) enum DefectLabel {
        Gap = "gap", Duplicate = "duplicate", OutOfOrder = "out_of_order", NonFinite = "non_finite",
        OhlcViolation = "ohlc_violation", Unclosed = "unclosed",
    }
}

label_set! { pub(super) struct DecisionLabels { strategy_id: StrategyLabel, decision: DecisionLabel } }
label_set! { pub(super) struct SignalLabels { strategy_id: StrategyLabel, signal: SignalLabel } }
label_set! { pub(super) struct ExposureLabels { strategy_id: StrategyLabel, ccy: CurrencyCode } }
label_set! { pub(super) struct CheckLabels { check: CheckLabel, result: CheckResultLabel } }
label_set! { pub(super) struct LimitLabels { limit_id: LimitLabel } }
label_set! { pub(super) struct BlockLabels { reason: BlockReason } }
label_set! { pub(super) struct OrderLabels { result: OrderResultLabel } }
label_set! { pub(super) struct FillLabels { side: SideLabel } }
label_set! { pub(super) struct StrategyLabels { strategy_id: StrategyLabel } }
label_set! { pub(super) struct DefectLabels { defect: DefectLabel } }

pub(super) const fn decision(decision: Decision) -> DecisionLabel {
    match decision {
        Decision::EntryLong => DecisionLabel::EntryLong,
        Decision::ExitLong => DecisionLabel::ExitLong,
        Decision::EntryShort => DecisionLabel::EntryShort,
        Decision::ExitShort => DecisionLabel::ExitShort,
        Decision::CloseLong => DecisionLabel::CloseLong,
        Decision::CloseShort => DecisionLabel::CloseShort,
    }
}

pub(super) const fn signal(signal: Signal) -> SignalLabel {
    match signal {
        Signal::Long => SignalLabel::Long,
        Signal::Short => SignalLabel::Short,
        Signal::Flat => SignalLabel::Flat,
    }
}

pub(super) const fn side(side: Side) -> SideLabel {
    match side {
        Side::Buy => SideLabel::Buy,
        Side::Sell => SideLabel::Sell,
    }
}

pub(super) const fn check_result(outcome: Outcome) -> CheckResultLabel {
    match outcome {
        Outcome::Allow => CheckResultLabel::Allow,
        Outcome::Warn => CheckResultLabel::Warn,
        Outcome::Block => CheckResultLabel::Block,
        Outcome::Error => CheckResultLabel::Error,
    }
}

pub(super) const fn limit_label(limit: LimitId) -> LimitLabel {
    match limit {
        LimitId::MaxOrderNotional => LimitLabel::OrderNotional,
        LimitId::MaxTotalExposure => LimitLabel::TotalExposure,
        LimitId::MaxSymbolExposure => LimitLabel::SymbolExposure,
        LimitId::MaxOpenPositions => LimitLabel::OpenPositions,
        LimitId::MaxDailyLossAbs => LimitLabel::DailyLossAbs,
        LimitId::MaxDailyLossPct => LimitLabel::DailyLossPct,
    }
}

pub(super) const fn block_reason(limit: LimitId) -> BlockReason {
    match limit {
        LimitId::MaxOrderNotional => BlockReason::LimitOrderNotional,
        LimitId::MaxTotalExposure => BlockReason::LimitTotalExposure,
        LimitId::MaxSymbolExposure => BlockReason::LimitSymbolExposure,
        LimitId::MaxOpenPositions => BlockReason::LimitOpenPositions,
        LimitId::MaxDailyLossAbs => BlockReason::LimitDailyLossAbs,
        LimitId::MaxDailyLossPct => BlockReason::LimitDailyLossPct,
    }
}

pub(super) const fn defect_label(defect: Defect) -> DefectLabel {
    match defect {
        Defect::Gap => DefectLabel::Gap,
        Defect::Duplicate => DefectLabel::Duplicate,
        Defect::OutOfOrder => DefectLabel::OutOfOrder,
        Defect::NonFinite => DefectLabel::NonFinite,
        Defect::OhlcViolation => DefectLabel::OhlcViolation,
        Defect::Unclosed => DefectLabel::Unclosed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::StrategyId;

    #[test]
    fn every_label_is_spelled_as_its_value_is_everywhere_else() {
        for id in LimitId::ALL {
            assert_eq!(limit_label(id).as_str(), id.as_str());
            assert_eq!(block_reason(id).as_str(), format!("limit:{}", id.as_str()));
        }
        for defect in Defect::ALL {
            assert_eq!(defect_label(defect).as_str(), defect.as_str());
        }
        for outcome in [
            Outcome::Allow,
            Outcome::Warn,
            Outcome::Block,
            Outcome::Error,
        ] {
            assert_eq!(check_result(outcome).as_str(), outcome.as_str());
        }
        for value in [Signal::Long, Signal::Short, Signal::Flat] {
            assert_eq!(signal(value).as_str(), value.as_str());
        }
        use Decision::*;
        for value in [
            EntryLong, ExitLong, EntryShort, ExitShort, CloseLong, CloseShort,
        ] {
            assert_eq!(decision(value).as_str(), value.as_str());
        }
        for value in [Side::Buy, Side::Sell] {
            assert_eq!(side(value).as_str(), value.as_str());
        }
        assert_eq!(
            StrategyId::ALL.map(StrategyId::as_str),
            [StrategyLabel::MaCrossover.as_str()]
        );
    }
}
