//! Golden statistics: the shipped configuration over the shipped candles, bar by bar and to the last digit.
//!
//! `golden/*.json` is what `reference.py` printed, a second implementation in another language that shares nothing with ours but the
//! written rules. One test holds our session to the file, the other one the file to the reference, so neither can move alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where it cannot go on"
)]

mod judge;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use clap::Parser;
use market::{Row, Sequence};
use metricsd_client::Registry;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use shadow_session::cli::Cli;
use shadow_session::replay::{Replay, Taken};
use shadow_session::risk::LimitId;
use shadow_session::run;
use shadow_session::session::Session;
use shadow_session::strategy::{MaCrossover, Signal};
use shadow_session::telemetry::Telemetry;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/eurusd-1h-2017-ma-crossover.json")).unwrap()
}

/// What the reference is asked for, what it said, and the configuration that it means.
fn variants() -> [(&'static str, Value, run::Job); 3] {
    let parse = |text| serde_json::from_str(text).unwrap();
    let (mut short, mut tight) = (shipped(), shipped());
    short.config.session.strategy.allow_short = true;
    tight.config.session.strategy.allow_short = true;
    let limits = &mut tight.config.session.limits.limits;
    limits[LimitId::MaxOrderNotional as usize] = Some(1_000.into());
    limits[LimitId::MaxDailyLossAbs as usize] = Some(6.into());
    [
        ("shipped", golden(), shipped()),
        (
            "short",
            parse(include_str!(
                "golden/eurusd-1h-2017-ma-crossover-short.json"
            )),
            short,
        ),
        (
            "tight",
            parse(include_str!(
                "golden/eurusd-1h-2017-ma-crossover-tight.json"
            )),
            tight,
        ),
    ]
}

fn shipped() -> run::Job {
    let config = judge::root().join("config/shadow-session.toml");
    let candles = format!(
        "recorded:{}",
        judge::root().join("data/eurusd-1h-2017.csv").display()
    );
    let flags = [
        "shadow-session",
        "--config",
        config.to_str().unwrap(),
        "--feed",
        &candles,
    ];
    run::prepare(&Cli::parse_from(flags), &|_| None).unwrap()
}

fn text(decimal: Decimal) -> String {
    decimal.normalize().to_string()
}

fn time(unix_seconds: i64) -> String {
    jiff::Timestamp::from_second(unix_seconds)
        .unwrap()
        .to_string()
}

fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    *counts.entry(name.to_owned()).or_default() += 1;
}

/// What the golden file says about the session, of ours.
fn statistics(job: &run::Job) -> Value {
    let registry = Registry::in_memory();
    let session = Session::new(job.config.session);
    let telemetry = Telemetry::new(&registry, job.config.strategy, &session);
    let sequence = Sequence::new(
        job.config.timeframe.value,
        job.config.session.instrument.calendar,
    );
    let mut replay = Replay::new(
        session,
        sequence,
        &telemetry,
        job.config.warmup_candles,
        Duration::ZERO,
    );
    let (mut signals, mut decisions, mut checks, mut blocks) = (
        BTreeMap::new(),
        BTreeMap::new(),
        BTreeMap::new(),
        BTreeMap::new(),
    );
    let (mut fills, mut gaps, mut last_mark) = (Vec::new(), Vec::new(), None);
    for row in &job.feed.rows {
        let Taken::Stepped(step) = replay.take(row) else {
            continue;
        };
        let opened = time(step.candle.open_time);
        if step.missing_bars > 0 {
            gaps.push(json!([opened, step.missing_bars]));
        }
        if step.report.signal_changed {
            count(&mut signals, step.report.signal.as_str());
        }
        for order in &step.report.orders {
            if !order.retry {
                count(&mut decisions, order.order.decision.as_str());
            }
            let verdict = order.verdict.as_ref().unwrap();
            count(&mut checks, verdict.outcome.as_str());
            verdict
                .breached
                .iter()
                .for_each(|limit| count(&mut blocks, limit.as_str()));
        }
        for report in &step.report.fills {
            let fill = report.fill.unwrap();
            fills.push(format!(
                "{opened} {} {} at {} fee {}",
                fill.side.as_str(),
                text(fill.quantity),
                text(fill.price),
                text(fill.fee)
            ));
        }
        last_mark = step.report.mark;
    }
    let (session, mark) = (replay.session(), last_mark.unwrap());
    let (totals, ledger) = (session.totals(), session.ledger());
    let (up, down) = crosses(job);
    json!({
        "original_sha256": golden()["original_sha256"],
        "candles": job.feed.rows.len(),
        "gaps": gaps,
        "crosses_up": up,
        "crosses_down": down,
        "steps": totals.steps,
        "signals": signals,
        "decisions": decisions,
        "risk_checks": checks,
        "risk_blocks": blocks,
        "blocked": totals.blocked,
        "rejected": totals.rejected,
        "pending": session.pending().len(),
        "position": text(ledger.position()),
        "equity": text(mark.equity),
        "realised_pnl": text(ledger.realised()),
        "unrealised_pnl": text(mark.unrealised),
        "fees": text(ledger.fees()),
        "max_drawdown_ratio": text(session.drawdown().deepest().round_dp(10)),
        "fills": fills,
    })
}

