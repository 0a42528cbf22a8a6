//! A dry run: everything is decided and counted as in a live one, and nothing is sent.
//!
//! Invariant: there is no link here. What would have been sent counts for cooldown, minute and day, also after a restart where a state
//! directory can be used, and until the end of the process where not. Must not touch: sockets.

use tracing::warn;

use super::audited::{self, Looked};
use super::terms::side_of;
use super::{Candidate, Desk, DeskError, Fate, Terms, TradingReport, millis};
use crate::audit::{Audit, Verdict};
use crate::breaker;
use crate::clock::Clock;
use crate::config::Config;
use crate::decide::{Decision, TradingState, decide};
use crate::gateway::guards::Guards;
use crate::gateway::guards::refusal::Refusal;
use crate::gateway::guards::situation::Situation;
use crate::gateway::intent_log::IntentLog;
use crate::gateway::intent_log::record::{HaltReason, Record, Side};
use crate::gateway::intent_log::state::State;
use crate::gateway::intent_log::storage::Disk;
use crate::gateway::kill::KillSwitch;
use crate::health::Health;
use crate::telemetry::Telemetry;

/// Where a dry run counts.
#[derive(Debug)]
pub enum Pace {
    /// On disk.
    Log(Box<IntentLog<Disk>>),
    /// In memory, and why not on disk.
    Memory(Box<State>, String),
}

impl Pace {
    /// Counts from nothing, in memory.
    pub fn in_memory(why: &str) -> Pace {
        Pace::Memory(Box::default(), why.to_owned())
    }

    fn state(&self) -> Option<&State> {
        match self {
            Pace::Log(log) => log.state(),
            Pace::Memory(state, _) => Some(state),
        }
    }

    /// A bar was decided on; `at_ms` if its order would have been sent.
    fn take(&mut self, bar_open_time: i64, at_ms: Option<i64>) {
        let written = match self {
            Pace::Log(log) => match at_ms {
                Some(at_ms) => log.withheld(bar_open_time, at_ms),
                None => log.considered(bar_open_time),
            },
            Pace::Memory(state, _) => {
                let record = match at_ms {
                    Some(at_ms) => Record::Withheld {
                        bar_open_time,
                        at_ms,
                    },
                    None => Record::Considered { bar_open_time },
                };
                let seq = state.last_seq().saturating_add(1);
                state.absorb(seq, &record);
                Ok(())
            }
        };
        let Err(error) = written else { return };
        if let Pace::Log(log) = self
            && log.state().is_none()
        {
            warn!(%error, "the state directory cannot be written, the dry run counts in memory from here on");
            *self = Pace::in_memory(&error.to_string());
            self.take(bar_open_time, at_ms);
        }
    }
}

/// The desk of a dry run.
#[derive(Debug)]
pub struct DryRun {
    guards: Guards,
    terms: Terms,
    pace: Pace,
    audit: Option<Audit>,
    kill: Option<KillSwitch>,
    clock: Clock,
    telemetry: Telemetry,
    health: Health,
}

impl DryRun {
    /// A dry run. Without an audit nothing is written down, and without a switch there is nothing to look at.
    ///
    /// # Errors
    /// A setting makes no sense.
    pub fn new(
        config: &Config,
        pace: Pace,
        audit: Option<Audit>,
        kill: Option<KillSwitch>,
        clock: Clock,
        telemetry: Telemetry,
        health: Health,
    ) -> Result<DryRun, DeskError> {
        let mut settings = config.guards_settings();
        // Whatever arms a live run arms nothing here.
        settings.arm.is_live = false;
        let run = DryRun {
            guards: Guards::new(settings)?,
            terms: Terms::of(config)?,
            pace,
            audit,
            kill,
            clock,
            telemetry,
            health,
        };
        run.publish();
        Ok(run)
    }

    fn publish(&self) {
        let killed = self.kill.as_ref().and_then(KillSwitch::look);
        let state = match killed {
            Some(_) => TradingState::Halted,
            None => TradingState::Active,
        };
        self.telemetry.record_state(state);
        let notes = match &self.pace {
            Pace::Log(_) => Vec::new(),
            Pace::Memory(_, why) => vec![format!("orders are counted in memory: {why}")],
        };
        let why = killed.map(|cause| format!("the kill switch is on: {}", cause.as_str()));
        self.health.set_trading(TradingReport {
            state_reason: killed.map(|_| HaltReason::KillSwitch.as_str()),
            why: why.into_iter().collect(),
            ..TradingReport::dry_run(state, notes)
        });
    }

    /// What the guards say; also to the audit.
    fn signal(&mut self, candidate: &Candidate<'_>, decision: Decision, side: Side) -> Fate {
        let now = self.clock.now();
        let request = self.terms.request(candidate, side, decision, now, None);
        let situation = Situation {
            now_ms: millis(now),
            log: self.pace.state(),
            is_killed: self.kill.as_ref().is_some_and(KillSwitch::is_on),
            is_bar_stale: candidate.is_stale(now),
            is_market_open: candidate.calendar.is_open_at(now.unix_seconds()),
            is_reconciled: true,
            peer: None,
            breaker: breaker::State::Closed,
            account: None,
            book: None,
        };
        let refusal = match self.guards.check(&request, &situation) {
            Err(refusal) => refusal,
            // Without an account and not armed no permit is made; and if one were, nobody here could use it.
            Ok(_) => Refusal::NotArmed,
        };
        let looked = Some((&request, &situation));
        let verdict = Verdict::refused(&refusal);
        note(
            &mut self.audit,
            millis(now),
            candidate,
            decision,
            looked,
            verdict,
        );
        Fate::Refused(refusal)
    }
}

/// A line of the audit, where there is one; one that cannot be written changes nothing.
fn note(
    audit: &mut Option<Audit>,
    at_ms: i64,
    candidate: &Candidate<'_>,
    decision: Decision,
    looked: Option<Looked<'_>>,
    verdict: Verdict,
) {
    let Some(audit) = audit else { return };
    if let Err(error) = audited::write(audit, at_ms, candidate, decision, looked, verdict) {
        warn!(%error, "a decision is not in the audit");
    }
}

impl Desk for DryRun {
    fn beat(&mut self) {
        self.publish();
    }

    fn begin_cycle(&mut self) {}

    fn last_decided(&self) -> Option<i64> {
        self.pace.state().and_then(State::last_decided_bar)
    }

    fn consider(&mut self, candidate: &Candidate<'_>) -> (Decision, Fate) {
        let decision = decide(candidate.probabilities);
        let fate = match side_of(decision.action) {
            None => {
                let now_ms = millis(self.clock.now());
                note(
                    &mut self.audit,
                    now_ms,
                    candidate,
                    decision,
                    None,
                    Verdict::Hold,
                );
                Fate::Hold
            }
            Some(side) => self.signal(candidate, decision, side),
        };
        let bar = candidate.bar.open_time;
        let would_be_sent = fate == Fate::Refused(Refusal::NotArmed);
        let at_ms = would_be_sent.then(|| millis(self.clock.now()));
        if self.last_decided() < Some(bar) {
            self.pace.take(bar, at_ms);
        }
        (decision, fate)
    }

    fn end_cycle(&mut self) {
        self.publish();
    }

    fn end(&mut self) {}
}
