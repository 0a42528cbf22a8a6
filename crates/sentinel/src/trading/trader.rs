//! The trader of a live run: what it owns, and what it does at each beat and in each cycle.
//!
//! Invariant: nothing is sent before what is open and the position were compared with the gateway's, nor after a halt. A beat takes
//! [`BEAT_BUDGET`] at most, the begin and the end of a cycle the gateway's budget each. Must not touch: bars, models, sockets.

use std::fmt;
use std::time::Duration;

use rust_decimal::Decimal;
use tracing::{error, info, warn};

use super::account::Known;
use super::ask::Budget;
use super::reconcile::Reconciliation;
use super::{Candidate, Desk, Fate, Step, Terms, millis};
use crate::audit::Audit;
use crate::breaker::Breaker;
use crate::clock::{Clock, Now};
use crate::decide::{Decision, TradingState};
use crate::gateway::guards::{Guards, Settings, SettingsError};
use crate::gateway::intent_log::IntentLog;
use crate::gateway::intent_log::record::{HaltReason, Intent, IntentId};
use crate::gateway::intent_log::storage::{Disk, Storage};
use crate::gateway::kill::KillSwitch;
use crate::gateway::link::{Gateway, LinkState, MessageIds};
use crate::gateway::protocol;
use crate::health::Health;
use crate::telemetry::Telemetry;

/// Longest that a beat asks the gateway for anything.
pub(super) const BEAT_BUDGET: Duration = Duration::from_millis(500);

/// Failures in a row after which the gateway is left alone, until it answers a heartbeat.
const FAILURES_TO_OPEN: u32 = 3;
/// For how long the breaker shows as open; afterwards as half open, which changes nothing: a heartbeat closes it at any time.
const OPEN_FOR: Duration = Duration::from_secs(120);

/// What a trader is made of.
pub struct Parts<G, S: Storage = Disk> {
    /// The link.
    pub gateway: G,
    /// Opened, and nobody else's.
    pub log: IntentLog<S>,
    /// As the log.
    pub audit: Audit<S>,
    /// Of the guards; the limits as well.
    pub settings: Settings,
    /// Of the orders.
    pub terms: Terms,
    /// Budget of each reply.
    pub timeout: Duration,
    /// File and signal.
    pub kill: KillSwitch,
    /// The program's clock.
    pub clock: Clock,
    /// Where things are counted.
    pub telemetry: Telemetry,
    /// Where they are shown.
    pub health: Health,
}

impl<G, S: Storage> fmt::Debug for Parts<G, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

impl<G, S: Storage> fmt::Debug for Trader<G, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trader")
            .field("reconciliation", &self.reconciliation)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

/// The trader of a live run.
pub struct Trader<G, S: Storage = Disk> {
    pub(super) gateway: G,
    pub(super) log: IntentLog<S>,
    pub(super) audit: Audit<S>,
    /// Why the audit's last line was not written; none if it was.
    pub(super) audit_fault: Option<String>,
    pub(super) guards: Guards,
    pub(super) settings: Settings,
    pub(super) terms: Terms,
    pub(super) timeout: Duration,
    pub(super) kill: KillSwitch,
    pub(super) clock: Clock,
    pub(super) telemetry: Telemetry,
    pub(super) health: Health,
    pub(super) ids: MessageIds,
    /// What the breaker's times count from.
    pub(super) start: Now,
    pub(super) breaker: Breaker,
    /// How the link was when it was looked at last.
    pub(super) link: LinkState,
    pub(super) reconciliation: Reconciliation,
    pub(super) account: Option<Known<protocol::Account>>,
    pub(super) positions: Option<Known<protocol::Positions>>,
    /// Whether account and positions were asked for in this cycle.
    pub(super) is_refreshed: bool,
    /// Highest equity since the start.
    pub(super) peak: Option<Decimal>,
    /// Value of the last order that was sent.
    pub(super) last_notional: Decimal,
    /// The last bar that was decided on, also where the log could not be told.
    pub(super) last_decided: Option<i64>,
    /// Prices that orders were decided at, as long as they are followed up.
    pub(super) decided_at: Vec<(IntentId, Decimal)>,
    /// Executions that are known here, and that storage failed to write: whether they are on disk is seen when the log is open again.
    pub(super) uncounted: Vec<Intent>,
    /// The last close that was decided on.
    pub(super) last_price: Option<Decimal>,
    /// Whether it was said that the gateway has not acknowledged the kill.
    pub(super) is_kill_told: bool,
    /// When the gateway acknowledged the kill.
    pub(super) kill_acknowledged: Option<Now>,
    pub(super) on_step: Box<dyn FnMut(Step) + Send>,
}

