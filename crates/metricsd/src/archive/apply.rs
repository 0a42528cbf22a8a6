//! Taking records into the state.
//!
//! Invariant: what comes out is a function of the state and the record alone, and any record is taken: one that does not fit
//! is reported and does the least harm. A count is rather kept at what was last known than lost. Pure.

use super::exact::Exact;
use super::gauges::{EndedGauges, EndedValue};
use super::keys::DefineError;
use super::known::{Holdings, Known, Phase, Revision};
use super::ledger::{Amounts, Cause, TotalsReset};
use super::model::{IdentityKey, KeyId, SeriesKey, SeriesKind};
use super::oddity::Oddity;
use super::record::{Entry, Origin, Record, Shortfall};
use super::state::{NO_START, Run, START_STEP_SECONDS, State};

impl State {
    /// Takes in one record. What does not fit is added to `oddities`.
    pub fn apply(&mut self, record: &Record, oddities: &mut Vec<Oddity>) {
        if self.changes_shape(record) {
            self.shape.0 += 1;
        }
        match record {
            Record::KeyDefined { key, series } => self.define(*key, series, oddities),
            Record::Absorbed {
                identity,
                origin,
                at_unix_seconds,
                entries,
            } => {
                self.absorb(identity, origin, *at_unix_seconds, entries, oddities);
            }
            Record::UnlinkDurable { identity } => self.forget(identity, oddities),
            Record::HighWater {
                identity,
                origin,
                entries,
            } => {
                self.see(identity, origin.as_ref(), entries, oddities);
            }
            Record::Rebased {
                identity,
                shortfalls,
            } => {
                self.rebase(identity, shortfalls, oddities);
            }
            Record::Missing {
                identity,
                at_unix_seconds,
            } => {
                self.miss(identity, *at_unix_seconds, oddities);
            }
            Record::Returned {
                identity,
                shortfalls,
            } => {
                self.find_again(identity, shortfalls, oddities);
            }
            Record::GaugeDiscarded { identity, keys } => self.discard(identity, keys, oddities),
            Record::GaugeExpired {
                ended_until_unix_seconds,
            } => {
                self.expire(*ended_until_unix_seconds);
            }
            Record::StartTimestamp { keys, unix_seconds } => {
                self.start(keys, *unix_seconds, oddities);
            }
            Record::ResetDeclared { keys, unix_seconds } => {
                self.restart(keys, *unix_seconds, oddities);
            }
            Record::TotalsReset {
                at_unix_seconds,
                dropped,
            } => {
                self.reset_totals(*at_unix_seconds, dropped);
            }
            Record::Started {
                boot_id,
                at_unix_seconds,
            } => {
                self.ledger.tell_resets();
                self.run = Some(Run {
                    boot_id: boot_id.clone(),
                    started_at_unix_seconds: *at_unix_seconds,
                    stopped_at_unix_seconds: None,
                });
            }
            Record::CleanStop { at_unix_seconds } => {
                if let Some(run) = &mut self.run {
                    run.stopped_at_unix_seconds = Some(*at_unix_seconds);
                }
            }
        }
    }

    fn changes_shape(&self, record: &Record) -> bool {
        match record {
            Record::HighWater { identity, .. } => self
                .known
                .get(identity)
                .is_some_and(|known| known.phase != Phase::Seen),
            // A series that has only got its number has no total yet: who brings it is shown from its file. Whom the order of
            // numbers concerns looks at how many there are.
            Record::KeyDefined { .. }
            | Record::StartTimestamp { .. }
            | Record::Started { .. }
            | Record::CleanStop { .. } => false,
            _ => true,
        }
    }

