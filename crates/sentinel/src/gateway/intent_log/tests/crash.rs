//! The process stops, or storage fails, at every single operation of a day of trading; then the power goes or does not.
//!
//! Claim: an order whose sending could have happened is open after the restart unless its outcome was acknowledged; its bar is decided;
//! it is counted; a halt that was acknowledged holds. An order whose placement was acknowledged is followed up until its end could have been
//! recorded. The own position is that of the executions that were acknowledged, and at most of the one that was being recorded.

use std::collections::BTreeSet;

use super::super::state::State;
use super::simulated::{Fault, POWER_CUTS, Simulated};
use super::*;

/// Short enough for several rotations in six bars.
const SHORT: u64 = 1_200;

/// What the world saw, apart from the log.
#[derive(Default)]
struct World {
    sent: BTreeSet<IntentId>,
    /// Orders whose outcome is known and was given to the log: acknowledged or not, it is true, and the log may have it.
    known: BTreeSet<IntentId>,
    /// Orders whose outcome the log acknowledged.
    closed: BTreeSet<IntentId>,
    /// Orders that the log acknowledged as placed, and whose end it was not given yet.
    placed: BTreeSet<IntentId>,
    last_bar: Option<i64>,
    was_halted: bool,
    /// Acknowledged, and given.
    position: (Option<Decimal>, Option<Decimal>),
}

impl World {
    /// Gives the log an execution of [`intent`].
    fn executed(&mut self, record: impl FnOnce() -> Result<(), LogError>) -> Result<(), LogError> {
        let after = self.position.0.map(|held| held + intent(0).volume);
        self.position.1 = after;
        record()?;
        self.position.0 = after;
        Ok(())
    }
}

/// A few bars with every kind of ending, over several rotations; ends at the first failure.
fn trade(log: &mut IntentLog<Simulated>, world: &mut World) -> Result<(), LogError> {
    log.day_opened(NOW, 10_000.into())?;
    world.position.1 = Some(Decimal::ONE);
    log.position_based("EURUSD", Decimal::ONE, NOW)?;
    world.position.0 = Some(Decimal::ONE);
    for bar in 1..=6 {
        let intent = intent(bar);
        let id = intent.id.clone();
        log.decided(intent)?;
        world.sent.insert(id.clone());
        world.last_bar = Some(bar);
        log.sent(&id, NOW)?;
        if !matches!(bar, 3 | 4) {
            world.known.insert(id.clone());
        }
        match bar {
            1 => world.executed(|| log.outcome(&id, FILLED, NOW))?,
            2 => log.outcome(&id, Outcome::Rejected(Rejection::Margin), NOW)?,
            3 => {
                log.outcome(&id, Outcome::Unknown, NOW)?;
                world.known.insert(id.clone());
                world.executed(|| log.reconciled(&id, FOUND_FILLED, NOW))?;
            }
            4 => {
                log.outcome(&id, Outcome::Unknown, NOW)?;
                world.known.insert(id.clone());
                log.reconciled(&id, Found::Placed, NOW)?;
                world.placed.insert(id.clone());
            }
            _ => {
                log.outcome(&id, Outcome::Placed, NOW)?;
                world.placed.insert(id.clone());
            }
        }
        world.closed.insert(id);
    }
    // One is executed, one is not, and one stays placed.
    world.placed.remove(&intent(4).id);
    world.executed(|| log.reconciled(&intent(4).id, FOUND_FILLED, NOW))?;
    world.placed.remove(&intent(5).id);
    log.reconciled(&intent(5).id, Found::Rejected, NOW)?;
    log.tighten(TradingState::Halted, HaltReason::DailyLoss, NOW)?;
    world.was_halted = true;
    Ok(())
}

fn assert_found(state: &State, world: &World, at: &str) {
    let open: BTreeSet<_> = state
        .open()
        .iter()
        .map(|open| open.intent.id.clone())
        .chain(state.orphans().cloned())
        .collect();
    for id in world.sent.difference(&world.known) {
        assert!(
            open.contains(id),
            "{at}: {id} could have been sent and is not open"
        );
    }
    for id in &world.closed {
        assert!(
            !open.contains(id),
            "{at}: {id} has an acknowledged outcome and is open"
        );
    }
    assert!(state.last_decided_bar() >= world.last_bar, "{at}");
    assert!(
        state.orders_in_day(NOW) as usize >= world.sent.len(),
        "{at}"
    );
    let placed: BTreeSet<_> = state
        .placed()
        .iter()
        .map(|one| one.intent.id.clone())
        .collect();
    assert!(placed.is_superset(&world.placed), "{at}: {placed:?}");
    let position = state.own_position("EURUSD");
    assert!(
        position == world.position.0 || position == world.position.1,
        "{at}: {position:?} and not {:?}",
        world.position
    );
    if world.was_halted {
        assert_eq!(state.trading(), TradingState::Halted, "{at}");
    }
}

/// Runs with a fault at one operation; whether it was reached.
fn run(at: usize, fault: Fault) -> bool {
    let disk = Simulated::default();
    disk.fail_at(at, fault);
    let mut world = World::default();
    let result = IntentLog::open_in(disk.clone(), NOW, SHORT).and_then(|(mut log, _)| {
        let result = trade(&mut log, &mut world);
        if result.is_err() {
            assert!(log.state().is_none(), "a log that failed has a state");
            let operations = disk.operations();
            assert!(matches!(log.decided(intent(99)), Err(LogError::Broken)));
            assert_eq!(
                disk.operations(),
                operations,
                "a failed file was touched again"
            );
            if fault != Fault::Stop {
                log.reopen(NOW).unwrap();
                assert_found(log.state().unwrap(), &world, "reopened");
                // And what it said is durable now.
                for cut in POWER_CUTS {
                    let state = reopened(disk.power_cut(cut));
                    assert_found(&state, &world, &format!("{fault:?} {at} reopened {cut:?}"));
                }
            }
        }
        result
    });
    for cut in POWER_CUTS {
        let state = reopened(disk.power_cut(cut));
        assert_found(&state, &world, &format!("{fault:?} {at} {cut:?}"));
    }
    let state = reopened(disk.process_death());
    assert_found(&state, &world, &format!("{fault:?} {at} process death"));
    result.is_err()
}

fn reopened(disk: Simulated) -> State {
    let (log, opened) = IntentLog::open_in(disk, NOW, SHORT).unwrap();
    assert_eq!(opened.damage, []);
    log.state().unwrap().clone()
}

#[test]
fn an_order_whose_sending_could_have_happened_is_open_after_an_end_at_any_operation() {
    for fault in [Fault::Stop, Fault::Io, Fault::Full] {
        let whole = Simulated::default();
        let (mut log, _) = IntentLog::open_in(whole.clone(), NOW, SHORT).unwrap();
        trade(&mut log, &mut World::default()).unwrap();
        let failed = (0..whole.operations()).filter(|at| run(*at, fault)).count();
        // Only removing an old file may fail without a word.
        let rotations = log.generation as usize - 1;
        assert!(rotations >= 2, "{rotations}");
        assert!(
            failed + rotations >= whole.operations(),
            "{fault:?}: {failed}"
        );
        assert!(!run(whole.operations(), fault));
    }
}
