//! Many pieces of bytes that are like each other (keys of shards, sets of labels), by number: most of them as what is different from one
//! that is kept whole.
//!
//! Invariant: a piece is read as it was put in, and numbers begin at 0 and have no gaps. A piece is read from at most two places, however
//! many there are. Must not touch what the bytes mean.

mod index;

pub(crate) use index::Index;

/// Ends are counted from the begin of so many pieces, in 32 bits.
const BLOCK_LEN: usize = 32;

/// Whole pieces that are tried for a new one: as many families as may take turns.
const BASES_MAX: usize = 16;

/// A piece that is told in this part of its length is told well; no better base is looked for.
const WELL: usize = 4;

/// A piece that is told in no more than half its length is not put in whole for so many numbers: the next ones may do better.
const PATIENCE: u32 = 32;

/// The pieces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pieces {
    /// Of each piece how far back its base is (0: it is whole), what they have in common at the begin and at the end, and what stands
    /// between.
    bytes: Vec<u8>,
    /// Where each block begins.
    blocks: Vec<usize>,
    /// Where each piece ends in its block.
    ends: Vec<u32>,
    /// Whole pieces, the one that was used last in front.
    bases: Vec<u32>,
    len_bytes: usize,
}

/// A piece, in three parts.
#[derive(Debug, Clone, Copy)]
struct Parts<'a>([&'a [u8]; 3]);

/// How a new piece is told.
#[derive(Debug, Clone, Copy)]
struct Telling {
    /// Its place among the bases.
    place: usize,
    prefix_len: usize,
    suffix_len: usize,
    middle_len: usize,
}

impl Pieces {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all pieces, as they were put in.
    pub(crate) fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Makes room for the numbers of so many more pieces.
    pub(crate) fn reserve(&mut self, pieces: usize) {
        self.ends.reserve(pieces);
        self.blocks.reserve(pieces.div_ceil(BLOCK_LEN));
    }

    /// The bytes of a number, into `to`, of which nothing else is left.
    pub(crate) fn read(&self, number: u32, to: &mut Vec<u8>) {
        to.clear();
        self.append_to(number, to);
    }

    /// The same behind what is there.
    pub(crate) fn append_to(&self, number: u32, to: &mut Vec<u8>) {
        let Parts(parts) = self.parts(number);
        parts.iter().for_each(|part| to.extend_from_slice(part));
    }

    /// The bytes of a number.
    pub(crate) fn get(&self, number: u32) -> Vec<u8> {
        self.parts(number).0.concat()
    }

    /// Whether these are the bytes of a number.
    #[inline]
    pub(crate) fn is(&self, number: u32, piece: &[u8]) -> bool {
        let Parts([prefix, middle, suffix]) = self.parts(number);
        let rest = piece.strip_prefix(prefix);
        let rest = rest.and_then(|rest| rest.strip_prefix(middle));
        rest == Some(suffix)
    }

    /// Puts a piece in, and gives its number: the next one.
    pub(crate) fn push(&mut self, piece: &[u8]) -> u32 {
        if self.len().is_multiple_of(BLOCK_LEN) {
            self.blocks.push(self.bytes.len());
        }
        let number = number(self.len());
        match self.telling(number, piece) {
            Some(telling) => {
                let base = self.bases[telling.place];
                self.bases[..=telling.place].rotate_right(1);
                for figure in [
                    (number - base) as usize,
                    telling.prefix_len,
                    telling.suffix_len,
                ] {
                    put_varint(&mut self.bytes, figure);
                }
                let middle = &piece[telling.prefix_len..][..telling.middle_len];
                self.bytes.extend_from_slice(middle);
            }
            None => {
                put_varint(&mut self.bytes, 0);
                self.bytes.extend_from_slice(piece);
                if !piece.is_empty() {
                    self.bases.truncate(BASES_MAX - 1);
                    self.bases.insert(0, number);
                }
            }
        }
        let begin = self.blocks[self.blocks.len() - 1];
        let end = u32::try_from(self.bytes.len() - begin);
        self.ends
            .push(end.expect("a piece is part of a file or a journal, and those have less"));
        self.len_bytes += piece.len();
        number
    }

    /// None: whole.
    fn telling(&self, number: u32, piece: &[u8]) -> Option<Telling> {
        let mut best: Option<Telling> = None;
        for (place, &base) in self.bases.iter().enumerate() {
            let telling = Telling::of(place, self.whole(base), piece);
            if telling.len() * WELL <= piece.len() {
                return Some(telling);
            }
            if best.is_none_or(|best| telling.middle_len < best.middle_len) {
                best = Some(telling);
            }
        }
        best.filter(|best| {
            let is_young = number - self.bases[best.place] < PATIENCE;
            is_young && best.len() * 2 <= piece.len()
        })
    }

    fn stored(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let begin = self.blocks[number / BLOCK_LEN];
        let start = match number % BLOCK_LEN {
            0 => 0,
            _ => self.ends[number - 1] as usize,
        };
        &self.bytes[begin + start..begin + self.ends[number] as usize]
    }