    fn define(&mut self, key: KeyId, series: &SeriesKey, oddities: &mut Vec<Oddity>) {
        match self.keys.define(key, series.kind, &series.raw) {
            Ok(()) => self.make_room(),
            Err(DefineError::Taken) => oddities.push(Oddity::KeyTaken { key }),
            Err(DefineError::Known(known)) => oddities.push(Oddity::SeriesTwice { key, known }),
            Err(DefineError::Leap | DefineError::Full) => {
                oddities.push(Oddity::KeyOutOfReach { key });
            }
        }
    }

    fn see(
        &mut self,
        identity: &IdentityKey,
        origin: Option<&Origin>,
        entries: &[Entry],
        oddities: &mut Vec<Oddity>,
    ) {
        let (holdings, gauges) = self.sort(entries, oddities);
        let known = self.known.entry(identity.clone()).or_default();
        return_unsaid(
            identity,
            known,
            &holdings,
            &mut self.last_revision,
            oddities,
        );
        known.phase = Phase::Seen;
        known.ended_at_unix_seconds = None;
        if let Some(origin) = origin {
            known.origin = Some(origin.clone());
        }
        known.see(holdings);
        known.see_gauges(&gauges);
    }

    fn absorb(
        &mut self,
        identity: &IdentityKey,
        origin: &Origin,
        at_unix_seconds: f64,
        entries: &[Entry],
        oddities: &mut Vec<Oddity>,
    ) {
        let (holdings, gauges) = self.sort(entries, oddities);
        let known = self.known.entry(identity.clone()).or_default();
        return_unsaid(
            identity,
            known,
            &holdings,
            &mut self.last_revision,
            oddities,
        );
        // After a stop between absorbing and removing it is absorbed again, and adds nothing.
        let is_repeated = known.phase == Phase::Absorbed;
        known.phase = Phase::Absorbed;
        known.ended_at_unix_seconds = Some(at_unix_seconds);
        known.origin = Some(origin.clone());
        let mut amounts = Amounts::default();
        known.absorb(holdings, |key, sum| {
            add_total(&mut self.totals, &mut amounts, key, sum, oddities);
        });
        known.revise(&mut self.last_revision);
        known.see_gauges(&gauges);
        if !is_repeated || !amounts.is_empty() {
            let absorption = known.absorption(Cause::Absorbed, at_unix_seconds, amounts);
            self.ledger.push(absorption);
        }
    }

    fn forget(&mut self, identity: &IdentityKey, oddities: &mut Vec<Oddity>) {
        let Some(mut known) = self.known.remove(identity) else {
            let step = "unlink";
            oddities.push(Oddity::UnknownShard {
                identity: identity.clone(),
                step,
            });
            return;
        };
        if known.phase == Phase::Seen {
            let mut amounts = Amounts::default();
            known.settle(|key, sum| {
                add_total(&mut self.totals, &mut amounts, key, sum, oddities);
            });
            let ended_at = known.ended_at_unix_seconds.unwrap_or(0.0);
            let absorption = known.absorption(Cause::Missing, ended_at, amounts);
            self.ledger.push(absorption);
            oddities.push(Oddity::RemovedUnabsorbed {
                identity: identity.clone(),
            });
        }
        let writer = known.origin.as_ref().map(|origin| origin.writer.clone());
        for (key, value, timestamp) in known.gauges() {
            let Some(kind) = self.keys.kind(key) else {
                continue;
            };
            if kind.is_per_process() && writer.is_none() {
                oddities.push(Oddity::NoWriter {
                    identity: identity.clone(),
                    key,
                });
                continue;
            }
            let ended = EndedValue {
                identity: identity.clone(),
                writer: writer.clone().unwrap_or_default(),
                value,
                timestamp,
                ended_at_unix_seconds: known.ended_at_unix_seconds.unwrap_or(0.0),
            };
            self.ended.fold(key, kind, ended);
        }
    }

