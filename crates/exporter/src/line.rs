//! Lines of a page, put together from texts that are kept and numbers that move.
//!
//! Invariant: what is written is exactly the texts and numbers given; whatever is copied beyond their ends is cut off again. Must not
//! touch: what the lines mean, I/O, the clock, logging.
//!
//! A copy of a length that is only known at run time costs a call and a branch that is guessed wrong. Here a text is appended in a step
//! of a fixed length, which goes too far, and the page is cut to where the text ends. Nothing is written into memory twice: room that is
//! zeroed first takes as long as the lines themselves.

use std::mem;

use crate::number::{SPELLING_LEN_MAX, Spellings, Whole};

/// Bytes of one step. Nearly all texts are no longer.
const STEP_BYTES: usize = 64;

/// A bound as it is spelled, and how long that is.
pub(crate) type Bound = ([u8; SPELLING_LEN_MAX], usize);

/// A text of many lines.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    /// The first bytes of it.
    step: [u8; STEP_BYTES],
    /// All of it.
    bytes: Vec<u8>,
}

impl Default for Text {
    fn default() -> Text {
        Text {
            step: [0; STEP_BYTES],
            bytes: Vec::new(),
        }
    }
}

impl Text {
    pub(crate) fn new(text: &[u8]) -> Text {
        let mut new = Text::default();
        new.set(&[text]);
        new
    }

    /// It becomes these parts, one after another.
    pub(crate) fn set(&mut self, parts: &[&[u8]]) {
        self.bytes.clear();
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        let len = self.bytes.len().min(STEP_BYTES);
        self.step[..len].copy_from_slice(&self.bytes[..len]);
    }

    pub(crate) fn get(&self) -> &[u8] {
        &self.bytes
    }

    #[inline(always)]
    pub(crate) fn part(&self) -> Part<'_> {
        Part {
            step: Some(&self.step),
            all: &self.bytes,
        }
    }
}

/// A text of a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    /// It begins with the text; nothing if there is nothing behind the text that can be read.
    step: Option<&'a [u8; STEP_BYTES]>,
    all: &'a [u8],
}

impl<'a> Part<'a> {
    /// The first `len` bytes of `text`; it is fastest if a whole step of it can be read.
    #[inline(always)]
    pub(crate) fn of(text: &'a [u8], len: usize) -> Part<'a> {
        Part {
            step: text.first_chunk(),
            all: &text[..len],
        }
    }
}

/// Appends lines to a page, until [`LineWriter::finish`].
pub(crate) struct LineWriter<'a> {
    to: &'a mut Vec<u8>,
    /// What was in `to`. It is here because what lies behind a reference is read again after every store.
    page: Vec<u8>,
}

impl<'a> LineWriter<'a> {
    pub(crate) fn new(to: &'a mut Vec<u8>) -> LineWriter<'a> {
        let page = mem::take(to);
        LineWriter { to, page }
    }

    /// Begins a line, or goes on with it.
    #[inline(always)]
    pub(crate) fn text(&mut self, text: Part<'_>) {
        match text.step {
            Some(step) if text.all.len() <= STEP_BYTES => self.step(step, text.all.len()),
            _ => self.page.extend_from_slice(text.all),
        }
    }

    /// A bound of a histogram, in the midst of a line.
    #[inline(always)]
    pub(crate) fn bound(&mut self, (text, len): &Bound) {
        self.step(text, *len);
    }

    /// A number, and the end of its line.
    #[inline(always)]
    pub(crate) fn number(&mut self, number: f64, spellings: &mut Spellings) {
        if let Some(whole) = Whole::of(number) {
            self.step(&whole.begin, whole.begin_len);
            self.step(&whole.end, whole.end_len);
        } else if let Some((text, len)) = spellings.kept(number) {
            self.step(text, len);
        } else {
            let (text, len) = spellings.spell(number);
            self.page.extend_from_slice(&text[..len]);
        }
    }

    /// The first `len` bytes of `text`.
    #[inline(always)]
    fn step<const N: usize>(&mut self, text: &[u8; N], len: usize) {
        let begin = self.page.len();
        self.page.extend_from_slice(text);
        // Whatever came of it, it is cut where it is there.
        self.page.truncate(begin.wrapping_add(len));
    }

    /// The page ends with the last line.
    pub(crate) fn finish(self) {
        *self.to = self.page;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_their_texts_and_numbers_are_whatever_their_lengths() {
        let long: Vec<u8> = (0..50_000).map(|at| b'a' + (at % 26) as u8).collect();
        let mut page = b"before\n".to_vec();
        let mut expected = page.clone();
        let mut spellings = Spellings::default();
        let bound = ([b'!'; SPELLING_LEN_MAX], 7);
        let mut lines = LineWriter::new(&mut page);
        let lens = (0..200).chain([4095, 4096, long.len(), 1, 0]);
        for (index, len) in lens.enumerate() {
            // As much behind as there is, and nothing at all.
            for text in [&long[..], &long[..len]] {
                let bound = index.is_multiple_of(3).then_some(&bound);
                let first = Text::new(&long[..len / 2]);
                let number = index as f64;
                lines.text(first.part());
                bound.inspect(|bound| lines.bound(bound));
                lines.text(Part::of(text, len));
                lines.number(number, &mut spellings);
                expected.extend_from_slice(&long[..len / 2]);
                expected.extend_from_slice(bound.map_or(&[], |(text, len)| &text[..*len]));
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
