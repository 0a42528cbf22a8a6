//! The labels of the sentinel's metrics: closed lists, and how the program's own types map onto them.
//!
//! Invariant: a value is spelled here as it is everywhere else (a test holds the two together), and there is no label for a symbol, an
//! account or an order.

use metricsd_client::{label_set, label_text, label_value};

use crate::decide::{Action, TradingState};
use crate::error_code::ErrorCode;
use crate::gateway::guards::refusal::Reason;
use crate::gateway::intent_log::record::Side;
use market::eodhd::BarDefect;

label_value! {
    /// What is called.
    pub enum Endpoint { Eodhd = "eodhd", Hub = "hub" }
}
label_value! {
    /// What a circuit breaker is in front of.
    pub enum BreakerEndpoint { Eodhd = "eodhd", Hub = "hub", Gateway = "gateway" }
}
label_value! {
    /// State of a circuit breaker.
    pub enum BreakerLabel { Closed = "closed", HalfOpen = "half_open", Open = "open" }
}
label_value! {
    /// Why a call failed.
    pub enum ErrorCodeLabel {
        NoApiKey = "no_api_key", Timeout = "timeout", Connect = "connect", Tls = "tls", Http4xx = "http_4xx", Http429 = "http_429",
        Http5xx = "http_5xx", EmptyResponse = "empty_response", Malformed = "malformed", BreakerOpen = "breaker_open", Other = "other",
    }
}
label_value! {
    /// What a decision says to do.
    pub enum ActionLabel { Buy = "BUY", Sell = "SELL", Hold = "HOLD" }
}
label_value! {
    /// What an executed order does.
    pub enum OrderActionLabel { Buy = "BUY", Sell = "SELL" }
}
label_value! {
    /// Why a scheduled cycle did not do its work.
    pub enum SkipReason {
        Overrun = "overrun", MarketClosed = "market_closed", NoNewBar = "no_new_bar", Halted = "halted", Shutdown = "shutdown",
    }
}
label_value! {
    /// A stage of a cycle.
    pub enum Stage { Fetch = "fetch", Features = "features", Predict = "predict", Decide = "decide", Send = "send" }
}
label_value! {
    /// Where bars come from. `replay` is for recorded bars and has no value here.
    pub enum Source { Eodhd = "eodhd", Replay = "replay" }
}
label_value! {
    /// What was wrong with a bar.
    pub enum DefectLabel {
        Gap = "gap", Duplicate = "duplicate", OutOfOrder = "out_of_order", NonFinite = "non_finite",
        OhlcViolation = "ohlc_violation", FutureBar = "future_bar", UnclosedBar = "unclosed_bar",
    }
}
label_value! {
    /// Where a model runs.
    pub enum Origin { Hub = "hub", Embedded = "embedded" }
}
label_value! {
    /// Why a BUY or SELL was not sent.
    pub enum SuppressionLabel {
        BelowThreshold = "below_threshold", Cooldown = "cooldown", Duplicate = "duplicate", StaleData = "stale_data",
        MarketClosed = "market_closed", RiskLimit = "risk_limit", BreakerOpen = "breaker_open", Halted = "halted", DryRun = "dry_run",
    }
}
label_value! {
    /// What a gateway answers to an order.
    pub enum OrderResult {
        Filled = "filled", Partial = "partial", Placed = "placed", RejectedRequote = "rejected_requote", RejectedPrice = "rejected_price",
        RejectedVolume = "rejected_volume", RejectedMargin = "rejected_margin", RejectedMarketClosed = "rejected_market_closed",
        RejectedDisabled = "rejected_disabled", RejectedOther = "rejected_other", Timeout = "timeout", MalformedReply = "malformed_reply",
    }
}
label_value! {
    /// What may be sent.
    pub enum StateLabel { Active = "active", Reducing = "reducing", Halted = "halted" }
}
label_value! {
    /// A risk limit.
    pub enum LimitLabel {
        OrderNotional = "max_order_notional", TotalExposure = "max_total_exposure", SymbolExposure = "max_symbol_exposure",
        OpenPositions = "max_open_positions", DailyLossAbs = "max_daily_loss_abs", DailyLossPct = "max_daily_loss_pct",
    }
}
label_value! {
    /// Another machine's clock.
    pub enum ClockReference { Hub = "hub", Gateway = "gateway" }
}
label_text! {
    /// Name of a model.
    pub struct ModelName { spelling: Lower, len_max_bytes: 64, values_max: 8 }
}
label_text! {
    /// Version of a model.
    pub struct ModelVersion { spelling: Lower, len_max_bytes: 64, values_max: 64 }
}
label_text! {
    /// Version of this program.
    pub struct Version { spelling: Lower, len_max_bytes: 32, values_max: 1 }
}