    /// A piece that was put in whole.
    fn whole(&self, number: u32) -> &[u8] {
        &self.stored(number)[1..]
    }

    fn parts(&self, number: u32) -> Parts<'_> {
        let mut stored = self.stored(number);
        let back = take_varint(&mut stored);
        if back == 0 {
            return Parts([stored, &[], &[]]);
        }
        let base = self.whole(number - back as u32);
        let prefix_len = take_varint(&mut stored);
        let suffix_len = take_varint(&mut stored);
        Parts([
            &base[..prefix_len],
            stored,
            &base[base.len() - suffix_len..],
        ])
    }
}

impl Telling {
    fn of(place: usize, base: &[u8], piece: &[u8]) -> Telling {
        let prefix_len = common(base.as_chunks().0, piece.as_chunks().0, base, piece);
        let (base, rest) = (&base[prefix_len..], &piece[prefix_len..]);
        let suffix_len = common_end(base, rest);
        Telling {
            place,
            prefix_len,
            suffix_len,
            middle_len: rest.len() - suffix_len,
        }
    }

    /// Bytes that it takes, at most.
    fn len(&self) -> usize {
        // How far back the base is takes as much in the worst case; nearly always it is a byte or two.
        self.middle_len + 4
    }
}

/// How many bytes both begin with. `blocks` are theirs.
fn common(blocks_a: &[[u8; 8]], blocks_b: &[[u8; 8]], a: &[u8], b: &[u8]) -> usize {
    let blocks = blocks_a.iter().zip(blocks_b);
    let whole = blocks.take_while(|(a, b)| a == b).count() * 8;
    let rest = a[whole..].iter().zip(&b[whole..]);
    whole + rest.take_while(|(a, b)| a == b).count()
}

/// How many bytes both end with.
fn common_end(a: &[u8], b: &[u8]) -> usize {
    let blocks = a.as_rchunks::<8>().1.iter().rev();
    let blocks = blocks.zip(b.as_rchunks::<8>().1.iter().rev());
    let whole = blocks.take_while(|(a, b)| a == b).count() * 8;
    let (a, b) = (&a[..a.len() - whole], &b[..b.len() - whole]);
    let rest = a.iter().rev().zip(b.iter().rev());
    whole + rest.take_while(|(a, b)| a == b).count()
}

fn put_varint(to: &mut Vec<u8>, mut figure: usize) {
    while figure >= 0x80 {
        to.push(figure as u8 | 0x80);
        figure >>= 7;
    }
    to.push(figure as u8);
}

fn take_varint(from: &mut &[u8]) -> usize {
    let (mut figure, mut shift) = (0, 0);
    while let Some((&byte, rest)) = from.split_first() {
        *from = rest;
        figure |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            break;
        }
    }
    figure
}

/// Numbers have 32 bits, of which the greatest is nobody's.
fn number(count: usize) -> u32 {
    let number = u32::try_from(count).ok();
    let number = number.filter(|number| *number < u32::MAX);
    number.expect("each piece takes some bytes, and memory is finite")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let part = prop::sample::select(vec![
            "",
            "a",
            "bb",
            "the same again and again ",
            "0123456789",
        ]);
        prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat().into_bytes())
    }

    #[test]
    fn what_is_like_another_takes_a_small_part_of_its_length() {
        let mut pieces = Pieces::default();
        for owner in 0..100 {
            for number in 0..100 {
                let key = format!(
                    r#"["events", "events_total", {{"owner": "w{owner:05}", "number": "{number:05}"}}, "Some events."]"#
                );
                pieces.push(key.as_bytes());
            }
        }
        let told = pieces.bytes.len() + pieces.ends.len() * 4 + pieces.blocks.len() * 8;
        assert!(
            told * 5 < pieces.len_bytes(),
            "{told} of {}",
            pieces.len_bytes()
        );
    }

    #[test]
    fn families_that_take_turns_each_have_their_base() {
        let mut pieces = Pieces::default();
        for number in 0..1000 {
            for family in 0..10 {
                let key = format!(
                    r#"["f{family}", "f{family}", {{"number": "{number}"}}, "Help of {family}."]"#
                );
                pieces.push(key.as_bytes());
            }
        }
        assert!(
            pieces.bytes.len() * 4 < pieces.len_bytes(),
            "{} of {}",
            pieces.bytes.len(),
            pieces.len_bytes()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn pieces_are_read_as_they_were_put_in(put_in in prop::collection::vec(piece(), 0..120)) {
            let mut pieces = Pieces::default();
            put_in.iter().for_each(|piece| { pieces.push(piece); });
            prop_assert_eq!(pieces.len(), put_in.len());
            prop_assert_eq!(pieces.len_bytes(), put_in.iter().map(Vec::len).sum::<usize>());
            let mut read = b"something else".to_vec();
            for (number, piece) in (0..).zip(&put_in) {
                prop_assert_eq!(&pieces.get(number), piece);
                pieces.read(number, &mut read);
                prop_assert_eq!(&read, piece);
                for other in &put_in {
                    prop_assert_eq!(pieces.is(number, other), other == piece);
                }
            }
        }
    }
}
