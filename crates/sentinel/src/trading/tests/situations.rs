//! Each thing that can come of an order, and each thing that can speak against one.

use super::peer::{Fault, Manner};
use super::*;
use crate::decide::TradingState;
use crate::gateway::guards::limits::LimitId;
use crate::gateway::guards::refusal::Input;
use crate::gateway::intent_log::record::HaltReason;
use crate::gateway::protocol::Code;

/// How the gateway is, what happens to the order, the fate, the result that is counted, whether it is executed once all is known.
type Row = (Manner, Option<Fault>, Fate, &'static str, bool);

#[test]
fn each_answer_to_an_order_is_what_the_contract_says_and_doubt_ends_with_a_verdict() {
    use Fault as F;
    use Manner as M;
    let table: &[Row] = &[
        (M::Fill, None, Fate::Executed, "filled", true),
        (M::FillHalf, None, Fate::Executed, "partial", true),
        (M::Place, None, Fate::Executed, "placed", true),
        (
            M::Reject(Code::Requote),
            None,
            Fate::Rejected,
            "rejected_requote",
            false,
        ),
        (
            M::Reject(Code::Margin),
            None,
            Fate::Rejected,
            "rejected_margin",
            false,
        ),
        (M::Fill, Some(F::NotSent), Fate::NotSent, "", false),
        (M::Fill, Some(F::Lost), Fate::Unknown, "timeout", false),
        (M::Fill, Some(F::Held), Fate::Unknown, "timeout", false),
        (M::Fill, Some(F::ReplyLost), Fate::Unknown, "timeout", true),
        (
            M::FillHalf,
            Some(F::ReplyLost),
            Fate::Unknown,
            "timeout",
            true,
        ),
        (M::Place, Some(F::ReplyLost), Fate::Unknown, "timeout", true),
        (
            M::Reject(Code::Price),
            Some(F::ReplyLost),
            Fate::Unknown,
            "timeout",
            false,
        ),
        (
            M::Fill,
            Some(F::Garbled),
            Fate::Unknown,
            "malformed_reply",
            true,
        ),
        (M::Fill, Some(F::Stopped), Fate::Unknown, "", true),
    ];
    for (manner, fault, fate, result, is_executed) in table {
        let at = format!("{manner:?} {fault:?}");
        let mut world = World::new();
        world.trader.begin_cycle();
        assert!(world.trader.is_reconciled(), "{at}");
        {
            let mut book = world.peer.0.borrow_mut();
            book.manner = *manner;
            book.fault_on_order = *fault;
        }
        assert_eq!(world.consider(BUY), *fate, "{at}");
        for label in [
            "filled",
            "partial",
            "placed",
            "timeout",
            "malformed_reply",
            "rejected_requote",
            "rejected_margin",
            "rejected_price",
            "rejected_other",
        ] {
            assert_eq!(
                world.results(label),
                f64::from(u8::from(label == *result)),
                "{at} {label}"
            );
        }
        let is_open = *fate == Fate::Unknown;
        assert_eq!(world.state().has_open(), is_open, "{at}");
        assert_eq!(
            world.value("sentinel_zmq_send_failures_total"),
            f64::from(u8::from(*fate == Fate::NotSent)),
            "{at}"
        );
        if is_open {
            // The next bar waits for the verdict, and a minute does not bring it.
            world.peer.0.borrow_mut().is_away = true;
            world.next_bar();
            assert_eq!(
                world.cycle(BUY),
                Fate::Refused(Refusal::OutcomeUnknown),
                "{at}"
            );
            assert!(world.why().contains("no known outcome"), "{}", world.why());
            world.peer.0.borrow_mut().is_away = false;
            world.trader.beat();
            // What was held on its way comes now, too late.
            world.peer.thaw();
        }
        assert!(!world.state().has_open(), "{at}");
        world.peer.fill_placed();
        world.trader.begin_cycle();
        assert!(world.state().placed().is_empty(), "{at}");
        let executed = if *is_executed { 1.0 } else { 0.0 };
        assert_eq!(world.executed(), executed, "{at}");
        assert_eq!(world.peer.0.borrow().fills.len() as f64, executed, "{at}");
        assert_eq!(
            world.state().own_position("EURUSD"),
            Some(world.peer.net()),
            "{at}"
        );
        assert_eq!(world.state().trading(), TradingState::Active, "{at}");
        world.peer.0.borrow_mut().manner = Manner::Fill;
        world.next_bar();
        assert_eq!(world.cycle(BUY), Fate::Executed, "{at}: {}", world.why());
    }
}

type Change = fn(&mut World);

#[test]
fn nothing_is_sent_when_anything_speaks_against_it_and_the_refusal_says_what() {
    let table: &[(&str, Refusal, Change)] = &[
        ("never reached", Refusal::NotReconciled, |w| {
            w.peer.0.borrow_mut().is_away = true;
        }),
        ("another account", Refusal::WrongAccount, |w| {
            w.peer.0.borrow_mut().account = "7002";
        }),
        ("killed at the gateway", Refusal::PeerKilled, |w| {
            w.peer.0.borrow_mut().killed_at = Some(1);
        }),
        ("a clock ahead", Refusal::ClockOffset(2_001), |w| {
            w.peer.0.borrow_mut().clock_offset = 2.001;
        }),
        ("a clock behind", Refusal::ClockOffset(-2_001), |w| {
            w.peer.0.borrow_mut().clock_offset = -2.001;
        }),
        ("the file", Refusal::KillSwitch, |w| {
            std::fs::write(w.folder.path().join("kill"), "").unwrap();
        }),
        (
            "a position nobody knows",
            Refusal::Halted(Some(HaltReason::PositionMismatch)),
            |w| {
                // It is there after our own were taken over.
                w.trader.begin_cycle();
                let mut book = w.peer.0.borrow_mut();
                let fill = foreign_fill();
                book.fills.push(fill);
                book.started_at += 1;
            },
        ),
    ];
    for (what, refusal, change) in table {
        let mut world = World::new();
        change(&mut world);
        world.peer.0.borrow_mut().is_forbidden = true;
        assert_eq!(world.cycle(BUY), Fate::Refused(refusal.clone()), "{what}");
        assert!(!world.why().is_empty(), "{what}");
        // A bar is considered once: that the reason is gone does not bring it back.
        assert_eq!(
            world.trader.last_decided(),
            Some(world.bar * 3_600),
            "{what}"
        );
    }
}

pub(super) fn foreign_fill() -> crate::gateway::protocol::Fill {
    let text = |text| crate::gateway::protocol::Text::name(text).unwrap();
    crate::gateway::protocol::Fill {
        order_id: crate::gateway::protocol::MessageId::new("x").unwrap(),
        idempotency_key: crate::gateway::protocol::IdempotencyKey::new("x").unwrap(),
        ticket: text("9"),
        symbol: text("EURUSD"),
        side: crate::gateway::protocol::Side::Buy,
        requested_volume: peer::amount(d("0.5")),
        volume: peer::amount(d("0.5")),
        price: peer::amount(d("1.1")),
        executed_at: 1,
    }
}

#[test]
fn account_and_positions_that_do_not_come_are_a_refusal_and_no_order() {
    for (faults, refusal) in [
        (vec![Fault::Lost], Refusal::Missing(Input::Account)),
        (vec![Fault::Garbled], Refusal::Missing(Input::Account)),
    ] {
        let mut world = World::new();
        world.trader.begin_cycle();
        world.peer.0.borrow_mut().faults = faults.into();
        world.peer.0.borrow_mut().is_forbidden = true;
        assert_eq!(world.consider(BUY), Fate::Refused(refusal));
    }
}

#[test]
fn the_breaker_opens_after_three_failures_in_a_row_and_a_heartbeat_closes_it() {
    let mut world = World::new();
    world.cycle(HOLD);
    world.peer.0.borrow_mut().is_away = true;
    for _ in 0..3 {
        world.trader.begin_cycle();
        world.trader.end_cycle();
        world
            .trader
            .refresh(&super::super::ask::Budget::of(Duration::from_secs(1)));
    }
    let open = "sentinel_circuit_breaker_state{endpoint=\"gateway\",state=\"open\"}";
    world.trader.beat();
    assert_eq!(world.value(open), 1.0);
    world.next_bar();
    assert_eq!(world.cycle(BUY), Fate::Refused(Refusal::BreakerOpen));
    assert!(world.why().contains("circuit breaker"), "{}", world.why());
    world.peer.0.borrow_mut().is_away = false;
    world.next_bar();
    assert_eq!(world.cycle(BUY), Fate::Executed);
    assert_eq!(world.value(open), 0.0);
}

#[test]
fn a_days_loss_beyond_its_limit_halts_for_good() {
    let mut settings = settings();
    settings.limits[LimitId::MaxDailyLossAbs as usize] = Some(d("100"));
    let mut world = World::with(settings, Simulated::default());
    assert_eq!(world.cycle(BUY), Fate::Executed);
    world.peer.0.borrow_mut().equity = d("9900");
    world.trader.begin_cycle();
    world.trader.end_cycle();
    assert_eq!(
        world.state().trading(),
        TradingState::Active,
        "at the limit"
    );
    assert_eq!(
        world.value("sentinel_risk_limit_utilization_ratio{limit_id=\"max_daily_loss_abs\"}"),
        1.0
    );
    assert_eq!(world.value("sentinel_account_drawdown_ratio"), 0.01);
    world.peer.0.borrow_mut().equity = d("9899.99");
    world.trader.begin_cycle();
    world.trader.end_cycle();
    world.peer.0.borrow_mut().equity = d("10000");
    world.peer.0.borrow_mut().is_forbidden = true;
    world.next_bar();
    let halted = Fate::Refused(Refusal::Halted(Some(HaltReason::DailyLoss)));
    assert_eq!(world.cycle(BUY), halted);
    world.restart(world.disk.process_death());
    world.next_bar();
    assert_eq!(world.cycle(BUY), halted);
    assert_eq!(world.value("sentinel_trading_state{state=\"halted\"}"), 1.0);
}

#[test]
fn a_kill_halts_at_the_next_beat_and_is_told_to_the_gateway_until_it_says_so() {
    let mut world = World::new();
    world.cycle(HOLD);
    world.peer.0.borrow_mut().faults = [Fault::Lost, Fault::Lost].into();
    std::fs::write(world.folder.path().join("kill"), "").unwrap();
    for _ in 0..2 {
        world.trader.beat();
        assert_eq!(world.state().trading(), TradingState::Halted);
        assert_eq!(world.peer.0.borrow().killed_at, None);
    }
    world.trader.beat();
    assert!(world.peer.0.borrow().killed_at.is_some());
    world.peer.0.borrow_mut().asked.clear();
    world.trader.beat();
    assert_eq!(world.peer.0.borrow().asked, [""; 0]);
    // The file goes, and halted stays.
    std::fs::remove_file(world.folder.path().join("kill")).unwrap();
    world.peer.0.borrow_mut().killed_at = None;
    world.peer.0.borrow_mut().is_forbidden = true;
    world.restart(world.disk.process_death());
    world.next_bar();
    assert_eq!(
        world.cycle(BUY),
        Fate::Refused(Refusal::Halted(Some(HaltReason::KillSwitch)))
    );
    assert!(
        world.why().contains("halted: kill_switch"),
        "{}",
        world.why()
    );
}

#[test]
fn a_gateway_that_comes_to_the_right_account_is_compared_with_before_it_is_traded_with() {
    let mut world = World::new();
    assert_eq!(world.cycle(BUY), Fate::Executed);
    world.peer.0.borrow_mut().account = "7002";
    world.next_bar();
    assert_eq!(world.cycle(BUY), Fate::Refused(Refusal::WrongAccount));
    // Meanwhile somebody closed the position of the first account.
    {
        let mut book = world.peer.0.borrow_mut();
        book.fills.clear();
        book.account = "7001";
        book.is_forbidden = true;
    }
    world.next_bar();
    assert_eq!(
        world.cycle(BUY),
        Fate::Refused(Refusal::Halted(Some(HaltReason::PositionMismatch)))
    );
}

#[test]
fn a_position_that_nobody_can_value_refuses_every_order_and_is_named() {
    let mut world = World::new();
    let mut fill = foreign_fill();
    fill.symbol = crate::gateway::protocol::Text::name("USDJPY").unwrap();
    world.peer.0.borrow_mut().other_positions.push(fill);
    world.peer.0.borrow_mut().is_forbidden = true;
    let refusal = Refusal::Absurd(Input::Positions);
    assert_eq!(world.cycle(BUY), Fate::Refused(refusal));
    assert!(
        world.why().contains("USDJPY has no value"),
        "{}",
        world.why()
    );
}

#[test]
fn a_gateway_that_refuses_heartbeats_is_told_to_stop_all_the_same() {
    let mut world = World::new();
    world.peer.0.borrow_mut().refuses_heartbeats = true;
    std::fs::write(world.folder.path().join("kill"), "").unwrap();
    world.trader.beat();
    assert!(world.peer.0.borrow().killed_at.is_some());
}
