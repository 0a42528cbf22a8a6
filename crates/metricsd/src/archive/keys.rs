//! All series ever known, by number and by name: the bytes of their keys back to back, and an index over them.
//!
//! Invariant: a number once given means the same series for ever, and a series has one number. Numbers that were lost with a
//! damaged record stay unknown. Pure; the index is hashed with a random key, which nothing outside can see.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use super::model::{KeyId, SeriesKind};

/// How many numbers may be unknown in a row: more than a damaged stretch of journal can have held. A number further on is an
/// error of ours, and must not reserve memory.
const LEAP_MAX: u32 = 1 << 22;
/// Marks an unknown number.
const UNKNOWN: u8 = u8::MAX;
/// Marks a free place of the index. No series has that number.
const FREE: u64 = u64::MAX;
/// The part of an entry of the index that is the number. The rest is the upper half of the hash: its highest bits say where
/// the entry belongs, the others tell it from nearly all others without a look at the key.
const NUMBER_MASK: u64 = 0xffff_ffff;

/// The table.
#[derive(Clone, Default)]
pub struct KeyTable {
    bytes: Vec<u8>,
    /// Where each key's bytes end; they begin where the one before ends.
    ends: Vec<u32>,
    kinds: Vec<u8>,
    /// Numbers by hash, with open addressing; at most three quarters are in use.
    index: Vec<u64>,
    defined_count: usize,
    seed: Seed,
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
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many series are known.
    pub fn defined_count(&self) -> usize {
        self.defined_count
    }

    /// The series of a number.
    pub fn get(&self, key: KeyId) -> Option<(SeriesKind, &[u8])> {
        let kind = self.kind(key)?;
        Some((kind, self.raw(key.index())))
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
        if self.index.is_empty() {
            return None;
        }
        match self.index[self.place(self.hash(kind.code(), raw), kind.code(), raw)] {
            FREE => None,
            place => Some(KeyId((place & NUMBER_MASK) as u32)),
        }
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
                Some(known) if known == (kind, raw) => Ok(()),
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
        let end = self.bytes.len() + raw.len();
        let end = u32::try_from(end).map_err(|_| DefineError::Full)?;
        self.skip(missing);
        self.bytes.extend_from_slice(raw);
        self.make_place();
        let hash = self.hash(kind.code(), raw);
        let place = self.place(hash, kind.code(), raw);
        self.index[place] = entry(hash, self.len());
        self.push(kind, end);
        Ok(())
    }

    /// Leaves `count` numbers unknown.
    pub(super) fn skip(&mut self, count: usize) {
        let end = self.ends.last().copied().unwrap_or(0);
        self.ends.extend(std::iter::repeat_n(end, count));
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
        let end = self.bytes.len();
        let previous = match self.len() {
            0 => 0..0,
            count => self.range(count - 1),
        };
        let len = prefix_len.saturating_add(suffix_len);
        let fits = prefix_len <= previous.len() && suffix_len <= previous.len();
        let new_end = len
            .checked_add(middle.len())
            .and_then(|len| end.checked_add(len));
        let Some(new_end) = new_end
            .and_then(|end| u32::try_from(end).ok())
            .filter(|_| fits)
        else {
            return false;
        };
        self.bytes
            .extend_from_within(previous.start..previous.start + prefix_len);
        self.bytes.extend_from_slice(middle);
        self.bytes
            .extend_from_within(previous.end - suffix_len..previous.end);
        self.push(kind, new_end);
        true
    }

    /// Enters everything that [`KeyTable::define_next`] has added. Until then it is not found by name.
    pub(super) fn index_all(&mut self) {
        self.rehash((self.defined_count * 4 / 3 + 1).next_power_of_two().max(16));
    }

    /// Makes room, so that loading many keys does not grow step by step.
    pub(super) fn reserve(&mut self, key_count: usize, byte_count: usize) {
        self.bytes.reserve(byte_count);
        self.ends.reserve(key_count);
        self.kinds.reserve(key_count);
    }

    /// All bytes of keys.
    pub(crate) fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    fn range(&self, number: usize) -> std::ops::Range<usize> {
        let start = match number {
            0 => 0,
            _ => self.ends[number - 1] as usize,
        };
        start..self.ends[number] as usize
    }

    fn raw(&self, number: usize) -> &[u8] {
        &self.bytes[self.range(number)]
    }

    /// The series whose bytes were just appended has the next number.
    fn push(&mut self, kind: SeriesKind, end: u32) {
        self.ends.push(end);
        self.kinds.push(kind.code());
        self.defined_count += 1;
    }

    /// The index has a place for one more.
    fn make_place(&mut self) {
        if (self.defined_count + 1) * 4 > self.index.len() * 3 {
            self.rehash((self.index.len() * 2).max(16));
        }
    }

    /// In the order of their places, so that a large index is filled from end to end and not all over.
    fn rehash(&mut self, places: usize) {
        let numbers = (0..self.len()).filter(|number| self.kinds[*number] != UNKNOWN);
        let mut entries: Vec<u64> = numbers
            .map(|number| entry(self.hash(self.kinds[number], self.raw(number)), number))
            .collect();
        entries.sort_unstable();
        self.index.clear();
        self.index.resize(places, FREE);
        for entry in entries {
            let number = (entry & NUMBER_MASK) as usize;
            let place = self.place(entry, self.kinds[number], self.raw(number));
            self.index[place] = entry;
        }
    }

    /// Where the series stands in the index, or would stand.
    fn place(&self, hash: u64, kind: u8, raw: &[u8]) -> usize {
        let mask = self.index.len() - 1;
        // As many of the highest bits as the index has.
        let shift = 64 - self.index.len().trailing_zeros();
        let mut place = (hash >> shift) as usize;
        loop {
            let found = self.index[place];
            let number = (found & NUMBER_MASK) as usize;
            let is_it = found == FREE
                || (found == entry(hash, number)
                    && self.kinds[number] == kind
                    && self.raw(number) == raw);
            if is_it {
                return place;
            }
            place = (place + 1) & mask;
        }
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

/// What stands in the index for a series.
fn entry(hash: u64, number: usize) -> u64 {
    hash & !NUMBER_MASK | number as u64
}

impl PartialEq for KeyTable {
    fn eq(&self, other: &KeyTable) -> bool {
        (&self.bytes, &self.ends, &self.kinds) == (&other.bytes, &other.ends, &other.kinds)
    }
}

impl fmt::Debug for KeyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = (0..self.len()).map(|number| {
            let key = KeyId(number as u32);
            (
                number,
                self.get(key)
                    .map(|(kind, raw)| (kind, String::from_utf8_lossy(raw))),
            )
        });
        f.debug_map().entries(names).finish()
    }
}
