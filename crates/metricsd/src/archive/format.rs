//! Names of the files in the state directory, the format's version, and the first frame of each file.
//!
//! Invariant: the frame (`frame.rs`) and the first three bytes of a first frame's payload stay as they are in all versions to
//! come, so that a newer file is always recognised as one. Pure.

use super::frame::Place;

/// The version that is written, and the newest that is understood. A change of meaning of anything that is stored raises it.
pub const FORMAT_VERSION: u16 = 2;
/// The versions that are understood, for messages.
pub const VERSIONS_UNDERSTOOD: &str = "1 and 2";

/// The file that becomes the next segment when there is no space for one.
pub(crate) const RESERVE_NAME: &str = "reserve";
/// A checkpoint that is being written.
pub(super) const CHECKPOINT_ASIDE_NAME: &str = "checkpoint.tmp";
/// Appended to the name of a file that was damaged and is no longer needed.
const DAMAGED_SUFFIX: &str = ".damaged";
/// Appended to the name of the state that a reset keeps aside.
const BACKUP_SUFFIX: &str = ".backup";

/// What a file in the state directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FileRole {
    /// A segment of the journal, with its number.
    Segment(u64),
    /// A checkpoint, with the number of the last record in it.
    Checkpoint(u64),
    /// A damaged file that was set aside.
    SetAside,
    /// Anything else.
    Other,
}

impl FileRole {
    /// The role that a name says.
    pub(super) fn of(name: &str) -> FileRole {
        let number = |prefix: &str, suffix: &str| {
            let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
            let is_ours = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
            if is_ours { digits.parse().ok() } else { None }
        };
        if let Some(number) = number("journal-", ".log") {
            FileRole::Segment(number)
        } else if let Some(sequence) = number("checkpoint-", ".bin") {
            FileRole::Checkpoint(sequence)
        } else if name.ends_with(DAMAGED_SUFFIX) {
            FileRole::SetAside
        } else {
            FileRole::Other
        }
    }
}

/// Name of a segment. As many digits as any number has, so that names sort like numbers.
pub(super) fn segment_name(number: u64) -> String {
    format!("journal-{number:020}.log")
}

/// Name of a checkpoint.
pub(super) fn checkpoint_name(sequence: u64) -> String {
    format!("checkpoint-{sequence:020}.bin")
}

/// Name under which a damaged file is kept.
pub(super) fn set_aside_name(name: &str) -> String {
    format!("{name}{DAMAGED_SUFFIX}")
}

/// Name under which a reset keeps the state of before: a checkpoint in everything but its name.
pub(super) fn backup_name(sequence: u64) -> String {
    format!("before-reset-{sequence:020}{BACKUP_SUFFIX}")
}

/// First bytes of payloads that are no records.
const SEGMENT_TAG: u8 = 0xf0;
const MARK_TAG: u8 = 0xf1;
const CHECKPOINT_TAG: u8 = 0xf2;

/// What a payload is, as far as its first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PayloadRole {
    /// First frame of a segment: all records before the frame's number were durable.
    Segment,
    /// All records up to the frame's number are durable.
    Mark,
    /// First frame of a checkpoint.
    Checkpoint,
    /// First frame of a file of a newer version.
    Newer(u16),
    /// A record, or a part of a checkpoint.
    Content,
}

impl PayloadRole {
    /// The role of a payload.
    pub(super) fn of(payload: &[u8]) -> PayloadRole {
        match payload {
            [SEGMENT_TAG | CHECKPOINT_TAG, low, high, ..]
                if u16::from_le_bytes([*low, *high]) > FORMAT_VERSION =>
            {
                PayloadRole::Newer(u16::from_le_bytes([*low, *high]))
            }
            [SEGMENT_TAG, ..] => PayloadRole::Segment,
            [CHECKPOINT_TAG, ..] => PayloadRole::Checkpoint,
            [MARK_TAG, ..] => PayloadRole::Mark,
            _ => PayloadRole::Content,
        }
    }
}

/// Payload of a segment's first frame.
pub(super) fn segment_head() -> [u8; 3] {
    let [low, high] = FORMAT_VERSION.to_le_bytes();
    [SEGMENT_TAG, low, high]
}

/// Payload of a checkpoint's first frame, up to what is its own.
pub(super) fn checkpoint_head() -> [u8; 3] {
    let [low, high] = FORMAT_VERSION.to_le_bytes();
    [CHECKPOINT_TAG, low, high]
}

/// Payload of the frame that says that everything before it is durable.
pub(super) const MARK: [u8; 1] = [MARK_TAG];

/// The place of a frame that belongs to no group.
pub(super) fn alone(sequence: u64) -> Place {
    Place {
        sequence,
        index: 0,
        is_last: true,
    }
}