    fn rebase(
        &mut self,
        identity: &IdentityKey,
        shortfalls: &[Shortfall],
        oddities: &mut Vec<Oddity>,
    ) {
        let shortfalls = self.checked(shortfalls, oddities);
        match self.known.get_mut(identity) {
            Some(known) => {
                shortfalls.for_each(|shortfall| known.rebase(shortfall));
                known.revise(&mut self.last_revision);
            }
            None => {
                let step = "rebase";
                oddities.push(Oddity::UnknownShard {
                    identity: identity.clone(),
                    step,
                });
            }
        }
    }

    fn miss(&mut self, identity: &IdentityKey, at_unix_seconds: f64, oddities: &mut Vec<Oddity>) {
        let Some(known) = self.known.get_mut(identity) else {
            let step = "absence";
            oddities.push(Oddity::UnknownShard {
                identity: identity.clone(),
                step,
            });
            return;
        };
        let mut amounts = Amounts::default();
        known.settle(|key, sum| {
            add_total(&mut self.totals, &mut amounts, key, sum, oddities);
        });
        known.revise(&mut self.last_revision);
        // Most are only remembered as gone, and were absorbed before.
        let is_news = known.phase == Phase::Seen || !amounts.is_empty();
        known.phase = Phase::Missing;
        if is_news {
            let absorption = known.absorption(Cause::Missing, at_unix_seconds, amounts);
            self.ledger.push(absorption);
        }
        known.ended_at_unix_seconds.get_or_insert(at_unix_seconds);
    }

    fn find_again(
        &mut self,
        identity: &IdentityKey,
        shortfalls: &[Shortfall],
        oddities: &mut Vec<Oddity>,
    ) {
        let shortfalls = self.checked(shortfalls, oddities);
        let Some(known) = self.known.get_mut(identity) else {
            let step = "return";
            oddities.push(Oddity::UnknownShard {
                identity: identity.clone(),
                step,
            });
            return;
        };
        if known.phase != Phase::Missing {
            oddities.push(Oddity::NotMissing {
                identity: identity.clone(),
            });
        }
        known.phase = Phase::Seen;
        known.ended_at_unix_seconds = None;
        shortfalls.for_each(|shortfall| known.rebase(shortfall));
        known.revise(&mut self.last_revision);
    }

    fn discard(&mut self, identity: &IdentityKey, keys: &[KeyId], oddities: &mut Vec<Oddity>) {
        let mut of_shard = Vec::new();
        for key in keys {
            match self.keys.kind(*key) {
                None => oddities.push(Oddity::UnknownKey { key: *key }),
                Some(kind) if !kind.is_live_gauge() => {
                    oddities.push(Oddity::NotALiveGauge { key: *key });
                }
                // Of a forgotten shard the value alone is left, of any other one the shard may come again.
                Some(_) if self.ended.discard(*key, identity) => {}
                Some(_) => of_shard.push(*key),
            }
        }
        if !of_shard.is_empty() {
            let known = self.known.entry(identity.clone()).or_default();
            known.discard(of_shard);
        }
    }

    fn expire(&mut self, until_unix_seconds: f64) {
        let keys = &self.keys;
        let expires = |key: KeyId| keys.kind(key).is_some_and(|kind| kind.is_per_process());
        self.ended.expire(until_unix_seconds, expires);
        for known in self.known.values_mut() {
            if known
                .ended_at_unix_seconds
                .is_none_or(|ended| ended > until_unix_seconds)
            {
                continue;
            }
            for (key, cell) in known.gauges.iter_mut() {
                cell.is_discarded |= expires(key);
            }
        }
    }

