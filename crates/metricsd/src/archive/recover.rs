//! From the files in the state directory to the state: the best checkpoint, and the journal after it.
//!
//! Invariant: only a newer format or an unreadable directory refuses; everything else is taken as far as it is whole, and what
//! is missing is reported. Nothing is written, renamed or removed here.

use std::io;

use super::checkpoint::{self, Loaded};
use super::format::FileRole;
use super::journal::ClosedSegment;
use super::oddity::ODDITIES_KEPT;
use super::record_codec;
use super::replay::{Replayed, SegmentBytes, replay};
use super::report::{DamagedFile, Loss, OpenError, OpenReport};
use super::state::State;
use super::storage::{Operation, Storage, failed, is_damage};

/// Longer files are not ours: 100 million series do not fill one.
const FILE_LEN_MAX_BYTES: u64 = 16 << 30;
/// How often a directory that changes while it is read is read again.
const ATTEMPT_COUNT: usize = 5;

/// A checkpoint in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CheckpointFile {
    pub(super) name: String,
    pub(super) sequence: u64,
    pub(super) len_bytes: u64,
    pub(super) is_damaged: bool,
}

/// Everything that was found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) state: State,
    pub(super) report: OpenReport,
    /// Number of the last record that is durable by proof.
    pub(super) durable_through: u64,
    /// Payloads of the records after it that stand: they are in the state, and written again before anything is built on them.
    pub(super) unproven: Vec<Vec<u8>>,
    pub(super) segments: Vec<ClosedSegment>,
    pub(super) next_segment: u64,
    /// Oldest first.
    pub(super) checkpoints: Vec<CheckpointFile>,
    /// Bytes of the records that were read after the checkpoint.
    pub(super) journal_len_bytes: u64,
}

/// Reads everything.
pub(super) fn recover<S: Storage>(storage: &S) -> Result<Recovered, OpenError> {
    for attempt in 1..=ATTEMPT_COUNT {
        // A device may stumble once. What it cannot read in the end is damage.
        match recover_once(storage, attempt == ATTEMPT_COUNT)? {
            Some(recovered) => return Ok(recovered),
            None => continue,
        }
    }
    Err(OpenError::Moving)
}

/// The checkpoint that everything else builds on.
#[derive(Default)]
struct Base {
    state: State,
    sequence: Option<u64>,
    /// What is left of the newest checkpoint, if none is whole.
    remains: Option<Remains>,
    checkpoints: Vec<CheckpointFile>,
    losses: Vec<Loss>,
    damaged: Vec<DamagedFile>,
    unreadable: Vec<String>,
}

struct Remains {
    state: State,
    sequence: u64,
    loss: Loss,
}

/// Reading of one file.
enum Content {
    Bytes(Vec<u8>),
    Damaged(String),
    TryAgain,
}