impl<G: Gateway, S: Storage> Trader<G, S> {
    /// A trader that has not asked the gateway for anything yet.
    ///
    /// # Errors
    /// A setting of the guards makes no sense.
    pub fn new(parts: Parts<G, S>) -> Result<Trader<G, S>, SettingsError> {
        let start = parts.clock.now();
        let trader = Trader {
            gateway: parts.gateway,
            audit: parts.audit,
            audit_fault: None,
            guards: Guards::new(parts.settings.clone())?,
            settings: parts.settings,
            terms: parts.terms,
            timeout: parts.timeout,
            kill: parts.kill,
            clock: parts.clock,
            telemetry: parts.telemetry,
            health: parts.health,
            ids: MessageIds::new(['q', 'y']),
            start,
            breaker: Breaker::new(FAILURES_TO_OPEN, OPEN_FOR),
            link: LinkState::default(),
            reconciliation: Reconciliation::default(),
            account: None,
            positions: None,
            is_refreshed: false,
            peak: None,
            last_notional: Decimal::ZERO,
            last_decided: parts.log.state().and_then(|state| state.last_decided_bar()),
            decided_at: Vec::new(),
            uncounted: Vec::new(),
            last_price: None,
            is_kill_told: false,
            kill_acknowledged: None,
            on_step: Box::new(|_| {}),
            log: parts.log,
        };
        trader.publish();
        Ok(trader)
    }

    /// Has each step of an order told from here on.
    pub fn on_step(&mut self, told: impl FnMut(Step) + Send + 'static) {
        self.on_step = Box::new(told);
    }

    /// Whether what is open and the position were compared with the gateway's.
    pub fn is_reconciled(&self) -> bool {
        self.reconciliation.is_done()
    }

    /// The intent log.
    pub fn log(&self) -> &IntentLog<S> {
        &self.log
    }

    /// The gateway.
    pub fn gateway(&mut self) -> &mut G {
        &mut self.gateway
    }

    pub(super) fn now_ms(&self) -> i64 {
        millis(self.clock.now())
    }

    pub(super) fn step(&mut self, step: Step) {
        (self.on_step)(step);
    }

    /// Halts trading for good, if it is not halted.
    pub(super) fn halt(&mut self, reason: HaltReason, why: &str) {
        let is_halted = |trader: &Self| {
            let state = trader.log.state();
            state.is_some_and(|state| state.trading() == TradingState::Halted)
        };
        if is_halted(self) {
            return;
        }
        let now_ms = self.now_ms();
        match self.log.tighten(TradingState::Halted, reason, now_ms) {
            Ok(()) => error!(reason = reason.as_str(), why, "trading is halted"),
            Err(error) => error!(
                reason = reason.as_str(),
                why,
                %error,
                "trading is halted, which is not on disk yet"
            ),
        }
    }

    /// Tries to go on with a log that failed. What was open may be open again.
    fn tend_log(&mut self) {
        if self.log.state().is_some() {
            return;
        }
        match self.log.reopen(self.now_ms()) {
            Ok(opened) => {
                info!(?opened, "the intent log is open again");
                self.reconciliation.undo("the intent log was opened anew");
                self.count_what_was_written();
            }
            Err(error) => warn!(%error, "the intent log cannot be opened, no order is sent"),
        }
    }
}

impl<G: Gateway, S: Storage> Trader<G, S> {
    /// Counts executions whose record was said to have failed and is there: nobody asks for them any more. The others are asked for.
    fn count_what_was_written(&mut self) {
        let Some(state) = self.log.state() else {
            return;
        };
        for intent in self.uncounted.drain(..) {
            let is_open = state.open().iter().any(|one| one.intent.id == intent.id);
            if !is_open {
                self.telemetry.record_executed(intent.side);
            }
        }
    }
}

impl<G: Gateway, S: Storage> Desk for Trader<G, S> {
    fn beat(&mut self) {
        self.watch();
        let budget = Budget::of(BEAT_BUDGET);
        self.tend_kill(&budget);
        if self.needs_reconciling() {
            self.reconcile(&budget);
        }
        self.publish();
    }

    fn begin_cycle(&mut self) {
        self.is_refreshed = false;
        self.watch();
        self.tend_log();
        let budget = Budget::of(self.timeout);
        self.tend_kill(&budget);
        if self.needs_reconciling() || self.has_placed() {
            self.reconcile(&budget);
        }
        self.publish();
    }

    fn last_decided(&self) -> Option<i64> {
        let logged = self.log.state().and_then(|state| state.last_decided_bar());
        self.last_decided.max(logged)
    }

    fn consider(&mut self, candidate: &Candidate<'_>) -> (Decision, Fate) {
        self.watch();
        let considered = self.decide_and_send(candidate);
        self.publish();
        considered
    }

    fn end_cycle(&mut self) {
        self.watch();
        if !self.is_refreshed && self.is_reconciled() && self.is_reachable() {
            self.refresh(&Budget::of(self.timeout));
        }
        self.publish();
    }

    /// A signal is gone with the process: a kill that no beat has seen yet would be none for the next one.
    fn end(&mut self) {
        self.halt_if_killed();
    }
}
