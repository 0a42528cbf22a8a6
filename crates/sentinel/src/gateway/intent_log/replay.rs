//! From the files to the state they lead to.
//!
//! Invariant: a line that cannot be believed costs itself and nothing behind it, and is told; only what an append that was never
//! acknowledged can leave (a last line without its end) is passed over in silence. Must not touch: what is on disk.

use super::error::{LogError, Operation, failed};
use super::format::FORMAT;
use super::frame::{self, LINE_LEN_MAX_BYTES};
use super::record::Record;
use super::state::State;
use super::storage::Storage;
use super::{Damage, ROTATE_LEN_BYTES};

const PREFIX: &str = "intents-";
const SUFFIX: &str = ".jsonl";
/// Longest file that is read; one is rotated long before.
const FILE_LEN_MAX_BYTES: u64 = ROTATE_LEN_BYTES + 2 * LINE_LEN_MAX_BYTES as u64;
/// Damaged places that are told one by one.
const DAMAGE_TOLD_MAX: usize = 16;

/// The name of the file of a generation; names sort as generations do.
pub(super) fn file_name(generation: u64) -> String {
    format!("{PREFIX}{generation:020}{SUFFIX}")
}

fn generation_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let is_whole = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_whole.then(|| digits.parse().ok()).flatten()
}

/// What the files say.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) state: State,
    /// All generations there are, in order.
    pub(super) generations: Vec<u64>,
    /// The newest one with a snapshot that can be read.
    pub(super) base: Option<u64>,
    pub(super) damage: Vec<Damage>,
    pub(super) torn: bool,
    has_records: bool,
}

pub(super) fn replay(storage: &impl Storage) -> Result<Replayed, LogError> {
    let names = storage.list().map_err(failed(Operation::List, "."))?;
    let mut replayed = Replayed {
        generations: names
            .iter()
            .filter_map(|name| generation_of(name))
            .collect(),
        ..Replayed::default()
    };
    replayed.generations.sort_unstable();
    for generation in replayed.generations.clone() {
        let name = file_name(generation);
        let bytes = storage
            .read(&name, FILE_LEN_MAX_BYTES)
            .map_err(failed(Operation::Read, &name))?;
        replayed.take_file(generation, &name, &bytes)?;
    }
    Ok(replayed)
}

impl Replayed {
    fn take_file(&mut self, generation: u64, name: &str, bytes: &[u8]) -> Result<(), LogError> {
        for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let whole = line.strip_suffix(b"\n");
            let place = (name, index + 1);
            match frame::decode(whole.unwrap_or(line)) {
                // Also without its end: all of it is there, and it may have been acknowledged before its end was damaged.
                Ok((_, Record::Snapshot { format, .. })) if format > FORMAT => {
                    return Err(LogError::Newer {
                        name: name.to_owned(),
                        found: format,
                    });
                }
                Ok((seq, record)) => self.take_record(generation, place, seq, &record),
                Err(_) if whole.is_none() => self.torn = true,
                Err(fault) => self.note(place, fault),
            }
        }
        Ok(())
    }

    fn take_record(&mut self, generation: u64, place: (&str, usize), seq: u64, record: &Record) {
        if let Record::Snapshot { .. } = record {
            // It tells all that came before, what was found to be wrong then included.
            self.damage.clear();
            self.base = Some(generation);
        } else if !self.has_records {
            self.note(place, "the records before it are missing");
        } else if seq != self.state.last_seq().saturating_add(1) {
            self.note(place, "records before it are missing");
        } else if self.state.check(record).is_err() {
            self.note(place, "it contradicts the records before it");
        }
        self.has_records = true;
        let seq = match record {
            Record::Snapshot { .. } => seq,
            _ => seq.max(self.state.last_seq()),
        };
        self.state.absorb(seq, record);
    }

    fn note(&mut self, (file, line): (&str, usize), fault: &'static str) {
        if self.damage.len() < DAMAGE_TOLD_MAX {
            self.damage.push(Damage {
                file: file.to_owned(),
                line,
                fault,
            });
        }
    }
}
