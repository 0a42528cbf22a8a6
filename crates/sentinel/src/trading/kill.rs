//! The kill switch at work: trading is halted on disk, and the gateway is told until it says that it knows.
//!
//! Invariant: the halt does not wait for the gateway, and no question goes before the kill. Must not touch: the switch itself.

use tracing::{error, info};

use super::Trader;
use super::ask::Budget;
use crate::gateway::intent_log::record::HaltReason;
use crate::gateway::intent_log::storage::Storage;
use crate::gateway::kill::Cause;
use crate::gateway::link::{Exchange, Gateway};
use crate::gateway::protocol::{ReplyBody, RequestBody, Text};

impl<G: Gateway, S: Storage> Trader<G, S> {
    /// Halts if the switch is on, and says why it is.
    pub(super) fn halt_if_killed(&mut self) -> Option<Cause> {
        let cause = self.kill.look()?;
        let why = format!("the kill switch is on: {}", cause.as_str());
        self.halt(HaltReason::KillSwitch, &why);
        Some(cause)
    }

    /// Halts and tells the gateway, if the switch is on. A halt that an earlier process has not told the gateway of is told as well.
    pub(super) fn tend_kill(&mut self, budget: &Budget) {
        let cause = self.halt_if_killed();
        let is_killed = cause.is_some()
            || self
                .log
                .state()
                .is_some_and(|state| matches!(state.reason(), Some((HaltReason::KillSwitch, _))));
        if !is_killed {
            return;
        }
        // One that refuses heartbeats, as its clock is another one, obeys a kill, which has no time.
        if self.link.seen.is_none() && self.link.refused.is_none() {
            return;
        }
        if let Some(seen) = &self.link.seen {
            if seen.heartbeat.is_killed {
                self.kill_acknowledged = Some(self.clock.now());
            } else if let Some(at) = self.kill_acknowledged
                && cause.is_some()
                && seen.at.monotonic > at.monotonic
            {
                // A person has released it at the gateway while the switch is on here.
                self.kill_acknowledged = None;
            }
        }
        if self.kill_acknowledged.is_some() {
            return;
        }
        let words = cause.map_or("halted by a kill switch", |cause| cause.as_str());
        let reason = Text::sentence(&format!("sentinel: kill switch: {words}"))
            .expect("a short sentence without control characters");
        match self.ask(RequestBody::Kill { reason }, budget) {
            Some(Exchange::Answered { reply, .. }) if matches!(reply.body, ReplyBody::Kill(_)) => {
                info!("the gateway is killed too");
                self.kill_acknowledged = Some(self.clock.now());
            }
            // Each second, as long as it lasts; once is enough to know.
            other if !self.is_kill_told => {
                self.is_kill_told = true;
                error!(
                    ?other,
                    "the gateway has not acknowledged the kill, it is told again each second"
                );
            }
            _ => {}
        }
    }
}
