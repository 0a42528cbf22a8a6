//! What happens between two steps of an order is looked at before it leaves.

use super::*;
use crate::decide::TradingState;
use crate::gateway::guards::refusal::Input;
use crate::gateway::intent_log::tests::simulated::Fault as DiskFault;

/// Nothing has left, nothing is open, and the bar is decided.
fn assert_withheld(world: &World) {
    assert_eq!(world.peer.0.borrow().orders_sent, []);
    assert!(!world.state().has_open());
    assert_eq!(world.trader.last_decided(), Some(world.bar * 3_600));
    assert_eq!(world.executed(), 0.0);
}

#[test]
fn the_kill_switch_thrown_after_the_check_keeps_the_order_back_at_every_step_before_it_leaves() {
    for at in [Step::Checked, Step::Recorded, Step::Audited] {
        let mut world = World::new();
        let file = world.folder.path().join("kill");
        world.trader.on_step(move |step| {
            if step == at {
                std::fs::write(&file, "").unwrap();
            }
        });
        world.peer.0.borrow_mut().is_forbidden = true;
        assert_eq!(
            world.cycle(BUY),
            Fate::Refused(Refusal::KillSwitch),
            "{at:?}"
        );
        assert_withheld(&world);
        world.trader.beat();
        assert_eq!(world.state().trading(), TradingState::Halted);
    }
}

#[test]
fn an_order_that_became_late_while_it_was_written_down_does_not_leave() {
    type Change = fn(&Clock);
    let changes: [Change; 2] = [
        |clock| clock.advance(Duration::from_secs(5)),
        // Set back, nobody knows how late it is.
        |clock| clock.step_wall(-1.0),
    ];
    for change in changes {
        let mut world = World::new();
        let clock = world.clock.clone();
        world.trader.on_step(move |step| {
            if step == Step::Audited {
                change(&clock);
            }
        });
        assert_eq!(world.cycle(BUY), Fate::Refused(Refusal::Late));
        assert_withheld(&world);
    }
}

#[test]
fn an_order_that_is_not_in_log_and_audit_does_not_leave_and_the_next_one_does() {
    for is_audit in [false, true] {
        let mut world = World::new();
        world.trader.begin_cycle();
        let (disk, audit_disk) = (world.disk.clone(), world.audit_disk.clone());
        let failing = if is_audit { audit_disk } else { disk };
        failing.fail_at(failing.operations(), DiskFault::Full);
        assert_eq!(world.consider(BUY), Fate::Refused(Refusal::LogUnavailable));
        assert_eq!(world.peer.0.borrow().orders_sent, [], "{is_audit}");
        world.next_bar();
        assert_eq!(
            world.cycle(BUY),
            Fate::Executed,
            "{is_audit}: {}",
            world.why()
        );
        assert_eq!(world.peer.0.borrow().orders_sent.len(), 1);
    }
}

#[test]
fn every_step_of_an_order_is_told_in_its_order() {
    let mut world = World::new();
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let telling = told.clone();
    world.trader.begin_cycle();
    world
        .trader
        .on_step(move |step| telling.lock().unwrap().push(step));
    world.peer.0.borrow_mut().fault_on_order = Some(peer::Fault::ReplyLost);
    assert_eq!(world.cycle(BUY), Fate::Unknown);
    world.trader.beat();
    assert_eq!(*told.lock().unwrap(), Step::ALL);
}

#[test]
fn an_order_whose_price_cannot_be_on_the_wire_is_not_sent_and_its_audit_is_reproduced() {
    let mut world = World::new();
    world.trader.begin_cycle();
    let price = 1e-9;
    let bar = Bar {
        open: price,
        high: price,
        low: price,
        close: price,
        ..world.bar()
    };
    let stale_from = world.clock.now().unix_seconds() + 60;
    let fate = consider(&mut world.trader, bar, BUY, stale_from);
    assert_eq!(fate, Fate::Refused(Refusal::Absurd(Input::UnitValue)));
    assert_eq!(world.peer.0.borrow().orders_sent, []);
}
