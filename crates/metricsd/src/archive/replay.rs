//! Reading the journal back: which records stand, in which order, and what is missing.
//!
//! Invariant: every record of a group that may have been reported durable stands if its bytes are whole. A group that was
//! never reported durable stands up to its first missing record, so that records never stand without the ones before them.
//! Which of the two it is, a later frame proves: a group is written only after the one before it was durable. Pure.

use super::format::PayloadRole;
use super::frame::{Frame, Stretch, scan};
use super::judge::{Judge, Judged};

/// The bytes of one segment, in the order of their numbers.
#[derive(Debug)]
pub(super) struct SegmentBytes {
    /// Its file.
    pub(super) name: String,
    /// Its content; nothing if it could not be read.
    pub(super) bytes: Vec<u8>,
}

/// A record that stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing<'a> {
    /// Its number.
    pub(super) sequence: u64,
    /// Its bytes.
    pub(super) payload: &'a [u8],
    /// Position of its segment, and where in it its frame begins.
    pub(super) segment: usize,
    pub(super) offset: usize,
    pub(super) ends_group: bool,
}

/// The journal as it stands.
#[derive(Debug)]
pub(super) struct Replayed<'a> {
    /// The records after the checkpoint, by number.
    pub(super) standing: Vec<Standing<'a>>,
    /// Numbers of records that were durable and are gone, from and to.
    pub(super) gaps: Vec<(u64, u64)>,
    /// All records up to this one were durable, by proof.
    pub(super) proven_through: u64,
    /// A segment of a version that is not understood, by position, with the version.
    pub(super) newer: Option<(usize, u16)>,
    /// The greatest number in each segment, 0 where there is none.
    pub(super) last_sequences: Vec<u64>,
    /// What the bytes that are no records mean.
    pub(super) judged: Judged,
}

/// One segment's frames, sorted by what they are.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    /// The number after the last one that was durable when it was begun.
    pub(super) first: Option<u64>,
    /// All records up to here were durable, by its marks.
    marked: Option<u64>,
    pub(super) records: Vec<Frame<'a>>,
    pub(super) damage: Vec<Stretch>,
}

/// Reads segments, oldest first, as they go on after record `after`; up to `proven` all records are known to have been durable.
pub(super) fn replay(segments: &[SegmentBytes], after: u64, proven: u64) -> Replayed<'_> {
    let mut newer = None;
    let parsed: Vec<Parsed<'_>> = segments
        .iter()
        .enumerate()
        .map(|(position, segment)| {
            let (parsed, version) = parse(&segment.bytes);
            newer = newer.or(version.map(|version| (position, version)));
            parsed
        })
        .collect();
    let proven_through = parsed
        .iter()
        .filter_map(Parsed::proves_through)
        .fold(proven, u64::max);

    let mut accepted: Vec<(usize, Frame<'_>)> = Vec::new();
    for (position, segment) in parsed.iter().enumerate() {
        if !segment.stands(proven_through) {
            continue;
        }
        // What a later segment says again counts there: the older copy may be of a try that failed.
        if let Some(begin) = segment.begin() {
            accepted.truncate(accepted.partition_point(|(_, it)| it.place.sequence < begin));
        }
        accepted.extend(segment.records.iter().map(|frame| (position, *frame)));
    }
    let (standing, gaps) = walk(&accepted, after, proven_through);
    let begun = parsed.iter().find_map(Parsed::begin).unwrap_or(0);
    let (_, holes) = walk(
        &accepted,
        begun.saturating_sub(1).min(after),
        proven_through,
    );
    let judge = Judge {
        segments,
        parsed: &parsed,
        standing: &standing,
        gaps: &gaps,
        holes: &holes,
        after,
        proven_through,
    };
    let judged = judge.all();
    let last = |parsed: &Parsed<'_>| {
        parsed
            .records
            .last()
            .map_or(0, |frame| frame.place.sequence)
    };
    let last_sequences = parsed.iter().map(last).collect();
    Replayed {
        standing,
        gaps,
        proven_through,
        newer,
        last_sequences,
        judged,
    }
}

