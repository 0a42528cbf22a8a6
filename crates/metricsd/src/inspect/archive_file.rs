//! A segment of the journal or a checkpoint, frame by frame.
//!
//! Invariant: frames and the bytes between them are shown in the order in which they lie, and every record says what it says in one
//! line. Pure.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::table::{aligned, hex, left_out, row, series, time};
use super::{InspectError, Limit, Page};
use crate::archive::{FileView, FrameContent, FrameView, IdentityKey, Record};

/// A file of the state.
#[derive(Debug, Serialize)]
pub(super) struct ArchiveFilePage {
    what: &'static str,
    len_bytes: usize,
    frame_count: usize,
    by_kind: BTreeMap<&'static str, usize>,
    first_record: Option<u64>,
    last_record: Option<u64>,
    frames: Vec<FrameLine>,
    left_out: usize,
    /// Stretches that are no frame: torn, damaged, or of an older use of the space.
    damage: Vec<DamageLine>,
}

/// A frame.
#[derive(Debug, Serialize)]
pub(super) struct FrameLine {
    offset: usize,
    number: u64,
    kind: &'static str,
    len_bytes: usize,
    crc: &'static str,
    says: String,
}

/// Bytes that are no frame.
#[derive(Debug, Serialize)]
struct DamageLine {
    offset: usize,
    len_bytes: usize,
}

/// Takes the file apart.
pub(super) fn look(
    path: &Path,
    bytes: &[u8],
    limit: Limit,
) -> Result<ArchiveFilePage, InspectError> {
    let view = FileView::of(bytes);
    if view.frame_count() == 0 {
        return Err(InspectError::NotOurs {
            path: path.to_owned(),
            found: format!(
                "{} bytes and no frame of an archive among them",
                bytes.len()
            ),
        });
    }
    let shown = limit.of(view.frame_count());
    let (mut by_kind, mut what) = (BTreeMap::new(), "segment of the journal");
    let (mut frames, mut first_record, mut last_record) = (Vec::new(), None, None);
    for frame in view.frames() {
        let kind = kind_of(&frame.content);
        *by_kind.entry(kind).or_insert(0) += 1;
        if matches!(frame.content, FrameContent::CheckpointHead) {
            what = "checkpoint";
        }
        if matches!(frame.content, FrameContent::Record(_)) {
            first_record.get_or_insert(frame.sequence);
            last_record = Some(frame.sequence);
        }
        if frames.len() < shown {
            frames.push(FrameLine::of(&frame));
        }
    }
    let damage = view.damage.iter();
    Ok(ArchiveFilePage {
        what,
        len_bytes: bytes.len(),
        frame_count: view.frame_count(),
        by_kind,
        first_record,
        last_record,
        frames,
        left_out: view.frame_count() - shown,
        damage: damage
            .map(|&(offset, len_bytes)| DamageLine { offset, len_bytes })
            .collect(),
    })
}

impl FrameLine {
    pub(super) fn of(frame: &FrameView) -> FrameLine {
        FrameLine {
            offset: frame.offset,
            number: frame.sequence,
            kind: kind_of(&frame.content),
            len_bytes: frame.len_bytes,
            // A frame whose checksum is wrong is none.
            crc: "ok",
            says: says(&frame.content),
        }
    }

    pub(super) fn rows<'a>(frames: impl Iterator<Item = &'a FrameLine>) -> Vec<Vec<String>> {
        let mut rows = vec![row(["OFFSET", "NUMBER", "KIND", "BYTES", "CRC", "SAYS"])];
        rows.extend(frames.map(|frame| {
            row([
                &frame.offset.to_string(),
                &frame.number.to_string(),
                frame.kind,
                &frame.len_bytes.to_string(),
                frame.crc,
                &frame.says,
            ])
        }));
        rows
    }
}

impl Page for ArchiveFilePage {
    fn lines(&self) -> Vec<String> {
        let kinds: Vec<String> = self
            .by_kind
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        let records = match (self.first_record, self.last_record) {
            (Some(first), Some(last)) => format!("{first} to {last}"),
            _ => "none".to_owned(),
        };
        let mut lines = aligned(&[
            row(["what", self.what]),
            row(["bytes", &self.len_bytes.to_string()]),
            row([
                "frames",
                &format!("{} ({})", self.frame_count, kinds.join(", ")),
            ]),
            row(["records", &records]),
            row(["damaged", &format!("{} stretches", self.damage.len())]),
        ]);
        lines.extend(aligned(&FrameLine::rows(self.frames.iter())));
        lines.extend(left_out(self.left_out, "frames"));
        for it in &self.damage {
            lines.push(format!(
                "  {} bytes at {} are no frame: torn, damaged, or room that was used before",
                it.len_bytes, it.offset
            ));
        }
        lines
    }
}

