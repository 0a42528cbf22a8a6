//! Making trouble, and finding out whether it met anything. Invariant: what was ordered for a bar and met nothing is taken back at its end.

use std::time::Duration;

use anyhow::Result;
use stand_in::{Fault, RowFault};

use super::world::World;
use crate::evidence::diary::Death;
use crate::gateway::Mood;
use crate::proxy::{Act, Hit, WireFault};
use crate::schedule::Trouble;
use crate::sentinel_process::Request;

/// More questions for a status than are asked at a bar.
const QUESTIONS: usize = 8;

/// How far a price moves that no order accepts.
const MOVED: f64 = 0.01;

/// What was ordered.
#[derive(Debug, Default)]
pub(super) struct Armed {
    /// After which time of the cycle the sentinel is killed.
    pub(super) assassin: Option<Duration>,
    pub(super) before: Before,
}

/// How things were before the cycle, to see what the cycle changed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Before {
    orders_seen: usize,
    cycles_cut: u64,
    /// Which of the troubles is to kill the sentinel: one at a bar, or nobody could say which it was.
    deadly: Option<usize>,
}

/// A message that never comes.
fn lost(hit: Hit) -> WireFault {
    WireFault {
        hit,
        act: Act::Lose,
    }
}

impl World {
    /// Has the questions for a status unanswered, if it is to be silent; until the bar that the silence lasts to is decided on.
    pub(super) fn keep_silent(&mut self, decided: Option<usize>) {
        if self.silent_until.is_some() && self.silent_until <= decided {
            self.silent_until = None;
        }
        if self.silent_until.is_some() {
            (0..QUESTIONS).for_each(|_| self.proxy.arm(lost(Hit::StatusReply)));
        }
    }

    /// Orders the troubles of a bar. `order` is the price and the side of the order that the model asks for.
    pub(super) fn arm(
        &mut self,
        troubles: &[Trouble],
        bar: usize,
        order: Option<(f64, &str)>,
    ) -> Result<Armed> {
        let mut armed = Armed {
            assassin: None,
            before: Before {
                orders_seen: self.proxy.seen().orders.len(),
                cycles_cut: self.diary.cycles_cut,
                deadly: troubles.iter().position(Trouble::is_deadly),
            },
        };
        if troubles.iter().any(Trouble::needs_status) {
            // A status is only asked for when the outcome is not known; so it is made unknown.
            self.proxy.arm(lost(Hit::OrderReply));
        }
        for (index, trouble) in troubles.iter().enumerate() {
            match trouble {
                _ if trouble.is_deadly() && armed.before.deadly != Some(index) => {}
                Trouble::Fetch(_, fault) => self.remotes.spoil_fetch(fault.clone()),
                Trouble::StartWith(_, fault) => {
                    // Its end is a SIGKILL.
                    self.sentinel = None;
                    self.diary.died(Death::AtRest);
                    self.stand_up()?;
                    self.remotes.spoil_fetch(fault.clone());
                }
                Trouble::FeedStale => {
                    self.remotes.fell_eodhd();
                    self.away[0] = Some(bar + 1);
                    self.is_stale_on_return = true;
                }
                Trouble::Predict(_, fault) => self.remotes.spoil_prediction(fault.clone()),
                Trouble::FeedAway(bars) => {
                    self.remotes.fell_eodhd();
                    self.away[0] = Some(bar + bars);
                }
                Trouble::HubAway(bars) => {
                    self.remotes.fell_hub();
                    self.away[1] = Some(bar + bars);
                }
                Trouble::GatewayAway(bars) => {
                    self.gateway.kill()?;
                    self.away[2] = Some(bar + bars);
                    self.come_back(bar)?;
                }
                Trouble::Wire(fault) => self.proxy.arm(*fault),
                Trouble::Silence => {
                    self.proxy.arm(lost(Hit::OrderReply));
                    self.silent_until = Some(bar + 1);
                }
                Trouble::Broker(mood) => {
                    self.gateway.kill()?;
                    self.gateway.start(*mood)?;
                }
                Trouble::PriceMoved => {
                    let moved = order.map(|(price, side)| match side {
                        "BUY" => price * (1.0 + MOVED),
                        _ => price * (1.0 - MOVED),
                    });
                    self.gateway.set_price(moved)?;
                }
                Trouble::NoPrice => self.gateway.set_price(None)?,
                Trouble::DieAt(step) => {
                    self.ask_quietly(&Request::DieAt(Some(step.clone())))?;
                }
                Trouble::DieAfter(time) => armed.assassin = Some(*time),
                Trouble::KillFile | Trouble::KillSignal => self.throw_kill_switch(trouble, bar)?,
            }
        }
        Ok(armed)
    }

