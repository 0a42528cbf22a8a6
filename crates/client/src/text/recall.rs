//! What this thread has looked up before: raw text to label value, without sanitising it again.
//! Invariant: an answer is the one that the domain gave for the same bytes, which never changes; what does not fit is forgotten, never
//! confused.
//! It must not decide what a text becomes: the domain does.
//!
//! Text is read as words that overlap where it is short of them: with its length they say which text it is. So one branch on
//! the length is left, of a class of lengths, and a comparison is one of words. There is no lock, and nothing is shared between threads.

use std::cell::{Cell, OnceCell};

use super::Text;

/// Longer text is looked up in its domain each time.
pub(super) const LEN_MAX_BYTES: usize = 32;
/// Texts that a thread remembers; 64 bytes each, from its first text on.
pub(super) const PLACES: usize = 256;

thread_local! {
    static RECALLED: OnceCell<Box<[Place; PLACES]>> = const { OnceCell::new() };
}

/// One text with its value; a line of the processor's cache.
#[derive(Debug)]
#[repr(align(64))]
struct Place {
    words: [Cell<u64>; 4],
    tag: Cell<u64>,
    text: Cell<Text>,
}

/// All that there is to know of a raw text: its words, its length, and the domain for which it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raw {
    words: [u64; 4],
    /// The length in the lowest byte, the domain's number above.
    tag: u64,
}

/// Of no text: there are not that many domains.
const FREE: u64 = u64::MAX;

impl Raw {
    /// None if it is too long to be remembered.
    #[inline]
    pub(super) fn new(domain: u64, raw: &str) -> Option<Raw> {
        let bytes = raw.as_bytes();
        let len = bytes.len();
        let words = match len {
            17..=LEN_MAX_BYTES => [
                word(bytes.first_chunk()),
                word(bytes[8..].first_chunk()),
                word(bytes[..len - 8].last_chunk()),
                word(bytes.last_chunk()),
            ],
            8..=16 => [word(bytes.first_chunk()), word(bytes.last_chunk()), 0, 0],
            4..8 => [
                half(bytes.first_chunk()) | half(bytes.last_chunk()) << 32,
                0,
                0,
                0,
            ],
            1..4 => {
                let byte = |at: usize| u64::from(bytes[at]);
                [byte(0) | byte(len / 2) << 8 | byte(len - 1) << 16, 0, 0, 0]
            }
            0 => [0; 4],
            _ => return None,
        };
        let tag = domain << 8 | len as u64;
        Some(Raw { words, tag })
    }

    /// The value if this thread knows it.
    #[inline]
    pub(super) fn recall(&self) -> Option<Text> {
        let found = |places: &OnceCell<Box<[Place; PLACES]>>| {
            let places = places.get()?;
            let first = self.place();
            let (near, far) = (&places[first], &places[first ^ 1]);
            if near.is(self) {
                Some(near.text.get())
            } else {
                far.is(self).then(|| far.text.get())
            }
        };
        // There is no table any more in a thread that is about to end.
        RECALLED.try_with(found).ok().flatten()
    }

    /// Remember the value, in the place of another text if need be.
    #[cold]
    pub(super) fn learn(&self, text: Text) {
        let _ended = RECALLED.try_with(|places| {
            let places = places.get_or_init(|| Box::new(std::array::from_fn(|_| Place::free())));
            let first = self.place();
            let is_free = |place: usize| places[place].tag.get() == FREE;
            let place = match is_free(first) || !is_free(first ^ 1) {
                true => first,
                false => first ^ 1,
            };
            places[place].fill(self, text);
        });
    }

    /// Nobody gains by texts that collide: they are looked up in their domain.
    #[inline]
    fn place(&self) -> usize {
        const ODD: [u64; 4] = [
            0x9e37_79b9_7f4a_7c15,
            0xa076_1d64_78bd_642f,
            0xe703_7ed1_a0b4_28db,
            0x8ebc_6af0_9c88_c6e3,
        ];
        let [first, rest @ ..] = self.words;
        let words = [first ^ self.tag].into_iter().chain(rest);
        let sum = words.zip(ODD).fold(0_u64, |sum, (word, odd)| {
            sum.wrapping_add(word.wrapping_mul(odd))
        });
        (sum >> (u64::BITS - PLACES.ilog2())) as usize
    }
}

impl Place {
    fn free() -> Place {
        Place {
            words: [const { Cell::new(0) }; 4],
            tag: Cell::new(FREE),
            text: Cell::new(Text::NONE),
        }
    }

    #[inline]
    fn is(&self, raw: &Raw) -> bool {
        let words = self.words.iter().zip(raw.words);
        let differing = words.fold(self.tag.get() ^ raw.tag, |differing, (known, word)| {
            differing | known.get() ^ word
        });
        differing == 0
    }

    fn fill(&self, raw: &Raw, text: Text) {
        for (word, new) in self.words.iter().zip(raw.words) {
            word.set(new);
        }
        self.tag.set(raw.tag);
        self.text.set(text);
    }
}

/// Zero does not occur: whoever asks knows that there are as many bytes.
#[inline]
fn word(bytes: Option<&[u8; 8]>) -> u64 {
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[inline]
fn half(bytes: Option<&[u8; 4]>) -> u64 {
    bytes.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)))
}

#[cfg(test)]
mod tests;
