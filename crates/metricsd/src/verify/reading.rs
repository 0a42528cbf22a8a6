//! Shards and archive as they lie on disk, read as plainly as can be: each file whole, nothing kept between readings.
//!
//! Invariant: a reading is of one moment as far as the archive goes: neither its last record nor the names of the shards changed
//! meanwhile, or everything is read again. No lock, no lease; must not open anything for writing.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::path::PathBuf;

use metricsd_shard::{
    BirthTime, Damage, HEADER_LEN_BYTES, NameError, ShardFile, ShardName, original_of_retiring,
    parse_from, read_value,
};
use thiserror::Error;

use crate::archive::{self, IdentityKey, OpenError, OpenReport, State};
use crate::books::identity_key;
use crate::directory::{DirectoryError, ListedName, ShardDirectory};
use crate::sentence::one_sentence;
use crate::settings::MergeSettings;
use crate::state_directory::{StateDirectory, StateDirectoryError};

/// How often everything is read again because a daemon moved something meanwhile.
const ATTEMPTS_MAX: usize = 20;

/// One shard's content.
#[derive(Debug)]
pub(super) struct ShardContent {
    /// Its name, before it was renamed for retirement.
    pub(super) name: ShardName,
    pub(super) identity: IdentityKey,
    pub(super) entries: Vec<ReadEntry>,
}

/// One entry as it stands in the file.
#[derive(Debug)]
pub(super) struct ReadEntry {
    pub(super) key: Vec<u8>,
    pub(super) value: f64,
    pub(super) timestamp: f64,
}

/// Everything that there is.
#[derive(Debug)]
pub(super) struct Reading {
    /// In canonical order: oldest birth first, then by name.
    pub(super) shards: Vec<ShardContent>,
    /// What the archive holds; none if there is no state directory.
    pub(super) archive: Option<(State, OpenReport)>,
    /// Files that look like shards and cannot be read, or not to their end.
    pub(super) damaged: Vec<String>,
}

/// Nothing can be recomputed.
#[derive(Debug, Error)]
pub(super) enum ReadingError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    StateDirectory(#[from] StateDirectoryError),
    #[error("{}: {source}", .path.display())]
    State { path: PathBuf, source: OpenError },
    #[error("{}: a daemon moved something during each of {ATTEMPTS_MAX} readings; try again", .path.display())]
    Moving { path: PathBuf },
}

impl Reading {
    /// Number of the archive's last record.
    pub(super) fn sequence(&self) -> Option<u64> {
        sequence(&self.archive)
    }

    /// How many entries all shards have.
    pub(super) fn entry_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.entries.len()).sum()
    }
}

/// Reads everything.
pub(super) fn read(settings: &MergeSettings) -> Result<Reading, ReadingError> {
    let mut before = load(settings)?;
    for _ in 0..ATTEMPTS_MAX {
        let directory = ShardDirectory::open(&settings.directory.path)?;
        let names = directory.list()?;
        let shards = read_shards(&directory, &names);
        let names_after = directory.list()?;
        let after = load(settings)?;
        let held_still = names_of(&names) == names_of(&names_after);
        match shards {
            Some((shards, damaged)) if held_still && sequence(&before) == sequence(&after) => {
                return Ok(Reading {
                    shards,
                    archive: before,
                    damaged,
                });
            }
            _ => before = after,
        }
    }
    Err(ReadingError::Moving {
        path: settings.directory.path.clone(),
    })
}

type Archive = Option<(State, OpenReport)>;

fn sequence(archive: &Archive) -> Option<u64> {
    archive.as_ref().map(|(_, report)| report.last_sequence)
}

fn load(settings: &MergeSettings) -> Result<Archive, ReadingError> {
    let path = &settings.state.path;
    let shards = ShardDirectory::open(&settings.directory.path)?;
    let directory = match StateDirectory::open(path, &shards) {
        Ok(directory) => directory,
        Err(StateDirectoryError::Missing { .. }) => return Ok(None),
        Err(err) => return Err(err.into()),
    };
    let disk = directory
        .disk()
        .map_err(|source| StateDirectoryError::Read {
            path: path.clone(),
            source,
        })?;
    let loaded = archive::load(&disk).map_err(|source| ReadingError::State {
        path: path.clone(),
        source,
    })?;
    Ok(Some(loaded))
}

fn names_of(listing: &[ListedName]) -> HashSet<(&std::ffi::OsStr, u64)> {
    let shards = listing.iter().filter(|listed| {
        let name = listed.name.to_string_lossy();
        ShardName::parse(original_of_retiring(&name).unwrap_or(&name)) != Err(NameError::NotAShard)
    });
    shards
        .map(|listed| (listed.name.as_os_str(), listed.inode))
        .collect()
}

/// Every shard of a listing; none if one vanished since.
fn read_shards(
    directory: &ShardDirectory,
    names: &[ListedName],
) -> Option<(Vec<ShardContent>, Vec<String>)> {
    let mut shards: Vec<(Option<BirthTime>, String, ShardContent)> = Vec::new();
    let mut damaged = Vec::new();
    let mut seen = HashSet::new();
    let mut buffer = Vec::new();
    for listed in names {
        let file_name = listed.name.to_string_lossy().into_owned();
        let name = match ShardName::parse(original_of_retiring(&file_name).unwrap_or(&file_name)) {
            Ok(name) => name,
            Err(NameError::NotAShard) => continue,
            Err(err) => {
                damaged.push(format!("{file_name}: {err}"));
                continue;
            }
        };
        if listed.name.to_str().is_none() {
            damaged.push(format!("{file_name}: its name is not UTF-8"));
            continue;
        }
        let file = match ShardFile::open_at(directory.as_fd(), &file_name) {
            Ok(file) => file,
            Err(metricsd_shard::OpenError::Vanished { .. }) => return None,
            Err(err) => {
                damaged.push(one_sentence(&err));
                continue;
            }
        };
        let identity = identity_key(&file.identity());
        // A second name of a file counts once.
        if !seen.insert(identity.clone()) {
            continue;
        }
        if let Err(err) = file.read_used(&mut buffer) {
            damaged.push(one_sentence(&err));
            continue;
        }
        let parsed = parse_from(&buffer, HEADER_LEN_BYTES);
        match &parsed.damage {
            // A writer is about to begin, or died before it did: nothing is lost.
            None | Some(Damage::Empty) => {}
            Some(damage) => damaged.push(format!("{file_name}: {damage}")),
        }
        let entries = parsed.entries.iter().map(|entry| {
            let (value, timestamp) = read_value(&buffer, entry.value_offset);
            ReadEntry {
                key: entry.key.to_vec(),
                value,
                timestamp,
            }
        });
        let content = ShardContent {
            name,
            identity,
            entries: entries.collect(),
        };
        shards.push((file.identity().birth, file_name, content));
    }
    shards.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let shards = shards.into_iter().map(|(_, _, content)| content).collect();
    Some((shards, damaged))
}
