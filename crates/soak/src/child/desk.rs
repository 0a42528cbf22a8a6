//! The trader as the cycle meets it, looked at after each thing that it did. Invariant: what it does is not changed; only a cycle begins when
//! the link has had the heartbeats of the time that was left out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sentinel::clock::Clock;
use sentinel::decide::Decision;
use sentinel::gateway::link::Gateway as _;
use sentinel::trading::{Candidate, Desk, Fate, Trader};

use super::scaled::ScaledGateway;
use crate::sentinel_process::Said;

/// What was seen last.
pub(super) type Shown = Arc<Mutex<Said>>;

/// Longest wait for a heartbeat; a gateway that is away has none.
const HEARTBEAT_MAX: Duration = Duration::from_millis(150);

/// The trader.
pub(super) struct WatchedDesk {
    trader: Trader<ScaledGateway>,
    clock: Clock,
    shown: Shown,
}

impl WatchedDesk {
    pub(super) fn new(trader: Trader<ScaledGateway>, clock: Clock, shown: Shown) -> WatchedDesk {
        let desk = WatchedDesk {
            trader,
            clock,
            shown,
        };
        desk.show();
        desk
    }

    fn show(&self) {
        let log = self.trader.log().state();
        let said = Said {
            trading: log
                .map_or("unavailable", |state| state.trading().as_str())
                .to_owned(),
            open: log.map_or(0, |state| state.open().len() + state.orphans().count()),
            placed: log.map_or(0, |state| state.placed().len()),
            is_reconciled: self.trader.is_reconciled(),
            position: log
                .and_then(|state| state.own_position("EURUSD"))
                .map(|volume| volume.to_string()),
        };
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }

    /// Between two cycles there are heartbeats; here no time has passed since the last cycle, only the clock has jumped.
    fn await_heartbeat(&mut self) {
        let begin = self.clock.now().monotonic;
        let until = Instant::now() + HEARTBEAT_MAX;
        while Instant::now() < until {
            let state = self.trader.gateway().state();
            if state.seen.is_some_and(|seen| seen.at.monotonic > begin) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Desk for WatchedDesk {
    fn beat(&mut self) {
        self.await_heartbeat();
        self.trader.beat();
        self.show();
    }

    fn begin_cycle(&mut self) {
        self.await_heartbeat();
        self.trader.begin_cycle();
        self.show();
    }

    fn last_decided(&self) -> Option<i64> {
        self.trader.last_decided()
    }

    fn consider(&mut self, candidate: &Candidate<'_>) -> (Decision, Fate) {
        let considered = self.trader.consider(candidate);
        self.show();
        considered
    }

    fn end_cycle(&mut self) {
        self.trader.end_cycle();
        self.show();
    }

    fn end(&mut self) {
        self.trader.end();
        self.show();
    }
}
