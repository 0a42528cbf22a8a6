//! A file of the archive as it lies there, frame by frame, for a person who looks.
//!
//! Invariant: any bytes give frames and the stretches between them, and nothing is applied, repaired or decided here: what stands
//! and what is lost, [`super::load`] says. Pure.

use super::checkpoint::block_name;
use super::format::{FileRole, PayloadRole};
use super::frame::{Frame, MAGIC, scan};
use super::record::Record;
use super::record_codec;

/// One file's frames, in order.
#[derive(Debug)]
pub struct FileView<'a> {
    frames: Vec<Frame<'a>>,
    is_checkpoint: bool,
    /// Where bytes lie that are no frame, and how many.
    pub damage: Vec<(usize, usize)>,
}

/// One frame. Its checksum is right, or it would be none.
#[derive(Debug)]
pub struct FrameView {
    /// Where it begins.
    pub offset: usize,
    /// Length of what it carries.
    pub len_bytes: usize,
    /// Number of the record; of a checkpoint's frames that of the last record in it.
    pub sequence: u64,
    /// What it carries.
    pub content: FrameContent,
}

/// What a frame carries.
#[derive(Debug)]
pub enum FrameContent {
    /// First frame of a segment of the journal.
    SegmentHead,
    /// First frame of a checkpoint.
    CheckpointHead,
    /// First frame of a file of a newer version.
    Newer(u16),
    /// Everything before it was durable.
    Mark,
    /// A part of a checkpoint.
    Block(&'static str),
    /// A record.
    Record(Record),
    /// A whole frame that says nothing that this version understands, and why.
    Undecodable(String),
}

impl<'a> FileView<'a> {
    /// Finds the frames.
    pub fn of(bytes: &'a [u8]) -> FileView<'a> {
        let scanned = scan(bytes);
        let is_checkpoint = scanned
            .frames
            .first()
            .is_some_and(|frame| PayloadRole::of(frame.payload) == PayloadRole::Checkpoint);
        let damage = scanned.damage.iter();
        FileView {
            is_checkpoint,
            damage: damage.map(|it| (it.offset, it.len_bytes)).collect(),
            frames: scanned.frames,
        }
    }

    /// How many frames there are.
    pub fn frame_count(&self) -> usize {
        self.frames.len()
    }

    /// The frames, taken apart one by one as they are asked for.
    pub fn frames(&self) -> impl Iterator<Item = FrameView> {
        self.frames.iter().map(|frame| FrameView {
            offset: frame.offset,
            len_bytes: frame.payload.len(),
            sequence: frame.place.sequence,
            content: self.content(frame.payload),
        })
    }

    fn content(&self, payload: &[u8]) -> FrameContent {
        match PayloadRole::of(payload) {
            PayloadRole::Segment => FrameContent::SegmentHead,
            PayloadRole::Checkpoint => FrameContent::CheckpointHead,
            PayloadRole::Mark => FrameContent::Mark,
            PayloadRole::Newer(version) => FrameContent::Newer(version),
            PayloadRole::Content if self.is_checkpoint => FrameContent::Block(block_name(payload)),
            PayloadRole::Content => match record_codec::decode(payload) {
                Ok(record) => FrameContent::Record(record),
                Err(err) => FrameContent::Undecodable(err.to_string()),
            },
        }
    }
}

/// Whether a file of this name belongs to an archive.
pub fn is_archive_file(name: &str) -> bool {
    FileRole::of(name) != FileRole::Other
}

/// Whether bytes begin as the archive's files do.
pub fn begins_as_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}
