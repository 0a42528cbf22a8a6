//! What this thread has looked up before: raw text to label value, without sanitising it again.
//! Invariant: an answer is the one that the domain gave for the same bytes, which never changes; what does not fit is forgotten, never
//! confused.
//! It must not decide what a text becomes: the domain does.
//!
//! Where a text lies says which place to look at first, since most texts are constants, or stay where they are for long. Whether it is
//! the same text is decided by its bytes alone: another one may lie there by now. So nothing is read but by the comparison, which the C
//! library does without a branch on the length where the processor can. Text that has moved is looked for by what it says. There
//! is no lock, and nothing is shared between threads.

use std::cell::{Cell, RefCell};

use super::Text;

/// Longer text is looked up in its domain each time.
pub(super) const LEN_MAX_BYTES: usize = 32;
/// Texts that a thread remembers; 64 bytes each, from its first text on.
pub(super) const PLACES: usize = 256;
/// Addresses that it remembers; a byte each. Neighbours that are less than half as far apart get different ones.
const ADDRESSES: usize = 2048;

thread_local! {
    static RECALLED: RefCell<Box<Recalled>> = RefCell::new(Recalled::nothing());
}

#[derive(Debug)]
struct Recalled {
    /// Which place the text had that lay there.
    by_address: [Cell<u8>; ADDRESSES],
    places: [Place; PLACES],
}

/// One text with its value; a line of the processor's cache.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Place {
    bytes: [u8; LEN_MAX_BYTES],
    tag: u64,
    text: Text,
}

/// A raw text that can be remembered, and the domain for which it is said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a> {
    bytes: &'a [u8],
    /// The length in the lowest byte, the domain's number above.
    tag: u64,
}

/// Of no text: there are not that many domains.
const FREE: u64 = u64::MAX;

impl<'a> Raw<'a> {
    /// None if it is too long to be remembered.
    #[inline]
    pub(super) fn new(domain: u64, raw: &'a str) -> Option<Raw<'a>> {
        let bytes = raw.as_bytes();
        let tag = domain << 8 | bytes.len() as u64;
        (bytes.len() <= LEN_MAX_BYTES).then_some(Raw { bytes, tag })
    }

    /// The value if this thread has seen the text, and where it lies now.
    #[inline]
    pub(super) fn recall(&self) -> Option<Text> {
        let found = |recalled: &RefCell<Box<Recalled>>| {
            let recalled = recalled.try_borrow().ok()?;
            let number = recalled.by_address[self.address()].get();
            let place = &recalled.places[usize::from(number)];
            place.is(self).then_some(place.text)
        };
        // There is no table any more in a thread that is about to end.
        RECALLED.try_with(found).ok().flatten()
    }

    /// The value if this thread has seen the text, wherever it lay. From now on it is known where it lies.
    pub(super) fn recall_moved(&self) -> Option<Text> {
        let found = |recalled: &RefCell<Box<Recalled>>| {
            let recalled = recalled.try_borrow().ok()?;
            let first = self.place();
            let number = [first, first ^ 1]
                .into_iter()
                .find(|place| recalled.places[usize::from(*place)].is(self))?;
            recalled.by_address[self.address()].set(number);
            Some(recalled.places[usize::from(number)].text)
        };
        RECALLED.try_with(found).ok().flatten()
    }

    /// Remember the value, in the place of another text if need be.
    #[cold]
    pub(super) fn learn(&self, text: Text) {
        let _ended = RECALLED.try_with(|recalled| {
            let Ok(mut recalled) = recalled.try_borrow_mut() else {
                return;
            };
            let first = self.place();
            let is_free = |place: u8| recalled.places[usize::from(place)].tag == FREE;
            let number = match is_free(first) || !is_free(first ^ 1) {
                true => first,
                false => first ^ 1,
            };
            recalled.places[usize::from(number)] = Place::of(self, text);
            recalled.by_address[self.address()].set(number);
        });
    }

    /// Text of other lengths may lie there too, and is told apart when it is compared.
    #[inline]
    fn address(&self) -> usize {
        let address = self.bytes.as_ptr().addr() as u64;
        highest_bits(address.wrapping_mul(ODDS[0]), ADDRESSES)
    }

    /// The place by what the text says: its length, and words that overlap where it is short of them, so that one branch is left, on a class of
    /// lengths. Nobody gains by texts that collide: they are looked up in their domain.
    fn place(&self) -> u8 {
        const _: () = assert!(PLACES == 1 << u8::BITS, "a byte is the number of a place");
        let bytes = self.bytes;
        let len = bytes.len();
        let words = match len {
            17.. => [
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
        };
        let [first, rest @ ..] = words;
        let words = [first ^ self.tag].into_iter().chain(rest);
        // A sum of products, none of which waits for another one.
        let sum = words.zip(ODDS).fold(0_u64, |sum, (word, odd)| {
            sum.wrapping_add(word.wrapping_mul(odd))
        });
        highest_bits(sum, PLACES) as u8
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

/// The first one is two to the power of 64 over the golden ratio: multiples of it lie far apart.
const ODDS: [u64; 4] = [
    0x9e37_79b9_7f4a_7c15,
    0xa076_1d64_78bd_642f,
    0xe703_7ed1_a0b4_28db,
    0x8ebc_6af0_9c88_c6e3,
];

/// One of `count` numbers, a power of two.
#[inline]
fn highest_bits(number: u64, count: usize) -> usize {
    (number >> (u64::BITS - count.ilog2())) as usize
}

impl Recalled {
    #[cold]
    fn nothing() -> Box<Recalled> {
        Box::new(Recalled {
            by_address: [const { Cell::new(0) }; ADDRESSES],
            places: [Place::free(); PLACES],
        })
    }
}

impl Place {
    const fn free() -> Place {
        Place {
            bytes: [0; LEN_MAX_BYTES],
            tag: FREE,
            text: Text::NONE,
        }
    }

    fn of(raw: &Raw, text: Text) -> Place {
        let mut place = Place {
            tag: raw.tag,
            text,
            ..Place::free()
        };
        place.bytes[..raw.bytes.len()].copy_from_slice(raw.bytes);
        place
    }

    #[inline]
    fn is(&self, raw: &Raw) -> bool {
        self.tag == raw.tag && self.bytes.get(..raw.bytes.len()) == Some(raw.bytes)
    }
}

#[cfg(test)]
mod tests;
