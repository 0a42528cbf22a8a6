//! Gauges of the ended that are no longer shown.
//!
//! Invariant: a value that is discarded or expired is never shown again, whatever happens to the daemon; nothing is recorded
//! twice. One that is set anew is another value, but where live processes decide (`live*`).

use super::Books;
use crate::archive::{AppendError, Ended, IdentityKey, KeyId, Record, SeriesKind, State, Storage};

impl<S: Storage> Books<S> {
    /// Values of `live*` gauges that one ended shard set are not shown any more, because a live process has set these series, or
    /// a younger shard has. To be synced before a scrape shows it. A shard that was never noted may be named too. Of other kinds
    /// nothing is ever discarded.
    ///
    /// # Errors
    /// As [`Books::note`].
    pub fn discard(
        &mut self,
        identity: &IdentityKey,
        kind: SeriesKind,
        keys: &[&[u8]],
    ) -> Result<(), AppendError> {
        if !kind.is_live_gauge() {
            return Ok(());
        }
        let keys = keys.iter().copied();
        let mut keys = self.numbers.resolve(&mut self.archive, kind, keys)?;
        self.view(identity, |view| keys.retain(|key| !view.is_discarded(*key)));
        self.append_discard(identity, keys)
    }

    /// Values of the gauges `all` and `liveall` of processes that ended at `ended_until` or before are not shown any more. Says
    /// how many values that hides; with none nothing is recorded.
    ///
    /// # Errors
    /// Too much waits because storage fails.
    pub fn expire(&mut self, ended_until_unix_seconds: f64) -> Result<usize, AppendError> {
        if self
            .expired_until
            .is_some_and(|until| until >= ended_until_unix_seconds)
        {
            return Ok(0);
        }
        let after = self.expired_until.unwrap_or(f64::NEG_INFINITY);
        let has_ended = |at: f64| after < at && at <= ended_until_unix_seconds;
        let count = count_ended(&self.archive.state(), has_ended);
        if count == 0 {
            return Ok(0);
        }
        self.archive.append(Record::GaugeExpired {
            ended_until_unix_seconds,
        })?;
        self.expired_until = Some(ended_until_unix_seconds);
        Ok(count)
    }

    pub(super) fn append_discard(
        &mut self,
        identity: &IdentityKey,
        keys: Vec<KeyId>,
    ) -> Result<(), AppendError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.archive.append(Record::GaugeDiscarded {
            identity: identity.clone(),
            keys: keys.clone(),
        })?;
        // Of a forgotten shard the value goes, and the shard stays forgotten.
        let is_known = self.phase(identity).is_some();
        let is_forgotten = !is_known && has_value(&self.archive.state(), identity, &keys);
        if !is_forgotten {
            self.amend(identity, |draft| draft.discard(&keys));
        }
        Ok(())
    }
}

/// How many values that are shown by process ended at such a time.
fn count_ended(state: &State, has_ended: impl Fn(f64) -> bool) -> usize {
    let is_shown_each = |key: KeyId| {
        state
            .keys()
            .kind(key)
            .is_some_and(SeriesKind::is_per_process)
    };
    let forgotten: usize = state
        .ended_gauges()
        .iter()
        .filter(|(key, _)| is_shown_each(*key))
        .map(|(_, ended)| match ended {
            Ended::Each(values) => values
                .iter()
                .filter(|value| has_ended(value.ended_at_unix_seconds))
                .count(),
            _ => 0,
        })
        .sum();
    let known: usize = state
        .shards()
        .filter(|(_, known)| known.ended_at_unix_seconds().is_some_and(&has_ended))
        .map(|(_, known)| known.gauges().filter(|it| is_shown_each(it.0)).count())
        .sum();
    forgotten + known
}

/// Whether a value of a forgotten shard is kept in one of these series.
fn has_value(state: &State, identity: &IdentityKey, keys: &[KeyId]) -> bool {
    keys.iter().any(|key| match state.ended_gauges().get(*key) {
        Some(Ended::Each(values)) => values.iter().any(|value| value.identity == *identity),
        _ => false,
    })
}