    fn reset_totals(&mut self, at_unix_seconds: f64, dropped: &[(Box<str>, Exact)]) {
        let mut reset = TotalsReset {
            at_unix_seconds,
            series_count: 0,
            absorbed_count: self.ledger.absorbed_count(),
            since_unix_seconds: None,
            dropped: dropped.to_vec(),
            is_told: false,
        };
        self.totals.fill(Exact::default());
        for (index, start) in (0..).zip(&mut self.starts) {
            let kind = self.keys.kind(KeyId(index));
            if kind.is_none_or(SeriesKind::is_gauge) {
                continue;
            }
            reset.series_count += 1;
            let mut moved = at_unix_seconds;
            if *start != NO_START {
                let before = f64::from_bits(*start);
                let since = reset.since_unix_seconds.unwrap_or(before);
                reset.since_unix_seconds = Some(since.min(before));
                // The clock may have been set back, and a start never goes back.
                moved = moved.max(before + START_STEP_SECONDS);
            }
            *start = moved.to_bits();
        }
        self.ended = EndedGauges::default();
        for known in self.known.values_mut() {
            known.drop_everything();
            known.revise(&mut self.last_revision);
        }
        self.ledger.reset(reset);
    }

    fn start(&mut self, keys: &[KeyId], unix_seconds: f64, oddities: &mut Vec<Oddity>) {
        for key in keys {
            match self.starts.get_mut(key.index()) {
                None => oddities.push(Oddity::UnknownKey { key: *key }),
                Some(start) if *start == NO_START => *start = unix_seconds.to_bits(),
                Some(_) => oddities.push(Oddity::StartFrozen { key: *key }),
            }
        }
    }

    fn restart(&mut self, keys: &[KeyId], unix_seconds: f64, oddities: &mut Vec<Oddity>) {
        for key in keys {
            match self.starts.get_mut(key.index()) {
                None => oddities.push(Oddity::UnknownKey { key: *key }),
                Some(start) => *start = unix_seconds.to_bits(),
            }
        }
    }

    /// Entries that add up, summed by series, and gauges in file order; entries of unknown series are reported.
    fn sort(&self, entries: &[Entry], oddities: &mut Vec<Oddity>) -> (Holdings, Vec<Entry>) {
        let mut holdings = Holdings::new();
        let mut gauges = Vec::new();
        for entry in entries {
            match self.keys.kind(entry.key) {
                None => oddities.push(Oddity::UnknownKey { key: entry.key }),
                Some(kind) if kind.is_gauge() => gauges.push(*entry),
                Some(_) => holdings.entry(entry.key).or_default().add(entry.value),
            }
        }
        (holdings, gauges)
    }

    /// The shortfalls of series that are known and add up.
    fn checked<'a>(
        &self,
        shortfalls: &'a [Shortfall],
        oddities: &mut Vec<Oddity>,
    ) -> std::vec::IntoIter<&'a Shortfall> {
        let mut checked = Vec::with_capacity(shortfalls.len());
        for shortfall in shortfalls {
            match self.keys.kind(shortfall.key) {
                Some(kind) if !kind.is_gauge() => checked.push(shortfall),
                _ => oddities.push(Oddity::UnknownKey { key: shortfall.key }),
            }
        }
        checked.into_iter()
    }
}

/// Adds to a total, and to the amounts that the ledger says so with. A shard may have cells of series whose definition was lost
/// with a block of a damaged checkpoint.
fn add_total(
    totals: &mut [Exact],
    amounts: &mut Amounts,
    key: KeyId,
    sum: &Exact,
    oddities: &mut Vec<Oddity>,
) {
    match totals.get_mut(key.index()) {
        Some(total) => {
            total.merge(sum);
            amounts.add(key, sum);
        }
        None => oddities.push(Oddity::UnknownKey { key }),
    }
}

/// A missing shard that is named again without having been said to be back: as if it had been.
fn return_unsaid(
    identity: &IdentityKey,
    known: &mut Known,
    holdings: &Holdings,
    last_revision: &mut Revision,
    oddities: &mut Vec<Oddity>,
) {
    if known.phase != Phase::Missing {
        return;
    }
    oddities.push(Oddity::ReturnedUnsaid {
        identity: identity.clone(),
    });
    for shortfall in known.shortfalls_of(holdings) {
        known.rebase(&shortfall);
    }
    known.revise(last_revision);
}
