//! All series ever known, by number and by name: the bytes of their keys, and an index over them.
//!
//! Invariant: a number once given means the same series for ever, and a series has one number. Numbers that were lost with a
//! damaged record stay unknown. Pure; the index is hashed with a random key, which nothing outside can see.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use super::model::{KeyId, SeriesKind};
use crate::pieces::{Index, Pieces};

/// How many numbers may be unknown in a row: more than a damaged stretch of journal can have held. A number further on is an
/// error of ours, and must not reserve memory.
const LEAP_MAX: u32 = 1 << 22;
/// Marks an unknown number.
const UNKNOWN: u8 = u8::MAX;
/// The part of a hash that the index goes by.
const HASH_MASK: u64 = !0xffff_ffff;

/// The table.
#[derive(Clone, Default)]
pub struct KeyTable {
    /// Each key's bytes, and none for an unknown number.
    pieces: Pieces,
    kinds: Vec<u8>,
    index: Index,
    defined_count: usize,
    seed: Seed,
    /// Two keys that are put together one after the other.
    scratch: [Vec<u8>; 2],
}

/// Two random words: what hashes to the same place cannot be known outside, where labels come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seed(u64, u64);

impl Default for Seed {
    fn default() -> Seed {
        let random = RandomState::new();
        Seed(random.hash_one(0), random.hash_one(1) | 1)
    }
}

/// Why a number cannot be given to a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DefineError {
    /// It is another series' number.
    Taken,
    /// The series has this number already.
    Known(KeyId),
    /// It is too far from the last one.
    Leap,
    /// The table has no room for more bytes.
    Full,
}

impl KeyTable {
    /// How many numbers there are, the unknown ones among them: the next one to give.
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// How many series are known.
    pub fn defined_count(&self) -> usize {
        self.defined_count
    }

    /// The series of a number.
    pub fn get(&self, key: KeyId) -> Option<(SeriesKind, Vec<u8>)> {
        let kind = self.kind(key)?;
        Some((kind, self.pieces.get(key.0)))
    }

    /// The bytes of a number's key into `to`, of which nothing else is left; none of an unknown number.
    pub(crate) fn read(&self, key: KeyId, to: &mut Vec<u8>) {
        self.pieces.read(key.0, to);
    }

    /// The kind of a number's series.
    #[inline]
    pub fn kind(&self, key: KeyId) -> Option<SeriesKind> {
        self.kinds
            .get(key.index())
            .and_then(|code| SeriesKind::from_code(*code))
    }

    /// The number of a series.
    pub fn find(&self, kind: SeriesKind, raw: &[u8]) -> Option<KeyId> {
        let is_it =
            |number: u32| self.kinds[number as usize] == kind.code() && self.pieces.is(number, raw);
        self.index
            .find(self.hash(kind.code(), raw), is_it)
            .map(KeyId)
    }

    /// Gives `key` to a series.
    pub(super) fn define(
        &mut self,
        key: KeyId,
        kind: SeriesKind,
        raw: &[u8],
    ) -> Result<(), DefineError> {
        if key.index() < self.len() {
            return match self.get(key) {
                Some((known, bytes)) if known == kind && bytes == raw => Ok(()),
                _ => Err(DefineError::Taken),
            };
        }
        if let Some(known) = self.find(kind, raw) {
            return Err(DefineError::Known(known));
        }
        let missing = key.index() - self.len();
        if missing > LEAP_MAX as usize || key.0 == u32::MAX {
            return Err(DefineError::Leap);
        }
        if !self.has_room_for(raw) {
            return Err(DefineError::Full);
        }
        self.skip(missing);
        self.index.enter(self.hash(kind.code(), raw), key.0);
        self.push(kind, raw);
        Ok(())
    }