    fn ask_quietly(&mut self, request: &Request) -> Result<()> {
        if let Some(sentinel) = &mut self.sentinel {
            sentinel.ask(request)?;
        }
        Ok(())
    }

    /// After the cycle: what met something, and what is taken back.
    pub(super) fn settle(&mut self, troubles: &[Trouble], before: &Before) -> Result<()> {
        let [is_feed_left, is_hub_left] = self.remotes.withdraw();
        // What a status brings comes with the next cycle.
        if troubles.iter().any(Trouble::needs_status) {
            self.cycle(None)?;
        }
        let has_died = self.diary.cycles_cut > before.cycles_cut;
        let has_order = self.proxy.seen().orders.len() > before.orders_seen;
        let wire_left = self.proxy.disarm();
        for (index, trouble) in troubles.iter().enumerate() {
            let has_met = match trouble {
                _ if trouble.is_deadly() => has_died && before.deadly == Some(index),
                Trouble::Fetch(..) | Trouble::StartWith(..) => !is_feed_left,
                Trouble::Predict(..) => !is_hub_left,
                Trouble::Wire(fault) => !wire_left.contains(fault),
                Trouble::Broker(_) => {
                    if self.away[2].is_none() {
                        self.gateway.kill()?;
                        self.gateway.start(Mood::Fills)?;
                    }
                    has_order
                }
                Trouble::PriceMoved | Trouble::NoPrice | Trouble::Silence => has_order,
                _ => true,
            };
            self.diary.trouble(trouble.name(), has_met);
            match trouble {
                _ if has_met => {}
                // Without these the run shows less than it is for.
                Trouble::DieAt(_) => self.again.push_front(trouble.clone()),
                _ => self.again.push_back(trouble.clone()),
            }
        }
        let deadly = before.deadly.map(|index| &troubles[index]);
        if has_died {
            let death = match deadly {
                Some(Trouble::DieAt(step)) => Death::At(step.clone()),
                _ => Death::InCycle,
            };
            self.note_what_is_not_counted(&death)?;
            self.diary.died(death);
        } else if deadly.is_some() {
            self.ask_quietly(&Request::DieAt(None))?;
        }
        Ok(())
    }

    /// A verdict that was found out later is counted behind its writing, and the sentinel was killed in between.
    fn note_what_is_not_counted(&mut self, death: &Death) -> Result<()> {
        if *death != Death::At("Reconciled".to_owned()) {
            return Ok(());
        }
        self.intents.read_if_there(&self.intents_dir())?;
        let last = self.intents.orders().pop();
        let was_taken = last.is_some_and(|last| last.was_taken);
        self.diary.executions_cut += u64::from(was_taken);
        Ok(())
    }

    /// What was away as long as planned is there again.
    pub(super) fn come_back(&mut self, bar: usize) -> Result<()> {
        let is_back = |away: &mut Option<usize>| {
            let is_back = away.is_some_and(|until| until <= bar);
            if is_back {
                *away = None;
            }
            is_back
        };
        let [feed, hub, gateway] = &mut self.away;
        if is_back(feed) {
            self.remotes.raise_eodhd()?;
            if std::mem::take(&mut self.is_stale_on_return) {
                let stale = Fault::Rows(RowFault::Stale(1));
                self.remotes.spoil_fetch(stale);
            }
        }
        if is_back(hub) {
            self.remotes.raise_hub()?;
        }
        if is_back(gateway) {
            self.gateway.start(Mood::Fills)?;
        }
        Ok(())
    }
}
