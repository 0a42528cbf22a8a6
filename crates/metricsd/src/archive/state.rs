//! What the archive knows: the totals of ended shards, and of every shard that may still exist what of it is in them.
//!
//! Invariant: for every series, what is exposed is `A` + the sum over shards that exist of `f - a + b`. [`State::apply`] keeps it. Pure: no I/O, no clock, no logging.

use std::collections::BTreeMap;

use super::exact::Exact;
use super::gauges::EndedGauges;
use super::keys::KeyTable;
use super::known::{Known, Revision};
use super::ledger::Ledger;
use super::model::{IdentityKey, KeyId};

/// Stands for no start timestamp: a NaN that no clock gives.
pub(super) const NO_START: u64 = u64::MAX;

/// How much later than the old start a new one is at least: the clock may have been set back, and scrapers see milliseconds.
pub const START_STEP_SECONDS: f64 = 0.001;

/// The whole archive in memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    pub(super) keys: KeyTable,
    /// `A`, by series.
    pub(super) totals: Vec<Exact>,
    /// Bits of the start timestamp, by series.
    pub(super) starts: Vec<u64>,
    pub(super) known: BTreeMap<IdentityKey, Known>,
    pub(super) ended: EndedGauges,
    pub(super) run: Option<Run>,
    pub(super) ledger: Ledger,
    pub(super) shape: Shape,
    /// The last one that was given to a shard.
    pub(super) last_revision: Revision,
}

/// Counts the changes of everything but numbers of series and values of shards that are only seen. Not part of what the state says: a state that was
/// read back equals the one that was written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shape(pub(super) u64);

impl PartialEq for Shape {
    fn eq(&self, _: &Shape) -> bool {
        true
    }
}

/// The daemon's last run that the journal knows of.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The boot it ran in, as the kernel names it.
    pub boot_id: Box<str>,
    /// When it started, unix seconds.
    pub started_at_unix_seconds: f64,
    /// When it stopped of its own will, unix seconds; `None` if it was killed or still runs.
    pub stopped_at_unix_seconds: Option<f64>,
}

impl State {
    /// All series.
    pub fn keys(&self) -> &KeyTable {
        &self.keys
    }

    /// The number that the next new series gets.
    pub fn next_key(&self) -> KeyId {
        KeyId(u32::try_from(self.keys.len()).unwrap_or(u32::MAX))
    }

    /// The total of everything that was absorbed of a series (`A`), unrounded.
    pub fn total(&self, key: KeyId) -> Option<&Exact> {
        self.totals.get(key.index())
    }

    /// The totals by number of the series.
    pub fn totals(&self) -> &[Exact] {
        &self.totals
    }

    /// Changes whenever anything does but series that are only numbered and the last known values of shards that are only seen:
    /// absorbed amounts, gauges of the ended. Starts at 0 with the program.
    pub fn shape_revision(&self) -> u64 {
        self.shape.0
    }

    /// Since when a series counts, unix seconds.
    pub fn start_unix_seconds(&self, key: KeyId) -> Option<f64> {
        let bits = *self.starts.get(key.index())?;
        (bits != NO_START).then(|| f64::from_bits(bits))
    }

    /// What is known of a shard. `None`: never heard of, or its unlink is durable; it counts with all it holds.
    pub fn shard(&self, identity: &IdentityKey) -> Option<&Known> {
        self.known.get(identity)
    }

    /// All shards that may still exist.
    pub fn shards(&self) -> impl Iterator<Item = (&IdentityKey, &Known)> {
        self.known.iter()
    }

    /// Gauges of ended processes whose shards are forgotten. Those of absorbed and missing ones that are not forgotten yet
    /// are with their shard ([`Known::gauges`]).
    pub fn ended_gauges(&self) -> &EndedGauges {
        &self.ended
    }

    /// The daemon's last run.
    pub fn last_run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// Which shards the totals are made of.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What is exposed of a series, given what each existing shard holds of it. The definition, for tests and verification:
    /// a scrape adds up [`State::total`], the files and [`Known::corrections`] itself.
    pub fn exposed<'a>(
        &self,
        key: KeyId,
        files: impl IntoIterator<Item = (&'a IdentityKey, Exact)>,
    ) -> Exact {
        let mut sum = self.total(key).cloned().unwrap_or_default();
        for (identity, held) in files {
            match self.known.get(identity) {
                None => sum.merge(&held),
                Some(known) => sum.merge(&known.contribution(key, &held)),
            }
        }
        sum
    }

    /// Every number has its places.
    pub(super) fn make_room(&mut self) {
        self.totals.resize_with(self.keys.len(), Exact::default);
        self.starts.resize(self.keys.len(), NO_START);
    }
}
