//! Distinct pieces of bytes with their numbers, and an index over them.
//!
//! Invariant: equal bytes have one number; numbers begin at 0 and have no gaps. The index is hashed with a random key, which nothing
//! outside can see: labels come from outside. Must not touch: what the bytes mean.

use crate::archive::Seed;
use crate::pieces::{Index, Pieces};

/// The table.
#[derive(Debug, Default)]
pub(super) struct Table {
    pieces: Pieces,
    index: Index,
    seed: Seed,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Makes room for so many more pieces, so that many are not taken in step by step.
    pub(super) fn reserve(&mut self, pieces: usize) {
        self.pieces.reserve(pieces);
        self.index.reserve(self.pieces.len() + pieces);
    }

    /// The pieces by their numbers.
    #[inline]
    pub(super) fn pieces(&self) -> &Pieces {
        &self.pieces
    }

    /// The number of `piece`, and whether it is new.
    pub(super) fn intern(&mut self, piece: &[u8]) -> (u32, bool) {
        let hash = self.seed.hash(0, piece);
        if let Some(known) = self
            .index
            .find(hash, |number| self.pieces.is(number, piece))
        {
            return (known, false);
        }
        let number = self.pieces.push(piece);
        self.index.enter(hash, number);
        (number, true)
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
        let piece = |number| table.pieces().get(number);
        assert_eq!((piece(17), piece(5000)), (b"17".to_vec(), Vec::new()));
        assert_eq!(table.len(), 5001);
    }
}
