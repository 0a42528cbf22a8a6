//! What the bytes in segments mean that are no records that stand: torn ends, remains of tries that failed, damage.
//!
//! Invariant: every byte that is no whole frame is told of, and called damage if and only if a record that was durable may be
//! missing there. Pure.

use super::frame::{Frame, HEADER_LEN_BYTES, Stretch};
use super::replay::{Parsed, SegmentBytes, Standing};

/// A stretch of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStretch {
    /// The file.
    pub name: String,
    /// Where it begins, bytes from the start.
    pub offset: usize,
    /// How many bytes.
    pub len_bytes: usize,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Ends that were never reported durable and were cut off.
    pub(super) cuts: Vec<FileStretch>,
    /// Bytes elsewhere that are no frames, and where no record is missing.
    pub(super) scars: Vec<FileStretch>,
    /// Bytes where records are missing that were durable.
    pub(super) damage: Vec<FileStretch>,
}

/// What there is to judge by.
pub(super) struct Judge<'a> {
    pub(super) segments: &'a [SegmentBytes],
    pub(super) parsed: &'a [Parsed<'a>],
    pub(super) standing: &'a [Standing<'a>],
    /// Numbers from and to that are missing after the checkpoint, and anywhere.
    pub(super) gaps: &'a [(u64, u64)],
    pub(super) holes: &'a [(u64, u64)],
    /// Number of the checkpoint's last record.
    pub(super) after: u64,
    pub(super) proven_through: u64,
}

impl Judge<'_> {
    /// Judges all segments.
    pub(super) fn all(&self) -> Judged {
        let mut judged = Judged::default();
        for (position, parsed) in self.parsed.iter().enumerate() {
            // Behind the last record that stands, or that the checkpoint holds, everything is an end.
            let last = parsed
                .records
                .iter()
                .rfind(|frame| self.stands(position, frame));
            let end_from = last.map_or(0, |frame| frame.offset + 1);
            let mut end = None;
            for damage in &parsed.damage {
                let is_end = damage.offset >= end_from;
                let list = match (self.is_lost(parsed, *damage), is_end) {
                    (true, _) => &mut judged.damage,
                    (false, true) => {
                        end.get_or_insert(damage.offset);
                        continue;
                    }
                    (false, false) => &mut judged.scars,
                };
                list.push(self.stretch(position, damage.offset, damage.len_bytes));
            }
            if let Some(offset) = end {
                judged.cuts.push(self.to_end(position, offset));
            }
        }
        if let Some((position, offset)) = self.cut_at_frame() {
            let name = &self.segments[position].name;
            if judged.cuts.iter().all(|cut| cut.name != *name) {
                judged.cuts.push(self.to_end(position, offset));
            }
        }
        judged
    }

    fn stands(&self, position: usize, frame: &Frame<'_>) -> bool {
        let place = |it: &Standing<'_>| (it.segment, it.offset);
        frame.place.sequence <= self.after
            || self
                .standing
                .binary_search_by_key(&(position, frame.offset), place)
                .is_ok()
    }

    /// Whether any of the numbers that belong where the damage is are missing.
    fn is_lost(&self, parsed: &Parsed<'_>, damage: Stretch) -> bool {
        let before = parsed
            .records
            .iter()
            .rfind(|frame| frame.offset < damage.offset);
        let behind = parsed
            .records
            .iter()
            .find(|frame| frame.offset > damage.offset);
        let next = before.map(|frame| frame.place.sequence + 1);
        let known = next.or(parsed.first);
        let first = known.unwrap_or(0);
        match behind.map(|frame| frame.place.sequence - 1) {
            // The checkpoint may hold what is missing here. If a later group follows, this one was durable: the file is
            // damaged all the same, and kept for whoever asks why.
            Some(last) if known.is_some() && parsed.has_group_after(first) => {
                meets(self.holes, first, last)
            }
            Some(last) => meets(self.gaps, first, last),
            // How far the segment went is not known. Something of it is missing if what comes next is.
            None if before.is_some() => meets(self.gaps, first, first),
            None => meets(self.gaps, first, u64::MAX),
        }
    }

    /// A group of which whole frames are left and nothing damaged, but not all: it was cut between two of them.
    fn cut_at_frame(&self) -> Option<(usize, usize)> {
        let last = self.standing.last();
        let through = self.proven_through;
        let sequence = last.map_or(through, |last| last.sequence.max(through));
        let mut newest = self.parsed.last()?.records.iter();
        match newest.find(|frame| frame.place.sequence > sequence) {
            Some(dropped) => Some((self.segments.len() - 1, dropped.offset)),
            None => {
                let last = last.filter(|it| !it.ends_group && it.sequence > through)?;
                Some((
                    last.segment,
                    last.offset + HEADER_LEN_BYTES + last.payload.len(),
                ))
            }
        }
    }

    fn to_end(&self, position: usize, offset: usize) -> FileStretch {
        self.stretch(
            position,
            offset,
            self.segments[position].bytes.len() - offset,
        )
    }

    fn stretch(&self, position: usize, offset: usize, len_bytes: usize) -> FileStretch {
        FileStretch {
            name: self.segments[position].name.clone(),
            offset,
            len_bytes,
        }
    }
}

/// Whether any of the ranges has a number from `first` to `last`.
fn meets(ranges: &[(u64, u64)], first: u64, last: u64) -> bool {
    ranges
        .iter()
        .any(|(from, to)| *from <= last && *to >= first)
}
