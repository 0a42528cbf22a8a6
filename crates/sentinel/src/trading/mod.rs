//! The trading path: what becomes of a decision, from the guards to the gateway's answer and what is found out later.
//!
//! Invariant: one bar leads to one order at most, and while the outcome of any order is not known nothing is sent. Every no comes from the
//! guards; what is sent was permitted by them, is on disk, and passed the kill switch and the clock a last time. Nothing here waits beyond
//! its budget. Must not touch: bars, models, sockets.
//!
//! A bar is considered once. One that led to no order, whatever the reason was, is not considered again when the reason is gone: a trade
//! that is missed is better than one that comes late. [`DryRun`] decides and counts, [`Trader`] sends.

mod account;
mod ask;
mod audited;
mod dry_run;
mod kill;
mod leaving;
mod open;
mod path;
mod reconcile;
mod report;
mod terms;
#[cfg(test)]
mod tests;
mod trader;
mod verdict;

use market::{Bar, Calendar};

pub use dry_run::{DryRun, Pace};
pub use open::{dry_run, live, live_over};
pub use report::{OpenOrder, PeerReport, TradingReport};
pub use terms::{Terms, TermsError};
pub use trader::{Parts, Trader};

use crate::audit::{AuditError, Model};
use crate::clock::Now;
use crate::decide::Decision;
use crate::features::Features;
use crate::gateway::guards::SettingsError;
use crate::gateway::guards::refusal::Refusal;
use crate::gateway::intent_log::error::LogError;
use crate::gateway::link::LinkError;
use crate::model::Probabilities;
use crate::state_directory::{ClaimError, StateDirectoryError};

/// A closed bar that waits for its decision.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The bars of the features, oldest first; the last is the one that is decided on.
    pub bars: &'a [Bar],
    /// The features.
    pub features: &'a Features,
    /// Who predicts.
    pub model: &'a Model,
    /// The bar that is decided on.
    pub bar: Bar,
    /// What the model says.
    pub probabilities: Probabilities,
    /// Unix seconds after which the bar is too old to act on.
    pub stale_from: i64,
    /// When the market trades.
    pub calendar: Calendar,
}

impl Candidate<'_> {
    fn is_stale(&self, now: Now) -> bool {
        now.unix > self.stale_from as f64
    }
}

/// What became of a decision.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// The decision is to do nothing.
    Hold,
    /// A guard said no.
    Refused(Refusal),
    /// The link had nobody to give it to; nothing has left.
    NotSent,
    /// It was executed, whole or in part, or taken by the broker.
    Executed,
    /// The gateway refused it.
    Rejected,
    /// Nobody knows yet.
    Unknown,
}

impl Fate {
    /// Whether the decision is a signal: BUY or SELL, on fresh data, above the threshold.
    pub fn is_signal(&self) -> bool {
        !matches!(
            self,
            Fate::Hold | Fate::Refused(Refusal::StaleBar | Refusal::BelowThreshold)
        )
    }
}

/// Why there is no desk.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// Of the guards.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Of the orders.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// The state directory cannot be made.
    #[error(transparent)]
    Directory(#[from] StateDirectoryError),
    /// The intent log cannot be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The state is another account's.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The audit cannot be opened.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// There is no link.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Where decisions go.
pub trait Desk {
    /// About once a second, while the loop waits.
    fn beat(&mut self);
    /// A cycle begins: what is open is asked for.
    fn begin_cycle(&mut self);
    /// The last bar that was decided on, by its opening in Unix seconds.
    fn last_decided(&self) -> Option<i64>;
    /// Decides on a bar and does what follows.
    fn consider(&mut self, candidate: &Candidate<'_>) -> (Decision, Fate);
    /// The cycle is over.
    fn end_cycle(&mut self);
    /// The program ends: what must not be forgotten is written down, and nobody is waited for.
    fn end(&mut self);
}

/// A step of an order, told to whoever wants to know right after it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The guards said yes.
    Checked,
    /// It is on disk.
    Recorded,
    /// It is in the audit.
    Audited,
    /// The kill switch and the clock said yes again; next it leaves.
    AboutToSend,
    /// The exchange is over, whatever came of it.
    Answered,
    /// What came of it is on disk.
    OutcomeRecorded,
    /// And in the audit.
    AuditClosed,
    /// A status was answered with a verdict.
    StatusAnswered,
    /// And is on disk.
    Reconciled,
}

impl Step {
    /// All of them, in their order.
    pub const ALL: [Step; 9] = [
        Step::Checked,
        Step::Recorded,
        Step::Audited,
        Step::AboutToSend,
        Step::Answered,
        Step::OutcomeRecorded,
        Step::AuditClosed,
        Step::StatusAnswered,
        Step::Reconciled,
    ];
}

/// Unix milliseconds.
fn millis(now: Now) -> i64 {
    (now.unix * 1e3).floor() as i64
}
