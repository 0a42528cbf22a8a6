//! The permit: what only [`Guards::check`](super::Guards::check) makes and what the log takes, once; and what the link's send takes.
//!
//! Invariant: a [`Recorded`] order was permitted for the very state of the log that it was recorded in, and is durable. Neither type can
//! be made or copied elsewhere. Must not touch: sockets.

use rust_decimal::Decimal;

use super::refusal::Refusal;
use crate::gateway::intent_log::IntentLog;
use crate::gateway::intent_log::error::LogError;
use crate::gateway::intent_log::record::{Intent, IntentId, Side};
use crate::gateway::intent_log::storage::Storage;

/// An order that may be recorded, if nothing is recorded before it.
#[derive(Debug, PartialEq)]
pub struct Permit {
    pub(super) bar_open_time: i64,
    pub(super) symbol: String,
    pub(super) side: Side,
    pub(super) volume: Decimal,
    pub(super) valid_until_ms: i64,
    pub(super) checked_at_ms: i64,
    /// The last record of the log that was checked.
    pub(super) log_seq: u64,
}

impl Permit {
    /// Puts the order on disk under its name and its idempotency key.
    ///
    /// # Errors
    /// Anything was recorded since the check, or storage failed. Nothing may be sent then.
    pub fn record<S: Storage>(
        self,
        log: &mut IntentLog<S>,
        id: IntentId,
        idempotency_key: IntentId,
    ) -> Result<Recorded, LogError> {
        let state = log.state().ok_or(LogError::Broken)?;
        if state.last_seq() != self.log_seq {
            return Err(LogError::PermitOutdated);
        }
        let intent = Intent {
            id,
            idempotency_key,
            bar_open_time: self.bar_open_time,
            side: self.side,
            symbol: self.symbol,
            volume: self.volume,
            valid_until_ms: self.valid_until_ms,
            decided_at_ms: self.checked_at_ms,
        };
        log.decided(intent.clone())?;
        Ok(Recorded { intent })
    }
}

/// An order that is permitted and on disk: the only thing to be sent, and only once.
#[derive(Debug, PartialEq)]
#[must_use = "a recorded order is open until its outcome is recorded"]
pub struct Recorded {
    intent: Intent,
}

impl Recorded {
    /// The order.
    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    /// What is asked last, right before the order leaves: recording it took time, in which it may have become late and the kill switch
    /// may have been thrown. One that is withheld is reconciled as [`NeverSent`](crate::gateway::intent_log::record::Found::NeverSent).
    ///
    /// # Errors
    /// Why it must not leave.
    pub fn may_leave(&self, now_ms: i64, is_killed: bool) -> Result<(), Refusal> {
        if is_killed {
            return Err(Refusal::KillSwitch);
        }
        // Before its own decision the clock cannot be: it was set back, and nothing is known about how late it is.
        let valid = self.intent.decided_at_ms..self.intent.valid_until_ms;
        if valid.contains(&now_ms) {
            Ok(())
        } else {
            Err(Refusal::Late)
        }
    }
}
