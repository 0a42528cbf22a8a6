//! Decisions to write down. Invariant: what is recorded is what the program itself decides and what the guards say.

use std::time::Duration;

use market::{Bar, Calendar, Timeframe};
use sentinel::audit::{
    Audit, AuditError, Configuration, Decision, End, Mode, Model, Origin, OutcomeLine, Start,
    Verdict,
};
use sentinel::decide::{self, decide};
use sentinel::features::{self, BAR_COUNT};
use sentinel::gateway::guards::situation::{Request, Situation};
use sentinel::gateway::guards::{Arm, Guards, Settings};
use sentinel::gateway::intent_log::record::{Found, IntentId, Side};
use sentinel::gateway::intent_log::state::State;
use sentinel::model::EmbeddedModel;

/// Noon of some day, Unix milliseconds.
const NOW: i64 = 1_700_049_600_000;

pub(crate) fn start() -> Start {
    Start {
        at_ms: NOW,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: Mode::DryRun,
        configuration: Configuration {
            symbol: "EURUSD".to_owned(),
            interval: Timeframe::M1,
            calendar: Calendar::Always,
            bar_stale_after: Duration::from_secs(120),
            model: Origin::Embedded,
            volume: "0.01".parse().unwrap(),
            contract_sizes: Default::default(),
            worst_price_bps: 20,
            valid_for: Duration::from_secs(5),
            guards: Settings {
                threshold: 0.0,
                cooldown: Duration::ZERO,
                orders_per_minute: 2,
                orders_per_day: 24,
                stale_after: Duration::from_secs(10),
                limits: [None; 6],
                arm: Arm::default(),
            },
        },
    }
}

/// The bars up to that minute; the same bar in every window that has it.
fn window(index: i64) -> Vec<Bar> {
    let newest = NOW / 60_000 + index - 1;
    let bar = |minute: i64| {
        let close = 1.1 + (minute % 37) as f64 / 10_000.0;
        Bar {
            open_time: minute * 60,
            open: close - 0.0001,
            high: close + 0.0002,
            low: close - 0.0003,
            close,
            volume: (minute % 11) as f64,
        }
    };
    (newest + 1 - BAR_COUNT as i64..=newest).map(bar).collect()
}

/// Decides on a bar with the embedded model, not armed, and writes it down.
pub(crate) fn decide_and_write(audit: &mut Audit, index: i64) -> Result<(), AuditError> {
    let bars = window(index);
    let features = features::build(&bars).unwrap();
    let embedded = EmbeddedModel::shipped();
    let probabilities = embedded.predict(&features).unwrap();
    let decide::Decision { action, confidence } = decide(probabilities);
    let at_ms = NOW + index * 60_000 + 500;
    let bar_open_time = bars[BAR_COUNT - 1].open_time;
    let request = Request {
        bar_open_time,
        confidence,
        symbol: "EURUSD".to_owned(),
        side: match action {
            decide::Action::Sell => Side::Sell,
            _ => Side::Buy,
        },
        volume: "0.01".parse().unwrap(),
        unit_value: "110000".parse().unwrap(),
        cost: Default::default(),
        valid_until_ms: at_ms + 5_000,
    };
    let state = State::default();
    let situation = Situation {
        now_ms: at_ms,
        log: Some(&state),
        is_killed: false,
        is_bar_stale: false,
        is_market_open: true,
        is_reconciled: true,
        peer: None,
        breaker: sentinel::breaker::State::Closed,
        account: None,
        book: None,
    };
    let is_hold = action == decide::Action::Hold;
    let guards = Guards::new(start().configuration.guards).unwrap();
    let verdict = match guards.check(&request, &situation) {
        _ if is_hold => Verdict::Hold,
        Err(refusal) => Verdict::refused(&refusal),
        Ok(permit) => panic!("not armed, and {permit:?}"),
    };
    audit.decision(&Decision {
        at_ms,
        bar_open_time,
        bars: &bars,
        features: &features,
        model: &Model::embedded(&embedded),
        probabilities,
        action,
        confidence,
        request: (!is_hold).then_some(&request),
        situation: (!is_hold).then_some(&situation),
        verdict,
    })
}

pub(crate) fn write_outcome(audit: &mut Audit, index: i64) -> Result<(), AuditError> {
    audit.outcome(&OutcomeLine {
        at_ms: NOW + index * 60_000 + 900,
        id: IntentId::new(&format!("order-{index}")).unwrap(),
        end: End::Reconciled(Found::NeverSent),
        sent_at_ms: None,
        roundtrip: None,
        decision_price: None,
        executed_price: None,
        executed_volume: None,
        slippage_bps: None,
    })
}
