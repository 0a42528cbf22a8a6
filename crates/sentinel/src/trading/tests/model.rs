//! Any order of events: bars, beats, lost and late messages, storage that fails, a process that ends at any step, a power cut.
//!
//! The gateway in memory judges each order that leaves. What is held here: a bar is executed at most once; when all is calm again, every
//! order has a verdict and the log's position is the gateway's; what the metrics call executed is what the gateway executed; and nobody was
//! halted by a position that only our own orders made.

use proptest::prelude::*;

use super::peer::{Fault, Manner};
use super::*;
use crate::decide::TradingState;
use crate::gateway::intent_log::tests::simulated::{Fault as DiskFault, POWER_CUTS};
use crate::gateway::protocol::Code;

#[derive(Debug, Clone)]
enum Event {
    /// The next bar and a cycle on it.
    Bar([f64; 3]),
    /// A cycle on the bar that was there already.
    Again,
    Beat,
    Wait(u16),
    /// What happens to the next messages.
    Messages(Vec<Fault>),
    /// What happens to the next order.
    Order(Fault),
    Manner(Manner),
    Away(bool),
    /// What was held arrives.
    Thaw,
    FillPlaced,
    PeerRestarts,
    /// The process ends at this step from here on, and another one starts.
    Crash {
        step: usize,
        cut: Option<usize>,
    },
    /// Storage fails in so many operations.
    Disk {
        after: usize,
        is_full: bool,
    },
    AuditDisk {
        after: usize,
    },
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::NotSent),
        Just(Fault::Lost),
        Just(Fault::ReplyLost),
        Just(Fault::Garbled),
        Just(Fault::Held),
        Just(Fault::Stopped),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let wire = prop_oneof![4 => Just(BUY), 4 => Just(SELL), 1 => Just(HOLD)];
    prop_oneof![
        10 => wire.prop_map(Event::Bar),
        3 => Just(Event::Again),
        5 => Just(Event::Beat),
        2 => (0..20_u16).prop_map(Event::Wait),
        2 => prop::collection::vec(fault(), 1..5).prop_map(Event::Messages),
        4 => fault().prop_map(Event::Order),
        3 => prop_oneof![
            4 => Just(Manner::Fill),
            2 => Just(Manner::FillHalf),
            2 => Just(Manner::Place),
            1 => Just(Manner::Reject(Code::Requote)),
        ].prop_map(Event::Manner),
        2 => any::<bool>().prop_map(Event::Away),
        3 => Just(Event::Thaw),
        2 => Just(Event::FillPlaced),
        1 => Just(Event::PeerRestarts),
        5 => (1..12_usize, prop::option::of(0..POWER_CUTS.len()))
            .prop_map(|(step, cut)| Event::Crash { step, cut }),
        2 => (0..12_usize, any::<bool>())
            .prop_map(|(after, is_full)| Event::Disk { after, is_full }),
        1 => (0..6_usize).prop_map(|after| Event::AuditDisk { after }),
    ]
}

/// Runs something of the trader; whether the process ended in it.
fn run(world: &mut World, what: impl FnOnce(&mut World)) -> bool {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| what(world)));
    match result {
        Ok(()) => false,
        Err(cause) if cause.is::<Crash>() => true,
        Err(cause) => std::panic::resume_unwind(cause),
    }
}

fn restart(world: &mut World, cut: Option<usize>) {
    world.crash_in.store(0, Ordering::Relaxed);
    let disk = match cut {
        None => world.disk.process_death(),
        Some(cut) => world.disk.power_cut(POWER_CUTS[cut]),
    };
    if let Some(cut) = cut {
        world.audit_disk = world.audit_disk.power_cut(POWER_CUTS[cut]);
    }
    world.restart(disk);
}

fn happen(world: &mut World, event: &Event, cut: &mut Option<usize>) {
    let has_ended = match event {
        Event::Bar(wire) => {
            world.next_bar();
            run(world, |world| drop(world.cycle(*wire)))
        }
        Event::Again => run(world, |world| drop(world.cycle(BUY))),
        Event::Beat => run(world, |world| world.trader.beat()),
        Event::Wait(seconds) => {
            world
                .clock
                .advance(Duration::from_secs(u64::from(*seconds)));
            false
        }
        Event::Messages(faults) => {
            world.peer.0.borrow_mut().faults = faults.clone().into();
            false
        }
        Event::Order(fault) => {
            world.peer.0.borrow_mut().fault_on_order = Some(*fault);
            false
        }
        Event::Manner(manner) => {
            world.peer.0.borrow_mut().manner = *manner;
            false
        }
        Event::Away(is_away) => {
            world.peer.0.borrow_mut().is_away = *is_away;
            false
        }
        Event::Thaw => {
            world.peer.thaw();
            false
        }
        Event::FillPlaced => {
            world.peer.fill_placed();
            false
        }
        Event::PeerRestarts => {
            world.peer.0.borrow_mut().started_at += 1;
            false
        }
        Event::Crash { step, cut: power } => {
            world.crash_in.store(*step, Ordering::Relaxed);
            *cut = *power;
            false
        }
        Event::Disk { after, is_full } => {
            let fault = if *is_full {
                DiskFault::Full
            } else {
                DiskFault::Io
            };
            world.disk.fail_at(world.disk.operations() + after, fault);
            false
        }
        Event::AuditDisk { after } => {
            let disk = &world.audit_disk;
            disk.fail_at(disk.operations() + after, DiskFault::Full);
            false
        }
    };
    if has_ended {
        restart(world, cut.take());
    }
    for (key, count) in world.peer.fills_by_key() {
        assert!(count <= 1, "{key} was executed {count} times");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_a_bar_is_executed_at_most_once_and_in_the_end_all_of_it_is_known(
        events in prop::collection::vec(event(), 1..60),
    ) {
        let mut world = World::new();
        let mut cut = None;
        for event in &events {
            happen(&mut world, event, &mut cut);
        }
        // Calm: the gateway is there, what was on its way arrives, what is held is filled, and the process is a new one or the same.
        world.crash_in.store(0, Ordering::Relaxed);
        for disk in [&world.disk, &world.audit_disk] {
            disk.fail_at(usize::MAX, DiskFault::Io);
        }
        {
            let mut book = world.peer.0.borrow_mut();
            book.is_away = false;
            book.faults.clear();
            book.fault_on_order = None;
        }
        world.peer.thaw();
        world.peer.fill_placed();
        for _ in 0..3 {
            world.clock.advance(Duration::from_secs(1));
            world.trader.begin_cycle();
            world.trader.end_cycle();
            world.trader.beat();
        }
        prop_assert!(world.trader.is_reconciled(), "{}", world.why());
        let state = world.state();
        prop_assert!(!state.has_open() && state.placed().is_empty());
        prop_assert_eq!(state.trading(), TradingState::Active, "{}", world.why());
        prop_assert_eq!(state.own_position("EURUSD"), Some(world.peer.net()));
        let fills = world.peer.0.borrow().fills.len() as f64;
        // An end between a verdict on disk and its count loses the count, and nothing counts twice.
        prop_assert!(world.executed() <= fills);
        let has_ended = events.iter().any(|event| matches!(event, Event::Crash { .. }));
        if !has_ended {
            prop_assert_eq!(world.executed(), fills);
        }
        // And it goes on.
        world.peer.0.borrow_mut().manner = Manner::Fill;
        world.next_bar();
        prop_assert_eq!(world.cycle(BUY), Fate::Executed, "{}", world.why());
    }
}
