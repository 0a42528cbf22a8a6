//! What the gateway tells of account and positions, and what is wrong with it.

use super::peer::{Fault, Manner};
use super::situations::foreign_fill;
use super::*;
use crate::decide::TradingState;
use crate::gateway::guards::limits::LimitId;
use crate::gateway::guards::refusal::Input;
use crate::gateway::intent_log::tests::simulated::Fault as DiskFault;
use crate::gateway::protocol::{Fill, Side};

#[test]
fn what_was_old_when_the_gateway_told_it_permits_no_order_and_is_compared_with_nothing() {
    let mut world = World::new();
    assert_eq!(world.cycle(BUY), Fate::Executed);
    world.peer.0.borrow_mut().lag = Duration::from_secs(11);
    world.peer.0.borrow_mut().is_forbidden = true;
    world.next_bar();
    let stale = Fate::Refused(Refusal::Stale(Input::Account));
    assert_eq!(world.cycle(BUY), stale);
    assert!(world.why().contains("too old"), "{}", world.why());
    // A gateway that was started anew has to be compared with, and not on what was.
    world.peer.0.borrow_mut().started_at += 1;
    world.trader.begin_cycle();
    assert!(!world.trader.is_reconciled());
    assert_eq!(world.state().trading(), TradingState::Active);
    world.peer.0.borrow_mut().lag = Duration::from_secs(9);
    world.peer.0.borrow_mut().is_forbidden = false;
    world.next_bar();
    assert_eq!(world.cycle(SELL), Fate::Executed, "{}", world.why());
    assert!(!world.why().contains("too old"), "{}", world.why());
}

#[test]
fn a_machine_that_slept_after_asking_does_not_take_the_answer_for_fresh() {
    let mut world = World::new();
    world.trader.begin_cycle();
    // The clock of ages does not count while a machine sleeps; the one of the wall does.
    world.clock.step_wall(11.0);
    let account = world.trader.guards_account(world.clock.now()).unwrap();
    assert!(account.age >= Duration::from_secs(11), "{:?}", account.age);
    // One that was set back makes nothing younger.
    world.clock.step_wall(-100.0);
    world.clock.advance(Duration::from_secs(3));
    let account = world.trader.guards_account(world.clock.now()).unwrap();
    assert_eq!(account.age, Duration::from_secs(3));
}

#[test]
fn a_day_is_not_opened_by_a_clock_that_is_not_the_gateways() {
    let mut settings = settings();
    settings.limits[LimitId::MaxDailyLossAbs as usize] = Some(d("100"));
    let mut world = World::with(settings, Simulated::default());
    // A year ahead, and set right: the days until then would have no opening.
    world.clock.step_wall(365.0 * 86_400.0);
    world.peer.0.borrow_mut().clock_offset = 365.0 * 86_400.0;
    world.trader.begin_cycle();
    world.trader.end_cycle();
    world.clock.step_wall(-365.0 * 86_400.0);
    world.peer.0.borrow_mut().clock_offset = 0.0;
    world.next_bar();
    assert_eq!(world.cycle(BUY), Fate::Executed, "{}", world.why());
}

type Change = fn(&mut World);

#[test]
fn what_every_order_would_be_refused_for_is_in_health_before_an_order_is() {
    let table: &[(&str, Change, &str)] = &[
        (
            "a symbol that is held long and short",
            |w| {
                let long = foreign_fill();
                let short = Fill {
                    side: Side::Sell,
                    ..long.clone()
                };
                w.peer.0.borrow_mut().other_positions = vec![long, short];
            },
            "on one side",
        ),
        (
            "another currency",
            |w| w.peer.0.borrow_mut().currency = "JPY",
            "JPY",
        ),
        (
            "an account that is not told",
            |w| w.peer.0.borrow_mut().faults = vec![Fault::Lost].into(),
            "does not tell",
        ),
    ];
    for (what, change, words) in table {
        let mut world = World::new();
        world.cycle(HOLD);
        assert!(!world.why().contains(words), "{what}: {}", world.why());
        change(&mut world);
        world.next_bar();
        world.cycle(HOLD);
        assert!(world.why().contains(words), "{what}: {}", world.why());
        {
            let mut book = world.peer.0.borrow_mut();
            book.other_positions.clear();
            book.currency = "USD";
        }
        world.next_bar();
        world.cycle(HOLD);
        assert!(!world.why().contains(words), "{what}: {}", world.why());
    }
}

#[test]
fn an_audit_that_cannot_be_written_is_in_health_as_long_as_it_is_so() {
    let mut world = World::new();
    world.cycle(HOLD);
    let next = world.audit_disk.operations();
    world.audit_disk.fail_at(next, DiskFault::Full);
    world.next_bar();
    world.cycle(HOLD);
    assert!(world.why().contains("the audit"), "{}", world.why());
    world.next_bar();
    world.cycle(HOLD);
    assert!(!world.why().contains("the audit"), "{}", world.why());
}

#[test]
fn an_order_that_the_gateway_holds_is_not_valued_at_the_price_of_another_symbol() {
    let mut world = World::new();
    world.peer.0.borrow_mut().manner = Manner::Place;
    assert_eq!(world.cycle(BUY), Fate::Executed);
    // The next run trades another symbol.
    world.restart(world.disk.process_death());
    world.trader.terms.symbol = Text::name("XAUUSD").unwrap();
    world
        .trader
        .terms
        .contract_sizes
        .insert("XAUUSD".to_owned(), d("100"));
    world.trader.begin_cycle();
    world.trader.last_price = Some(d("2000"));
    let placed = world.state().placed().to_vec();
    let book = world
        .trader
        .guards_book(world.clock.now(), &placed)
        .unwrap();
    assert_eq!(book.value.working[0].unit_value, Decimal::ZERO);
}
