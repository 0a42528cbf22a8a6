//! Bytes to lines, and which line may follow which.
//!
//! Invariant: no bytes make it panic or keep more than one line in memory. A line that cannot be believed costs itself; only what an append
//! that was never acknowledged can leave (a last line that is the beginning of one) is passed over in silence. Must not touch: files.

use std::io::{self, BufRead, Read as _};

use super::digest::Digest;
use super::frame::{self, Framed, LINE_LEN_MAX_BYTES, Link};
use super::record::{Cause, Record};

/// A line as it is in the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// With an end, which is not in it.
    Ended(&'a [u8]),
    /// The file ends in it.
    Unended(&'a [u8]),
    /// Longer than any that is written.
    TooLong,
}

/// The lines of a file, one at a time.
#[derive(Debug)]
pub(super) struct Lines<R> {
    from: R,
    buffer: Vec<u8>,
    /// The file ended once. What a writer appended since then may be the rest of the line that it ended in.
    is_at_end: bool,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(from: R) -> Lines<R> {
        Lines {
            from,
            buffer: Vec::new(),
            is_at_end: false,
        }
    }

    /// The next line; none at the end, and from then on none, although the file may be appended to meanwhile.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        if self.is_at_end {
            return Ok(None);
        }
        self.buffer.clear();
        let len_max = LINE_LEN_MAX_BYTES as u64;
        let found = (&mut self.from)
            .take(len_max)
            .read_until(b'\n', &mut self.buffer)?;
        if found == 0 {
            self.is_at_end = true;
            return Ok(None);
        }
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
            return Ok(Some(Line::Ended(&self.buffer)));
        }
        if found < LINE_LEN_MAX_BYTES {
            self.is_at_end = true;
            return Ok(Some(Line::Unended(&self.buffer)));
        }
        self.from.skip_until(b'\n')?;
        Ok(Some(Line::TooLong))
    }
}

/// What a line is, by itself.
#[derive(Debug)]
pub(super) enum Read {
    /// Its hash is right.
    Framed(Box<Framed>),
    /// The beginning of one that was never acknowledged, or is being written.
    Torn,
    /// It cannot be believed, and why.
    Damaged(&'static str),
}

pub(super) fn read(line: &Line<'_>) -> Read {
    let (bytes, is_ended) = match *line {
        Line::Ended(bytes) => (bytes, true),
        Line::Unended(bytes) => (bytes, false),
        Line::TooLong => return Read::Damaged("it is longer than any line of an audit"),
    };
    match frame::decode(bytes) {
        // Also without its end: all of it is there, and it may have been acknowledged before its end was lost.
        Ok(framed) => Read::Framed(Box::new(framed)),
        Err(fault) if is_ended => Read::Damaged(fault),
        Err(fault) => {
            let all_but_last = bytes.split_last().map_or(&[][..], |(_, rest)| rest);
            if frame::decode(all_but_last).is_ok() {
                Read::Damaged("its end is another byte")
            } else if frame::may_begin(bytes) {
                Read::Torn
            } else {
                Read::Damaged(fault)
            }
        }
    }
}

/// Where the lines stand that were read so far, over all files.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// The last line that was believed, and the one that it names.
    last: Option<(Link, Digest)>,
    /// Lines since then that could not be.
    damaged: u64,
}

/// A line is not where it belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Misplaced {
    /// It is what it says, and others before it are not there. It is gone on with.
    Behind(String),
    /// It was there before, or belongs before another that was.
    Repeated,
}

impl Chain {
    /// The last line that was believed.
    pub(super) fn last(&self) -> Option<Link> {
        self.last.map(|(link, _)| link)
    }

    /// A line could not be believed.
    pub(super) fn damaged(&mut self) {
        self.damaged += 1;
    }

    /// A line whose hash is right follows.
    pub(super) fn follow(&mut self, framed: &Framed) -> Result<(), Misplaced> {
        let misplaced = self.why_not(framed);
        if misplaced != Some(Misplaced::Repeated) {
            self.last = Some((framed.own, framed.prev));
            self.damaged = 0;
        }
        misplaced.map_or(Ok(()), Err)
    }

    fn why_not(&self, framed: &Framed) -> Option<Misplaced> {
        let start = match &framed.record {
            Ok(Record::Start(start)) => Some(start.cause),
            _ => None,
        };
        let Some((last, before_last)) = self.last else {
            // Older files may have been put away: an audit begins with any start.
            let is_begin = start.is_some() && self.damaged == 0;
            let behind = || Misplaced::Behind("the lines before it are missing".to_owned());
            return (!is_begin && self.damaged == 0).then(behind);
        };
        let own = framed.own;
        if framed.prev == last.sha256 && Some(own.seq) == last.seq.checked_add(1) {
            return None;
        }
        // The last line before a failure may be there and not have been acknowledged; the one after the failure does not know it.
        let replaces_last = framed.prev == before_last && own.seq == last.seq;
        if start == Some(Cause::Failure) && replaces_last {
            return None;
        }
        if own.seq <= last.seq {
            return Some(Misplaced::Repeated);
        }
        match own.seq - last.seq - 1 {
            missing if missing == self.damaged && missing > 0 => None,
            0 => Some(Misplaced::Behind(
                "it was written after another line than the one before it".to_owned(),
            )),
            missing => Some(Misplaced::Behind(format!(
                "{missing} lines between line {} of the audit and it are missing or damaged",
                last.seq
            ))),
        }
    }
}