fn content<S: Storage>(storage: &S, name: &str, is_last: bool) -> Result<Content, OpenError> {
    match storage.read(name, FILE_LEN_MAX_BYTES) {
        Ok(bytes) => Ok(Content::Bytes(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Content::TryAgain),
        Err(error) if !is_damage(&error) => Err(failed(Operation::Read, name)(error).into()),
        Err(_) if !is_last => Ok(Content::TryAgain),
        Err(error) => Ok(Content::Damaged(format!("cannot be read: {error}"))),
    }
}

/// `None` if it should be tried again.
fn recover_once<S: Storage>(
    storage: &S,
    is_last_attempt: bool,
) -> Result<Option<Recovered>, OpenError> {
    let names = storage.list().map_err(failed(Operation::List, "."))?;
    let mut roles: Vec<(FileRole, String)> = names
        .into_iter()
        .map(|name| (FileRole::of(&name), name))
        .collect();
    roles.sort();
    let Some(mut base) = find_base(storage, &roles, is_last_attempt)? else {
        return Ok(None);
    };

    let mut segments = Vec::new();
    let mut next_segment = 1;
    for (role, name) in &roles {
        let FileRole::Segment(number) = role else {
            continue;
        };
        next_segment = number.saturating_add(1);
        let bytes = match content(storage, name, is_last_attempt)? {
            Content::Bytes(bytes) => bytes,
            Content::TryAgain => return Ok(None),
            Content::Damaged(defect) => {
                base.unreadable.push(name.clone());
                base.damaged.push(DamagedFile {
                    name: name.clone(),
                    defect,
                });
                Vec::new()
            }
        };
        segments.push(SegmentBytes {
            name: name.clone(),
            bytes,
        });
    }
    // A checkpoint's name alone proves that the records in it were durable.
    let proven = base
        .checkpoints
        .iter()
        .map(|file| file.sequence)
        .max()
        .unwrap_or(0);
    let mut replayed = replay(&segments, base.sequence.unwrap_or(0), proven);
    if let Some((position, found)) = replayed.newer {
        return Err(OpenError::NewerVersion {
            name: segments[position].name.clone(),
            found,
        });
    }
    if let Some(remains) = base.remains.take()
        && !replayed.gaps.is_empty()
    {
        // The journal alone does not say everything, so what is left of the checkpoint is better than nothing.
        replayed = replay(&segments, remains.sequence, proven);
        base.losses.push(remains.loss);
        (base.sequence, base.state) = (Some(remains.sequence), remains.state);
    }
    let set_aside = roles.iter().filter(|(role, _)| *role == FileRole::SetAside);
    let report = OpenReport {
        set_aside: set_aside.map(|(_, name)| name.clone()).collect(),
        ..OpenReport::default()
    };
    Ok(Some(finish(
        base,
        &segments,
        replayed,
        next_segment,
        report,
    )))
}

/// The newest whole checkpoint; if none is whole, what is left of the newest. `None` if it should be tried again.
fn find_base<S: Storage>(
    storage: &S,
    roles: &[(FileRole, String)],
    is_last_attempt: bool,
) -> Result<Option<Base>, OpenError> {
    let mut base = Base::default();
    for (role, name) in roles.iter().rev() {
        let FileRole::Checkpoint(sequence) = *role else {
            continue;
        };
        let mut file = CheckpointFile {
            name: name.clone(),
            sequence,
            len_bytes: 0,
            is_damaged: false,
        };
        // Older ones than the one that is taken are kept unread, for the day when that one is damaged.
        if base.sequence.is_none() {
            let defect = match content(storage, name, is_last_attempt)? {
                Content::TryAgain => return Ok(None),
                Content::Damaged(defect) => Some(defect),
                Content::Bytes(bytes) => {
                    file.len_bytes = bytes.len() as u64;
                    let loaded = checkpoint::load(&bytes);
                    if let Some(found) = loaded.newer {
                        return Err(OpenError::NewerVersion {
                            name: name.clone(),
                            found,
                        });
                    }
                    base.take(name, sequence, loaded)
                }
            };
            if let Some(defect) = defect {
                file.is_damaged = true;
                base.damaged.push(DamagedFile {
                    name: name.clone(),
                    defect,
                });
            }
        }
        base.checkpoints.push(file);
    }
    if base.sequence.is_some() {
        base.remains = None;
    }
    base.checkpoints.reverse();
    Ok(Some(base))
}

impl Base {
    /// Takes a checkpoint as it is. Gives back what is wrong with it.
    fn take(&mut self, name: &str, sequence: u64, loaded: Loaded) -> Option<String> {
        let name = name.to_owned();
        let is_named_so = loaded.sequence.is_none_or(|found| found == sequence);
        let misnamed = || "its frames and its name disagree about what it holds".to_owned();
        let Some(defect) = loaded.defect.or_else(|| (!is_named_so).then(misnamed)) else {
            (self.sequence, self.state) = (Some(sequence), loaded.state);
            return None;
        };
        if loaded.sequence == Some(sequence) && self.remains.is_none() {
            let loss = Loss::Salvaged {
                name,
                defect: defect.clone(),
            };
            self.remains = Some(Remains {
                state: loaded.state,
                sequence,
                loss,
            });
        }
        Some(defect)
    }
}

/// Takes the records in.
fn finish(
    base: Base,
    segments: &[SegmentBytes],
    replayed: Replayed<'_>,
    next_segment: u64,
    mut report: OpenReport,
) -> Recovered {
    let mut state = base.state;
    let unreadable = base.unreadable;
    report.losses = base.losses;
    report.damaged = base.damaged;
    let gaps = replayed.gaps.iter().map(|(first, last)| Loss::Records {
        first: *first,
        last: *last,
    });
    report.losses.extend(gaps);
    let mut unproven = Vec::new();
    let mut journal_len_bytes = 0;
    for record in &replayed.standing {
        journal_len_bytes += record.payload.len() as u64;
        match record_codec::decode(record.payload) {
            Ok(decoded) => state.apply(&decoded, &mut report.oddities),
            Err(error) => report.losses.push(Loss::Undecodable {
                sequence: record.sequence,
                error: error.to_string(),
            }),
        }
        if record.sequence > replayed.proven_through {
            unproven.push(record.payload.to_vec());
        }
    }
    let mut closed = Vec::with_capacity(segments.len());
    for damage in replayed.judged.damage {
        let defect = format!(
            "{} bytes at {} are damaged",
            damage.len_bytes, damage.offset
        );
        report.damaged.push(DamagedFile {
            name: damage.name,
            defect,
        });
    }
    for (segment, last_sequence) in segments.iter().zip(replayed.last_sequences) {
        let is_damaged = report.damaged.iter().any(|file| file.name == segment.name);
        let last_sequence = match is_damaged {
            // What it held is not known; it is needed at most for what was known when it was found.
            true => replayed.proven_through + unproven.len() as u64,
            false => last_sequence,
        };
        closed.push(ClosedSegment {
            name: segment.name.clone(),
            last_sequence,
            is_damaged,
        });
    }
    report.oddities.truncate(ODDITIES_KEPT);
    // What an older segment held, the numbers of later ones tell; what the last one held, nobody does.
    if let Some(last) = closed.last()
        && unreadable.contains(&last.name)
    {
        report.losses.push(Loss::Unreadable {
            name: last.name.clone(),
        });
    }
    report.previous = state.run.clone();
    report.reset_series_count = state.ledger.untold_reset_count();
    report.checkpoint_sequence = base.sequence;
    report.last_sequence = replayed.proven_through + unproven.len() as u64;
    report.replayed_count = replayed.standing.len();
    (report.cuts, report.scars) = (replayed.judged.cuts, replayed.judged.scars);
    report.earlier_totals_lost =
        base.sequence.is_none() && replayed.gaps.first().is_some_and(|gap| gap.0 == 1);
    Recovered {
        state,
        report,
        durable_through: replayed.proven_through,
        unproven,
        segments: closed,
        next_segment,
        checkpoints: base.checkpoints,
        journal_len_bytes,
    }
}