fn parse(bytes: &[u8]) -> (Parsed<'_>, Option<u16>) {
    let scanned = scan(bytes);
    let mut parsed = Parsed {
        first: None,
        marked: None,
        records: Vec::with_capacity(scanned.frames.len()),
        damage: scanned.damage,
    };
    let mut newer = None;
    for frame in scanned.frames {
        match PayloadRole::of(frame.payload) {
            PayloadRole::Newer(version) if frame.offset == 0 => newer = Some(version),
            PayloadRole::Segment if frame.offset == 0 => parsed.first = Some(frame.place.sequence),
            PayloadRole::Mark => parsed.marked = Some(frame.place.sequence),
            PayloadRole::Content => parsed.push(frame),
            // A first frame that is not the first: nothing that is written so.
            PayloadRole::Newer(_) | PayloadRole::Segment | PayloadRole::Checkpoint => {}
        }
    }
    (parsed, newer)
}

impl<'a> Parsed<'a> {
    fn push(&mut self, frame: Frame<'a>) {
        let sequence = frame.place.sequence;
        let is_next = self
            .records
            .last()
            .is_none_or(|last| last.place.sequence < sequence);
        if is_next && sequence > 0 {
            self.records.push(frame);
        }
    }

    /// The first number that this segment says anything about.
    fn begin(&self) -> Option<u64> {
        let group = self.records.first()?.place.group_first();
        Some(self.first.map_or(group, |first| first.min(group)))
    }

    /// All records up to here were durable when something in this segment was written.
    fn proves_through(&self) -> Option<u64> {
        let head = self.first.map(|first| first.saturating_sub(1));
        let last = self.records.last();
        let groups = last.map(|frame| frame.place.group_first().saturating_sub(1));
        head.max(groups).max(self.marked)
    }

    /// Whether the group of record `sequence` is not the segment's last one.
    pub(super) fn has_group_after(&self, sequence: u64) -> bool {
        let last = self.records.last();
        last.is_some_and(|frame| frame.place.group_first() > sequence)
    }

    /// Whether the segment's first group was durable or at least is whole. If not, nothing in the segment was ever reported
    /// durable, and what it repeats may stand in an older one only.
    fn stands(&self, proven_through: u64) -> bool {
        let (Some(begin), Some(first)) = (self.begin(), self.records.first()) else {
            return false;
        };
        if begin <= proven_through {
            return true;
        }
        let group = first.place.group_first();
        let frames = self.records.iter().enumerate();
        let mut whole = frames.take_while(|(index, frame)| {
            frame.place.group_first() == group && frame.place.index as usize == *index
        });
        whole.any(|(_, frame)| frame.place.is_last)
    }
}

type Walked<'a> = (Vec<Standing<'a>>, Vec<(u64, u64)>);

/// Goes through the records by number. A hole in what was durable is a loss; the first one in what may not have been is the
/// end.
fn walk<'a>(accepted: &[(usize, Frame<'a>)], after: u64, proven_through: u64) -> Walked<'a> {
    let (mut standing, mut gaps) = (Vec::new(), Vec::new());
    let mut expected = after + 1;
    for (segment, frame) in accepted {
        let sequence = frame.place.sequence;
        if sequence < expected {
            continue;
        }
        if sequence > expected {
            let lost_through = (sequence - 1).min(proven_through);
            if lost_through >= expected {
                gaps.push((expected, lost_through));
                expected = lost_through + 1;
            }
            if sequence > expected {
                break;
            }
        }
        let (segment, offset, ends_group) = (*segment, frame.offset, frame.place.is_last);
        standing.push(Standing {
            sequence,
            payload: frame.payload,
            segment,
            offset,
            ends_group,
        });
        expected = sequence + 1;
    }
    if expected <= proven_through {
        gaps.push((expected, proven_through));
    }
    (standing, gaps)
}