label_set! { pub struct EndpointLabels { endpoint: Endpoint } }
label_set! { pub struct ErrorLabels { endpoint: Endpoint, error_code: ErrorCodeLabel } }
label_set! { pub struct BreakerLabels { endpoint: BreakerEndpoint, state: BreakerLabel } }
label_set! { pub struct ActionLabels { action: ActionLabel } }
label_set! { pub struct OrderActionLabels { action: OrderActionLabel } }
label_set! { pub struct SkipLabels { reason: SkipReason } }
label_set! { pub struct StageLabels { stage: Stage } }
label_set! { pub struct SourceLabels { source: Source } }
label_set! { pub struct DefectLabels { defect: DefectLabel } }
label_set! { pub struct ModelLabels { model: ModelName, version: ModelVersion, origin: Origin } }
label_set! { pub struct SuppressionLabels { reason: SuppressionLabel } }
label_set! { pub struct ResultLabels { result: OrderResult } }
label_set! { pub struct StateLabels { state: StateLabel } }
label_set! { pub struct LimitLabels { limit_id: LimitLabel } }
label_set! { pub struct ReferenceLabels { reference: ClockReference } }
label_set! { pub struct VersionLabels { version: Version } }

pub(super) const fn error_code(code: ErrorCode) -> ErrorCodeLabel {
    match code {
        ErrorCode::NoApiKey => ErrorCodeLabel::NoApiKey,
        ErrorCode::Timeout => ErrorCodeLabel::Timeout,
        ErrorCode::Connect => ErrorCodeLabel::Connect,
        ErrorCode::Tls => ErrorCodeLabel::Tls,
        ErrorCode::Http4xx => ErrorCodeLabel::Http4xx,
        ErrorCode::Http429 => ErrorCodeLabel::Http429,
        ErrorCode::Http5xx => ErrorCodeLabel::Http5xx,
        ErrorCode::EmptyResponse => ErrorCodeLabel::EmptyResponse,
        ErrorCode::Malformed => ErrorCodeLabel::Malformed,
        ErrorCode::BreakerOpen => ErrorCodeLabel::BreakerOpen,
        ErrorCode::Other => ErrorCodeLabel::Other,
    }
}

pub(super) const fn action(action: Action) -> ActionLabel {
    match action {
        Action::Buy => ActionLabel::Buy,
        Action::Sell => ActionLabel::Sell,
        Action::Hold => ActionLabel::Hold,
    }
}

pub(super) const fn suppression(reason: Reason) -> SuppressionLabel {
    match reason {
        Reason::BelowThreshold => SuppressionLabel::BelowThreshold,
        Reason::Cooldown => SuppressionLabel::Cooldown,
        Reason::Duplicate => SuppressionLabel::Duplicate,
        Reason::StaleData => SuppressionLabel::StaleData,
        Reason::MarketClosed => SuppressionLabel::MarketClosed,
        Reason::RiskLimit => SuppressionLabel::RiskLimit,
        Reason::BreakerOpen => SuppressionLabel::BreakerOpen,
        Reason::Halted => SuppressionLabel::Halted,
        Reason::DryRun => SuppressionLabel::DryRun,
    }
}

pub(super) const fn order_action(side: Side) -> OrderActionLabel {
    match side {
        Side::Buy => OrderActionLabel::Buy,
        Side::Sell => OrderActionLabel::Sell,
    }
}

pub(super) const fn state(state: TradingState) -> StateLabel {
    match state {
        TradingState::Active => StateLabel::Active,
        TradingState::Reducing => StateLabel::Reducing,
        TradingState::Halted => StateLabel::Halted,
    }
}

pub(super) const fn defect(defect: BarDefect) -> DefectLabel {
    match defect {
        BarDefect::Gap => DefectLabel::Gap,
        BarDefect::Duplicate => DefectLabel::Duplicate,
        BarDefect::OutOfOrder => DefectLabel::OutOfOrder,
        BarDefect::NonFinite => DefectLabel::NonFinite,
        BarDefect::OhlcViolation => DefectLabel::OhlcViolation,
        BarDefect::FutureBar => DefectLabel::FutureBar,
        BarDefect::UnclosedBar => DefectLabel::UnclosedBar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_spelled_as_its_value_is_everywhere_else() {
        for code in ErrorCode::ALL {
            assert_eq!(error_code(code).as_str(), code.as_str());
        }
        for value in TradingState::ALL {
            assert_eq!(state(value).as_str(), value.as_str());
        }
        for value in BarDefect::ALL {
            assert_eq!(defect(value).as_str(), value.as_str());
        }
    }

    #[test]
    fn the_reasons_and_limits_of_the_guards_are_those_of_the_metrics() {
        use crate::gateway::guards::limits::LimitId;
        let reasons: Vec<_> = Reason::ALL.map(Reason::as_str).into();
        let known: Vec<_> = SuppressionLabel::ALL
            .iter()
            .map(|label| label.as_str())
            .collect();
        assert_eq!(reasons, known);
        for reason in Reason::ALL {
            assert_eq!(suppression(reason).as_str(), reason.as_str());
        }
        let limits: Vec<_> = LimitId::ALL.map(LimitId::as_str).into();
        let known: Vec<_> = LimitLabel::ALL.iter().map(|label| label.as_str()).collect();
        assert_eq!(limits, known);
    }
}