pub(super) fn kind_of(content: &FrameContent) -> &'static str {
    match content {
        FrameContent::SegmentHead | FrameContent::CheckpointHead => "head",
        FrameContent::Newer(_) => "newer",
        FrameContent::Mark => "mark",
        FrameContent::Block(_) => "block",
        FrameContent::Undecodable(_) => "undecodable",
        FrameContent::Record(record) => match record {
            Record::KeyDefined { .. } => "key_defined",
            Record::Absorbed { .. } => "absorbed",
            Record::UnlinkDurable { .. } => "unlink_durable",
            Record::HighWater { .. } => "high_water",
            Record::Rebased { .. } => "rebased",
            Record::Missing { .. } => "missing",
            Record::Returned { .. } => "returned",
            Record::GaugeDiscarded { .. } => "gauge_discarded",
            Record::GaugeExpired { .. } => "gauge_expired",
            Record::StartTimestamp { .. } => "start_timestamp",
            Record::ResetDeclared { .. } => "reset_declared",
            Record::TotalsReset { .. } => "totals_reset",
            Record::Started { .. } => "started",
            Record::CleanStop { .. } => "clean_stop",
        },
    }
}

fn says(content: &FrameContent) -> String {
    match content {
        FrameContent::SegmentHead => "a segment begins; all records before were durable".to_owned(),
        FrameContent::CheckpointHead => "a checkpoint begins".to_owned(),
        FrameContent::Newer(version) => format!("format version {version}, which is newer"),
        FrameContent::Mark => "all records up to here are durable".to_owned(),
        FrameContent::Block(name) => (*name).to_owned(),
        FrameContent::Undecodable(why) => why.clone(),
        FrameContent::Record(record) => says_of_record(record),
    }
}

fn says_of_record(record: &Record) -> String {
    let file = |identity: &IdentityKey| hex(identity.as_bytes());
    match record {
        Record::KeyDefined { key, series: it } => {
            format!(
                "series {} is {} {}",
                key.0,
                it.kind.as_str(),
                series(&it.raw)
            )
        }
        Record::Absorbed {
            identity,
            origin,
            at_unix_seconds,
            entries,
        } => format!(
            "{} of {} with {} entries, at {}, file {}",
            origin.file_name,
            origin.program,
            entries.len(),
            time(*at_unix_seconds),
            file(identity)
        ),
        Record::UnlinkDurable { identity } => format!("file {} is gone for good", file(identity)),
        Record::HighWater {
            identity,
            origin,
            entries,
        } => {
            let name = origin.as_ref().map_or(String::new(), |it| {
                format!("{} of {}, ", it.file_name, it.program)
            });
            format!("{name}{} values of file {}", entries.len(), file(identity))
        }
        Record::Rebased {
            identity,
            shortfalls,
        } => format!(
            "{} series of file {} hold less than was noted",
            shortfalls.len(),
            file(identity)
        ),
        Record::Missing {
            identity,
            at_unix_seconds,
        } => format!(
            "file {} is missing since {}",
            file(identity),
            time(*at_unix_seconds)
        ),
        Record::Returned {
            identity,
            shortfalls,
        } => format!(
            "file {} is back, {} series of it with less",
            file(identity),
            shortfalls.len()
        ),
        Record::GaugeDiscarded { identity, keys } => {
            format!("{} live gauges of file {}", keys.len(), file(identity))
        }
        Record::GaugeExpired {
            ended_until_unix_seconds,
        } => format!(
            "of processes that ended until {}",
            time(*ended_until_unix_seconds)
        ),
        Record::StartTimestamp { keys, unix_seconds } => {
            format!("{} series count since {}", keys.len(), time(*unix_seconds))
        }
        Record::ResetDeclared { keys, unix_seconds } => {
            format!(
                "{} series begin anew at {}",
                keys.len(),
                time(*unix_seconds)
            )
        }
        Record::TotalsReset {
            at_unix_seconds,
            dropped,
        } => format!(
            "all totals begin at zero at {}; those of {} sample names were dropped",
            time(*at_unix_seconds),
            dropped.len()
        ),
        Record::Started {
            boot_id,
            at_unix_seconds,
        } => format!("at {}, boot {boot_id}", time(*at_unix_seconds)),
        Record::CleanStop { at_unix_seconds } => format!("at {}", time(*at_unix_seconds)),
    }
}