/// Crosses over the whole file, the warm-up included.
fn crosses(job: &run::Job) -> (u64, u64) {
    let mut strategy = MaCrossover::new(&job.config.session.strategy);
    let (mut up, mut down) = (0, 0);
    for row in &job.feed.rows {
        let Row::Candle(candle) = row else {
            panic!("{row:?}")
        };
        match strategy.on_close(candle) {
            Some(Signal::Long) => up += 1,
            Some(_) => down += 1,
            None => {}
        }
    }
    (up, down)
}

#[test]
fn the_session_trades_exactly_as_the_golden_statistics_say_also_short_and_with_limits_that_block() {
    for (variant, golden, job) in variants() {
        let ours = statistics(&job);
        for (name, expected) in golden.as_object().unwrap() {
            assert_eq!(&ours[name], expected, "{variant}: {name}");
        }
        assert_eq!(
            ours.as_object().unwrap().len(),
            golden.as_object().unwrap().len()
        );
        // The tight one is there for what it stops: entries and exits.
        assert_eq!(ours["blocked"] != 0, variant == "tight", "{variant}");
        for limit in ["max_order_notional", "max_daily_loss_abs"] {
            assert_eq!(ours["risk_blocks"].get(limit).is_some(), variant == "tight");
        }
    }
}

#[test]
fn the_averages_cross_up_seventy_times_and_down_sixty_nine_times_and_the_session_trades() {
    let golden = golden();
    assert_eq!(
        (
            golden["crosses_up"].as_u64(),
            golden["crosses_down"].as_u64()
        ),
        (Some(70), Some(69))
    );
    assert!(golden["fills"].as_array().unwrap().len() > 100);
}

#[test]
fn an_independent_implementation_in_python_comes_to_the_golden_statistics() {
    let Some(python) =
        judge::python("an_independent_implementation_in_python_comes_to_the_golden_statistics")
    else {
        return;
    };
    let script = judge::root().join("crates/shadow-session/tests/reference.py");
    for (variant, golden, _) in variants() {
        let printed = judge::output(
            Command::new(&python)
                .arg(&script)
                .arg(judge::root().join("data/eurusd-1h-2017.csv"))
                .arg(variant),
        );
        let reference: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(reference, golden, "{variant}");
    }
}

#[test]
fn the_shipped_candles_are_the_original_file_respelled() {
    let Some(python) = judge::python("the_shipped_candles_are_the_original_file_respelled") else {
        return;
    };
    let script = judge::root().join("crates/shadow-session/tests/reference.py");
    let candles = judge::root().join("data/eurusd-1h-2017.csv");
    let printed = judge::output(Command::new(python).arg(script).arg(&candles));
    let rebuilt: Value = serde_json::from_str(&printed).unwrap();
    let stated = std::fs::read_to_string(candles).unwrap();
    let stated = stated
        .lines()
        .find_map(|line| line.strip_prefix("# original_sha256: "))
        .unwrap();
    assert_eq!(
        rebuilt["original_sha256"], stated,
        "the file rebuilt from ours has the checksum that ours states"
    );
}
