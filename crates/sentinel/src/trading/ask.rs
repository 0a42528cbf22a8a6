//! Asking the gateway: budgets, the breaker, and what its heartbeats say.
//!
//! Invariant: several questions share one budget and none begins when it is over; a question that executes nothing may be asked again, an
//! order never comes through here. Must not touch: the intent log.

use std::time::{Duration, Instant};

use super::Trader;
use crate::breaker;
use crate::gateway::guards::situation::Peer;
use crate::gateway::intent_log::storage::Storage;
use crate::gateway::link::{Ask, Exchange, Gateway, NotSent};
use crate::gateway::protocol::{IdempotencyKey, MAX_LIFETIME_MS, RequestBody};

/// Real time that some questions may take together: a socket knows no driven clock.
#[derive(Debug)]
pub(super) struct Budget {
    until: Instant,
}

impl Budget {
    pub(super) fn of(time: Duration) -> Budget {
        Budget {
            until: Instant::now() + time,
        }
    }

    /// What is left; none when it is over.
    fn left(&self) -> Option<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

impl<G: Gateway, S: Storage> Trader<G, S> {
    /// Asks something that executes nothing; none when the budget is over.
    pub(super) fn ask(&mut self, body: RequestBody, budget: &Budget) -> Option<Exchange> {
        let time = budget.left()?.min(self.timeout);
        let id = self.ids.fresh();
        let life = i64::try_from(self.timeout.as_millis()).unwrap_or(i64::MAX);
        let ask = Ask {
            idempotency_key: IdempotencyKey::new(id.as_str()).expect("each id is a key"),
            id,
            valid_until_ms: self.now_ms().saturating_add(life.clamp(1, MAX_LIFETIME_MS)),
            body,
        };
        let exchange = self.gateway.exchange(ask, time);
        self.note(&exchange);
        Some(exchange)
    }

    /// What an exchange means for the breaker.
    pub(super) fn note(&mut self, exchange: &Exchange) {
        let now = self.since_start();
        match exchange {
            Exchange::Answered { .. } => self.breaker.succeeded(now),
            Exchange::NotSent(NotSent::NoPeer) | Exchange::Unknown { .. } => {
                self.breaker.failed(now, None);
            }
            Exchange::NotSent(_) | Exchange::Stopped => {}
        }
    }

    /// Looks at the link: what heartbeats say of the gateway.
    pub(super) fn watch(&mut self) {
        let link = self.gateway.state();
        let now = self.since_start();
        if link.missed > self.link.missed {
            for _ in self.link.missed..link.missed {
                self.breaker.failed(now, None);
            }
        }
        if let Some(seen) = &link.seen
            && link.missed == 0
            && link.seen != self.link.seen
        {
            self.breaker.succeeded(now);
            self.telemetry.record_gateway_heartbeat(seen.at.unix);
            if let Some(before) = self.link.seen.as_ref().map(|seen| &seen.heartbeat) {
                if before.started_at != seen.heartbeat.started_at {
                    self.reconciliation.undo("the gateway was started anew");
                }
                if before.account != seen.heartbeat.account {
                    self.reconciliation
                        .undo("the gateway trades another account than before");
                }
            }
        }
        if let Some(offset) = link.clock_offset {
            self.telemetry.record_gateway_clock_offset(offset);
        }
        self.link = link;
    }

    /// Whether it is worth asking: it has answered a heartbeat, and is not left alone.
    pub(super) fn is_reachable(&self) -> bool {
        self.link.seen.is_some()
            && self.link.missed == 0
            && self.breaker_state() == breaker::State::Closed
    }

    pub(super) fn breaker_state(&self) -> breaker::State {
        self.breaker.state(self.since_start())
    }

    /// What the gateway says of itself.
    pub(super) fn peer(&self) -> Option<Peer> {
        let heartbeat = &self.link.seen.as_ref()?.heartbeat;
        let offset = self.link.clock_offset?;
        Some(Peer {
            account: heartbeat.account.as_str().to_owned(),
            is_trading_allowed: heartbeat.is_connected && heartbeat.is_trading_allowed,
            is_killed: heartbeat.is_killed,
            // Saturates, and no clock is that far off.
            clock_offset_ms: (offset * 1e3).round() as i64,
        })
    }

    fn since_start(&self) -> Duration {
        let now = self.clock.now().monotonic;
        now.saturating_duration_since(self.start.monotonic)
    }
}
