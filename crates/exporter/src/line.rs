//! Lines of a page, put together from texts that are kept and numbers that move.
//!
//! Invariant: what is written is exactly the texts and numbers given; whatever is copied beyond their ends is overwritten or cut
//! off. Must not touch: what the lines mean, I/O, the clock, logging.
//!
//! A copy of a length that is only known at run time costs a call and a branch that is guessed wrong. Here a text is copied in steps
//! of a fixed length, the last of which goes too far, into room that the next text takes.

use std::mem;

use crate::number::{SPELLING_LEN_MAX, Spellings};

/// Bytes of one step. Nearly all texts are no longer.
pub(crate) const STEP_BYTES: usize = 64;

/// Room is made in blocks of so many bytes: they are still in the nearest cache when they are filled.
const BLOCK_BYTES: usize = 16 << 10;

/// What a number and the line feed are written into, at most.
const NUMBER_BYTES: usize = 2 * SPELLING_LEN_MAX;

/// What a line takes besides its texts: their last step, a number and the line feed.
const SLACK_BYTES: usize = STEP_BYTES + NUMBER_BYTES;

/// Appends lines to a page, until [`LineWriter::finish`].
pub(crate) struct LineWriter<'a> {
    to: &'a mut Vec<u8>,
    /// What was in `to`, and room beyond `end`. It is here because what lies behind a reference is read again after every store.
    page: Vec<u8>,
    end: usize,
}

impl<'a> LineWriter<'a> {
    pub(crate) fn new(to: &'a mut Vec<u8>) -> LineWriter<'a> {
        let page = mem::take(to);
        let end = page.len();
        LineWriter { to, page, end }
    }

    /// Room for a line whose texts have `texts_len` bytes.
    #[inline(always)]
    pub(crate) fn begin(&mut self, texts_len: usize) {
        let needed = texts_len + SLACK_BYTES;
        if self.page.len().wrapping_sub(self.end) < needed {
            self.page = with_room(mem::take(&mut self.page), self.end, needed);
        }
    }

    /// The first `len` bytes of `text`; it is fastest if a whole step of it can be read.
    #[inline(always)]
    pub(crate) fn text(&mut self, text: &[u8], len: usize) {
        let to = &mut self.page[self.end..];
        match (to.first_chunk_mut::<STEP_BYTES>(), text.first_chunk()) {
            (Some(to), Some(text)) if len <= STEP_BYTES => *to = *text,
            _ => copy_long(&text[..len], to),
        }
        // Whatever comes of it, the next access is checked.
        self.end = self.end.wrapping_add(len);
    }

    /// A number, and the end of its line.
    #[inline(always)]
    pub(crate) fn number(&mut self, number: f64, spellings: &mut Spellings) {
        let room = self.page[self.end..].first_chunk_mut::<NUMBER_BYTES>();
        let room = room.expect("room for it was made with the line's begin");
        let len = spellings.spell(number, room.first_chunk_mut().expect("it is shorter"));
        room[len % NUMBER_BYTES] = b'\n';
        self.end = self.end.wrapping_add(len + 1);
    }

    /// The page ends with the last line.
    pub(crate) fn finish(mut self) {
        self.page.truncate(self.end);
        *self.to = self.page;
    }
}

#[cold]
#[inline(never)]
fn with_room(mut page: Vec<u8>, end: usize, needed: usize) -> Vec<u8> {
    page.resize(end + needed.max(BLOCK_BYTES), 0);
    page
}

#[inline(never)]
fn copy_long(text: &[u8], to: &mut [u8]) {
    to[..text.len()].copy_from_slice(text);
}

/// So many bytes behind a text let a step of it be read. They are part of no text.
pub(crate) fn pad(texts: &mut Vec<u8>) {
    texts.resize(texts.len() + STEP_BYTES, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_their_texts_and_numbers_are_whatever_their_lengths() {
        let long: Vec<u8> = (0..BLOCK_BYTES * 3)
            .map(|at| b'a' + (at % 26) as u8)
            .collect();
        let mut page = b"before\n".to_vec();
        let mut expected = page.clone();
        let mut spellings = Spellings::default();
        let mut lines = LineWriter::new(&mut page);
        let lens = (0..200).chain([BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES * 3, 1, 0]);
        for (index, len) in lens.enumerate() {
            // As much behind as there is, and nothing at all.
            for text in [&long[..], &long[..len]] {
                lines.begin(2 * len);
                lines.text(text, len);
                lines.text(text, len);
                lines.number(index as f64, &mut spellings);
                expected.extend_from_slice(&long[..len]);
                expected.extend_from_slice(&long[..len]);
                expected.extend_from_slice(format!("{index}.0\n").as_bytes());
            }
        }
        lines.finish();
        assert!(page == expected);
    }

    #[test]
    fn a_page_without_lines_stays_as_it_is() {
        let mut page = b"before\n".to_vec();
        LineWriter::new(&mut page).finish();
        assert_eq!(page, b"before\n");
    }
}
