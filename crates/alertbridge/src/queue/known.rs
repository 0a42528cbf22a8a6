//! What was last taken in of each alert, so that what Alertmanager repeats is not sent twice.
//!
//! Invariant: only the last state counts. An alert that comes back after it was resolved is new, also when it still has its old start time.
//! Must not touch: files.

use std::collections::HashMap;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::payload::{Alert, Status};

use super::record::KnownAlert;

/// The last states.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<String, State>);

#[derive(Debug)]
struct State {
    status: Status,
    starts_at: String,
    at: f64,
}

/// Stands for an alert in a group for a target.
pub(super) fn key(target: &str, group_key: &str, fingerprint: &str) -> String {
    let mut hash = Sha256::new();
    for text in [target, group_key, fingerprint] {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let hash = hash.finalize();
    hash[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Known {
    /// Whether this state of the alert is the last one, and came less than `window` ago; a clock that was set back by more makes it new.
    pub(super) fn has(&self, key: &str, alert: &Alert, now: f64, window: Duration) -> bool {
        self.0.get(key).is_some_and(|state| {
            state.status == alert.status
                && state.starts_at == alert.starts_at
                && (now - state.at).abs() < window.as_secs_f64()
        })
    }

    /// The last state, and the start time that came with it.
    pub(super) fn last(&self, key: &str) -> Option<(Status, String)> {
        let state = self.0.get(key)?;
        Some((state.status, state.starts_at.clone()))
    }

    pub(super) fn note(&mut self, key: String, status: Status, starts_at: String, at: f64) {
        let state = State {
            status,
            starts_at,
            at,
        };
        self.0.insert(key, state);
    }

    pub(super) fn forget(&mut self, now: f64, window: Duration) {
        self.0
            .retain(|_, state| now - state.at < window.as_secs_f64());
    }

    pub(super) fn all(&self) -> Vec<KnownAlert> {
        let states = self.0.iter();
        states
            .map(|(key, state)| KnownAlert {
                key: key.clone(),
                status: state.status,
                starts_at: state.starts_at.clone(),
                at: state.at,
            })
            .collect()
    }
}
