//! Spellings that are kept from page to page.
//!
//! Invariant: what is returned is how the number is spelled, whatever was kept before.

use super::{SPELLING_LEN_MAX, is_long_whole, spell_other, spell_sixteen};

/// Spellings of numbers that took their time, for the next page: a fraction that did not change is copied. Whole numbers are spelled
/// as fast as they are copied, so nothing is kept of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spellings {
    /// In the order in which they were asked for.
    kept: Vec<Spelling>,
    /// Which of them is the likely one.
    next: usize,
}

/// A number and how it is spelled, with the line feed that ends it, in 32 bytes.
#[derive(Debug, Clone, Copy)]
struct Spelling {
    bits: u64,
    text: [u8; KEPT_LEN_MAX],
    len: u8,
}

/// One spelling in many millions is longer, and is not kept.
const KEPT_LEN_MAX: usize = 23;

impl Spellings {
    /// The same numbers come again, in the same order.
    pub(crate) fn begin(&mut self) {
        self.next = 0;
    }

    /// How `v`, which is no [`Whole`](super::Whole), is spelled if it is the likely one: a text that ends with a line feed, and how long it is.
    #[inline(always)]
    pub(crate) fn kept(&mut self, v: f64) -> Option<(&[u8; KEPT_LEN_MAX], usize)> {
        let kept = self.kept.get(self.next)?;
        if kept.bits != v.to_bits() {
            return None;
        }
        // No more than there are kept ones.
        self.next = self.next.wrapping_add(1);
        Some((&kept.text, kept.len.into()))
    }

    /// The same where it is another one, which it then is.
    #[inline(never)]
    pub(crate) fn spell(&mut self, v: f64) -> ([u8; SPELLING_LEN_MAX], usize) {
        let mut to = [0; SPELLING_LEN_MAX];
        if is_long_whole(v) {
            let len = spell_sixteen(v as u64, &mut to);
            to[len] = b'\n';
            return (to, len + 1);
        }
        let len = spell_other(v, &mut to) + 1;
        to[len - 1] = b'\n';
        let mut text = [0; KEPT_LEN_MAX];
        text.copy_from_slice(&to[..KEPT_LEN_MAX]);
        // A zero is never asked for: it is the same as no number.
        let (bits, len_kept) = if len > KEPT_LEN_MAX {
            (0, 0)
        } else {
            (v.to_bits(), len as u8)
        };
        let spelling = Spelling {
            bits,
            text,
            len: len_kept,
        };
        let place = self.next;
        self.next += 1;
        match self.kept.get_mut(place) {
            Some(kept) => *kept = spelling,
            None => self.kept.push(spelling),
        }
        (to, len)
    }
}