    /// Leaves `count` numbers unknown.
    pub(super) fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.pieces.push(&[]);
        }
        self.kinds.extend(std::iter::repeat_n(UNKNOWN, count));
    }

    /// Gives the next number to a series of which only the middle is new: it begins and ends like the number before. Only for
    /// loading what was checked when it was stored, with [`KeyTable::index_all`] at the end; `false` if that cannot be.
    pub(super) fn define_next(
        &mut self,
        kind: SeriesKind,
        prefix_len: usize,
        middle: &[u8],
        suffix_len: usize,
    ) -> bool {
        let [mut before, mut raw] = std::mem::take(&mut self.scratch);
        before.clear();
        if let Some(last) = self.pieces.len().checked_sub(1) {
            self.pieces.read(last as u32, &mut before);
        }
        let fits = prefix_len <= before.len() && suffix_len <= before.len();
        if fits {
            raw.clear();
            raw.extend_from_slice(&before[..prefix_len]);
            raw.extend_from_slice(middle);
            raw.extend_from_slice(&before[before.len() - suffix_len..]);
        }
        let is_next = fits && self.has_room_for(&raw);
        if is_next {
            self.push(kind, &raw);
        }
        self.scratch = [before, raw];
        is_next
    }

    /// Enters everything that [`KeyTable::define_next`] has added. Until then it is not found by name.
    pub(super) fn index_all(&mut self) {
        let [mut raw, _] = std::mem::take(&mut self.scratch);
        let mut entries = Vec::with_capacity(self.defined_count);
        for (number, &kind) in (0..).zip(&self.kinds) {
            if kind != UNKNOWN {
                self.pieces.read(number, &mut raw);
                entries.push(self.hash(kind, &raw) & HASH_MASK | u64::from(number));
            }
        }
        // In the order of their places, so that a large index is filled from end to end and not all over.
        entries.sort_unstable();
        self.index = Index::default();
        self.index.reserve(entries.len());
        for entry in entries {
            self.index.enter(entry & HASH_MASK, entry as u32);
        }
    }

    /// Makes room, so that loading many keys does not grow step by step.
    pub(super) fn reserve(&mut self, key_count: usize) {
        self.pieces.reserve(key_count);
        self.kinds.reserve(key_count);
    }

    /// All bytes of keys.
    pub(crate) fn byte_count(&self) -> usize {
        self.pieces.len_bytes()
    }

    fn has_room_for(&self, raw: &[u8]) -> bool {
        u32::try_from(self.byte_count() + raw.len()).is_ok()
    }

    /// The series has the next number.
    fn push(&mut self, kind: SeriesKind, raw: &[u8]) {
        self.pieces.push(raw);
        self.kinds.push(kind.code());
        self.defined_count += 1;
    }

    fn hash(&self, kind: u8, raw: &[u8]) -> u64 {
        self.seed.hash(kind, raw)
    }
}

impl Seed {
    /// Multiplies 16 bytes at a time into one word. A million keys are hashed at a start, and the standard hasher alone would
    /// take a third of the time that a start may take.
    pub(crate) fn hash(self, kind: u8, raw: &[u8]) -> u64 {
        let mut mixed = self.0 ^ ((raw.len() as u64) << 8 | u64::from(kind));
        let (blocks, rest) = raw.as_chunks::<16>();
        for block in blocks {
            mixed = multiply_block(*block, self.1, mixed);
        }
        let mut last = [0; 16];
        last[..rest.len()].copy_from_slice(rest);
        mixed = multiply_block(last, self.1, mixed);
        multiply(mixed ^ self.0, self.1)
    }
}

fn multiply_block(block: [u8; 16], seed: u64, mixed: u64) -> u64 {
    let both = u128::from_le_bytes(block);
    multiply(both as u64 ^ seed, (both >> 64) as u64 ^ mixed)
}

/// Both halves of the product, folded.
fn multiply(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}

impl PartialEq for KeyTable {
    fn eq(&self, other: &KeyTable) -> bool {
        let numbers = (0..).take(self.len());
        // How a key is told of depends on what was there before.
        self.kinds == other.kinds
            && numbers
                .into_iter()
                .all(|number| self.pieces.get(number) == other.pieces.get(number))
    }
}

impl fmt::Debug for KeyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = (0..self.len()).map(|number| {
            let key = KeyId(number as u32);
            (
                number,
                self.get(key)
                    .map(|(kind, raw)| (kind, String::from_utf8_lossy(&raw).into_owned())),
            )
        });
        f.debug_map().entries(names).finish()
    }
}
