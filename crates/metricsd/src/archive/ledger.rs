//! The ledger: which shards the totals of the archive are made of, when each was absorbed, and how much of each series it added.
//!
//! Invariant: for every series the total is the sum over the absorptions in here, plus what the earlier ones added that are only
//! counted any more. That rest is not stored: it is the difference, so there is no second truth. The ledger changes in the step
//! that changes a total and in no other, so that it is as durable as the total. It has bounds, and forgets the oldest first. Pure.

use std::collections::VecDeque;

use super::codec::{DecodeError, Reader};
use super::exact::Exact;
use super::model::KeyId;
use super::record::Origin;
use super::record_codec::{distance, put_distance};

/// Absorptions that are kept one by one. A million sessions a year would otherwise grow without end.
pub(super) const ABSORPTIONS_KEPT: usize = 10_000;
/// The most that they may take, in the checkpoint as well: read in some milliseconds at a start.
pub(super) const ABSORPTIONS_LEN_MAX_BYTES: usize = 8 << 20;
/// Resets that are kept.
const RESETS_KEPT: usize = 32;
/// What an absorption takes besides its texts and amounts.
const ABSORPTION_LEN_BYTES: usize = 64;

/// Why something of a shard is in the totals. The numbers are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// Its writer had ended, and it was absorbed to be removed.
    Absorbed = 0,
    /// It was gone although nobody here removed it, and what was last known of it was taken.
    Missing = 1,
}

/// One shard that was taken into the totals.
#[derive(Debug, Clone, PartialEq)]
pub struct Absorption {
    /// When, unix seconds.
    pub at_unix_seconds: f64,
    /// Why.
    pub cause: Cause,
    /// The file's name, its writer and its program, as far as they were known.
    pub origin: Option<Origin>,
    /// Series that the shard was known to hold, gauges among them.
    pub series_count: usize,
    pub(super) amounts: Amounts,
}

/// What was added to series, those alone to which anything was: encoded, since there are many and they are seldom asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Amounts {
    pub(super) bytes: Vec<u8>,
    last: i64,
}

/// Absorptions that are counted and no longer kept one by one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Earlier {
    /// How many.
    pub count: u64,
    /// When the first one was, unix seconds.
    pub first_unix_seconds: f64,
    /// When the last one was, unix seconds.
    pub last_unix_seconds: f64,
}

/// All totals were set to zero, because somebody asked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct TotalsReset {
    /// When, unix seconds.
    pub at_unix_seconds: f64,
    /// Series that add up and began anew.
    pub series_count: u64,
    /// Shards that had been absorbed since the reset before.
    pub absorbed_count: u64,
    /// Since when the oldest of the series had counted, unix seconds.
    pub since_unix_seconds: Option<f64>,
    /// What was dropped, by the names of samples without their labels; the first ones, if there were too many.
    pub dropped: Vec<(Box<str>, Exact)>,
    /// A daemon has started since, and counted the series as declared resets.
    pub is_told: bool,
}

/// What the totals are made of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ledger {
    pub(super) absorptions: VecDeque<Absorption>,
    pub(super) earlier: Option<Earlier>,
    pub(super) resets: Vec<TotalsReset>,
    /// Of the absorptions.
    len_bytes: usize,
}

impl Ledger {
    /// The newest absorptions, oldest first.
    pub fn absorptions(&self) -> impl DoubleEndedIterator<Item = &Absorption> + ExactSizeIterator {
        self.absorptions.iter()
    }

    /// The ones before these.
    pub fn earlier(&self) -> Option<Earlier> {
        self.earlier
    }

    /// How many shards were absorbed since the last reset.
    pub fn absorbed_count(&self) -> u64 {
        self.absorptions.len() as u64 + self.earlier.map_or(0, |earlier| earlier.count)
    }

    /// The newest resets, oldest first. The absorptions are those since the last of them.
    pub fn resets(&self) -> &[TotalsReset] {
        &self.resets
    }

    /// Series that began anew by resets that no daemon has told of yet.
    pub fn untold_reset_count(&self) -> u64 {
        let untold = self.resets.iter().filter(|reset| !reset.is_told);
        untold.map(|reset| reset.series_count).sum()
    }

    /// Adds the newest absorption; the oldest ones go where there is no more room for them.
    pub(super) fn push(&mut self, absorption: Absorption) {
        self.len_bytes += absorption.len_bytes();
        self.absorptions.push_back(absorption);
        while self.absorptions.len() > ABSORPTIONS_KEPT
            || self.len_bytes > ABSORPTIONS_LEN_MAX_BYTES
        {
            let Some(oldest) = self.absorptions.pop_front() else {
                return;
            };
            self.len_bytes -= oldest.len_bytes();
            let at = oldest.at_unix_seconds;
            let earlier = self.earlier.get_or_insert(Earlier {
                count: 0,
                first_unix_seconds: at,
                last_unix_seconds: at,
            });
            earlier.count += 1;
            earlier.first_unix_seconds = earlier.first_unix_seconds.min(at);
            earlier.last_unix_seconds = earlier.last_unix_seconds.max(at);
        }
    }

    /// Everything that was absorbed is dropped.
    pub(super) fn reset(&mut self, reset: TotalsReset) {
        let mut resets = std::mem::take(&mut self.resets);
        resets.push(reset);
        resets.drain(..resets.len().saturating_sub(RESETS_KEPT));
        *self = Ledger {
            resets,
            ..Ledger::default()
        };
    }

    /// A daemon starts.
    pub(super) fn tell_resets(&mut self) {
        self.resets
            .iter_mut()
            .for_each(|reset| reset.is_told = true);
    }
}

impl Absorption {
    /// What it added to each series that it added anything to.
    pub fn amounts(&self) -> impl Iterator<Item = (KeyId, Exact)> + '_ {
        let mut reader = Reader::new(&self.amounts.bytes);
        let mut last = 0;
        std::iter::from_fn(move || {
            if reader.rest().is_empty() {
                return None;
            }
            // Bytes that are no amounts end the list; what they held shows as part of what is earlier.
            let mut next = || -> Result<(KeyId, Exact), DecodeError> {
                Ok((
                    distance(&mut reader, &mut last)?,
                    Exact::decode(&mut reader)?,
                ))
            };
            next().ok()
        })
    }

    fn len_bytes(&self) -> usize {
        let texts =
            |origin: &Origin| origin.file_name.len() + origin.writer.len() + origin.program.len();
        ABSORPTION_LEN_BYTES + self.amounts.bytes.len() + self.origin.as_ref().map_or(0, texts)
    }
}

impl Amounts {
    /// Of a checkpoint.
    pub(super) fn from_bytes(bytes: &[u8]) -> Amounts {
        Amounts {
            bytes: bytes.to_vec(),
            last: 0,
        }
    }

    /// Adds one, unless it is nothing.
    pub(super) fn add(&mut self, key: KeyId, amount: &Exact) {
        if !amount.is_zero() {
            put_distance(&mut self.bytes, &mut self.last, key);
            amount.encode(&mut self.bytes);
        }
    }

    /// Closed: equal amounts are equal wherever they come from.
    pub(super) fn done(self) -> Amounts {
        Amounts { last: 0, ..self }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
