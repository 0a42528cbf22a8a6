//! The state directory: a segment of the journal and a checkpoint, damaged in any way.

use metricsd::archive::{Archive, OpenError, OpenReport, Settings, State, load};

use crate::memory::Memory;

/// Unix seconds of the start that each check makes.
const NOW: f64 = 1_800_000_000.0;
/// Before the payload of a frame.
const MAGIC: [u8; 4] = [0xff, b'm', b'd', 0xfe];
/// A group of one record.
const ALONE: u32 = 1 << 31;

/// The first byte says what the others are: 0 a segment, 1 a checkpoint, 2 payloads of records, each behind its length (two bytes,
/// little-endian), put into frames that are right, so that what is in records is reached as well. A segment may stand behind a
/// checkpoint: 3, the checkpoint's length in four bytes, the checkpoint, the segment.
pub fn check(data: &[u8]) {
    let Some((&shape, rest)) = data.split_first() else {
        return;
    };
    let memory = Memory::default();
    match shape {
        0 => memory.put(&segment_name(), rest.to_vec()),
        1 => memory.put(&checkpoint_name(), rest.to_vec()),
        2 => memory.put(&segment_name(), framed(rest)),
        3 => {
            let Some((length, rest)) = rest.split_first_chunk() else {
                return;
            };
            let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
            memory.put(&checkpoint_name(), rest[..length].to_vec());
            memory.put(&segment_name(), rest[length..].to_vec());
        }
        _ => return,
    }
    let Some((state, report)) = read(&memory) else {
        return;
    };
    let (again, _) = read(&memory).expect("what was read once is read again");
    // A time may be NaN in a record that nobody meant, and NaN equals nothing.
    assert!(
        state == again || format!("{state:?}") == format!("{again:?}"),
        "reading changes nothing"
    );
    let settings = Settings {
        reserve_len_bytes: 0,
        ..Settings::default()
    };
    let (archive, _) = Archive::open(memory.clone(), settings, "boot", NOW)
        .expect("what can be read can be opened");
    drop(archive);
    let (_, reopened) = read(&memory).expect("what was opened can be read");
    assert!(
        reopened.last_sequence > report.last_sequence || report.last_sequence == u64::MAX,
        "a start is recorded behind everything that was there: {} after {}",
        reopened.last_sequence,
        report.last_sequence
    );
}

/// Damage never keeps the archive from being read; only a newer format does.
fn read(memory: &Memory) -> Option<(State, OpenReport)> {
    match load(memory) {
        Ok(read) => Some(read),
        Err(OpenError::NewerVersion { .. }) => None,
        Err(err) => panic!("refused for damage: {err}"),
    }
}

fn segment_name() -> String {
    format!("journal-{:020}.log", 1)
}

fn checkpoint_name() -> String {
    format!("checkpoint-{:020}.bin", 21)
}

fn framed(mut payloads: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    let mut sequence = 1;
    push_frame(&mut segment, sequence, &[0xf0, 1, 0]);
    while let Some((length, rest)) = payloads.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        push_frame(&mut segment, sequence, &rest[..length]);
        payloads = &rest[length..];
        sequence += 1;
    }
    segment
}

fn push_frame(out: &mut Vec<u8>, sequence: u64, payload: &[u8]) {
    let mut covered = Vec::with_capacity(payload.len() + 16);
    covered.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    covered.extend_from_slice(&ALONE.to_le_bytes());
    covered.extend_from_slice(&sequence.to_le_bytes());
    covered.extend_from_slice(payload);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&crc32fast::hash(&covered).to_le_bytes());
    out.extend_from_slice(&covered);
}
