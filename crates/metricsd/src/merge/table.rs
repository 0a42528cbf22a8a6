//! Distinct pieces of bytes with their numbers: back to back in one block, and an index over them.
//!
//! Invariant: equal bytes have one number; numbers begin at 0 and have no gaps. The index is hashed with a random key, which nothing
//! outside can see: labels come from outside. Must not touch: what the bytes mean.

use crate::archive::Seed;

/// Marks a free place of the index. No piece has that number.
const FREE: u64 = u64::MAX;
/// The part of an entry of the index that is the number; the rest is the upper half of the hash.
const NUMBER_MASK: u64 = 0xffff_ffff;

/// The table.
#[derive(Debug, Default)]
pub(super) struct Table {
    bytes: Vec<u8>,
    /// Where each piece ends; it begins where the one before ends.
    ends: Vec<usize>,
    /// Numbers by hash, with open addressing; at most two thirds are in use.
    index: Vec<u64>,
    seed: Seed,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Makes room for so many more pieces and bytes, so that many are not taken in step by step.
    pub(super) fn reserve(&mut self, pieces: usize, bytes: usize) {
        self.bytes.reserve(bytes);
        self.ends.reserve(pieces);
        let needed = (self.ends.len() + pieces) * 3 / 2 + 1;
        if needed > self.index.len() {
            self.grow_to(needed.next_power_of_two());
        }
    }

    /// The bytes of a number.
    #[inline]
    pub(super) fn get(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let start = match number {
            0 => 0,
            _ => self.ends[number - 1],
        };
        &self.bytes[start..self.ends[number]]
    }

    /// The number of `piece`, and whether it is new.
    pub(super) fn intern(&mut self, piece: &[u8]) -> (u32, bool) {
        if (self.ends.len() + 1) * 3 > self.index.len() * 2 {
            self.grow_to((self.index.len() * 2).max(16));
        }
        let hash = self.seed.hash(0, piece);
        let place = self.place(hash, piece);
        let found = self.index[place];
        if found != FREE {
            return ((found & NUMBER_MASK) as u32, false);
        }
        let number = u32::try_from(self.ends.len())
            .ok()
            .filter(|number| *number < u32::MAX);
        let number = number.expect("each piece has a byte of index, and memory is finite");
        self.bytes.extend_from_slice(piece);
        self.ends.push(self.bytes.len());
        self.index[place] = hash & !NUMBER_MASK | u64::from(number);
        (number, true)
    }

    /// Where the piece stands in the index, or would stand.
    fn place(&self, hash: u64, piece: &[u8]) -> usize {
        let mask = self.index.len() - 1;
        let mut place = self.home(hash);
        loop {
            let found = self.index[place];
            let is_it = found == FREE
                || ((found ^ hash) & !NUMBER_MASK == 0
                    && self.get((found & NUMBER_MASK) as u32) == piece);
            if is_it {
                return place;
            }
            place = (place + 1) & mask;
        }
    }

    /// The place that the highest bits of a hash name: as many as the index has, of the upper half.
    fn home(&self, hash: u64) -> usize {
        let bits = self.index.len().trailing_zeros();
        (hash >> (64 - bits)) as usize
    }

    /// More places, a power of two. What the index holds of each hash is enough to find the new ones.
    fn grow_to(&mut self, places: usize) {
        let old = std::mem::replace(&mut self.index, vec![FREE; places]);
        for entry in old.into_iter().filter(|entry| *entry != FREE) {
            let mut place = self.home(entry);
            while self.index[place] != FREE {
                place = (place + 1) & (places - 1);
            }
            self.index[place] = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_have_one_number_however_many_there_are() {
        let mut table = Table::default();
        for round in 0..2 {
            for number in 0..5000_u32 {
                let piece = format!("{number}");
                assert_eq!(table.intern(piece.as_bytes()), (number, round == 0));
            }
        }
        assert_eq!(table.intern(b""), (5000, true));
        assert_eq!(table.intern(b""), (5000, false));
        assert_eq!((table.get(17), table.get(5000)), (&b"17"[..], &b""[..]));
        assert_eq!(table.len(), 5001);
    }
}
